//! Requests of all kinds from several sessions, two in 9P2000.L and one in 9P2000,
//! to one tree, against a few lines that say what ought to come.

mod common;
mod many;

use std::collections::BTreeSet;

use atoll_9p::dialect::Dialect;
use atoll_9p::fault::Errno;
use atoll_9p::msg::{Rmsg, SetAttr, Tmsg, Wstat, entries, stats};
use atoll_9p::ram::Ram;
use atoll_9p::server::Limits;
use atoll_9p::types::{OpenFlags, mode, setattr};
use atoll_9p::wire::NOFID;
use common::*;
use many::*;
use proptest::prelude::*;

const NAMES: [&str; 9] = ["a", "b", "c", "a", "b", "c", "a", "..", ""];
const PATHS: [&[&str]; 14] = [
    &[],
    &["a"],
    &["b"],
    &["c"],
    &["a", "b"],
    &["b", "a"],
    &["a", "b", "c"],
    &["a"],
    &[".."],
    &["..", ".."],
    &["a", ".."],
    &["b", "..", "a"],
    &["a", "."],
    &["a", "b/c"],
];
const FLAGS: [u32; 7] = [0, 1, 2, 1 | TRUNC, 2 | TRUNC, 1 | 0o2000, 3];
const MODES: [u32; 8] = [0o755, 0o755, 0o755, 0o755, 0o777, 0o555, 0o644, 0o300];

/// What came, or the number of the error; in 9P2000 there is none.
#[derive(Debug, PartialEq)]
enum Got {
    Done,
    Walked(usize),
    Count(usize),
    Data(Vec<u8>),
    Names(BTreeSet<String>),
    /// Mode and size, and of a plain file the number of its names.
    Stat(u32, u64, Option<u32>),
    Named(u32, u64, String),
    Text(String),
    Err(u32),
}

type Want = Result<Got, Errno>;

struct Client {
    p: Peer<Ram>,
    plain: bool,
    fids: Fids,
}

impl Client {
    fn new(t: &mut Ram, plain: bool) -> Client {
        let mut p = Peer::new(Limits { fids: 8, ..Limits::default() });
        p.greet(t, 8192, if plain { "9P2000" } else { "9P2000.L" });
        let mut c = Client { p, plain, fids: Fids::new() };
        let m = Tmsg::Attach { fid: 0, afid: NOFID, uname: "", aname: "", n_uname: 0 };
        assert_eq!(c.ask(t, &m), Got::Done);
        c.fids.insert(0, Fid { file: 0, name: None, open: None });
        c
    }

    fn ask(&mut self, t: &mut Ram, m: &Tmsg<'_>) -> Got {
        let mut f = Vec::new();
        let dialect = if self.plain { Dialect::Plain } else { Dialect::L };
        m.encode_in(dialect, 1, &mut f);
        let answer = self.p.one(t, &f);
        got(&answer)
    }

    /// Whether a request about these fids is one whose answer is of interest: what has
    /// lost its last name is only read and written.
    fn matters(&self, m: &Model, fids: &[u32]) -> bool {
        fids.iter().all(|f| self.fids.get(f).is_none_or(|f| !m.is_orphan(f.file)))
    }

    /// Whether nobody can say which directory a fid's file is in.
    fn ambiguous(&self, m: &Model, fid: u32) -> bool {
        self.fids.get(&fid).is_some_and(|f| m.files[f.file].linked)
    }
}

fn got(answer: &[u8]) -> Got {
    match Rmsg::decode(answer).unwrap() {
        Rmsg::Lerror { errno, .. } => Got::Err(errno),
        Rmsg::Error { .. } => Got::Err(0),
        Rmsg::Walk { count, .. } => Got::Walked(count.into()),
        Rmsg::Write { count } => Got::Count(count as usize),
        Rmsg::Read { data, .. } => Got::Data(data.to_vec()),
        Rmsg::Readdir { data } => Got::Names(entries(data).map(|e| e.name.to_string()).collect()),
        Rmsg::Getattr { stat: s } => {
            let names = (s.mode & mode::TYPE == mode::FILE).then_some(s.nlink as u32);
            Got::Stat(s.mode & mode::PERM, s.size, names)
        }
        Rmsg::Stat { stat } => Got::Named(stat.mode & 0o777, stat.length, stat.name.into()),
        Rmsg::Readlink { target } => Got::Text(target.into()),
        _ => Got::Done,
    }
}

