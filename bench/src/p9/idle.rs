//! What costs nothing must cost nothing: open fids, reads that wait, sessions.
//!
//! Processor time is that of all the server's threads, to the nanosecond, over
//! some seconds in which nothing is asked for; one wake-up would be seen. Memory is
//! what becomes resident in the server; what its kernel keeps for sockets is not
//! in it.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::place::{self, MANY, SMALL};
use super::servers::Server;
use crate::figure::{self, Figure};
use crate::load::frame::{self, answer, ty};
use crate::load::link::Link;

const FIDS: u32 = MANY.1 as u32;
const SESSIONS: u32 = 1000;
/// Reads that wait, in so many sessions.
const READS: (u32, u16) = (10, 100);
/// The file whose reads wait.
const EVENTS: &str = "events";

/// What a server is given to come to rest, and how long it is then watched.
const SETTLE: Duration = Duration::from_millis(500);
const WATCH: Duration = Duration::from_secs(3);

/// The most bytes of an idle session, its fids aside, and how many those are.
const GOAL_SESSION: f64 = 4096.0;
const FIDS_EACH: f64 = 2.0;
const MSIZE: u32 = (64 << 10) + frame::IO_HEADER;

/// The cases, by what `--only` may select.
pub const CASES: [&str; 3] = [CASE_FIDS, CASE_SESSIONS, CASE_READS];
const CASE_FIDS: &str = "10,000 open fids of as many files";
const CASE_SESSIONS: &str = "1,000 idle sessions";
/// Needs a server with a file of events.
pub const CASE_READS: &str = "1,000 blocked reads";

/// Open fids of our server of files. It must be a new one, as must be those below:
/// memory that something else has given back would be used again, and not be seen.
pub fn fids(ours: &Server, say: &dyn Fn(&str)) -> Result<(Vec<Figure>, f64)> {
    more_descriptors()?;
    say(CASE_FIDS);
    let fids = open(ours, say).with_context(|| ours.name.clone())?;
    let opened = f64::from(fids.opened);
    let mut cpu = Figure::new("9p", CASE_FIDS, "cpu in 3 s", "ms", fids.cpu);
    // Of fewer it says nothing about all.
    if fids.opened == FIDS {
        cpu = cpu.at_most(0.0);
    }
    let out = vec![
        Figure::new("9p", CASE_FIDS, "opened", figure::FIDS, opened).at_least(f64::from(FIDS)),
        cpu,
        Figure::new("9p", CASE_FIDS, "memory of one", "bytes", fids.each),
    ];
    Ok((out, fids.each))
}

/// Sessions that rest, beside the peer's; `fid` is what one fid may take.
pub fn idle(
    ours: &Server,
    peer: Option<&Server>,
    fid: f64,
    say: &dyn Fn(&str),
) -> Result<Vec<Figure>> {
    more_descriptors()?;
    say(CASE_SESSIONS);
    let (cpu, each) = sessions(ours).with_context(|| ours.name.clone())?;
    let mut memory = Figure::new("9p", CASE_SESSIONS, "memory of one, two fids", "bytes", each);
    if let Some(peer) = peer {
        let (_, each) = sessions(peer).with_context(|| peer.name.clone())?;
        memory = memory.beside(&peer.name, each);
    }
    let cpu = Figure::new("9p", CASE_SESSIONS, "cpu in 3 s", "ms", cpu);
    Ok(vec![memory.at_most(GOAL_SESSION + FIDS_EACH * fid), cpu.at_most(0.0)])
}

/// Reads that wait.
pub fn events(server: &Server, say: &dyn Fn(&str)) -> Result<Vec<Figure>> {
    say(CASE_READS);
    let cpu = reads(server).with_context(|| server.name.clone())?;
    Ok(vec![Figure::new("9p", CASE_READS, "cpu in 3 s", "ms", cpu).at_most(0.0)])
}

/// As many files as this process may have: one socket for each session. Servers
/// were started before, and have to look after themselves.
fn more_descriptors() -> Result<()> {
    let all = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: all.maximum, ..all })?;
    Ok(())
}

struct Fids {
    opened: u32,
    cpu: f64,
    each: f64,
}

/// Opens as many fids as the server lets, up to [`FIDS`].
fn open(server: &Server, say: &dyn Fn(&str)) -> Result<Fids> {
    let mut link = server.link(MSIZE)?;
    link.walk(1, &[SMALL.0])?;
    let before = server.running.memory()?.0;
    let mut opened = 0;
    while opened < FIDS {
        let fid = opened + 2;
        // Each of another file: what many hold of one may be kept once.
        let name = place::of_many(opened.into());
        let one = link.walk(fid, &[MANY.0, &name]).and_then(|()| link.lopen(fid, 0));
        if let Err(why) = one {
            say(&format!("{}: no more than {opened} open fids: {why:#}", server.name));
            break;
        }
        opened += 1;
    }
    let cpu = watch(server);
    let after = server.running.memory()?.0;
    // What is dead costs nothing either.
    for fid in 0..opened {
        alive(&mut link, fid + 2).with_context(|| format!("fid {fid}"))?;
    }
    Ok(Fids { opened, cpu, each: per(before, after, opened.max(1)) })
}

fn sessions(server: &Server) -> Result<(f64, f64)> {
    let one = || -> Result<Link> {
        let mut link = server.link(MSIZE)?;
        link.walk(1, &[SMALL.0])?;
        alive(&mut link, 1)?;
        link.shrink();
        Ok(link)
    };
    let first = one()?;
    let before = server.running.memory()?.0;
    let mut links: Vec<Link> = (0..SESSIONS)
        .map(|n| one().with_context(|| format!("session {n}")))
        .collect::<Result<_>>()?;
    let cpu = watch(server);
    let after = server.running.memory()?.0;
    for (n, link) in links.iter_mut().enumerate() {
        alive(link, 1).with_context(|| format!("session {n}, after a rest"))?;
    }
    drop(first);
    Ok((cpu, per(before, after, SESSIONS)))
}

fn reads(server: &Server) -> Result<f64> {
    let mut links = Vec::new();
    for _ in 0..READS.0 {
        let mut link = server.link(MSIZE)?;
        for tag in 0..READS.1 {
            let fid = u32::from(tag) + 1;
            link.walk(fid, &[EVENTS])?;
            link.lopen(fid, 0)?;
        }
        for tag in 0..READS.1 {
            link.send_one(&frame::read(tag, u32::from(tag) + 1, 0, 512))?;
        }
        links.push(link);
    }
    let cpu = watch(server);
    for link in &mut links {
        ensure!(link.is_silent()?, "reads of `{EVENTS}` do not wait");
        // They wait still: each can be taken back.
        for tag in 0..READS.1 {
            let flushed = link.call(&frame::flush(READS.1 + tag, tag))?;
            answer(flushed, ty::TFLUSH, 0)?;
        }
    }
    Ok(cpu)
}

/// Asks for the attributes of a fid.
fn alive(link: &mut Link, fid: u32) -> Result<()> {
    answer(link.call(&frame::getattr(0, fid))?, ty::TGETATTR, 153)?;
    Ok(())
}

/// The server's processor time while nothing is asked, in milliseconds.
fn watch(server: &Server) -> f64 {
    std::thread::sleep(SETTLE);
    let before = server.running.used_by_all();
    std::thread::sleep(WATCH);
    server.running.used_by_all().since(&before)
}

/// Bytes of each, from KiB of all.
fn per(before: u64, after: u64, count: u32) -> f64 {
    after.saturating_sub(before) as f64 * 1024.0 / f64::from(count)
}
