//! Drives a module of the conformance suite through the files of its guest, on the
//! runtime's fake machine.
//!
//! What is to happen stands at the head of each module's source, in lines `;;! VERB ...`:
//! `atoms NAME...` (the guest's atoms, each of this module), `budget BYTES` (what its sponsor
//! pays), `host PATH TEXT` (the host serves such a file, at `/data/PATH` of the guest's), `write FILE LINE` (it is
//! taken), `write FILE LINE => ERRNO TEXT`, `read FILE TEXT` (it shows just that),
//! `read FILE => ERRNO`,
//! `list DIRECTORY NAME...`, `tail FILE TEXT` (an event file has that line), `log TEXT` and `nolog TEXT` (the
//! guest's log has it in a line, or has not), `pass MS` (time goes on), `end STATUS`.

mod host;

use std::sync::Arc;

use atoll_config::atom::{self, AtomLimits};
use atoll_config::code;
use atoll_config::payload::{Budget, Component, Hash, Import, Module, OnFault, Payload, Value};
use atoll_engine::{Atoms, COMPILER, CPU, Compare, Key, LoadError, Machine, Watchdog, compile};
use atoll_runtime::fake::{Fake, Peer, World, drive_until};
use atoll_runtime::snapshot::Incoming;
use atoll_runtime::{GuestId, Runtime};

const MS: u64 = 1_000_000;

/// A module, and a guest's payload that has atoms of it.
pub(crate) struct Suite {
    wasm: &'static [u8],
    files: Vec<atom::ModuleFile<'static>>,
    names: Vec<&'static str>,
    budget: u64,
    pub(crate) script: Vec<&'static str>,
}

fn leak<T: ?Sized>(value: Box<T>) -> &'static T {
    Box::leak(value)
}

impl Suite {
    /// Of a source with its script.
    pub(crate) fn new(source: &'static str) -> Suite {
        let wasm = leak(wat::parse_str(source).expect("a sound source").into_boxed_slice());
        let section = custom(wasm, atom::FILES_SECTION);
        let files = atom::files(std::str::from_utf8(section).unwrap()).expect("sound files");
        let script: Vec<_> = source.lines().filter_map(|l| l.strip_prefix(";;! ")).collect();
        let names = script.iter().find_map(|l| l.strip_prefix("atoms ")).unwrap_or("a");
        let budget = script.iter().find_map(|l| l.strip_prefix("budget "));
        let budget = budget.map_or(16 << 20, |b| b.parse().expect("a number of bytes"));
        Suite { wasm, files, names: names.split(' ').collect(), budget, script }
    }

    /// The payload.
    pub(crate) fn payload(&self) -> Payload<'static> {
        let hash = Hash(*blake3::hash(self.wasm).as_bytes());
        let module = Module { name: "suite", hash, wasm: self.wasm, files: self.files.clone() };
        let component = |name: &&'static str| Component {
            name,
            kind: atom::KIND,
            state_version: atom::ABI,
            params: vec![Value::Text("greeting hello\n")],
            module: Some(0),
            limits: AtomLimits { memory: 1 << 20, stack: 64 << 10, deadline_ns: 10 * MS },
        };
        Payload {
            name: "suite",
            version: "1",
            memory: 32 << 20,
            on_fault: OnFault::Restart,
            budget: Budget { memory: self.budget, messages: 1000, sessions: 4, fids: 64 },
            files: Vec::new(),
            components: self.names.iter().map(component).collect(),
            imports: vec![Import { name: "data", at: "/data" }],
            writable: vec![""],
            modules: vec![module],
        }
    }

    /// Loads the module's code as it is, or after something was done to it.
    pub(crate) fn load(&self, spoil: impl FnOnce(&mut Vec<u8>)) -> Result<Atoms, LoadError> {
        load(&self.payload(), &self.segment(spoil))
    }

    /// The segment of the module's code, likewise.
    pub(crate) fn segment(&self, spoil: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut native = compile(self.wasm).expect("sound Wasm");
        spoil(&mut native);
        let hash = Hash(*blake3::hash(self.wasm).as_bytes());
        code::seal(COMPILER, CPU, &[(hash, &native)]).unwrap()
    }

    /// The guest on a machine whose time is this.
    fn world<'a>(&self, atoms: &'a Atoms, now: u64) -> World<'a> {
        let mut fake = Fake::new(1);
        fake.now = now;
        let mut rt = Runtime::new(&[], Some(atoms));
        rt.add(self.payload(), Hash([7; 32]), 0, &mut fake).expect("a guest");
        World { rt, fake }
    }

    /// Does what the script says.
    pub(crate) fn run(&self) {
        let atoms = self.load(|_| {}).unwrap_or_else(|e| panic!("{e}"));
        let mut world = self.world(&atoms, 0);
        let mut peer = Peer::open(&mut world.fake);
        let mut host = host::open(&mut world.fake, &self.script);
        world.drive_all(&mut [&mut peer, &mut host]);
        for line in &self.script {
            let done = step(&mut world, &mut peer, line);
            world.drive_all(&mut [&mut peer, &mut host]);
            if let Err(why) = done {
                panic!("{line}\n    {why}\n{:#?}", world.fake.log);
            }
        }
    }
}