/// One request of each kind that both languages have, and of each that one has. None
/// where the model does not say what comes.
#[derive(Debug)]
struct Op {
    kind: u8,
    fid: u32,
    fid2: u32,
    name: &'static str,
    name2: &'static str,
    pick: u8,
}

fn walk(t: &mut Ram, m: &mut Model, c: &mut Client, o: &Op) -> Option<(Got, Want)> {
    let path = PATHS[usize::from(o.pick) % PATHS.len()];
    if !c.matters(m, &[o.fid]) {
        return None;
    }
    let (mut walked, mut error) = (0, None);
    let want = get(&c.fids, o.fid).and_then(|f| match &f.open {
        Some(_) if o.fid == o.fid2 => Err(Errno::EBUSY),
        _ if o.fid != o.fid2 && c.fids.contains_key(&o.fid2) => Err(Errno::EBADF),
        _ => Ok(f.clone()),
    });
    let want = match want {
        Err(e) => Err(e),
        Ok(f) => {
            let mut at = f.file;
            for name in path {
                match m.step(at, name) {
                    Ok(next) => (at, walked) = (next, walked + 1),
                    Err(e) => {
                        error = Some(e);
                        break;
                    }
                }
            }
            match error {
                Some(e) if walked == 0 => Err(e),
                Some(_) => Ok(Got::Walked(walked)),
                None => {
                    let name = match path.last() {
                        None => f.name,
                        Some(&"..") => None,
                        Some(name) => Some(name.to_string()),
                    };
                    let open = if o.fid == o.fid2 { f.open } else { None };
                    c.fids.insert(o.fid2, Fid { file: at, name, open });
                    Ok(Got::Walked(walked))
                }
            }
        }
    };
    let names: Vec<_> = path.iter().map(|n| n.as_bytes()).collect();
    let answer = c.p.one(t, &walk_frame(1, o.fid, o.fid2, &names));
    Some((got(&answer), want))
}

/// What both languages have, beside walking.
fn common_op(t: &mut Ram, m: &mut Model, c: &mut Client, o: &Op) -> Option<(Got, Want)> {
    Some(match o.kind {
        0..=2 => return walk(t, m, c, o),
        3 => {
            let want = c.fids.remove(&o.fid).ok_or(Errno::EBADF).map(|_| Got::Done);
            (c.ask(t, &Tmsg::Clunk { fid: o.fid }), want)
        }
        4 => {
            if !c.matters(m, &[o.fid]) || c.ambiguous(m, o.fid) {
                return None;
            }
            let want = m.place(&mut c.fids, o.fid).and_then(|(dir, name)| {
                m.may(dir, WRITE | EXEC)?;
                let as_dir = m.is_dir(c.fids[&o.fid].file);
                m.remove(dir, &name, as_dir).map(|()| Got::Done)
            });
            c.fids.remove(&o.fid);
            (c.ask(t, &Tmsg::Remove { fid: o.fid }), want)
        }
        5..=6 => {
            let (from, n) = (usize::from(o.pick % 5), usize::from(o.pick % 7));
            let want = get(&c.fids, o.fid).and_then(|f| match (&m.files[f.file].kind, f.open) {
                (_, None) => Err(Errno::EBADF),
                (_, Some(flags)) if flags & 3 == 1 => Err(Errno::EBADF),
                (Kind::Plain(data), _) => {
                    Ok(Got::Data(data.iter().skip(from).take(n).copied().collect()))
                }
                _ => Err(Errno::EISDIR),
            });
            let is_dir = get(&c.fids, o.fid).is_ok_and(|f| m.is_dir(f.file));
            if c.plain && is_dir {
                return read_dir(t, m, c, o);
            }
            let read = Tmsg::Read { fid: o.fid, offset: from as u64, count: n as u32 };
            (c.ask(t, &read), want)
        }
        _ => {
            let (from, data) = (u64::from(o.pick % 5), vec![o.pick; usize::from(o.pick % 4)]);
            let want =
                get(&c.fids, o.fid).and_then(|f| match (f.open, &mut m.files[f.file].kind) {
                    (Some(flags), Kind::Plain(old)) if flags & 3 != 0 => {
                        let from = if flags & 0o2000 != 0 { old.len() } else { from as usize };
                        if !data.is_empty() {
                            old.resize(old.len().max(from + data.len()), 0);
                            old[from..from + data.len()].copy_from_slice(&data);
                        }
                        Ok(Got::Count(data.len()))
                    }
                    _ => Err(Errno::EBADF),
                });
            let write = Tmsg::Write { fid: o.fid, offset: from, data: &data, op: None };
            (c.ask(t, &write), want)
        }
    })
}

