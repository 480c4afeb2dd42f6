//! Rooms to talk in: every client's conversation is one thread, written from top to
//! bottom.
//!
//! A client is an entry of the directory `clients`: what is written there is the
//! client's next line, and what is read there is what the client has been told. The first line
//! makes the client, removing the entry ends it.
//!
//! A conversation waits for different things at different times: for a name at first,
//! then for lines, for questions that others put to the vote, for the answer to such a
//! question, and always for silence to have lasted too long. The place where a thread
//! waits says what it waits for. README.md shows the same without threads.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use atoll_atom::join_all;
use atoll_atom::prelude::*;

/// Who says nothing for so long has left.
const SILENCE: Duration = Duration::from_secs(600);
/// Who does not say yes or no within this has not voted.
const VOTE: Duration = Duration::from_secs(30);
/// Bytes that a client is shown again.
const TOLD: usize = 4096;
/// Clients at one time.
const CLIENTS: usize = 256;
/// Lines of a client that wait.
const LINES: usize = 16;

/// A question that is put to a client, and where its answer goes.
#[derive(Clone, Debug)]
struct Question {
    text: String,
    answer: Queue<bool>,
}

#[derive(Debug, Default)]
struct Client {
    told: String,
    lines: Queue<String>,
    questions: Queue<Question>,
    /// Known once the client has said it.
    name: Option<String>,
    room: Option<String>,
}

/// The state.
#[derive(Debug, Default)]
pub struct Chat {
    clients: BTreeMap<String, Client>,
}

/// How a conversation goes on.
enum Next {
    Line(String),
    Asked(Question),
}

#[atom(events(said = 16384))]
impl Chat {
    /// Rooms, and who is in them.
    #[text]
    fn rooms(&self) -> String {
        let mut rooms: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for client in self.clients.values() {
            if let (Some(room), Some(name)) = (&client.room, &client.name) {
                rooms.entry(room).or_default().push(name);
            }
        }
        rooms.iter().map(|(room, names)| format!("{room}: {}\n", names.join(", "))).collect()
    }

    #[list(clients)]
    fn list(&self, names: &mut Names) {
        for id in self.clients.keys() {
            if !names.push(id) {
                return;
            }
        }
    }

    #[get(clients)]
    fn get(&self, id: &str) -> Result<String> {
        self.clients.get(id).map(|c| c.told.clone()).ok_or(Errno::ENOENT.into())
    }

    #[put(clients)]
    fn put(this: This<Self>, id: &str, data: &[u8]) -> Result<()> {
        let text = core::str::from_utf8(data).map_err(|_| Error::invalid("write text"))?;
        let lines: Vec<&str> = text.lines().map(str::trim).filter(|l| !l.is_empty()).collect();
        let new = this.with(|chat| {
            let old = chat.clients.get(id).map(|c| c.lines.clone());
            // All refusals come before all changes.
            if old.as_ref().map_or(0, Queue::len) + lines.len() > LINES {
                return Err(Error::new(Errno::EAGAIN, "not so fast"));
            }
            if old.is_none() && chat.clients.len() >= CLIENTS {
                return Err(Error::new(Errno::ENOSPC, "there are 256 clients"));
            }
            let client = chat.clients.entry(id.into()).or_default();
            lines.iter().for_each(|line| drop(client.lines.push((*line).into())));
            Ok(old.is_none())
        })?;
        if new {
            task(Self::conversation(this, id.into()));
        }
        Ok(())
    }

    #[remove(clients)]
    fn remove(&mut self, id: &str) -> Result<()> {
        // The conversation finds that nothing more comes, and ends.
        self.clients.get(id).ok_or(Errno::ENOENT)?.lines.close();
        Ok(())
    }

    /// A client's conversation, from its first line to its last.
    async fn conversation(this: This<Self>, id: String) -> Result<()> {
        let who = Who { this, id };
        let end = who.talk().await;
        who.say(&format!("left{}", if end.is_some() { " (silence)" } else { "" }));
        who.this.with(|chat| chat.clients.remove(&who.id));
        Ok(())
    }
}

/// One side of a conversation.
struct Who {
    this: This<Chat>,
    id: String,
}

/// Nothing was said for too long.
struct Silence;

impl Who {
    fn client<R>(&self, f: impl FnOnce(&mut Client) -> R) -> Option<R> {
        self.this.with(|chat| chat.clients.get_mut(&self.id).map(f))
    }

    fn tell(&self, line: &str) {
        self.client(|c| tell(c, line));
    }

    /// Says something in the client's room, to everybody there.
    fn say(&self, line: &str) {
        self.this.with(|chat| {
            let Some(me) = chat.clients.get(&self.id) else { return };
            let (Some(name), Some(room)) = (me.name.clone(), me.room.clone()) else { return };
            let line = format!("[{room}] {name}: {line}");
            for client in chat.clients.values_mut().filter(|c| c.room.as_ref() == Some(&room)) {
                tell(client, &line);
            }
            // A line that is too long for the file has been told all the same.
            let _ = Chat::SAID.emit(line);
        });
    }

