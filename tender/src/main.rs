//! `atoll-tender`: reads an image, goes into the sandbox, runs the guest.

use std::ffi::c_int;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::process::ExitCode;

use atoll_config::image::Image;
use atoll_config::launch::Launch;
use atoll_runtime::platform::Stream;
use atoll_tender::alloc::Counting;
use atoll_tender::args::{Args, HELP, Listen};
use atoll_tender::plat::Machine;
use atoll_tender::record::{self, Kind, RECORDED};
use atoll_tender::wire::{self, Wires};
use atoll_tender::{atoms, sandbox, signal};

/// The process ends with this status when the guest was never run.
const UNSTARTED: u8 = 101;

#[global_allocator]
static MEMORY: Counting = Counting::new();

fn main() -> ExitCode {
    let args = match Args::parse(std::env::args_os().skip(1)) {
        Ok(args) => args,
        Err(why) => {
            let _ = writeln!(io::stderr(), "atoll-tender: {why}");
            return ExitCode::from(UNSTARTED);
        }
    };
    if args.help {
        let _ = io::stdout().write_all(HELP.as_bytes());
        return ExitCode::SUCCESS;
    }
    match run(&args) {
        // At once: what a process does at its end the sandbox does not allow.
        Ok(status) => signal::exit(status.into()),
        Err(why) => {
            let _ = writeln!(io::stderr(), "atoll-tender: {why}");
            ExitCode::from(UNSTARTED)
        }
    }
}

fn run(args: &Args) -> Result<u8, String> {
    let said = |what: &'static str| move |e: io::Error| format!("{what}: {e}");
    if let Some(parent) = args.parent {
        signal::end_with(parent).map_err(said("cannot follow the parent"))?;
    }
    // What was inherited is taken before anything is opened here.
    let to = match args.record {
        Some(fd) => signal::inherited(fd),
        None => rustix::io::dup(rustix::stdio::stderr()).map_err(io::Error::from),
    };
    let to = to.map_err(said("--record-fd"))?;
    let mut listeners = Vec::new();
    for (stream, listen, name) in
        [(Stream::Control, &args.control, "control"), (Stream::Host, &args.host, "host")]
    {
        if let Some(fd) = open(listen).map_err(|e| format!("{name}: {e}"))? {
            listeners.push((stream, fd));
        }
    }
    record::prepare(to);
    let stop = signal::stop_requests().map_err(said("signals"))?;
    let mut keep: Vec<RawFd> = listeners.iter().map(|(_, fd)| fd.as_raw_fd()).collect();
    keep.extend([stop.as_raw_fd(), record::fd()]);
    sandbox::close_others(&keep).map_err(said("descriptors"))?;
    let image = Image::open(&args.image).map_err(|e| format!("{}: {e}", args.image.display()))?;
    let memory = args.memory.unwrap_or(image.manifest().memory);
    let mut launch = Launch::parse(args.launch.as_bytes());
    if launch.wall == 0 {
        launch.wall = wall();
    }

    signal::record_failures(&MEMORY).map_err(said("signals"))?;
    // The signals of a failure may be those of an atom, whose engine asks first: so it
    // comes after those who are asked when it is none.
    let payload = image.payload();
    let (engine, watchdog) = match image.code() {
        Some(code) => {
            let (engine, watchdog) = atoms::load(&payload, &code)?;
            (Some(engine), Some(watchdog))
        }
        None => (None, None),
    };

    let connections = wire::MAX_CONNECTIONS as u64;
    let needs = sandbox::Needs { memory, connections, atoms: engine.is_some() };
    let notes = sandbox::enter(&needs).map_err(said("the sandbox cannot be entered"))?;
    MEMORY.limit(memory);
    let wires = Wires::new(listeners, stop);
    let mut machine = Machine::new(wires, &MEMORY, memory, launch, notes, watchdog);
    let hash = image.sealed().hash;
    match atoll_runtime::run_with(payload, hash, engine.as_ref().map(|e| e as _), &mut machine) {
        Ok(exit) => Ok(exit.status),
        Err(why) => {
            record::write(Kind::Boot, format_args!("{why}"), None, &[]);
            Ok(RECORDED as u8)
        }
    }
}

/// The time of day, nanoseconds since 1970 UTC.
fn wall() -> u64 {
    let t = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
    t.tv_sec as u64 * 1_000_000_000 + t.tv_nsec as u64
}

/// The listening socket that an argument names.
fn open(listen: &Listen) -> io::Result<Option<OwnedFd>> {
    match listen {
        Listen::Nothing => Ok(None),
        Listen::Path(path) => wire::listen_at(path).map(Some),
        Listen::Fd(fd) => {
            let fd = signal::inherited(*fd as c_int)?;
            rustix::io::ioctl_fionbio(&fd, true)?;
            Ok(Some(fd))
        }
    }
}