/// A directory read from its start in 9P2000.
fn read_dir(t: &mut Ram, m: &mut Model, c: &mut Client, o: &Op) -> Option<(Got, Want)> {
    let want = get(&c.fids, o.fid).and_then(|f| match f.open {
        None => Err(Errno::EBADF),
        Some(_) => Ok(Got::Names(m.names(f.file).keys().cloned().collect())),
    });
    let answer = match c.ask(t, &Tmsg::Read { fid: o.fid, offset: 0, count: 8000 }) {
        Got::Data(data) => Got::Names(stats(&data).map(|s| s.name.to_string()).collect()),
        other => other,
    };
    Some((answer, want))
}

/// The fid of a directory becomes that of a file in it.
fn became(c: &mut Client, fid: u32, file: usize, name: &str, flags: u32) -> Want {
    c.fids.insert(fid, Fid { file, name: Some(name.into()), open: Some(flags) });
    Ok(Got::Done)
}

fn open(m: &mut Model, c: &mut Client, fid: u32, flags: u32, want: u32) -> Want {
    let f = c.fids.get_mut(&fid).ok_or(Errno::EBADF)?;
    if f.open.is_some() {
        return Err(Errno::EBADF);
    }
    if m.is_dir(f.file) && want != READ {
        return Err(Errno::EISDIR);
    }
    m.may(f.file, want)?;
    m.open(f.file, flags)?;
    f.open = Some(flags);
    Ok(Got::Done)
}

