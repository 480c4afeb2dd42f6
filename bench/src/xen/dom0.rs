//! What this program does in dom0: it starts domains and speaks to them, and says what it saw
//! as one line of JSON.

use std::ffi::OsString;
use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use atoll_xen::dom0::{Store, Stream};
use atoll_xen::store::{Answer, NO_TRANSACTION, Request};
use atoll_xen::vchan::Takes;

use super::{FILES, HELLO, Seen, start, store, stream, trips};
use crate::load::frame::{Frame, NO_FID, NO_TAG, answer, ty};

/// The word on the command line that makes this program the one in dom0.
pub const INSIDE: &str = "__dom0";

/// How long anything may take there.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);
/// How long idle guests are watched.
const IDLE: Duration = Duration::from_secs(30);

/// Measures one thing so many times, and once more before that.
pub fn run(words: &[OsString]) -> Result<()> {
    let [what, runs] = words else { bail!("not two words") };
    let runs: usize = runs.to_string_lossy().parse().context("no number of runs")?;
    let seen = match what.to_string_lossy().as_ref() {
        "start" => start::run(runs)?,
        "store" => store::run(runs)?,
        "trips" => trips::run(runs)?,
        "stream" => stream::run(runs)?,
        "idle" => idle()?,
        other => bail!("nothing is called {other}"),
    };
    println!("{}", serde_json::to_string(&seen)?);
    Ok(())
}

/// Runs `xl`, which must succeed.
pub(super) fn xl(args: &[&str]) -> Result<String> {
    let out = Command::new("xl").args(args).stdin(Stdio::null()).output()?;
    let complaint = String::from_utf8_lossy(&out.stderr);
    ensure!(out.status.success(), "xl {}: {complaint}", args.join(" "));
    Ok(String::from_utf8_lossy(&out.stdout).into_owned())
}

/// The domains that XenStore knows.
pub(super) fn domains(store: &mut Store) -> Result<Vec<u16>> {
    match store.ask(NO_TRANSACTION, &Request::Directory("/local/domain"))? {
        Answer::Names(names) => Ok(names.iter().filter_map(|n| n.parse().ok()).collect()),
        other => bail!("no list: {other:?}"),
    }
}

/// Where a domain serves 9P.
pub(super) fn control(domid: u16) -> String {
    format!("/local/domain/{domid}/data/vchan/control")
}

/// The domain of that name.
pub(super) fn domid(name: &str) -> Result<u16> {
    xl(&["domid", name])?.trim().parse().context("no number")
}

/// A stream to the domain of that name.
pub(super) fn open(name: &str) -> Result<Stream> {
    let domid = domid(name)?;
    Ok(Stream::open(Store::open()?, domid, &control(domid), Takes::Fresh, PATIENCE)?)
}

/// Sends a request, and waits for as many bytes as its answer has.
pub(super) fn trip(stream: &mut Stream, request: &[u8], out: &mut [u8]) -> Result<()> {
    stream.write_all(request)?;
    stream.read_exact(out)?;
    Ok(())
}

/// Sends a request, and gives its whole answer.
pub(super) fn call(stream: &mut Stream, request: &[u8]) -> Result<Vec<u8>> {
    let mut frame = vec![0; 4];
    trip(stream, request, &mut frame)?;
    let size = frame.first_chunk().map_or(0, |b| u32::from_le_bytes(*b)) as usize;
    ensure!((7..1 << 20).contains(&size), "a frame of {size} bytes");
    frame.resize(size, 0);
    stream.read_exact(frame.get_mut(4..).unwrap_or_default())?;
    Ok(frame)
}

/// The first request of all.
pub(super) fn version(msize: u32) -> Vec<u8> {
    Frame::new(ty::TVERSION, NO_TAG).u32(msize).str("9P2000.L").done()
}

/// Begins a session, in which fid 0 is the root.
pub(super) fn attach(stream: &mut Stream, msize: u32) -> Result<()> {
    answer(&call(stream, &version(msize))?, ty::TVERSION, 6)?;
    let attach = Frame::new(ty::TATTACH, 0).u32(0).u32(NO_FID).str("").str("").u32(0);
    answer(&call(stream, &attach.done())?, ty::TATTACH, 13)?;
    Ok(())
}

/// Keeps a value under a name.
pub(super) fn note(seen: &mut Seen, name: &str, value: f64) {
    seen.entry(name.to_owned()).or_default().push(value);
}

/// Milliseconds since then.
pub(super) fn ms(begin: Instant) -> f64 {
    begin.elapsed().as_secs_f64() * 1e3
}

/// The processor time that two guests use in which nothing happens, one with a client.
fn idle() -> Result<Seen> {
    xl(&["create", "-q", &format!("/mnt/{HELLO}.cfg")])?;
    // It is up once it has answered, and has no client then.
    attach(&mut open(HELLO)?, 8192)?;
    let mut client = open(FILES)?;
    attach(&mut client, 8192)?;
    std::thread::sleep(Duration::from_secs(1));
    let before = (used(HELLO)?, used(FILES)?);
    std::thread::sleep(IDLE);
    let after = (used(HELLO)?, used(FILES)?);
    // It was there all the time.
    attach(&mut client, 8192)?;
    xl(&["destroy", HELLO])?;
    let mut seen = Seen::new();
    note(&mut seen, "alone", after.0 - before.0);
    note(&mut seen, "connected", after.1 - before.1);
    Ok(seen)
}

/// Milliseconds of processor time that a domain has used: the last column of `xl list`, in
/// seconds with one decimal place.
fn used(name: &str) -> Result<f64> {
    let list = xl(&["list", name])?;
    let last = list.lines().last().and_then(|l| l.split_whitespace().last());
    let seconds: f64 = last.context("no such domain")?.parse()?;
    Ok((seconds * 1e3).round())
}
