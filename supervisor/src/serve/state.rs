//! All that the control tree's functions work on.
//!
//! The core decides; this is where its inputs come from and its outputs go. What needs no
//! waiting is done here and now: changes are stored, answers kept, events shown. What takes
//! time (a shim to be started, an image to be read) is a [`Todo`] for the daemon.

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use atoll_9p::fault::{Errno, Fault};
use atoll_9p::stream::Stream;
use atoll_9p::synth::Node;
use atoll_9p::tree::Reply;

use tokio::sync::mpsc::UnboundedSender;

use super::answers::Answers;
use super::authority::{Act, Authority, Caller};
use super::cuts::Cuts;
use super::front::Server;
use super::images::{Check, Images};
use super::manifest::Manifest;
use crate::checkpoint::state::number;
use crate::core::guest::Guest as View;
use crate::core::{Can, Change, Core, Event, Input, Name, Now, Output, Start, Verb};
use crate::guestlog::{self, Reader};
use crate::shim::{Order, Status};
use crate::store::{Loaded, Store};

/// Bytes of lines that `/audit` keeps.
const AUDIT: usize = 256 << 10;

/// What the daemon is to do.
#[derive(Debug)]
pub enum Todo {
    /// Start a run.
    Start(Box<Start>),
    /// Tell a guest's shim something.
    Order(Name, u64, Order),
    /// Remove the folder of a guest that was forgotten, which has lost its name.
    Remove(PathBuf),
    /// Give the core [`Input::Tick`] then, or not at all.
    WakeAt(Option<u64>),
    /// Read an image, for the command of this number.
    Check(u64, Check),
    /// Wake the readers of a guest's log when it has more than this.
    Follow(u64, u64),
    /// End, and leave the guests alone.
    End,
}

/// The files whose readers or writers wait.
#[derive(Clone, Copy, Debug, Default)]
pub struct Nodes {
    /// `/guests/NAME/ctl`
    pub ctl: Option<Node>,
    /// `/guests/NAME/wait`
    pub wait: Option<Node>,
    /// `/guests/NAME/log`
    pub said: Option<Node>,
    /// `/guests/NAME/events`
    pub events: Option<Node>,
    /// `/log`
    pub log: Option<Node>,
    /// `/images/HASH/ctl`
    pub image: Option<Node>,
}

/// What is known of a guest beside what the core knows.
#[derive(Debug)]
pub struct Guest {
    /// Its name.
    pub name: Name,
    /// What its shim said last.
    pub status: Option<Status>,
    /// Where its tree is, while it runs.
    pub socket: Option<PathBuf>,
    /// Somebody watches its log for those who wait there.
    pub followed: bool,
    /// Why its log cannot be followed.
    pub deaf: Option<String>,
}

/// Everything.
pub struct State {
    /// What is wanted and known of the guests.
    pub core: Core,
    store: Box<dyn Store>,
    /// The images.
    pub images: Images,
    /// Commands that are not answered yet.
    pub answers: Answers,
    /// Who decides.
    pub authority: Box<dyn Authority>,
    /// Whose request is being handled.
    pub caller: Caller,
    /// What was asked for, by whom, and whether it was allowed.
    pub audit: Stream,
    /// Guests by their identity, which nodes have too.
    pub guests: BTreeMap<u64, Guest>,
    ids: BTreeMap<Name, u64>,
    todo: UnboundedSender<Todo>,
    /// Files whose requests are to be asked again.
    pub stirred: Vec<Node>,
    /// Where those files are.
    pub nodes: Nodes,
    /// The folder of everything.
    pub folder: PathBuf,
    /// Lines of gaps of which a reader has a part.
    pub cuts: Cuts,
    /// Who serves this host's XenStore, if it has one.
    pub xenstore: Option<Server>,
    /// Domains that were made ahead of need, as they are shown.
    pub shells: String,
    /// Clients now.
    pub clients: usize,
    /// Why nothing can be stored, as it was said last.
    trouble: Option<String>,
    begun: Instant,
    /// When it began, milliseconds since 1970 UTC.
    pub started: u64,
}

/// Milliseconds since 1970 UTC.
pub fn wall() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

impl State {
    /// What was stored, and the images that there are; and where to say what is to be done.
    pub fn new(
        folder: &Path,
        store: Box<dyn Store>,
        loaded: Loaded,
        images: Images,
        authority: Box<dyn Authority>,
        todo: UnboundedSender<Todo>,
    ) -> State {
        let mut state = State {
            store,
            images,
            answers: Answers::default(),
            authority,
            caller: Caller { client: 0, uid: None, gid: None, member: false, pid: None },
            audit: Stream::new(AUDIT),
            guests: BTreeMap::new(),
            ids: BTreeMap::new(),
            todo,
            stirred: Vec::new(),
            nodes: Nodes::default(),
            folder: folder.into(),
            cuts: Cuts::default(),
            xenstore: None,
            shells: String::new(),
            clients: 0,
            trouble: None,
            begun: Instant::now(),
            started: wall(),
            core: Core::new(loaded),
        };
        let known: Vec<_> = state.core.guests().map(|(n, g)| (n.clone(), g.record().id)).collect();
        known.iter().for_each(|(name, id)| state.know(name, *id));
        state
    }