fn linux_op(t: &mut Ram, m: &mut Model, c: &mut Client, o: &Op) -> Option<(Got, Want)> {
    let Op { fid, fid2, name, name2, pick, .. } = *o;
    let flags = FLAGS[usize::from(pick) % FLAGS.len()];
    let perm = MODES[usize::from(pick / 7) % MODES.len()];
    let done = |r: Done| r.map(|()| Got::Done);
    if !matches!(o.kind, 0..=7 | 18) && !c.matters(m, &[fid, fid2]) {
        return None;
    }
    Some(match o.kind {
        0..=7 => return common_op(t, m, c, o),
        8 => {
            let want = get(&c.fids, fid).and_then(|_| wanted(flags));
            let want = want.and_then(|want| open(m, c, fid, flags, want));
            (c.ask(t, &Tmsg::Lopen { fid, flags: OpenFlags(flags) }), want)
        }
        9 => {
            let flags = flags | if pick & 64 != 0 { EXCL } else { 0 };
            let want = wanted(flags).and_then(|access| {
                if get(&c.fids, fid)?.open.is_some() {
                    return Err(Errno::EBADF);
                }
                proper(name)?;
                let dir = m.dir(&c.fids, fid)?;
                match m.make(dir, name, Kind::Plain(Vec::new()), perm) {
                    Ok(new) => became(c, fid, new, name, flags),
                    Err(e) if flags & EXCL != 0 => Err(e),
                    Err(_) => {
                        let file = m.names(dir)[name];
                        if m.is_dir(file) {
                            return Err(Errno::EISDIR);
                        }
                        m.may(file, access)?;
                        m.open(file, flags)?;
                        became(c, fid, file, name, flags)
                    }
                }
            });
            let flags = OpenFlags(flags | OpenFlags::CREATE);
            (c.ask(t, &Tmsg::Lcreate { fid, name, flags, mode: perm, gid: 0 }), want)
        }
        10..=12 => {
            let want = m.dir(&c.fids, fid).and_then(|dir| {
                proper(name)?;
                let (kind, perm) = match o.kind {
                    10 | 11 => (Kind::Dir(Default::default()), perm | 0o300),
                    _ => (Kind::Link("to".into()), 0o777),
                };
                m.make(dir, name, kind, perm).map(|_| Got::Done)
            });
            let ask = match o.kind {
                10 | 11 => Tmsg::Mkdir { dfid: fid, name, mode: perm | 0o300, gid: 0 },
                _ => Tmsg::Symlink { fid, name, target: "to", gid: 0 },
            };
            (c.ask(t, &ask), want)
        }
        13 => {
            let want = m.dir(&c.fids, fid).and_then(|dir| {
                let file = get(&c.fids, fid2)?.file;
                done(m.link(file, dir, name))
            });
            (c.ask(t, &Tmsg::Link { dfid: fid, fid: fid2, name }), want)
        }
        14 => {
            if c.ambiguous(m, fid) {
                return None;
            }
            let want = proper(name).and_then(|()| {
                let to = m.dir(&c.fids, fid2)?;
                let (dir, old) = m.place(&mut c.fids, fid)?;
                m.may(dir, WRITE | EXEC)?;
                m.rename(dir, &old, to, name)?;
                c.fids.get_mut(&fid).unwrap().name = Some(name.into());
                Ok(Got::Done)
            });
            (c.ask(t, &Tmsg::Rename { fid, dfid: fid2, name }), want)
        }
        15 => {
            let want = m.dir(&c.fids, fid).and_then(|from| {
                let to = m.dir(&c.fids, fid2)?;
                proper(name)?;
                proper(name2)?;
                done(m.rename(from, name, to, name2))
            });
            let ask =
                Tmsg::Renameat { olddirfid: fid, oldname: name, newdirfid: fid2, newname: name2 };
            (c.ask(t, &ask), want)
        }
        16 => {
            let as_dir = pick % 2 == 0;
            let want = m.dir(&c.fids, fid).and_then(|dir| {
                proper(name)?;
                done(m.remove(dir, name, as_dir))
            });
            let flags = if as_dir { 0x200 } else { 0 };
            (c.ask(t, &Tmsg::Unlinkat { dirfd: fid, name, flags }), want)
        }
        17 => {
            let size = u64::from(pick % 9);
            let want = get(&c.fids, fid).and_then(|f| {
                if pick % 2 == 0 {
                    m.files[f.file].perm = perm;
                    return Ok(Got::Done);
                }
                if m.is_dir(f.file) {
                    return Err(Errno::EISDIR);
                }
                m.may(f.file, WRITE)?;
                match &mut m.files[f.file].kind {
                    Kind::Plain(data) => data.resize(size as usize, 0),
                    _ => return Err(Errno::EINVAL),
                }
                Ok(Got::Done)
            });
            let valid = if pick % 2 == 0 { setattr::MODE } else { setattr::SIZE };
            let set = SetAttr { valid, mode: perm, size, ..SetAttr::default() };
            (c.ask(t, &Tmsg::Setattr { fid, set }), want)
        }
        18 => {
            let want = get(&c.fids, fid).map(|f| {
                let file = &m.files[f.file];
                let names = matches!(file.kind, Kind::Plain(_)).then_some(file.names);
                Got::Stat(file.perm, m.size(f.file), names)
            });
            (c.ask(t, &Tmsg::Getattr { fid, mask: 0 }), want)
        }
        19 => {
            let want = get(&c.fids, fid).and_then(|f| match (&m.files[f.file].kind, f.open) {
                (_, None) => Err(Errno::EBADF),
                (Kind::Dir(names), _) => Ok(Got::Names(names.keys().cloned().collect())),
                _ => Err(Errno::ENOTDIR),
            });
            (c.ask(t, &Tmsg::Readdir { fid, offset: 0, count: 8000 }), want)
        }
        _ => {
            let want = get(&c.fids, fid).and_then(|f| match &m.files[f.file].kind {
                Kind::Link(to) => Ok(Got::Text(to.clone())),
                _ => Err(Errno::EINVAL),
            });
            (c.ask(t, &Tmsg::Readlink { fid }), want)
        }
    })
}

