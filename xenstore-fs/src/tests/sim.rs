//! Clients that do anything, over a connection that may go at any request.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::fake::Injected;
use super::*;

#[derive(Clone, Debug)]
enum Step {
    /// Opens one of the paths.
    Open(usize, u32),
    /// Reads or writes one of the open files.
    Read(usize, usize),
    Write(usize, u8, usize),
    Tell(usize, bool),
    Close(usize),
    Walk(usize),
    Forget(usize),
    Mkdir(usize, usize),
    Rmdir(usize, usize),
    /// Another client writes.
    Other(usize, u8),
    Pump,
}

const PATHS: [&str; 14] = [
    "/",
    "/a",
    "/a/value",
    "/a/perms",
    "/a/watch",
    "/a/b/value",
    "/a/b/watch",
    "/txn/clone",
    "/txn/1/a/value",
    "/txn/2/a/b/value",
    "/txn/1",
    "/txn/2/ctl",
    "/txn",
    "/a/value.node/value",
];
const NAMES: [&str; 5] = ["a", "b", "value.node", "value", "txn"];

fn step() -> impl Strategy<Value = Step> {
    let n = 0..64_usize;
    prop_oneof![
        6 => (n.clone(), 0..3_u32).prop_map(|(p, f)| Step::Open(p, f)),
        4 => (n.clone(), 1..40_usize).prop_map(|(f, n)| Step::Read(f, n)),
        4 => (n.clone(), any::<u8>(), 0..40_usize).prop_map(|(f, b, n)| Step::Write(f, b, n)),
        2 => (n.clone(), any::<bool>()).prop_map(|(f, c)| Step::Tell(f, c)),
        4 => n.clone().prop_map(Step::Close),
        3 => n.clone().prop_map(Step::Walk),
        3 => n.clone().prop_map(Step::Forget),
        2 => (n.clone(), n.clone()).prop_map(|(d, n)| Step::Mkdir(d, n)),
        1 => (n.clone(), n.clone()).prop_map(|(d, n)| Step::Rmdir(d, n)),
        3 => (n, any::<u8>()).prop_map(|(p, v)| Step::Other(p, v)),
        1 => Just(Step::Pump),
    ]
}

fn fault() -> impl Strategy<Value = Option<Injected>> {
    prop_oneof![
        30 => Just(None),
        1 => Just(Some(Injected::Before)),
        1 => Just(Some(Injected::After)),
        1 => Just(Some(Injected::Quota)),
    ]
}

proptest! {
    #[test]
    fn nothing_is_held_when_everybody_has_gone(
        steps in prop::collection::vec(step(), 1..120),
        faults in prop::collection::vec(fault(), 0..200),
    ) {
        let mut fs = fs(&[("/a/b", "1"), ("/a/value", "2")]);
        fs.backend.faults = VecDeque::from(faults);
        let (mut files, mut nodes): (Vec<(&str, Node, Open)>, Vec<Node>) = Default::default();
        for step in steps {
            match step {
                Step::Open(p, flags) => {
                    let path = PATHS[p % PATHS.len()];
                    if let Ok((node, open)) = fs.open_at(path, OpenFlags(flags)) {
                        files.push((path, node, open));
                    }
                }
                Step::Read(f, n) if !files.is_empty() => {
                    let at = f % files.len();
                    let (path, node, open) = &mut files[at];
                    let mut buf = vec![0; n];
                    if let Ok(Reply::Done(n)) = fs.read(*node, open, 0, &mut buf)
                        && *path == "/a/b/value"
                    {
                        let value = fs.backend.value("/a/b").unwrap_or_default();
                        prop_assert_eq!(&buf[..n], &value[..n.min(value.len())]);
                    }
                }
                Step::Write(f, byte, n) if !files.is_empty() => {
                    let at = f % files.len();
                    let (path, node, open) = &mut files[at];
                    let data = vec![byte; n];
                    let done = fs.write(*node, open, 0, &data);
                    if done.is_ok() && *path == "/a/b/value" {
                        prop_assert_eq!(fs.backend.value("/a/b"), Some(&*data));
                    }
                }
                Step::Tell(f, commit) if !files.is_empty() => {
                    let at = f % files.len();
                    let (_, node, open) = &mut files[at];
                    let _ = fs.write(*node, open, 0, if commit { b"commit" } else { b"abort" });
                }
                Step::Close(f) if !files.is_empty() => {
                    let (_, node, open) = files.swap_remove(f % files.len());
                    fs.end((node, open));
                }
                Step::Walk(p) => nodes.extend(fs.at(PATHS[p % PATHS.len()])),
                Step::Forget(n) if !nodes.is_empty() => {
                    let node = nodes.swap_remove(n % nodes.len());
                    fs.forget(node);
                }
                Step::Mkdir(d, n) => drop(fs.mkdir(PATHS[d % 2], NAMES[n % NAMES.len()])),
                Step::Rmdir(d, n) => drop(fs.rmdir(PATHS[d % 2], NAMES[n % NAMES.len()])),
                Step::Other(p, value) => {
                    fs.backend.put(["/a", "/a/b", "/c", "/a/b/d"][p % 4], &[value]);
                }
                Step::Pump => fs.woken(&mut |_| {}),
                _ => {}
            }
        }
        fs.backend.faults.clear();
        for (_, node, open) in files {
            fs.end((node, open));
        }
        nodes.into_iter().for_each(|node| fs.forget(node));
        prop_assert_eq!(fs.places.held(), (0, 0));
        prop_assert_eq!((fs.transactions.held(), fs.watches.held()), (0, 0));
    }

    #[test]
    fn a_good_connection_is_left_clean(steps in prop::collection::vec(0..64_usize, 1..60)) {
        let mut fs = fs(&[("/a/b", "1")]);
        let mut files = Vec::new();
        for step in steps {
            if step % 3 == 0 && !files.is_empty() {
                let file = files.swap_remove(step % files.len());
                fs.end(file);
            } else {
                files.extend(fs.open_at(PATHS[step % PATHS.len()], OpenFlags::RDWR));
            }
        }
        files.into_iter().for_each(|file| fs.end(file));
        fs.assert_holds_nothing();
    }
}
