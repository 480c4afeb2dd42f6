//! `atoll run`: one guest, in the foreground, from its first instruction to the
//! last file that it leaves behind.
//!
//! The order of a start is that of what may fail: first everything that needs no
//! process (image, exports, addresses), then the guard, then sockets, then the
//! machine. The end is the same whoever wants it: the machine is waited for, what
//! it had still to say is read, and everything goes in the reverse order.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail};
use atoll_9p::types::OpenFlags;
use atoll_config::image::{Image, Manifest, Platform};
use atoll_config::launch::Launch;
use serde::{Deserialize, Serialize};
use tokio::net::{TcpListener, UnixListener};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;
use tokio::task::{LocalSet, spawn_local};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::address;
use crate::backend::process::Process;
use crate::backend::qemu::{Accel, Qemu};
use crate::backend::{self, Backend, Ended, Machine, Spec, find_program, kvm};
use crate::checkpoint::{self, Keeper, Source, State};
use crate::conn::Conn;
use crate::guard::Guard;
use crate::host;
use crate::hostdir::{HostDirs, Mount};
use crate::joint::{self, Joint};
use crate::record::Record;
use crate::show::Printer;
use crate::socket::{Private, Public};
use crate::stream::Stream;

/// How long a guest may take to stop when it was asked to.
const STOP: Duration = Duration::from_secs(2);
/// How long the last checkpoint may take before that.
const KEEP: Duration = Duration::from_secs(10);
/// Interrupts within this time are one: `timeout` and some shells signal a process
/// and then its group.
const ONCE: Duration = Duration::from_millis(200);
/// How long what a guest has said before its end may take to arrive.
const LAST_WORDS: Duration = Duration::from_millis(500);
/// A boot may take long on a slow machine, and nobody waits for it but the log.
const BOOT: Duration = Duration::from_secs(3600);

/// Where to run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum On {
    /// On QEMU where the image and the host allow it, else as a process.
    #[default]
    Auto,
    /// On QEMU.
    Qemu,
    /// As a sandboxed process.
    Process,
}

/// Which checkpoint to go on from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Restore {
    /// The one in this file.
    File(PathBuf),
    /// The newest in the folder of its state; where there is none, the guest begins anew.
    Latest,
}

/// What was asked for.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The image file.
    pub image: PathBuf,
    /// Where to run.
    pub on: On,
    /// The socket, if not the default one.
    pub socket: Option<PathBuf>,
    /// More places to listen at, on this machine.
    pub listen: Vec<SocketAddr>,
    /// Host folders by the name of the import.
    pub exports: Vec<(String, PathBuf)>,
    /// Memory in bytes, if not what the image says.
    pub memory: Option<u64>,
    /// What QEMU is to use, if that is not to be found out.
    pub accel: Option<Accel>,
    /// Where to go on from a checkpoint.
    pub restore: Option<Restore>,
    /// The folder in which its checkpoints are kept.
    pub state: Option<PathBuf>,
    /// Say nothing of what the guest says.
    pub quiet: bool,
    /// Say how things are decided.
    pub verbose: bool,
    /// Print the command line and run nothing.
    pub print: bool,
}

