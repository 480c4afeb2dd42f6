//! Directories in which clients make and remove entries, and files of a kind of one's own.

use super::*;
use atoll_9p::synth::{Growing, Names, Special};
use atoll_9p::types::unlink;

/// What a machine does when it is told to, a little later.
#[derive(Default)]
struct Shop {
    machines: BTreeMap<u64, Machine>,
    made: u64,
    closed: u32,
    stirred: Vec<Node>,
}

#[derive(Default)]
struct Machine {
    name: String,
    plan: Vec<u8>,
    /// Orders, each with whether it was carried out.
    orders: Vec<(String, bool)>,
}

/// An order is answered when it was carried out; a place is the number of the one that
/// an open file waits for.
struct Order;

impl Special<Shop> for Order {
    fn perm(&self) -> u16 {
        0o200
    }

    fn write(
        &self,
        s: &mut Shop,
        id: u64,
        place: &mut u64,
        _: u64,
        data: &[u8],
    ) -> Result<Reply, Fault> {
        let orders = &mut s.machines.get_mut(&id).ok_or(Errno::ESTALE)?.orders;
        if *place == 0 {
            orders.push((String::from_utf8_lossy(data).into(), false));
            *place = orders.len() as u64;
        }
        match orders[*place as usize - 1].1 {
            false => Ok(Reply::Later),
            true => {
                *place = 0;
                Ok(Reply::Done(data.len()))
            }
        }
    }

    fn close(&self, s: &mut Shop, _: u64, _: u64) {
        s.closed += 1;
    }
}

/// Bytes at offsets.
struct Plan;

impl Special<Shop> for Plan {
    fn perm(&self) -> u16 {
        0o644
    }

    fn read(
        &self,
        s: &mut Shop,
        id: u64,
        _: &mut u64,
        offset: u64,
        buf: &mut [u8],
    ) -> Result<Reply, Fault> {
        let plan = &s.machines.get(&id).ok_or(Errno::ESTALE)?.plan;
        Ok(Reply::Done(atoll_9p::tree::slice_at(plan, offset, buf)))
    }

    fn write(
        &self,
        s: &mut Shop,
        id: u64,
        _: &mut u64,
        offset: u64,
        data: &[u8],
    ) -> Result<Reply, Fault> {
        let plan = &mut s.machines.get_mut(&id).ok_or(Errno::ESTALE)?.plan;
        let end = offset as usize + data.len();
        plan.resize(plan.len().max(end), 0);
        plan[offset as usize..end].copy_from_slice(data);
        Ok(Reply::Done(data.len()))
    }

    fn size(&self, s: &mut Shop, id: u64) -> u64 {
        s.machines.get(&id).map_or(0, |m| m.plan.len() as u64)
    }

    fn cut(&self, s: &mut Shop, id: u64, size: u64) -> Result<(), Fault> {
        s.machines.get_mut(&id).ok_or(Errno::ESTALE)?.plan.truncate(size as usize);
        Ok(())
    }

    fn appends(&self) -> bool {
        false
    }
}

fn shop() -> (Growing<'static, Shop>, Node) {
    let mut t = Synth::new();
    let root = t.root();
    t.text(root, "made", |s: &mut Shop, out| {
        *out += &format!("{}\n", s.made);
        Ok(())
    });
    let names = Names::new(
        |s: &mut Shop, name| s.machines.iter().find(|m| m.1.name == name).map(|m| *m.0),
        |s, from, each| {
            let mut all = s.machines.range(from..);
            while all.next().is_some_and(|(id, m)| each(*id, &m.name)) {}
        },
    );
    let names = names.create(|s, name| {
        if name.len() > 8 {
            return Err(Fault::new(Errno::EINVAL, "a name has at most 8 letters"));
        }
        s.made += 1;
        s.machines.insert(s.made, Machine { name: name.into(), ..Machine::default() });
        Ok(s.made)
    });
    let names = names.remove(|s, id| match s.machines.get(&id) {
        Some(m) if m.orders.iter().any(|o| !o.1) => Err(Errno::EBUSY.into()),
        _ => s.machines.remove(&id).map(drop).ok_or(Errno::ESTALE.into()),
    });
    let each = t.named(root, "machines", names);
    let ctl = t.special(each, "ctl", Order);
    t.special(each, "plan", Plan);
    t.each_text(each, "name", |s, id, out| {
        *out += &s.machines.get(&id).ok_or(Errno::ESTALE)?.name;
        Ok(())
    });
    t.huge(root, "fixed", |_, name| (name == "one").then_some(1), |_, _, _| {});
    let files = Files { synth: t, state: Shop::default() };
    (Growing::new(files).news(|s| std::mem::take(&mut s.stirred)), ctl)
}