fn plain_op(t: &mut Ram, m: &mut Model, c: &mut Client, o: &Op) -> Option<(Got, Want)> {
    let Op { fid, name, pick, .. } = *o;
    let mode = [0, 1, 2, 3, 0x11, 0x12, 0x08][usize::from(pick) % 7];
    let access = match mode & 3 {
        _ if mode == 8 => Err(Errno::EINVAL),
        0 => Ok((0, READ)),
        1 => Ok((1, WRITE)),
        2 => Ok((2, READ | WRITE)),
        _ => Ok((0, EXEC)),
    };
    let access =
        access.map(|(f, w)| if mode & 0x10 != 0 { (f | TRUNC, w | WRITE) } else { (f, w) });
    let perm = MODES[usize::from(pick / 7) % MODES.len()];
    if !matches!(o.kind, 0..=7) && !c.matters(m, &[fid]) {
        return None;
    }
    Some(match o.kind {
        0..=7 => return common_op(t, m, c, o),
        8..=10 => {
            let want = access.and_then(|(flags, want)| open(m, c, fid, flags, want));
            (c.ask(t, &Tmsg::Open { fid, mode }), want)
        }
        11..=14 => {
            let is_dir = o.kind < 13;
            let want = access.and_then(|(flags, want)| {
                if get(&c.fids, fid)?.open.is_some() {
                    return Err(Errno::EBADF);
                }
                proper(name)?;
                let dir = m.dir(&c.fids, fid)?;
                let above = m.files[dir].perm;
                if is_dir && want != READ {
                    return Err(Errno::EISDIR);
                }
                let (kind, perm) = match is_dir {
                    true => (Kind::Dir(Default::default()), perm & above & 0o777),
                    false => (Kind::Plain(Vec::new()), perm & (!0o666 | above)),
                };
                let new = m.make(dir, name, kind, perm)?;
                became(c, fid, new, name, flags)
            });
            let perm = perm | if is_dir { 1 << 31 } else { 0 };
            (c.ask(t, &Tmsg::Create { fid, name, perm, mode }), want)
        }
        15..=16 => {
            if c.ambiguous(m, fid) {
                return None;
            }
            let want = get(&c.fids, fid).cloned().and_then(|f| {
                let name = match f.name {
                    _ if f.file == 0 => "/".into(),
                    Some(name) => name,
                    None => m.place(&mut c.fids, fid)?.1,
                };
                let file = &m.files[f.file];
                Ok(Got::Named(file.perm & 0o777, m.size(f.file), name))
            });
            (c.ask(t, &Tmsg::Stat { fid }), want)
        }
        _ => {
            if c.ambiguous(m, fid) {
                return None;
            }
            let f = get(&c.fids, fid).cloned();
            let is_dir = f.as_ref().is_ok_and(|f| m.is_dir(f.file));
            let is_link = f.as_ref().is_ok_and(|f| matches!(m.files[f.file].kind, Kind::Link(_)));
            let kind = if is_dir { 1 << 31 } else { u32::from(is_link) << 25 };
            let stat = Wstat {
                mode: (pick & 1 != 0).then_some(perm | kind),
                length: (pick & 2 != 0).then_some(u64::from(pick % 9)),
                name: (pick & 4 != 0 && !name.is_empty()).then_some(name),
                ..Wstat::default()
            };
            let want = f.and_then(|f| {
                let size = stat.length.filter(|&l| l != m.size(f.file));
                if size.is_some() {
                    if is_dir {
                        return Err(Errno::EISDIR);
                    }
                    m.may(f.file, WRITE)?;
                }
                let mut from = None;
                if let Some(new) = stat.name {
                    proper(new)?;
                    let (dir, old) = m.place(&mut c.fids, fid)?;
                    if old != new {
                        m.may(dir, WRITE | EXEC)?;
                        if m.names(dir).contains_key(new) {
                            return Err(Errno::EEXIST);
                        }
                        from = Some((dir, old, new));
                    }
                }
                if size.is_some() && is_link {
                    return Err(Errno::EINVAL); // and the name goes back
                }
                if let Some((dir, old, new)) = from {
                    m.rename(dir, &old, dir, new)?;
                    c.fids.get_mut(&fid).unwrap().name = Some(new.into());
                }
                let file = &mut m.files[f.file];
                if let Some(mode) = stat.mode {
                    file.perm = file.perm & !0o777 | mode & 0o777;
                }
                if let (Some(size), Kind::Plain(data)) = (size, &mut file.kind) {
                    data.resize(size as usize, 0);
                }
                Ok(Got::Done)
            });
            (c.ask(t, &Tmsg::Wstat { fid, stat }), want)
        }
    })
}