    /// Says that something is to be done.
    pub fn to_do(&self, todo: Todo) {
        // Without a daemon there is nobody to do it, nor to ask for it.
        let _ = self.todo.send(todo);
    }

    /// What time it is.
    pub fn now(&self) -> Now {
        let mono = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        Now { mono, wall: wall() }
    }

    fn know(&mut self, name: &Name, id: u64) {
        if self.ids.insert(name.clone(), id) == Some(id) {
            return;
        }
        let name = name.clone();
        let guest = Guest { name, status: None, socket: None, followed: false, deaf: None };
        self.guests.insert(id, guest);
    }

    /// The number of a guest.
    pub fn id(&self, name: &str) -> Option<u64> {
        self.ids.get(&Name::new(name).ok()?).copied()
    }

    /// A guest.
    pub fn guest(&self, id: u64) -> Result<&Guest, Fault> {
        self.guests.get(&id).ok_or(Errno::ESTALE.into())
    }

    /// What the core knows of a guest.
    pub fn view(&self, id: u64) -> Result<&View, Fault> {
        self.core.guest(&self.guest(id)?.name).ok_or(Errno::ESTALE.into())
    }

    /// A guest's folder.
    pub fn home(&self, name: &Name) -> PathBuf {
        self.folder.join("guests").join(name.as_str())
    }

    /// What a guest can do that not every one can.
    pub fn can(&self, id: u64) -> Can {
        self.guests.get(&id).map_or(Can::default(), |guest| self.core.can(&guest.name))
    }

    /// Whether a guest has the checkpoint of a number; the text names those that it has.
    fn has_checkpoint(&self, guest: &Name, n: u64) -> Result<(), Fault> {
        let there = super::numbered(&self.home(guest).join(super::CHECKPOINTS), number);
        if there.iter().any(|(m, _)| *m == n) || !self.core.keeps(guest) {
            return Ok(());
        }
        let list: Vec<String> = there.iter().map(|(m, _)| m.to_string()).collect();
        let has = if list.is_empty() { "none".into() } else { list.join(", ") };
        let text = format!("\"restore {n}\": {guest} has no checkpoint {n}; it has {has}");
        Err(Fault::new(Errno::ENODATA, text))
    }

    /// Reads what a guest said.
    pub fn said(&self, id: u64) -> Result<Reader, Fault> {
        Ok(Reader::open(&self.home(&self.guest(id)?.name).join(guestlog::FOLDER)))
    }