const DIR: u32 = 5;

fn mkdir<'a>(name: &'a str) -> Tmsg<'a> {
    Tmsg::Mkdir { dfid: DIR, name, mode: 0o755, gid: 0 }
}

fn rmdir<'a>(name: &'a str) -> Tmsg<'a> {
    Tmsg::Unlinkat { dirfd: DIR, name, flags: unlink::DIR }
}

#[test]
fn clients_make_and_remove_named_directories() {
    let (mut t, _) = shop();
    let mut p = Peer::attached(&mut t, Limits::default());
    p.walk(&mut t, 0, DIR, "machines");
    let f = p.ask(&mut t, &mkdir("press"));
    let Ok(Rmsg::Mkdir { qid }) = Rmsg::decode(&f) else { panic!("{f:?}") };
    assert!(qid.is_dir());
    p.walk(&mut t, 0, 6, "machines/press/name");
    p.ask(&mut t, &Tmsg::Lopen { fid: 6, flags: OpenFlags::RDONLY });
    assert_eq!(p.read(&mut t, 9, 6).unwrap(), b"press");
    // A name is given once, and the server has its own word on names.
    assert_eq!(p.errno(&mut t, &mkdir("press")), Errno::EEXIST.0);
    assert_eq!(p.errno(&mut t, &mkdir("..")), Errno::EINVAL.0);
    assert_eq!(p.errno(&mut t, &mkdir("much-too-long")), Errno::EINVAL.0);
    let file =
        Tmsg::Lcreate { fid: DIR, name: "file", flags: OpenFlags::WRONLY, mode: 0o644, gid: 0 };
    assert_eq!(p.errno(&mut t, &file), Errno::EPERM.0);
    // What is in it goes with it; who has that open is told.
    assert_eq!(p.errno(&mut t, &rmdir("lathe")), Errno::ENOENT.0);
    let as_file = Tmsg::Unlinkat { dirfd: DIR, name: "press", flags: 0 };
    assert_eq!(p.errno(&mut t, &as_file), Errno::EISDIR.0);
    p.ask(&mut t, &rmdir("press"));
    assert_eq!(p.errno(&mut t, &rmdir("press")), Errno::ENOENT.0);
    let read = Tmsg::Read { fid: 6, offset: 0, count: 9 };
    assert_eq!(p.errno(&mut t, &read), Errno::ESTALE.0);
    assert_eq!(t.files.state.made, 1);
    // Nothing else can be made or removed, here or elsewhere.
    p.ask(&mut t, &mkdir("lathe"));
    for dir in ["machines/lathe", "fixed", ""] {
        p.walk(&mut t, 0, 7, dir);
        let make = Tmsg::Mkdir { dfid: 7, name: "x", mode: 0o755, gid: 0 };
        assert!([1, 13].contains(&p.errno(&mut t, &make)), "{dir}");
        let name = if dir == "fixed" { "one" } else { "name" };
        let remove = Tmsg::Unlinkat { dirfd: 7, name, flags: unlink::DIR };
        assert!([1, 13].contains(&p.errno(&mut t, &remove)), "{dir}");
        p.ask(&mut t, &Tmsg::Clunk { fid: 7 });
    }
    p.s.close(&mut t);
}

#[test]
fn who_attaches_is_asked_about() {
    let (t, _) = shop();
    let mut t = t.gate(|s, who| match who.uname {
        "u" => Err(Fault::new(Errno::EACCES, "closed")),
        _ => {
            s.made += 100;
            Ok(())
        }
    });
    let user = atoll_9p::access::Identity::Owner.user(0);
    let fault = t.attach(&Who { uname: "u", user, aname: "" }).unwrap_err();
    assert_eq!((fault.errno, t.files.state.made), (Errno::EACCES, 0));
    t.attach(&Who { uname: "v", user, aname: "" }).unwrap();
    assert_eq!(t.files.state.made, 100);
}

