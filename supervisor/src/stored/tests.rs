use std::collections::BTreeMap;

use atoll_config::kept::{Frames, Op, frame};

use super::*;

const MOST: u64 = 1 << 30;

fn changes(changes: &[Op<'_>]) -> Vec<u8> {
    let mut body = Vec::new();
    changes.iter().for_each(|op| op.write(&mut body));
    frame(&body, false)
}

fn put(stored: &mut Stored, key: &str, value: &[u8]) -> Result<(), Fault> {
    stored.append(changes(&[Op::Put { of: "kv", key: key.as_bytes(), value }]), false)
}

fn del(stored: &mut Stored, key: &str) {
    stored.append(changes(&[Op::Del { of: "kv", key: key.as_bytes() }]), false).unwrap();
}

/// What a guest would read of it.
fn read(stored: &Stored) -> (BTreeMap<String, Vec<u8>>, Vec<Vec<u8>>) {
    let (mut frames, mut buf, mut at) = (Frames::default(), vec![0; 999], 0);
    let (mut keys, mut records) = (BTreeMap::new(), Vec::new());
    loop {
        let n = stored.read(at, &mut buf).unwrap();
        if n == 0 {
            assert_eq!(frames.rest(), 0);
            return (keys, records);
        }
        at += n as u64;
        frames.feed(&buf[..n]);
        while let Some((_, frame)) = frames.take().unwrap() {
            for op in ops(&frame[HEADER..]) {
                let name = |key: &[u8]| String::from_utf8(key.to_vec()).unwrap();
                match op.unwrap() {
                    Op::Put { key, value, .. } => drop(keys.insert(name(key), value.to_vec())),
                    Op::Del { key, .. } => drop(keys.remove(&name(key))),
                    Op::Append { n, record, .. } if n == records.len() as u64 => {
                        records.push(record.to_vec());
                    }
                    Op::Append { .. } => {}
                    Op::Clear => (keys, records) = Default::default(),
                }
            }
        }
    }
}

fn open(dir: &Path) -> Stored {
    Stored::open(dir, MOST).unwrap()
}

#[test]
fn what_was_added_is_there_and_an_end_that_is_not_whole_is_cut_off() {
    let dir = tempfile::tempdir().unwrap();
    let mut stored = open(dir.path());
    assert!(stored.is_empty());
    put(&mut stored, "a", b"one").unwrap();
    stored.sync().unwrap();
    put(&mut stored, "b", b"two").unwrap();
    let sure = stored.len();
    put(&mut stored, "c", b"three").unwrap();
    let whole = std::fs::read(dir.path().join(NAME)).unwrap();
    drop(stored);
    for cut in sure..whole.len() as u64 {
        std::fs::write(dir.path().join(NAME), &whole[..cut as usize]).unwrap();
        let stored = open(dir.path());
        assert_eq!((stored.len(), stored.torn()), (sure, cut - sure));
        assert_eq!(read(&stored).0.into_keys().collect::<String>(), "ab");
    }
    // It goes on from there.
    let mut stored = open(dir.path());
    put(&mut stored, "d", b"four").unwrap();
    drop(stored);
    assert_eq!(read(&open(dir.path())).0.into_keys().collect::<String>(), "abd");
}

#[test]
fn a_file_that_lost_what_was_sure_is_refused_and_left_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let mut stored = open(dir.path());
    put(&mut stored, "a", b"one").unwrap();
    put(&mut stored, "b", b"two").unwrap();
    stored.sync().unwrap();
    put(&mut stored, "c", b"three").unwrap();
    drop(stored);
    let path = dir.path().join(NAME);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[40] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    let why = Stored::open(dir.path(), MOST).unwrap_err();
    assert!(matches!(why, Error::Damaged { at: 0, .. }), "{why}");
    assert_eq!(std::fs::read(&path).unwrap(), bytes);
}

#[test]
fn a_log_of_what_is_gone_is_packed_when_it_is_opened_and_while_it_is_used() {
    let dir = tempfile::tempdir().unwrap();
    let mut stored = open(dir.path());
    let value = [7; 60_000];
    stored.append(changes(&[Op::Append { of: "kv", n: 0, record: b"r" }]), false).unwrap();
    put(&mut stored, "stays", b"here").unwrap();
    let mut most = 0;
    for n in 0..400 {
        put(&mut stored, &(n % 3).to_string(), &value).unwrap();
        most = most.max(stored.len());
    }
    assert!((SLACK..2 * SLACK).contains(&most), "{most}");
    let before = read(&stored);
    assert_eq!((before.0.len(), before.1.len()), (4, 1));
    (0..3).for_each(|n| del(&mut stored, &n.to_string()));
    stored.sync().unwrap();
    drop(stored);
    let stored = open(dir.path());
    assert!(stored.len() < 200, "{}", stored.len());
    assert_eq!(read(&stored).0.into_keys().collect::<Vec<_>>(), ["stays"]);
    assert_eq!(read(&stored).1, [b"r"]);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn no_more_is_kept_than_a_guest_may_store() {
    let dir = tempfile::tempdir().unwrap();
    let mut stored = Stored::open(dir.path(), 100_000).unwrap();
    put(&mut stored, "a", &[1; 60_000]).unwrap();
    let why = put(&mut stored, "b", &[1; 60_000]).unwrap_err();
    assert_eq!((why.errno, why.blame), (Errno::ENOSPC, Blame::Guest));
    // What takes the place of something else finds room.
    put(&mut stored, "a", &[2; 30_000]).unwrap();
    put(&mut stored, "a", &[3; 30_000]).unwrap();
    put(&mut stored, "a", &[4; 30_000]).unwrap();
    assert_eq!(read(&stored).0["a"], [4; 30_000]);
    let nonsense = frame(b"\x09 no change", false);
    assert_eq!(stored.append(nonsense, false).unwrap_err().errno, Errno::EINVAL);
}

#[test]
fn a_full_disk_is_told_and_leaves_what_was_there() {
    let dir = tempfile::tempdir().unwrap();
    let mut stored = open(dir.path());
    put(&mut stored, "a", b"one").unwrap();
    // Nothing can be written to a file like this, whatever the reason.
    let file = std::mem::replace(&mut stored.file, File::open(dir.path().join(NAME)).unwrap());
    let why = put(&mut stored, "b", b"two").unwrap_err();
    assert_eq!(why.blame, Blame::Host);
    assert!(why.text().starts_with("the host cannot keep what is stored: "), "{why}");
    stored.file = file;
    put(&mut stored, "c", b"three").unwrap();
    drop(stored);
    assert_eq!(read(&open(dir.path())).0.into_keys().collect::<String>(), "ac");
}