fn op() -> impl Strategy<Value = (usize, bool, Op)> {
    let name = || (0..NAMES.len()).prop_map(|i| NAMES[i]);
    let known = prop::bool::weighted(0.9);
    (0..3usize, known, 0..21u8, 0..6u32, 0..6u32, name(), name(), any::<u8>()).prop_map(
        |(s, known, kind, fid, fid2, name, name2, pick)| {
            (s, known, Op { kind, fid, fid2, name, name2, pick })
        },
    )
}

impl Op {
    /// Mostly about fids that there are; and the root's stays, or soon there would be
    /// nothing left to do.
    fn about(mut self, fids: &Fids, known: bool) -> Op {
        let ends = matches!(self.kind, 3 | 4);
        let there: Vec<_> = fids.keys().copied().filter(|&f| !ends || f > 0).collect();
        if known && !there.is_empty() {
            self.fid = there[self.fid as usize % there.len()];
            if self.kind > 2 {
                self.fid2 = there[self.fid2 as usize % there.len()];
            }
        }
        if ends {
            self.fid = self.fid.max(1);
        }
        self
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn several_sessions_see_one_tree(ops in prop::collection::vec(op(), 1..250)) {
        let mut t = Ram::default();
        let mut m = Model::new();
        let mut clients: Vec<_> = [false, false, true].map(|p| Client::new(&mut t, p)).into();
        for (s, known, o) in ops {
            let c = &mut clients[s];
            let o = o.about(&c.fids, known);
            let run = if c.plain { plain_op } else { linux_op };
            let Some((got, want)) = run(&mut t, &mut m, c, &o) else { continue };
            let want = want.unwrap_or_else(|e| Got::Err(if c.plain { 0 } else { e.0 }));
            prop_assert_eq!(got, want, "{:?}", o);
            prop_assert_eq!(c.p.s.fids(), c.fids.len());
            prop_assert!(c.p.s.held() < 16 << 10);
        }
        for c in &mut clients {
            c.p.s.close(&mut t);
            prop_assert_eq!((c.p.s.fids(), c.p.s.held()), (0, 0));
        }
        // Nobody holds anything any more: what has no name is gone.
        prop_assert_eq!(t.used().files, m.alive() as u64);
    }
}