/// Runs a guest; whether it ended well.
pub async fn run(options: &Options) -> anyhow::Result<bool> {
    let image =
        Image::open(&options.image).with_context(|| format!("{}", options.image.display()))?;
    let manifest = image.manifest().clone();
    drop(image);
    let exports = exports(&manifest, &options.exports)?;
    let atoll = std::env::current_exe().context("which program is this?")?;
    let printer = Printer::new(&manifest.name, options.quiet);
    let backend = choose(options, &manifest, &atoll, &printer).await?;
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let state = match (&options.state, options.print) {
        (Some(path), false) => Some(State::open(path)?),
        _ => None,
    };
    let from = from(options, &manifest, state.as_ref(), &printer)?;
    let wall = u64::try_from(wall.as_nanos()).unwrap_or(0);
    let launch = Launch { wall, restore: from.is_some() };
    let spec = Spec {
        image: std::path::absolute(&options.image)?,
        memory: options.memory.unwrap_or(manifest.memory),
        launch: launch.to_string(),
    };
    if options.print {
        let words: Vec<String> =
            backend.line(&spec).iter().map(|w| quoted(&w.to_string_lossy())).collect();
        println!("{}", words.join(" "));
        return Ok(true);
    }

    let mut guard = Guard::start(&atoll).context("cannot start the guard")?;
    let all = address::socket_dir();
    let private = Private::new(&all, &mut guard)?;
    let path = match &options.socket {
        Some(path) => std::path::absolute(path)?,
        None => address::default_socket(&manifest.name),
    };
    let (public, listener) = Public::listen(&path, &mut guard)?;
    let mut tcp = Vec::new();
    for addr in &options.listen {
        let listener = TcpListener::bind(addr).await.with_context(|| format!("tcp:{addr}"))?;
        printer.say(&format!("tree at tcp:{}", listener.local_addr()?));
        tcp.push(listener);
    }
    let machine = backend::start(&*backend, &spec, &atoll, &private, &mut guard)?;
    let guard = Rc::new(RefCell::new(guard));
    let joint = Joint::new();
    let keeper = state.map(|state| {
        let (joint, printer, guard) = (joint.clone(), printer.clone(), guard.clone());
        Keeper::new(state, manifest.payload_hash, joint, printer, guard)
    });
    let guest = Guest { backend, printer, exports, machine, joint, keeper, from };
    let listener = UnixListener::from_std(listener)?;
    let ended = LocalSet::new().run_until(guest.run(&public, listener, tcp)).await;
    drop(public);
    drop(private);
    if let Some(guard) = Rc::into_inner(guard) {
        guard.into_inner().bye();
    }
    ended
}

/// The checkpoint that the guest is to go on from, checked.
fn from(
    options: &Options,
    manifest: &Manifest,
    state: Option<&State>,
    printer: &Printer,
) -> anyhow::Result<Option<Source>> {
    if (options.state.is_some() || options.restore.is_some()) && !manifest.can_checkpoint() {
        return Err(checkpoint::Error::Cannot.into());
    }
    let path = match &options.restore {
        None => return Ok(None),
        Some(Restore::File(path)) => path.clone(),
        Some(Restore::Latest) => match state.map(State::latest).transpose()?.flatten() {
            Some(path) => path,
            None => {
                printer.say("there is no checkpoint yet: it begins anew");
                return Ok(None);
            }
        },
    };
    let source = Source::open(&path, &mut ()).and_then(|from| {
        from.fits(manifest.payload_hash)?;
        Ok(from)
    });
    source.map(Some).map_err(|e| match e {
        // It names the file already.
        e @ checkpoint::Error::Io { .. } => e.into(),
        e => anyhow::Error::from(e).context(path.display().to_string()),
    })
}

/// A guest that was started.
struct Guest {
    backend: Box<dyn Backend>,
    printer: Printer,
    exports: HostDirs,
    machine: Machine,
    joint: Joint,
    /// Keeps its checkpoints.
    keeper: Option<Keeper>,
    /// What it is to go on from.
    from: Option<Source>,
}

