//! Atoms that do as they are told: a command, a message or an ask is a line of words.
//!
//! `;` parts what is to be done one after another, and inside what is sent on, `,` does.
//! What happens to whom is noted, a line each ([`seen`]).

use std::cell::RefCell;

use atoll_9p::fault::{Errno, Fault};
use atoll_9p::ops::What;
use atoll_9p::ram::Ram;
use atoll_9p::types::OpenFlags;
use atoll_config::atom::{ABI, AtomLimits, FileKind, KIND, ModuleFile};
use atoll_config::payload::{Budget, Component as Plan, Import, Module, Payload, Value};
use atoll_runtime::Runtime;
use atoll_runtime::component::{CHUNK, CallId, Component, Cx, Event, Fd, Memory, Token, Why};
use atoll_runtime::engine::Engine;
use atoll_runtime::fake::{End, Fake, Host, Peer, World};
use atoll_runtime::platform::Platform;

use super::*;

thread_local! {
    static SEEN: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// What happened since the last call.
pub fn seen() -> Vec<String> {
    SEEN.take()
}

struct Script {
    tokens: Vec<Token>,
    calls: Vec<CallId>,
    entries: Vec<(String, Vec<u8>)>,
    memory: Vec<u8>,
    /// The memory as it was when it was last taken as unchanged.
    clean: Vec<u8>,
}

/// Bytes of memory that it begins with.
pub const PAGE: u64 = 4096;

impl Default for Script {
    fn default() -> Script {
        let memory = vec![0; PAGE as usize];
        Script {
            tokens: Vec::new(),
            calls: Vec::new(),
            entries: Vec::new(),
            memory,
            clean: Vec::new(),
        }
    }
}

/// A chunk of some bytes; what lies behind their end is 0.
fn chunk_of(bytes: &[u8], chunk: usize) -> [u8; CHUNK] {
    let mut out = [0; CHUNK];
    let there = bytes.chunks(CHUNK).nth(chunk).unwrap_or_default();
    out[..there.len()].copy_from_slice(there);
    out
}

impl Memory for Script {
    fn size(&self) -> u64 {
        self.memory.len() as u64
    }

    fn read(&self, chunk: u32, out: &mut [u8; CHUNK]) {
        *out = chunk_of(&self.memory, chunk as usize);
    }

    fn write(&mut self, _: u64, chunk: u32, data: &[u8; CHUNK]) {
        let to = self.memory.chunks_mut(CHUNK).nth(chunk as usize).expect("a chunk");
        to.copy_from_slice(&data[..to.len()]);
    }

    fn dirty(&mut self, out: &mut Vec<u32>) {
        let all = 0..self.memory.len().div_ceil(CHUNK);
        let changed = all.filter(|i| chunk_of(&self.memory, *i) != chunk_of(&self.clean, *i));
        out.extend(changed.map(|i| i as u32));
    }

    fn clear(&mut self) {
        self.clean = self.memory.clone();
    }
}

/// A script's state beside its memory.
type Saved = (Vec<u64>, Vec<u64>, Vec<(String, Vec<u8>)>, usize);

/// Makes scripts, whatever the module.
pub struct Scripts;

impl Engine for Scripts {
    fn make(&self, _: usize, _: &AtomLimits) -> Result<Box<dyn Component>, Fault> {
        Ok(Box::new(Script::default()))
    }
}

fn show(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

impl Script {
    fn run(&mut self, cx: &mut Cx<'_>, line: &str) -> Result<(), Fault> {
        let me = cx.me().0;
        let note = |text: String| SEEN.with_borrow_mut(|s| s.push(format!("{me} {text}")));
        for act in line.split(';').map(str::trim).filter(|a| !a.is_empty()) {
            let words: Vec<&str> = act.split_whitespace().collect();
            let word = |i: usize| words.get(i).copied().unwrap_or_default();
            let num = |i: usize| word(i).parse::<i64>().unwrap_or_default();
            let rest = |i: usize| words.get(i..).unwrap_or_default().join(" ").replace(',', ";");
            let who = |cx: &Cx<'_>| match word(1) {
                "me" => Ok(cx.me()),
                name => cx.find(name).ok_or(Fault::from(Errno::ENOENT)),
            };
            let call = |s: &mut Self, made: Result<CallId, Fault>| {
                made.map(|call| {
                    s.calls.push(call);
                    format!("= {}", call.0)
                })
            };
            let last = self.calls.last().copied().unwrap_or(CallId(0));
            let done: Result<String, Fault> = match word(0) {
                "send" => {
                    who(cx).and_then(|to| cx.send(to, rest(2).as_bytes())).map(|()| "".into())
                }
                "ask" => {
                    let asked = who(cx).and_then(|to| cx.ask(to, rest(2).as_bytes()));
                    call(self, asked)
                }
                "reply" => match self.tokens.first().copied() {
                    Some(token) => cx
                        .reply(token, num(1) as i32, Ok(rest(2).as_bytes()))
                        .map(|()| "replied".into()),
                    None => Err(Errno::ENODATA.into()),
                },
                "fail" => match self.tokens.first().copied() {
                    Some(token) => cx.reply(token, 0, Err(Errno::ELOOP.into())).map(|()| "".into()),
                    None => Err(Errno::ENODATA.into()),
                },
                "forget" => {
                    self.tokens.clear();
                    Ok("".into())
                }
                "sleep" => {
                    let made = cx.sleep(num(1) as u64);
                    call(self, made)
                }
                // As many as are told; they are not noted one by one.
                "sleeps" => {
                    let slept = (0..num(1)).try_for_each(|_| cx.sleep(num(2) as u64).map(drop));
                    slept.map(|()| "".into())
                }
                "drop" => cx.drop_future(last).map(|()| "dropped".into()),
                "lose" => cx.drop_future(last).map(|()| last.0.to_string()),
                "signal" => {
                    who(cx).and_then(|to| cx.signal(to, num(2) as u8, num(3))).map(|()| "".into())
                }
                "mask" => Ok(format!("was {}", cx.mask(num(1) as u64))),
                "unmask" => Ok(format!("was {}", cx.unmask(num(1) as u64))),
                "grow" => {
                    let grown = cx.grow(num(1) as u64);
                    let more = if grown { num(1) as usize } else { 0 };
                    self.memory.resize(self.memory.len() + more, 0);
                    Ok(format!("{grown}"))
                }
                "log" => {
                    cx.log(rest(1));
                    Ok("".into())
                }
                "logs" => {
                    (0..num(1)).for_each(|n| cx.log(format_args!("{n} {}", rest(2))));
                    Ok("".into())
                }
                "have" => {
                    self.entries.push((word(1).into(), Vec::new()));
                    Ok("".into())
                }
                "register" => cx.register(word(1)).map(|()| "registered".into()),
                "spawn" => cx.spawn(word(1), &rest(2)).map(|id| format!("is {}", id.0)),
                "kill" => who(cx).and_then(|to| cx.kill(to)).map(|()| "".into()),
                "params" => Ok(cx.params().replace('\n', "|")),
                "put" => cx.kv_put(word(1).as_bytes(), rest(2).as_bytes()).map(|()| "".into()),
                "get" => cx.kv_get(word(1).as_bytes()).map(show),
                "del" => cx.kv_del(word(1).as_bytes()).map(|()| "".into()),
                "next" => cx.kv_next(word(1).as_bytes()).map(show),
                "append" => cx.log_append(rest(1).as_bytes()).map(|n| n.to_string()),
                "record" => cx.log_read(num(1) as u64).map(show),
                "add" => cx.scratch_add(num(1) as u64, num(2)).map(|n| n.to_string()),
                "cas" => cx.scratch_cas(num(1) as u64, num(2), num(3)).map(|n| n.to_string()),
                "poke" => cx.scratch_write(num(1) as u64, rest(2).as_bytes()).map(|()| "".into()),
                "peek" => {
                    let mut out = vec![0; num(2) as usize];
                    cx.scratch_read(num(1) as u64, &mut out).map(|()| show(&out))
                }
                "lock" => {
                    let made = cx.lock(num(1) as u32, false);
                    call(self, made)
                }
                "share" => {
                    let made = cx.lock(num(1) as u32, true);
                    call(self, made)
                }
                "unlock" => cx.unlock(num(1) as u32).map(|()| "unlocked".into()),
                "emit" => {
                    cx.emit(2, rest(1));
                    Ok("".into())
                }
                "random" => Ok(cx.random().to_string()),
                "open" => {
                    let made = cx.open(word(1), OpenFlags(num(2) as u32));
                    call(self, made)
                }
                "walk" => {
                    let made = cx.walk(Fd(num(1) as u32), word(2), OpenFlags(num(3) as u32));
                    call(self, made)
                }
                "read" => {
                    let made = cx.read(Fd(num(1) as u32), num(2) as u64, num(3) as u32);
                    call(self, made)
                }
                "write" => {
                    let made = cx.write(Fd(num(1) as u32), num(2) as u64, rest(3).as_bytes());
                    call(self, made)
                }
                "stat" => {
                    let made = cx.stat(Fd(num(1) as u32));
                    call(self, made)
                }
                "close" => cx.close(Fd(num(1) as u32)).map(|()| "closed".into()),
                "cat" => {
                    let made = cx.file_read(word(1), num(2) as u64, num(3) as u32);
                    call(self, made)
                }
                "echo" => {
                    let at = u64::try_from(num(2)).ok();
                    let made = cx.file_write(word(1), at, rest(3).as_bytes());
                    call(self, made)
                }
                "ls" => {
                    let made = cx.file_list(word(1));
                    call(self, made)
                }
                "stat-of" => {
                    let made = cx.file_stat(word(1));
                    call(self, made)
                }
                "sync" => {
                    let made = cx.sync();
                    call(self, made)
                }
                "fill" => {
                    let (at, text) = (num(1) as usize, rest(2));
                    match self.memory.get_mut(at..).and_then(|m| m.get_mut(..text.len())) {
                        Some(to) => {
                            to.copy_from_slice(text.as_bytes());
                            Ok("".into())
                        }
                        None => Err(Errno::EFAULT.into()),
                    }
                }
                "sum" => {
                    let sum = self.memory.iter().zip(1..).map(|(b, i)| u64::from(*b) * i);
                    Ok(sum.sum::<u64>().to_string())
                }
                "refuse" => return Err(Errno::EINVAL.into()),
                "late" => {
                    cx.abandon(Why::Deadline);
                    return Ok(());
                }
                "trap" => {
                    cx.abandon(Why::Trap("divided by zero"));
                    return Ok(());
                }
                "put-long" => {
                    cx.kv_put(word(1).as_bytes(), &vec![7; num(2) as usize]).map(|()| "".into())
                }
                // Just something to be said.
                _ => Ok("".into()),
            };
            match done {
                Ok(text) if text.is_empty() => {}
                Ok(text) => note(format!("{} {text}", word(0))),
                Err(fault) => note(format!("{} {:?}", word(0), fault.errno)),
            }
        }
        Ok(())
    }
}

impl Component for Script {
    fn dispatch(&mut self, cx: &mut Cx<'_>, event: Event<'_>) -> Result<(), Fault> {
        let (me, at) = (cx.me().0, cx.now().0);
        let note = |text: String| SEEN.with_borrow_mut(|s| s.push(format!("{me} {text}")));
        match event {
            Event::Start => {
                let lines: Vec<String> = cx.params().lines().map(String::from).collect();
                for line in lines {
                    if let Some(script) = line.strip_prefix("start ") {
                        self.run(cx, &script.replace(',', ";"))?;
                    }
                }
                Ok(())
            }
            Event::Message { from, body } => {
                note(format!("<{} {}", from.0, show(body)));
                self.run(cx, &show(body))
            }
            Event::Ask { from, token, body } => {
                note(format!("?{} {}", from.0, show(body)));
                self.tokens.insert(0, token);
                self.run(cx, &show(body))
            }
            Event::Interrupt { from, code, arg } => {
                let from = from.map_or("-".into(), |f| f.0.to_string());
                note(format!("!{code} {from} {arg}"));
                Ok(())
            }
            Event::Done { call, status, result } => {
                self.calls.retain(|c| *c != call);
                match result {
                    Ok(bytes) if bytes.len() == 4 && bytes[1..] == [0; 3] => {
                        note(format!("#{} {at} {status} [{}]", call.0, bytes[0]));
                    }
                    Ok(bytes) => note(format!("#{} {at} {status} {}", call.0, show(bytes))),
                    Err(fault) => note(format!("#{} {at} {:?}", call.0, fault.errno)),
                }
                Ok(())
            }
            Event::Command { command, .. } => self.run(cx, command.rest),
            Event::Read { out, .. } => {
                *out += "text\n";
                Ok(())
            }
            Event::Names { out, .. } if self.entries.first().is_some_and(|e| e.0 == "endless") => {
                *out += "no/name\n..\ncr\r\n";
                Ok(())
            }
            Event::Names { skip, out, .. } => {
                for (name, _) in self.entries.iter().skip(skip as usize).take(3) {
                    *out += name;
                    *out += "\n";
                }
                Ok(())
            }
            Event::Get { name, out, .. } => {
                let found = self.entries.iter().find(|e| e.0 == name).ok_or(Errno::ENOENT)?;
                out.extend_from_slice(&found.1);
                Ok(())
            }
            Event::Put { name, data, .. } => {
                note(format!("put {name} {}", show(data)));
                if data.starts_with(b"bad") {
                    return Err(Errno::EINVAL.into());
                }
                match self.entries.iter_mut().find(|e| e.0 == name) {
                    Some(entry) => entry.1 = data.to_vec(),
                    None => self.entries.push((name.into(), data.to_vec())),
                }
                Ok(())
            }
            Event::Remove { name, .. } => {
                let at = self.entries.iter().position(|e| e.0 == name).ok_or(Errno::ENOENT)?;
                note(format!("remove {name}"));
                self.entries.remove(at);
                Ok(())
            }
            Event::Watched { file, on } => {
                note(format!("watched {file} {on}"));
                Ok(())
            }
            Event::Timer { .. } => Ok(()),
        }
    }

    fn save(&self) -> Vec<u8> {
        let tokens = self.tokens.iter().map(|t| t.0).collect();
        let calls = self.calls.iter().map(|c| c.0).collect();
        let saved: Saved = (tokens, calls, self.entries.clone(), self.memory.len());
        postcard::to_allocvec(&saved).expect("plain data")
    }

    fn restore(&mut self, state: &[u8]) -> Result<(), Fault> {
        let (tokens, calls, entries, len): Saved =
            postcard::from_bytes(state).map_err(|_| Errno::EINVAL)?;
        if !(PAGE as usize..1 << 20).contains(&len) {
            return Err(Errno::ENOMEM.into());
        }
        *self = Script {
            tokens: tokens.into_iter().map(Token).collect(),
            calls: calls.into_iter().map(CallId).collect(),
            entries,
            memory: vec![0; len],
            clean: Vec::new(),
        };
        Ok(())
    }

    fn memory(&mut self) -> Option<&mut dyn Memory> {
        Some(self)
    }
}

/// A guest of such atoms, by name, each with its parameters.
pub fn atoms(names: &[(&'static str, &'static str)]) -> Payload<'static> {
    let file = |name, kind| ModuleFile { name, kind };
    let module = Module {
        name: "script",
        hash: HASH,
        wasm: b"",
        files: vec![
            file("text", FileKind::Text),
            file("ctl", FileKind::Ctl),
            file("events", FileKind::Events { keep: 256 }),
            file("box", FileKind::Names),
        ],
    };
    let plan = |(name, params): &(&'static str, &'static str)| Plan {
        name,
        kind: KIND,
        state_version: ABI,
        params: vec![Value::Text(params)],
        module: Some(0),
        limits: AtomLimits { memory: 1 << 20, stack: 1 << 16, deadline_ns: 10 * MS },
    };
    Payload {
        components: names.iter().map(plan).collect(),
        modules: vec![module],
        imports: vec![Import { name: "data", at: "/data" }, Import { name: "store", at: "/store" }],
        budget: Budget { memory: 256 << 10, messages: 200, sessions: 16, fids: 64 },
        ..empty("atoms")
    }
}