impl Suite {
    /// The same, and before each line the guest goes on from a checkpoint, in another runtime
    /// on another machine: nothing of that is to be seen.
    pub(crate) fn run_moving(&self) {
        let atoms = self.load(|_| {}).unwrap_or_else(|e| panic!("{e}"));
        let mut world = self.world(&atoms, 0);
        let mut host = host::open(&mut world.fake, &self.script);
        world.drive_all(&mut [&mut host]);
        for (i, line) in self.script.iter().enumerate() {
            // One that has ended stays where it is.
            if world.rt.exit().is_none() {
                let mut next = self.world(&atoms, (i as u64 * 7 % 5) * MS);
                next.fake.log = core::mem::take(&mut world.fake.log);
                move_guest(&mut world, &mut next);
                world = next;
                host.again(&mut world.fake);
            }
            let mut peer = Peer::open(&mut world.fake);
            world.drive_all(&mut [&mut peer, &mut host]);
            let done = step(&mut world, &mut peer, line);
            world.drive_all(&mut [&mut peer, &mut host]);
            if let Err(why) = done {
                panic!("{line}\n    {why}\n{:#?}", world.fake.log);
            }
            // The client goes before the guest does.
            world.fake.hang_up(peer.conn);
            world.drive_all(&mut [&mut host]);
        }
    }
}

/// Makes the guest of one world go on in another.
fn move_guest<'a>(from: &mut World<'a>, to: &mut World<'a>) {
    let cut = from.rt.guest(GuestId(0)).expect("a guest").cut(false).expect("a checkpoint");
    let mut bytes = vec![0; cut.len() as usize];
    assert_eq!(cut.read(0, &mut bytes), bytes.len());
    let guest = to.rt.guest(GuestId(0)).expect("a guest");
    let mut incoming = Incoming::default();
    assert_eq!(incoming.feed(guest, &bytes), Ok(true));
    guest.become_other(incoming.take().expect("a guest"));
}

/// Loads a segment of code.
pub(crate) fn load(payload: &Payload<'_>, segment: &[u8]) -> Result<Atoms, LoadError> {
    let key = Key::new(&[9; 32]);
    let mut atoms = Atoms::new(Machine {
        guard: Arc::new(Watchdog::new().expect("a timer")),
        track: Box::new(move || Box::new(Compare::new(key.clone()))),
        config: |_| {},
    });
    // SAFETY: it is what `compile` gave; what a test has done to it must be found out
    // before any of it is used, and that is what the test is about.
    unsafe { atoms.load(payload, &code::Code::parse(segment).expect("a sound segment")) }?;
    Ok(atoms)
}

fn step(w: &mut World<'_>, p: &mut Peer, line: &str) -> Result<(), String> {
    let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
    let (file, text) = rest.split_once(' ').unwrap_or((rest, ""));
    let path = format!("export/{file}");
    let want = |good: bool, got: String| if good { Ok(()) } else { Err(got) };
    match verb {
        "atoms" | "budget" | "host" => Ok(()),
        "write" => {
            let (text, fault) = text.split_once(" => ").unwrap_or((text, ""));
            let got = match w.echo(p, &path, text) {
                Ok(()) => String::new(),
                Err(f) => {
                    let name = f.errno.name().map_or(format!("{}", f.errno.0), String::from);
                    match f.text() {
                        text if fault.contains(' ') => format!("{name} {text}"),
                        _ => name,
                    }
                }
            };
            want(got == fault, got)
        }
        "read" => {
            let got = match w.cat(p, &path) {
                Ok(got) => got,
                Err(f) => format!("=> {}", f.errno.name().unwrap_or(f.text())),
            };
            want(got == text, got)
        }
        "list" => {
            let got = w.ls(p, &path).map_err(|f| f.text().to_string())?;
            want(got.lines().eq(text.split(' ')), got)
        }
        "tail" => {
            let fid = p.open_file(&path);
            let tag = p.read_next(fid);
            w.drive(p);
            let got = p.answer(tag).ok_or("nothing came")?.map_err(|f| f.text().to_string())?;
            let got = String::from_utf8_lossy(&got).into_owned();
            want(got.lines().any(|l| l.ends_with(text)), got)
        }
        "log" | "nolog" => {
            want(w.fake.log.iter().any(|l| l.contains(rest)) == (verb == "log"), String::new())
        }
        "pass" => {
            let until = w.fake.now + rest.parse::<u64>().unwrap() * MS;
            drive_until(&mut w.rt, &mut w.fake, until, &mut [p]);
            Ok(())
        }
        "end" => {
            let got = w.rt.guest(GuestId(0)).and_then(|g| g.exit());
            want(got == rest.parse().ok(), format!("{got:?}"))
        }
        _ => Err(format!("no verb {verb}")),
    }
}

/// The bytes of a custom section, or none.
fn custom<'w>(wasm: &'w [u8], name: &str) -> &'w [u8] {
    let mut rest = &wasm[8..];
    while let [id, tail @ ..] = rest {
        let (size, tail) = number(tail);
        let (body, tail) = tail.split_at(size);
        rest = tail;
        let (len, inner) = number(body);
        if *id == 0 && &inner[..len] == name.as_bytes() {
            return &inner[len..];
        }
    }
    &[]
}

/// A number in LEB128.
fn number(bytes: &[u8]) -> (usize, &[u8]) {
    let len = bytes.iter().position(|b| *b < 0x80).unwrap() + 1;
    let value = bytes[..len].iter().rev().fold(0, |n, b| n << 7 | usize::from(b & 0x7f));
    (value, &bytes[len..])
}