impl Guest {
    async fn run(
        mut self,
        public: &Public,
        listener: UnixListener,
        tcp: Vec<TcpListener>,
    ) -> anyhow::Result<bool> {
        let (mut interrupt, mut terminate, mut hangup) = (
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
            signal(SignalKind::hangup())?,
        );
        let joint = self.joint;
        let (control, host, debug) =
            (self.machine.control.take(), self.machine.host.take(), self.machine.debug.take());
        let (Some(control), Some(host), Some(debug)) = (control, host, debug) else {
            bail!("a machine has its streams once");
        };
        let mut tree = std::mem::take(&mut self.exports);
        spawn_local(async move { host::serve(&host, &mut tree).await });
        let j = joint.clone();
        let mut guest = spawn_local(async move { j.serve_guest(control).await });
        let p = self.printer.clone();
        let record = spawn_local(backend::follow(debug, move |l| p.log(l.as_bytes())));
        let where_ =
            format!("on {}, tree at unix:{}", self.backend.name(), public.path().display());
        let (j, p, keeper) = (joint.clone(), self.printer.clone(), self.keeper.clone());
        // Whoever comes to the tree finds the guest as it is to be.
        let open = move || {
            if let Some(keeper) = keeper {
                spawn_local(keeper.serve());
            }
            spawn_local(accept_unix(j.clone(), listener));
            for listener in tcp {
                spawn_local(accept_tcp(j.clone(), listener));
            }
            spawn_local(follow_log(j, p, where_))
        };
        let (mut log, mut shut) = match self.from.is_some() {
            true => (None, Some(open)),
            false => (Some(open()), None),
        };
        let (j, from) = (joint.clone(), self.from.take());
        let mut giving = spawn_local(async move {
            match from {
                Some(from) => restore(&j, &from).await,
                None => Ok(()),
            }
        });

        let kill = Rc::new(Notify::new());
        let backend = self.backend;
        let k = kill.clone();
        let mut machine = self.machine;
        let mut wait = spawn_local(async move { machine.wait(&*backend, &k).await });
        let mut asked: Option<Instant> = None;
        let mut deadline: Option<Instant> = None;
        let mut lost = None;
        let mut refused = false;
        let ended = loop {
            let late = deadline.unwrap_or_else(Instant::now);
            tokio::select! {
                ended = &mut wait => break ended??,
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
                _ = hangup.recv() => {}
                done = &mut giving, if shut.is_some() => {
                    let open = shut.take();
                    match done? {
                        Ok(()) => log = open.map(|open| open()),
                        Err(why) => {
                            refused = true;
                            self.printer.tell(&format!("does not go on: {why:#}"));
                            kill.notify_one();
                        }
                    }
                    continue;
                }
                () = sleep_until(late), if deadline.is_some() => {
                    deadline = None;
                    kill.notify_one();
                    continue;
                }
                end = &mut guest, if lost.is_none() => {
                    // Most often it is about to end. If not, it is of no use.
                    let end = end?;
                    if !matches!(end, joint::Ended::Closed) {
                        self.printer.tell(&format!("{:#}", anyhow::Error::from(end)));
                    }
                    lost = Some(());
                    deadline.get_or_insert(Instant::now() + STOP);
                    continue;
                }
            }
            if let Some(first) = asked {
                if Instant::now().duration_since(first) >= ONCE {
                    kill.notify_one();
                }
            } else {
                asked = Some(Instant::now());
                self.printer.say("is asked to stop");
                let keeper = self.keeper.clone().filter(|_| shut.is_none());
                let limit = keeper.as_ref().map_or(STOP, |_| STOP + KEEP);
                deadline = Some(Instant::now() + limit);
                spawn_local(stop(joint.clone(), keeper));
            }
        };
        if lost.is_none() {
            let _ = timeout(LAST_WORDS, guest).await;
        }
        if let Some(log) = log {
            let _ = timeout(LAST_WORDS, log).await;
        }
        let record = timeout(LAST_WORDS, record).await.ok().and_then(Result::ok).flatten();
        if refused && matches!(ended, Ended::Lost(_)) && record.is_none() {
            return Ok(false);
        }
        Ok(tell(&self.printer, &ended, record, asked.is_some()))
    }
}

/// Says how it ended; whether that was well.
fn tell(printer: &Printer, ended: &Ended, record: Option<Record>, asked: bool) -> bool {
    match (ended, record) {
        (Ended::Unstarted(why), _) => printer.tell(&format!("could not be started: {why}")),
        (_, Some(record)) => {
            printer.tell(&format!("failed: {}", record.summary()));
            let _ = std::io::Write::write_all(&mut std::io::stderr(), record.details().as_bytes());
        }
        (Ended::Status(0), None) => {
            printer.say("stopped");
            return true;
        }
        (Ended::Status(n), None) => printer.tell(&format!("failed: it ended with status {n}")),
        (Ended::Recorded, None) => printer.tell("failed, and its record did not arrive"),
        (Ended::Lost(why), None) if asked => printer.tell(&format!("was killed: {why}")),
        (Ended::Lost(why), None) => printer.tell(&format!("failed: {why}")),
    }
    false
}

/// Prints the guest's log for as long as there is one.
async fn follow_log(joint: Joint, printer: Printer, up: String) {
    let Some(mut conn) = inside(&joint).await else { return };
    printer.say(&up);
    if conn.walk("log").await.is_err() || conn.open_file(OpenFlags::RDONLY).await.is_err() {
        return;
    }
    let (mut line, mut offset) = (Vec::new(), 0);
    while let Ok(bytes) = conn.read(offset).await {
        if bytes.is_empty() {
            break;
        }
        offset += bytes.len() as u64;
        for &b in &bytes {
            if b == b'\n' {
                printer.log(&line);
                line.clear();
            } else if line.len() < 4096 {
                line.push(b);
            }
        }
    }
    if !line.is_empty() {
        printer.log(&line);
    }
}