    /// Gives the core something, and does what follows.
    pub fn input(&mut self, input: Input) {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            for output in {
                let now = self.now();
                self.core.handle(now, input)
            } {
                inputs.extend(self.output(output));
            }
        }
        self.tell_trouble();
    }

    /// Says on standard error when nothing can be stored any more, and when it can again:
    /// what was asked waits until then.
    fn tell_trouble(&mut self) {
        let trouble = self.core.trouble().map(ToString::to_string);
        if trouble != self.trouble {
            match &trouble {
                Some(why) => eprintln!("atoll: nothing can be stored: {why}"),
                None => eprintln!("atoll: what had waited to be stored is stored"),
            }
            self.trouble = trouble;
        }
    }

    fn output(&mut self, output: Output) -> Option<Input> {
        match output {
            Output::Save { txn, changes } => {
                return Some(match self.store.apply(&changes) {
                    Ok(()) => {
                        changes.iter().for_each(|change| self.stored(change));
                        Input::Stored { txn }
                    }
                    Err(why) => Input::Unstored { txn, why },
                });
            }
            Output::Start(start) => self.to_do(Todo::Start(start)),
            Output::Order { guest, run, order } => {
                self.to_do(Todo::Order(guest, run, order));
            }
            // At once, before the save that follows it: a supervisor that dies in between
            // leaves no folder of a guest of which nothing is stored.
            Output::Remove { guest } => self.remove(&guest),
            Output::WakeAt(at) => self.to_do(Todo::WakeAt(at)),
            Output::Answer { ask, result } => self.answer(ask, result),
            Output::Event(event) => self.show(&event),
        }
        None
    }

    /// Takes the name from a guest's folder; there may be another guest of it in a moment.
    fn remove(&mut self, guest: &Name) {
        let home = self.home(guest);
        let gone = home.with_file_name(format!(".{guest}.{}", wall()));
        match std::fs::rename(&home, &gone) {
            Ok(()) => self.to_do(Todo::Remove(gone)),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            Err(e) => eprintln!("atoll: {}: {e}", home.display()),
        }
    }

    fn stored(&mut self, change: &Change) {
        match change {
            Change::Put(name, record) if !record.gone => self.know(name, record.id),
            Change::Put(name, _) | Change::Drop(name) => {
                if let Some(id) = self.ids.remove(name) {
                    self.guests.remove(&id);
                }
            }
            _ => {}
        }
    }

    /// Something happened: who waits for that is told.
    fn show(&mut self, event: &Event) {
        self.stir(self.nodes.log);
        if let Some(id) = event.guest.as_ref().and_then(|name| self.ids.get(name)) {
            self.stir(self.nodes.events.map(|n| n.of(*id)));
        }
    }

    /// A command has ended.
    pub fn answer(&mut self, ask: u64, result: Result<(), Fault>) {
        let node = self.answers.end(ask, result);
        self.stir(node);
    }

    /// Requests that wait for a file are to be asked again.
    pub fn stir(&mut self, node: Option<Node>) {
        self.stirred.extend(node);
    }

    /// Whether the client whose request it is may do this; a line of the log says what was
    /// decided.
    pub fn may(&mut self, act: Act<'_>) -> Result<(), Fault> {
        let result = self.authority.may(&self.caller, act);
        let (whom, verb) = match act {
            Act::Attach => return result,
            Act::Host(verb) => ("-", verb),
            Act::XenStore => ("-", "xen store"),
            Act::Guest(name, verb) => (name, verb),
        };
        let decided = if result.is_ok() { "allowed" } else { "denied" };
        self.audit.push(format_args!("{} {} {decided} {whom} {verb}", wall(), self.caller));
        result
    }

    /// Asks the core something that it answers at once: it does so unless it is still
    /// looking for the guests that it had.
    pub fn ask_now(&mut self, input: impl FnOnce(u64) -> Input) -> Result<(), Fault> {
        let ask = self.answers.begin(None, b"");
        self.input(input(ask));
        let answer = self.answers.take(ask);
        answer.unwrap_or_else(|| {
            self.withdraw(ask);
            Err(Fault::new(Errno::EAGAIN, "the supervisor is still looking for its guests"))
        })
    }

    /// Nobody waits for an answer any more.
    pub fn withdraw(&mut self, ask: u64) {
        self.answers.forget(ask);
        self.input(Input::Gone { ask });
    }

    /// A write that is answered when its command is done: `begin` is called with its number,
    /// once.
    pub fn command(
        &mut self,
        node: Option<Node>,
        place: &mut u64,
        data: &[u8],
        begin: impl FnOnce(&mut State, u64) -> Result<(), Fault>,
    ) -> Result<Reply, Fault> {
        if *place != 0 && !self.answers.is(*place, data) {
            // The write that waited was taken back, and this is another.
            self.withdraw(*place);
            *place = 0;
        }
        if *place == 0 {
            let ask = self.answers.begin(node, data);
            if let Err(fault) = begin(self, ask) {
                self.answers.forget(ask);
                return Err(fault);
            }
            *place = ask;
        }
        match self.answers.take(*place) {
            None => Ok(Reply::Later),
            Some(result) => {
                *place = 0;
                result.map(|()| Reply::Done(data.len()))
            }
        }
    }

    /// A line that was written to a guest's `ctl`.
    pub fn guest_command(&mut self, id: u64, ask: u64, line: &[u8]) -> Result<(), Fault> {
        let guest = self.guest(id)?.name.clone();
        let view = self.view(id)?;
        let verb = Verb::parse(line, view.state(), self.can(id)).map_err(|f| view.refuses(f))?;
        let text = verb.line();
        self.may(Act::Guest(guest.as_str(), &text))?;
        if let Verb::Restore(n) = verb {
            self.has_checkpoint(&guest, n)?;
        }
        let input = match verb {
            Verb::Commit => {
                let record = self.view(id)?.record();
                let draft = record.draft.as_ref();
                let text = draft.or(record.config.as_ref().map(|c| &c.text)).cloned();
                let text = text.ok_or_else(|| {
                    let text = "\"commit\": nothing was written to config";
                    Fault::new(Errno::EINVAL, text)
                })?;
                let bad = |why| Fault::new(Errno::EINVAL, format!("\"commit\": {why}"));
                let definition = Box::new(super::config::parse(&text).map_err(bad)?);
                Input::Define { ask, guest, definition, text }
            }
            verb => Input::Ask { ask, guest, verb },
        };
        self.input(input);
        Ok(())
    }

    /// An image was read, for the command of this number.
    pub fn image_checked(&mut self, ask: u64, id: u64, done: Result<Manifest, Fault>) {
        let done = self.images.checked(id, done);
        let known = done.and_then(|()| {
            let entry = self.images.get(id)?;
            let manifest = entry.manifest.as_ref().ok_or(Errno::ESTALE)?;
            Ok((entry.hash.clone(), manifest.image(entry.bytes)))
        });
        match known {
            Ok((hash, image)) => self.input(Input::AddImage { ask, hash, image }),
            Err(fault) => self.answer(ask, Err(fault)),
        }
    }
}
