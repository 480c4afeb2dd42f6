//! Every kind of ready-made file, through a session or the tree itself.
#![allow(missing_docs)] // records of tests

use std::collections::BTreeMap;

use atoll_9p::bytes::Bytes;
use atoll_9p::fault::{Errno, Fault};
use atoll_9p::msg::{Rmsg, Tmsg, entries};
use atoll_9p::record::Record;
use atoll_9p::server::Limits;
use atoll_9p::stream::Stream;
use atoll_9p::synth::{Clones, Command, FileLimits, Files, Flow, Node, Open, Synth, Verb};
use atoll_9p::tree::{Reply, Tree, Who};
use atoll_9p::types::{OpId, OpenFlags, mode};
use common::*;

#[path = "../common/mod.rs"]
mod common;
mod limits;
mod named;
mod numbered;
mod records;
mod streams;

atoll_9p::record! {
    /// How it is.
    #[derive(Clone, Debug, PartialEq)]
    pub struct Status = "status", 3 {
        /// How often.
        pub count: u64,
        pub name: String,
    }
}

struct State {
    status: Status,
    calls: BTreeMap<u64, (String, Stream)>,
    ended: Vec<u64>,
    console: Bytes,
    input: Bytes,
    log: Stream,
    /// Names and numbers of a huge directory.
    names: BTreeMap<u64, String>,
    done: u32,
}

const VERBS: &[Verb] =
    &[Verb::new("say", "TEXT", 1), Verb::new("hangup", "", 0), Verb::new("count", "", 0)];

fn call(s: &mut State, n: u64, c: &Command<'_>) -> Result<(), Fault> {
    match c.verb {
        "hangup" => c.end(),
        _ => s.calls.get_mut(&n).ok_or(Errno::ESTALE)?.1.push(c.rest),
    }
    Ok(())
}

fn files(keep: usize) -> Files<'static, State> {
    let mut t = Synth::new();
    let root = t.root();
    let sub = t.dir(root, "sub");
    t.dir(sub, "empty");
    t.record_rw(
        sub,
        "status",
        |s: &mut State| Ok(s.status.clone()),
        |s, new: Status| match new.count {
            13 => Err(Fault::new(Errno::EINVAL, "not 13")),
            _ => {
                s.status = new;
                Ok(())
            }
        },
    );
    t.text(root, "text", |s, out| {
        *out += &s.status.name;
        Ok(())
    });
    let own = t.text(root, "own", |_, _| Ok(()));
    t.versioned(own, |s, _| s.status.count as u32);
    let clones = Clones::new(
        3,
        |s: &mut State, n| {
            s.calls.insert(n, (format!("call {n}"), Stream::new(100)));
            Ok(())
        },
        |s, n| {
            s.calls.remove(&n);
            s.ended.push(n);
        },
    );
    let conn = t.clone_dir(root, "conn", clones.keep(keep));
    t.each_ctl(conn, "ctl", VERBS, call);
    t.each_record(conn, "status", |s, n| {
        let call = s.calls.get(&n).ok_or(Errno::ESTALE)?;
        Ok(Status { count: n, name: call.0.clone() })
    });
    t.each_stream(conn, "data", |s, n| s.calls.get_mut(&n).map(|c| &mut c.1));
    t.flow(root, "console", Flow::new().out(|s: &mut State, _| Some(&mut s.console)));
    let both = Flow::new().out(|s: &mut State, _| Some(&mut s.console));
    t.flow(root, "tty", both.into(|s, _| Some(&mut s.input)));
    t.stream(root, "log", |s| &mut s.log);
    let many = t.huge(
        root,
        "many",
        |s: &mut State, name| s.names.iter().find(|n| n.1 == name).map(|n| *n.0),
        |s, from, each| {
            let mut names = s.names.range(from..);
            while names.next().is_some_and(|(id, name)| each(*id, name)) {}
        },
    );
    t.each_text(many, "id", |_, id, out| {
        *out += &format!("{id}\n");
        Ok(())
    });
    t.each_record(many, "status", |s, id| {
        let name = s.names.get(&id).ok_or(Errno::ESTALE)?.clone();
        Ok(Status { count: id, name })
    });
    let flat = t.huge(
        root,
        "flat",
        |_: &mut State, name| name.strip_prefix('f')?.parse().ok().filter(|n| *n < 1_000_000),
        |_, from, each| {
            for id in from..1_000_000 {
                if !each(id, &format!("f{id}")) {
                    break;
                }
            }
        },
    );
    t.each_text(flat, "", |_, id, out| {
        *out += &format!("file {id}\n");
        Ok(())
    });
    t.ctl(root, "ctl", VERBS, |s, c| {
        s.done += 1;
        if c.verb == "say" { Err(c.bad("hush")) } else { Ok(()) }
    });
    Files {
        synth: t,
        state: State {
            status: Status { count: 1, name: "one".into() },
            calls: BTreeMap::new(),
            ended: Vec::new(),
            console: Bytes::new(16),
            input: Bytes::new(8),
            log: Stream::new(64),
            names: BTreeMap::new(),
            done: 0,
        },
    }
}