#[test]
fn what_is_made_tells_in_its_directorys_version() {
    let (mut t, _) = shop();
    let at = |t: &mut Growing<'_, Shop>| {
        let user = atoll_9p::access::Identity::Owner.user(0);
        let node = t.attach(&Who { uname: "u", user, aname: "machines" }).unwrap();
        t.qid(node).unwrap().version
    };
    let mut p = Peer::attached(&mut t, Limits::default());
    p.walk(&mut t, 0, DIR, "machines");
    let first = at(&mut t);
    p.ask(&mut t, &mkdir("a"));
    let second = at(&mut t);
    p.ask(&mut t, &rmdir("a"));
    let third = at(&mut t);
    assert!(first != second && second != third);
    p.s.close(&mut t);
}

#[test]
fn a_command_may_be_answered_later_and_those_of_one_file_keep_their_order() {
    let (mut t, ctl) = shop();
    let mut p = Peer::attached(&mut t, Limits::default());
    p.walk(&mut t, 0, DIR, "machines");
    p.ask(&mut t, &mkdir("press"));
    p.walk(&mut t, 0, 6, "machines/press/ctl");
    p.ask(&mut t, &Tmsg::Lopen { fid: 6, flags: OpenFlags::WRONLY });
    for (tag, data) in [(20, &b"first"[..]), (21, b"second")] {
        let sent = frame(tag, &Tmsg::Write { fid: 6, offset: 0, data, op: None });
        assert!(p.raw(&mut t, &sent).is_empty(), "there is no answer yet");
    }
    let orders = |t: &Growing<'_, Shop>| {
        t.files.state.machines[&1].orders.iter().map(|o| o.0.clone()).collect::<Vec<_>>()
    };
    assert_eq!(orders(&t), ["first"], "the second stands in line");
    assert_eq!(p.errno(&mut t, &rmdir("press")), Errno::EBUSY.0);
    for (tag, n) in [(20, 0), (21, 1)] {
        t.files.state.machines.get_mut(&1).unwrap().orders[n].1 = true;
        match n {
            0 => t.files.synth.wake(ctl.of(1)),
            _ => t.files.state.stirred.push(ctl.of(1)),
        }
        let mut woken = Vec::new();
        t.woken(&mut |n| woken.push(n));
        assert_eq!(woken, [ctl.of(1)]);
        p.s.wake(woken[0]);
        let answers = p.late(&mut t);
        assert_eq!(answers.iter().map(|f| tag_of(f)).collect::<Vec<_>>(), [tag]);
    }
    assert_eq!(orders(&t), ["first", "second"]);
    // A connection that goes takes what waits with it, and the file hears of it.
    let sent = frame(22, &Tmsg::Write { fid: 6, offset: 0, data: b"third", op: None });
    assert!(p.raw(&mut t, &sent).is_empty());
    p.s.close(&mut t);
    assert_eq!(t.files.state.closed, 1);
}

#[test]
fn a_file_of_ones_own_has_offsets_and_a_length_if_it_wants() {
    let (mut t, _) = shop();
    let mut p = Peer::attached(&mut t, Limits::default());
    p.walk(&mut t, 0, DIR, "machines");
    p.ask(&mut t, &mkdir("press"));
    p.walk(&mut t, 0, 6, "machines/press/plan");
    p.ask(&mut t, &Tmsg::Lopen { fid: 6, flags: OpenFlags::RDWR });
    for (offset, data) in [(0, &b"abc"[..]), (3, b"def")] {
        p.ask(&mut t, &Tmsg::Write { fid: 6, offset, data, op: None });
    }
    assert_eq!(p.read(&mut t, 9, 6).unwrap(), b"abcdef");
    let user = atoll_9p::access::Identity::Owner.user(0);
    let node = t.attach(&Who { uname: "u", user, aname: "machines/press/plan" }).unwrap();
    assert_eq!(t.stat(node).unwrap().size, 6);
    let set = atoll_9p::types::SetAttr {
        valid: atoll_9p::types::setattr::SIZE,
        size: 2,
        ..Default::default()
    };
    t.set(node, &set).unwrap();
    assert_eq!(p.read(&mut t, 9, 6).unwrap(), b"ab");
    p.s.close(&mut t);
}
