//! Messages between actors of actix: the same as `atoms/mail.c` does, in a process of its
//! own with one thread.

use actix::prelude::*;
use anyhow::{Result, bail};

use super::worker;

/// The word on the command line that makes this program the peer.
pub const ACTIX: &str = "__actix";
/// Messages that one handler sends, as the atom does.
const BATCH: u64 = 256;

type Said = tokio::sync::mpsc::UnboundedSender<u64>;

/// Adds up what it is told, and answers with one more.
#[derive(Default)]
struct Other {
    sum: u64,
}

#[derive(Message)]
#[rtype(result = "()")]
struct Add(u64);

#[derive(Message)]
#[rtype(result = "u64")]
struct Ask(u64);

#[derive(Message)]
#[rtype(result = "u64")]
struct Sum;

impl Actor for Other {
    type Context = Context<Other>;
}

impl Handler<Add> for Other {
    type Result = ();
    fn handle(&mut self, add: Add, _: &mut Context<Other>) {
        self.sum += add.0;
    }
}

impl Handler<Ask> for Other {
    type Result = u64;
    fn handle(&mut self, ask: Ask, _: &mut Context<Other>) -> u64 {
        ask.0 + 1
    }
}

impl Handler<Sum> for Other {
    type Result = u64;
    fn handle(&mut self, _: Sum, _: &mut Context<Other>) -> u64 {
        std::mem::take(&mut self.sum)
    }
}

/// The one that is told what to do.
struct Main {
    other: Addr<Other>,
    first: Option<Addr<Step>>,
    said: Said,
    left: u64,
    born: u64,
}

#[derive(Message)]
#[rtype(result = "()")]
enum Go {
    One(u64),
    Ask(u64),
    Make(u64),
    Ring(u64),
    Spawn(u64),
}

#[derive(Message)]
#[rtype(result = "()")]
struct Again;

#[derive(Message)]
#[rtype(result = "()")]
struct Told(u64);

#[derive(Message)]
#[rtype(result = "()")]
struct Born;

impl Actor for Main {
    type Context = Context<Main>;
}

impl Main {
    fn say(&self, n: u64) {
        // Nobody who asked is gone before the answer.
        let _ = self.said.send(n);
    }

    fn bear(&mut self, ctx: &Context<Main>) {
        if self.left == 0 {
            return self.say(self.born);
        }
        self.left -= 1;
        Child { parent: ctx.address() }.start();
    }
}

impl Handler<Go> for Main {
    type Result = ();
    fn handle(&mut self, go: Go, ctx: &mut Context<Main>) {
        match go {
            Go::One(n) => {
                self.left = n;
                ctx.address().do_send(Again);
            }
            Go::Ask(of) => {
                let (other, said) = (self.other.clone(), self.said.clone());
                let asks = async move {
                    let mut n = 0;
                    while n < of {
                        n = other.send(Ask(n)).await.unwrap_or(u64::MAX);
                    }
                    let _ = said.send(n);
                };
                ctx.spawn(asks.into_actor(self));
            }
            Go::Make(n) => {
                let all: Vec<Addr<Step>> =
                    (0..n).map(|_| Step { next: None, main: ctx.address() }.start()).collect();
                for (one, next) in all.iter().zip(all.iter().cycle().skip(1)) {
                    one.do_send(Next(next.clone()));
                }
                self.first = all.into_iter().next();
                self.say(n);
            }
            Go::Ring(n) => {
                if let Some(first) = &self.first {
                    first.do_send(Token { steps: n, told: 0 });
                }
            }
            Go::Spawn(n) => {
                (self.left, self.born) = (n, 0);
                self.bear(ctx);
            }
        }
    }
}

impl Handler<Again> for Main {
    type Result = ();
    fn handle(&mut self, _: Again, ctx: &mut Context<Main>) {
        if self.left == 0 {
            let (other, said) = (self.other.clone(), self.said.clone());
            let sum = async move {
                let _ = said.send(other.send(Sum).await.unwrap_or(u64::MAX));
            };
            ctx.spawn(sum.into_actor(self));
            return;
        }
        let least = self.left.saturating_sub(BATCH);
        for n in (least + 1..=self.left).rev() {
            self.other.do_send(Add(n));
        }
        self.left = least;
        ctx.address().do_send(Again);
    }
}

impl Handler<Told> for Main {
    type Result = ();
    fn handle(&mut self, told: Told, _: &mut Context<Main>) {
        self.say(told.0);
    }
}

impl Handler<Born> for Main {
    type Result = ();
    fn handle(&mut self, _: Born, ctx: &mut Context<Main>) {
        self.born += 1;
        self.bear(ctx);
    }
}

/// One of the ring.
struct Step {
    next: Option<Addr<Step>>,
    main: Addr<Main>,
}

#[derive(Message)]
#[rtype(result = "()")]
struct Next(Addr<Step>);

#[derive(Message)]
#[rtype(result = "()")]
struct Token {
    steps: u64,
    told: u32,
}

impl Actor for Step {
    type Context = Context<Step>;
}

impl Handler<Next> for Step {
    type Result = ();
    fn handle(&mut self, next: Next, _: &mut Context<Step>) {
        self.next = Some(next.0);
    }
}

impl Handler<Token> for Step {
    type Result = ();
    fn handle(&mut self, token: Token, _: &mut Context<Step>) {
        let told = token.told.wrapping_mul(3).wrapping_add(1);
        match &self.next {
            Some(next) if token.steps > 1 => next.do_send(Token { steps: token.steps - 1, told }),
            _ => self.main.do_send(Told(told.into())),
        }
    }
}

/// One that says that it is there, and ends.
struct Child {
    parent: Addr<Main>,
}

impl Actor for Child {
    type Context = Context<Child>;
    fn started(&mut self, ctx: &mut Context<Child>) {
        self.parent.do_send(Born);
        ctx.stop();
    }
}

/// What this program does as the peer.
pub fn run() -> Result<()> {
    let system = System::new();
    let (said, mut hears) = tokio::sync::mpsc::unbounded_channel();
    let main = system.block_on(async {
        let other = Other::default().start();
        Main { other, first: None, said, left: 0, born: 0 }.start()
    });
    worker::serve(|what, n| {
        let go = match what {
            "one" => Go::One(n),
            "ask" => Go::Ask(n),
            "make" => Go::Make(n),
            "ring" => Go::Ring(n),
            "spawn" => Go::Spawn(n),
            _ => bail!("{what} is not known"),
        };
        main.do_send(go);
        Ok(system.block_on(hears.recv()).unwrap_or(u64::MAX))
    })
}