/// What serves `host`: files that can be made and written.
pub type Disk = Host<Ram>;

/// A world of such a guest.
pub struct Guest {
    pub w: World<'static>,
    pub p: Peer,
    pub disk: Option<Disk>,
}

impl Guest {
    pub fn new(payload: Payload<'static>) -> Guest {
        Guest::on(Fake::new(1), payload)
    }

    /// On such a machine.
    pub fn on(mut fake: Fake, payload: Payload<'static>) -> Guest {
        seen();
        let mut rt = Runtime::new(native::BUILT_IN, Some(&Scripts));
        rt.add(payload, HASH, 0, &mut fake).expect("a sound payload");
        let mut w = World { rt, fake };
        let mut p = Peer::open(&mut w.fake);
        w.drive(&mut p);
        Guest { w, p, disk: None }
    }

    /// Bytes and messages that are charged now.
    pub fn used(&mut self) -> (u64, u32) {
        let used = self.w.rt.guest(ONE).expect("a guest").sponsor.used;
        (used.memory, used.messages)
    }

    /// Tells an atom to do something, and says what happened then.
    pub fn tell(&mut self, atom: &str, line: &str) -> Vec<String> {
        self.try_tell(atom, line).expect("a good command")
    }

    pub fn try_tell(&mut self, atom: &str, line: &str) -> Result<Vec<String>, Fault> {
        let what = What::Write(line.as_bytes().to_vec());
        let op = self.p.start(&format!("export/{atom}/ctl"), what);
        self.drive();
        self.p.result(op).expect("an answer").map(|_| seen())
    }