    /// The next line. Nothing when the client has gone.
    async fn line(&self) -> Result<Option<String>, Silence> {
        let lines = self.client(|c| c.lines.clone()).unwrap_or_default();
        match select(lines.next(), sleep(SILENCE)).await {
            Either::First(line) => Ok(line),
            Either::Second(()) => Err(Silence),
        }
    }

    /// The next line, or a question that somebody else put.
    async fn next(&self) -> Result<Option<Next>, Silence> {
        let questions = self.client(|c| c.questions.clone()).unwrap_or_default();
        match select(questions.next(), self.line()).await {
            Either::First(question) => Ok(question.map(Next::Asked)),
            Either::Second(line) => Ok(line?.map(Next::Line)),
        }
    }

    /// The whole conversation. Silence is what ended it, or else the client.
    async fn talk(&self) -> Option<Silence> {
        self.greet_and_talk().await.err()
    }

    async fn greet_and_talk(&self) -> Result<(), Silence> {
        let Some(name) = self.name().await? else { return Ok(()) };
        self.tell(&format!("welcome, {name}: /join ROOM, /who, /vote QUESTION, /quit"));
        while let Some(next) = self.next().await? {
            match next {
                Next::Asked(question) => self.answer(&question).await,
                Next::Line(line) => match line.split_once(' ').unwrap_or((&line, "")) {
                    ("/join", room) if !room.is_empty() => self.join(room),
                    ("/who", _) => self.tell(self.this.with(|chat| chat.rooms()).trim_end()),
                    ("/vote", question) if !question.is_empty() => self.vote(question).await,
                    ("/quit", _) => return Ok(()),
                    (verb, _) if verb.starts_with('/') => self.tell("no such command"),
                    _ if self.client(|c| c.room.is_none()) == Some(true) => {
                        self.tell("/join ROOM first");
                    }
                    _ => self.say(&line),
                },
            }
        }
        Ok(())
    }

    /// Asks for a name until there is one that nobody else has.
    async fn name(&self) -> Result<Option<String>, Silence> {
        loop {
            let Some(name) = self.line().await? else { return Ok(None) };
            let taken = self.this.with(|chat| {
                let taken = chat.clients.values().any(|c| c.name.as_ref() == Some(&name));
                if !taken && let Some(me) = chat.clients.get_mut(&self.id) {
                    me.name = Some(name.clone());
                }
                taken
            });
            if !taken {
                return Ok(Some(name));
            }
            self.tell(&format!("{name} is here already: who are you?"));
        }
    }

    fn join(&self, room: &str) {
        self.say("left");
        self.client(|c| c.room = Some(room.into()));
        self.say("joined");
    }

    /// Answers a question of somebody else's: the next line is the answer.
    async fn answer(&self, question: &Question) {
        self.tell(&format!("{} (yes or no)", question.text));
        let lines = self.client(|c| c.lines.clone()).unwrap_or_default();
        match select(lines.next(), sleep(VOTE)).await {
            Either::First(Some(line)) => {
                question.answer.push(line == "yes");
            }
            Either::First(None) | Either::Second(()) => self.tell("no answer"),
        }
        question.answer.close();
    }

    /// Puts a question to everybody else in the room, and waits for all of them.
    async fn vote(&self, question: &str) {
        let asked: Vec<Queue<bool>> = self.this.with(|chat| {
            let room = chat.clients.get(&self.id).and_then(|me| me.room.clone());
            let others = chat
                .clients
                .iter()
                .filter(|(id, c)| **id != self.id && c.room.is_some() && c.room == room);
            let put = others.map(|(_, client)| {
                let answer = Queue::new();
                let text = String::from(question);
                client.questions.push(Question { text, answer: answer.clone() });
                answer
            });
            put.collect()
        });
        // Who is answering another question, or has gone, does not hold this one up.
        let answers = asked.iter().map(|a| select(a.next(), sleep(VOTE)));
        let (mut yes, mut no) = (0, 0);
        for answer in join_all(answers).await {
            match answer {
                Either::First(Some(true)) => yes += 1,
                Either::First(Some(false)) => no += 1,
                Either::First(None) | Either::Second(()) => {}
            }
        }
        let silent = asked.len() - yes - no;
        self.say(&format!("{question}: {yes} yes, {no} no, {silent} silent"));
    }
}

/// Adds to what a client is shown, and forgets the oldest of it.
fn tell(client: &mut Client, line: &str) {
    client.told.push_str(line);
    client.told.push('\n');
    while client.told.len() > TOLD {
        let end = client.told.find('\n').map_or(client.told.len(), |n| n + 1);
        client.told.drain(..end);
    }
}

#[cfg(test)]
mod tests;