type Tested = Files<'static, State>;

fn walk(t: &mut Tested, path: &str) -> Result<Node, Errno> {
    let user = atoll_9p::access::Identity::Owner.user(0);
    t.attach(&Who { uname: "u", user, aname: path }).map_err(|f| f.errno)
}

fn open(t: &mut Tested, path: &str, flags: u32) -> (Node, Open) {
    let mut node = walk(t, path).unwrap();
    let open = t.open(&mut node, OpenFlags(flags)).unwrap();
    (node, open)
}

fn read(t: &mut Tested, file: &mut (Node, Open), max: usize) -> Result<Option<Vec<u8>>, Errno> {
    let mut buf = vec![0xee; max];
    match t.read(file.0, &mut file.1, 0, &mut buf).map_err(|f| f.errno)? {
        Reply::Done(n) => Ok(Some(buf[..n].to_vec())),
        Reply::Later => Ok(None),
    }
}

fn cat(t: &mut Tested, path: &str) -> Result<Vec<u8>, Errno> {
    let mut node = walk(t, path)?;
    let open = t.open(&mut node, OpenFlags::RDONLY).map_err(|f| f.errno)?;
    let mut file = (node, open);
    let data = read(t, &mut file, 100_000);
    t.close(file.0, file.1);
    data.map(Option::unwrap)
}

fn text(t: &mut Tested, path: &str) -> String {
    String::from_utf8(cat(t, path).unwrap()).unwrap()
}

fn echo(t: &mut Tested, path: &str, data: &[u8]) -> Result<(), Fault> {
    let (node, mut open) = open(t, path, 1);
    let result = t.write(node, &mut open, 0, data);
    t.close(node, open);
    result.map(|_| ())
}

fn ls(t: &mut Tested, path: &str) -> Vec<String> {
    let mut p = Peer::attached(t, Limits::default());
    p.open(t, 1, path, OpenFlags::RDONLY);
    let (mut names, mut offset) = (Vec::new(), 0);
    loop {
        // Room for few: every entry's cookie is used.
        let f = p.ask(t, &Tmsg::Readdir { fid: 1, offset, count: 60 });
        let Ok(Rmsg::Readdir { data }) = Rmsg::decode(&f) else { panic!("{f:?}") };
        let Some(last) = entries(data).last() else { break };
        offset = last.cookie;
        for e in entries(data) {
            let node = walk(t, &format!("{path}/{}", e.name)).unwrap();
            let qid = t.qid(node).unwrap();
            assert_eq!((qid.path, qid.ty), (e.qid.path, e.qid.ty), "{path}/{}", e.name);
            names.push(e.name.to_string());
        }
    }
    p.s.close(t);
    names
}

fn version(t: &mut Tested, path: &str) -> u32 {
    let node = walk(t, path).unwrap();
    let qid = t.qid(node).unwrap();
    assert_eq!(t.stat(node).unwrap().qid, qid);
    qid.version
}