    /// The host hangs up: what it has served.
    pub fn hang_up(&mut self) -> Ram {
        let disk = self.disk.take().expect("a host");
        self.w.fake.hang_up(disk.conn);
        self.drive();
        disk.tree
    }

    /// Lets everybody do what there is to do now.
    pub fn drive(&mut self) {
        let mut ends: Vec<&mut dyn End> = vec![&mut self.p];
        ends.extend(self.disk.as_mut().map(|d| d as &mut dyn End));
        self.w.drive_all(&mut ends);
    }

    /// Lets nobody do more than so many steps.
    pub fn drive_steps(&mut self, n: usize) {
        self.p.pump(&mut self.w.fake);
        while let Some(signal) = self.w.fake.poll() {
            self.w.rt.signal(signal, &mut self.w.fake);
        }
        for _ in 0..n {
            self.w.rt.step(&mut self.w.fake);
            self.p.pump(&mut self.w.fake);
            while let Some(signal) = self.w.fake.poll() {
                self.w.rt.signal(signal, &mut self.w.fake);
            }
        }
    }

    /// Lets everybody do what there is to do, for so many nanoseconds.
    pub fn wait(&mut self, ns: u64) {
        let until = self.w.fake.now + ns;
        let ends: &mut [&mut dyn End] = &mut [&mut self.p];
        atoll_runtime::fake::drive_until(&mut self.w.rt, &mut self.w.fake, until, ends);
    }

    /// The client goes, and another one comes.
    pub fn clients_anew(&mut self) {
        self.w.fake.hang_up(self.p.conn);
        self.p = Peer::open(&mut self.w.fake);
        self.drive();
    }

    /// Lets time go on, and says what happened then.
    pub fn until(&mut self, at: u64) -> Vec<String> {
        atoll_runtime::fake::drive_until(&mut self.w.rt, &mut self.w.fake, at, &mut [&mut self.p]);
        seen()
    }
}