/// Gives a guest the checkpoint that it goes on from.
async fn restore(joint: &Joint, from: &Source) -> anyhow::Result<()> {
    let mut conn = inside(joint).await.context("it ended before it could be asked")?;
    Ok(checkpoint::give(&mut conn, from).await?)
}

/// Asks the guest to stop, after a last checkpoint if they are kept. It may be gone before
/// it has answered.
async fn stop(joint: Joint, keeper: Option<Keeper>) {
    if let Some(keeper) = keeper {
        keeper.last().await;
    }
    if let Some(mut conn) = inside(&joint).await {
        let _ = conn.write_file("ctl", b"stop").await;
    }
}

/// A client of our own.
pub(crate) async fn inside(joint: &Joint) -> Option<Conn> {
    let (ours, theirs) = Stream::pair().ok()?;
    let joint = joint.clone();
    spawn_local(async move { joint.serve_client(theirs).await });
    Conn::attach(ours, BOOT).await.ok()
}

async fn accept_unix(joint: Joint, listener: UnixListener) {
    loop {
        joint.room().await;
        match listener.accept().await {
            Ok((stream, _)) => client(&joint, Stream::Unix(stream)),
            // Out of descriptors, most likely: others will be given back.
            Err(_) => sleep(Duration::from_millis(100)).await,
        }
    }
}

async fn accept_tcp(joint: Joint, listener: TcpListener) {
    loop {
        joint.room().await;
        match listener.accept().await {
            Ok((stream, _)) => client(&joint, stream.into()),
            Err(_) => sleep(Duration::from_millis(100)).await,
        }
    }
}

fn client(joint: &Joint, stream: Stream) {
    let joint = joint.clone();
    spawn_local(async move { joint.serve_client(stream).await });
}

/// The folders for a guest's imports, each of which must be bound, and no other.
fn exports(manifest: &Manifest, given: &[(String, PathBuf)]) -> anyhow::Result<HostDirs> {
    let mut dirs = HostDirs::new(Mount::Guest);
    for (i, (name, dir)) in given.iter().enumerate() {
        if !manifest.imports.iter().any(|m| m.name == *name) {
            let known: Vec<&str> = manifest.imports.iter().map(|m| m.name.as_str()).collect();
            let known = if known.is_empty() { "nothing".into() } else { known.join(", ") };
            bail!("--export {name}: {} imports {known}", manifest.name);
        }
        if given[..i].iter().any(|(n, _)| n == name) {
            bail!("--export {name}: given twice");
        }
        dirs.add(name, dir).with_context(|| format!("--export {name}={}", dir.display()))?;
    }
    for import in &manifest.imports {
        if !given.iter().any(|(n, _)| *n == import.name) {
            bail!(
                "{} imports {} (at {}): say which folder that is with --export {}=DIR",
                manifest.name,
                import.name,
                import.at,
                import.name
            );
        }
    }
    Ok(dirs)
}

/// Where to run, and with what.
async fn choose(
    options: &Options,
    manifest: &Manifest,
    atoll: &Path,
    printer: &Printer,
) -> anyhow::Result<Box<dyn Backend>> {
    let can = |p: Platform| manifest.platforms.contains(&p);
    let program = || find_program("qemu-system-x86_64", "ATOLL_QEMU", atoll);
    let platform = match options.on {
        On::Qemu => Platform::Qemu,
        On::Process => Platform::Process,
        On::Auto if can(Platform::Qemu) && program().is_some() => Platform::Qemu,
        On::Auto if can(Platform::Process) => Platform::Process,
        On::Auto => Platform::Qemu,
    };
    if !can(platform) {
        let names: Vec<&str> = manifest.platforms.iter().map(|p| p.name()).collect();
        bail!("this image runs on {} only, not on {}", names.join(", "), platform.name());
    }
    if platform == Platform::Process {
        let program = find_program("atoll-tender", "ATOLL_TENDER", atoll)
            .context("atoll-tender is neither beside atoll nor on the PATH")?;
        return Ok(Box::new(Process { program }));
    }
    let program = program().context(
        "qemu-system-x86_64 is not on the PATH: install it (qemu-system-x86), or use --on process",
    )?;
    let (accel, why) = match options.accel {
        Some(accel) => (accel, "as asked for".into()),
        None => kvm::choose(&program).await,
    };
    if options.verbose {
        printer.tell(&format!("{accel:?}: {why}").to_lowercase());
    }
    Ok(Box::new(Qemu { program, accel }))
}

/// A word as a shell wants it.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=,:@%+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.into()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}
