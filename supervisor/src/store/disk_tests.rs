//! The file on a disk that a test holds in its hands: full, damaged, or without power.

use std::io::ErrorKind;
use std::sync::{Arc, Mutex};

use super::*;
use crate::core::{Definition, Event, Image, ImageHash, Record, What};
use crate::store::EVENTS;

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn event(seq: u64) -> Change {
    Change::Event(Event { seq, time: 5, guest: Some(name("a")), run: 1, what: What::Paused })
}

/// A little of everything; `n` tells one from another.
fn some(n: u64) -> Vec<Change> {
    let guest = name(&format!("g{}", n % 5));
    let mut record = Record::new(n, 7);
    record.run = n;
    let hash = ImageHash::new(&format!("{n:064x}")).unwrap();
    let text = "#\n".repeat(n as usize % 700);
    let definition = Definition::new(hash.clone());
    record.config = Some(crate::core::Config { definition, text });
    let image = Image { name: "i".into(), size: n, ..Image::default() };
    let mut changes = vec![
        Change::NextId(n + 1),
        Change::Put(guest.clone(), Box::new(record)),
        Change::PutImage(hash.clone(), image),
        event(n),
    ];
    match n % 7 {
        3 => changes.extend([Change::Drop(guest.clone()), Change::Release(guest)]),
        5 => changes.push(Change::DropImage(hash)),
        _ => {}
    }
    changes
}

/// A disk of which a test decides what it takes and what a loss of power leaves.
#[derive(Clone, Debug, Default)]
struct Platter(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    now: Vec<u8>,
    /// What was there at the last sync, and what was done since.
    safe: Vec<u8>,
    since: Vec<Step>,
    /// How many more steps it takes before it is full; none for no end.
    fuel: Option<u64>,
}

#[derive(Clone, Debug)]
enum Step {
    Len(u64),
    Write(u64, Vec<u8>),
}

fn run(bytes: &mut Vec<u8>, step: &Step) {
    match step {
        Step::Len(len) => bytes.resize(*len as usize, 0),
        Step::Write(at, data) => {
            let end = *at as usize + data.len();
            if bytes.len() < end {
                bytes.resize(end, 0);
            }
            bytes[*at as usize..end].copy_from_slice(data);
        }
    }
}

impl State {
    fn step(&mut self, step: Step) -> io::Result<()> {
        if self.fuel == Some(0) {
            return Err(ErrorKind::StorageFull.into());
        }
        self.fuel = self.fuel.map(|f| f - 1);
        run(&mut self.now, &step);
        self.since.push(step);
        Ok(())
    }
}

impl StorageBackend for Platter {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.lock().unwrap().now.len() as u64)
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let state = self.0.lock().unwrap();
        let from = state.now.get(offset as usize..offset as usize + out.len());
        out.copy_from_slice(from.ok_or(ErrorKind::UnexpectedEof)?);
        Ok(())
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.lock().unwrap().step(Step::Len(len))
    }
    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.0.lock().unwrap();
        if state.fuel == Some(0) {
            return Err(ErrorKind::StorageFull.into());
        }
        state.safe = state.now.clone();
        state.since.clear();
        Ok(())
    }
    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.lock().unwrap().step(Step::Write(offset, data.to_vec()))
    }
}

impl Platter {
    fn open(&self) -> Result<Disk, Error> {
        let platter = self.clone();
        Disk::with("/state/store.redb".into(), Box::new(move || build(platter.clone())), None)
    }

    /// The power is lost: of what was not synced some is there, and some is not.
    fn lose_power(&self, mut chance: u64) {
        let mut state = self.0.lock().unwrap();
        let mut left = state.safe.clone();
        for step in std::mem::take(&mut state.since) {
            chance = next(chance);
            // A file's length is as it was or as it is; of its blocks any may be missing.
            if matches!(step, Step::Len(_)) || chance.is_multiple_of(2) {
                run(&mut left, &step);
            }
        }
        (state.now, state.safe, state.fuel) = (left.clone(), left, None);
    }
}

/// Numbers without a pattern (Steele, Lea and Flood's SplitMix64).
fn next(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[test]
fn what_was_stored_is_read_again_as_the_fake_has_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut disk = Disk::open(dir.path()).unwrap();
    let mut fake = Loaded::empty();
    assert_eq!(disk.load().unwrap(), fake);
    for n in 1..60 {
        disk.apply(&some(n)).unwrap();
        fake.apply(&some(n)).unwrap();
        if n % 13 == 0 {
            drop(disk);
            disk = Disk::open(dir.path()).unwrap();
        }
        assert_eq!(disk.load().unwrap(), fake);
    }
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &std::fs::metadata(dir.path().join(FILE)).unwrap().permissions(),
    );
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn only_the_latest_events_are_kept() {
    let mut disk = Platter::default().open().unwrap();
    let mut fake = Loaded::empty();
    for round in 0..3 {
        let changes: Vec<Change> = (1..=EVENTS / 2 + 9).map(|n| event(round * 3000 + n)).collect();
        disk.apply(&changes).unwrap();
        fake.apply(&changes).unwrap();
    }
    let loaded = disk.load().unwrap();
    assert_eq!(loaded.events.len() as u64, EVENTS);
    assert_eq!(loaded, fake);
}

#[test]
fn a_guest_is_claimed_by_who_knows_its_epoch() {
    let mut stores: Vec<Box<dyn Both>> = vec![
        Box::new(Platter::default().open().unwrap()),
        Box::new(crate::store::memory::Memory::default()),
    ];
    for store in &mut stores {
        let (a, b) = (name("a"), name("b"));
        assert_eq!(store.owner(&a).unwrap(), None);
        store.claim(&a, 0, 3).unwrap();
        assert_eq!(store.owner(&a).unwrap(), Some(Owner { epoch: 3 }));
        let stale = |epoch| Err(Error::Stale { guest: name("a"), epoch });
        assert_eq!(store.claim(&a, 0, 4), stale(3));
        assert_eq!(store.claim(&a, 2, 4), stale(3));
        // An epoch is greater than every one before, whomever that was given for.
        store.claim(&b, 0, 7).unwrap();
        assert_eq!(store.claim(&a, 3, 7), stale(3));
        store.claim(&a, 3, 8).unwrap();
        assert_eq!(store.release(&a, 3), stale(8));
        store.release(&a, 8).unwrap();
        assert_eq!(store.owner(&a).unwrap(), None);
        assert_eq!(store.claim(&a, 0, 8), stale(0));
        // One that is refused takes all that is stored with it along.
        let claim = |held, next| Change::Claim { guest: name("b"), held, next };
        let before = store.load().unwrap();
        let changes = [event(before.next_seq), claim(7, 9), claim(7, 10)];
        assert_eq!(store.apply(&changes), Err(Error::Stale { guest: name("b"), epoch: 9 }));
        assert_eq!(store.load().unwrap(), before);
        store.apply(&[claim(7, 9), claim(9, 10)]).unwrap();
    }
}

trait Both: Store + Ownership {}
impl<T: Store + Ownership> Both for T {}

#[test]
fn two_supervisors_do_not_have_one_folder() {
    let dir = tempfile::tempdir().unwrap();
    let first = Disk::open(dir.path()).unwrap();
    let why = Disk::open(dir.path()).unwrap_err();
    assert_eq!(why, Error::Taken(dir.path().into()));
    assert!(why.to_string().contains("another folder with --state"), "{why}");
    drop(first);
    Disk::open(dir.path()).unwrap();
}

#[test]
fn a_full_disk_is_said_and_passes() {
    let platter = Platter::default();
    let mut disk = platter.open().unwrap();
    let mut fake = Loaded::empty();
    let mut full = 0;
    for n in 1..40 {
        disk.apply(&some(n)).unwrap();
        fake.apply(&some(n)).unwrap();
        // It takes so many steps of the next save, and then none of any.
        platter.0.lock().unwrap().fuel = Some(n % 9);
        let later = some(n + 100);
        match disk.apply(&later) {
            Ok(()) => fake.apply(&later).unwrap(),
            Err(why) => {
                assert_eq!(why, Error::Full("/state".into()));
                assert_eq!(disk.apply(&later).unwrap_err(), why);
                assert!(why.to_string().contains("make room"), "{why}");
                full += 1;
            }
        }
        platter.0.lock().unwrap().fuel = None;
        assert_eq!(disk.load().unwrap(), fake, "{n}");
    }
    assert!(full > 20, "{full}");
}

#[test]
fn what_was_acknowledged_outlives_a_loss_of_power_at_any_step() {
    let (mut kept, mut cut) = (0, 0);
    for seed in 0..60u64 {
        let platter = Platter::default();
        let mut disk = platter.open().unwrap();
        let mut fake = Loaded::empty();
        for n in 1..=next(seed) % 6 {
            disk.apply(&some(n)).unwrap();
            fake.apply(&some(n)).unwrap();
        }
        platter.0.lock().unwrap().fuel = Some(next(seed ^ 7) % 12);
        let last = some(50);
        let done = disk.apply(&last);
        platter.lose_power(seed);
        // Whatever the first supervisor still does is not done to this disk.
        drop(std::mem::replace(&mut disk, Platter::default().open().unwrap()));
        platter.lose_power(seed);
        let after = platter.open().unwrap().load().unwrap();
        let mut with = fake.clone();
        with.apply(&last).unwrap();
        match done {
            Ok(()) => assert_eq!(after, with, "{seed}"),
            Err(_) => assert!(after == fake || after == with, "{seed}"),
        }
        kept += u64::from(done.is_ok());
        cut += u64::from(done.is_err());
    }
    assert!(kept > 5 && cut > 5, "{kept} {cut}");
}

#[test]
fn a_damaged_file_is_told_and_left_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(FILE);
    let mut disk = Disk::open(dir.path()).unwrap();
    for n in 1..30 {
        disk.apply(&some(n)).unwrap();
    }
    let whole = disk.load().unwrap();
    drop(disk);
    let good = std::fs::read(&path).unwrap();
    let mut refused = 0;
    for seed in 0..200u64 {
        let mut bad = good.clone();
        for n in 0..64 {
            // Damage comes in places that are used, or the test would show little.
            let at = next(seed * 64 + n) as usize % good.len();
            bad[at] ^= 1 << (n % 8);
        }
        std::fs::write(&path, &bad).unwrap();
        match Disk::open(dir.path()).and_then(|mut d| d.load()) {
            Ok(read) => assert_eq!(read, whole, "{seed}"),
            Err(why @ Error::Damaged { .. }) => {
                refused += 1;
                let text = why.to_string();
                assert!(text.contains("is damaged") && text.contains("left as it is"), "{text}");
                assert!(std::fs::read(&path).unwrap() == bad, "{seed}: it was changed");
            }
            Err(why) => panic!("{seed}: {why}"),
        }
    }
    assert!(refused > 20, "{refused}");
    for text in [&b"not a store at all"[..], &good[..100], &good[..good.len() / 2], &[0; 8192]] {
        std::fs::write(&path, text).unwrap();
        let why = Disk::open(dir.path()).unwrap_err();
        assert!(matches!(why, Error::Damaged { .. }), "{why}");
        assert!(std::fs::read(&path).unwrap() == text);
    }
    std::fs::write(&path, &good).unwrap();
    assert_eq!(Disk::open(dir.path()).unwrap().load().unwrap(), whole);
}

#[test]
fn entries_that_are_no_records_are_named() {
    let platter = Platter::default();
    let mut disk = platter.open().unwrap();
    disk.apply(&some(1)).unwrap();
    let table = redb::TableDefinition::<&str, &[u8]>::new("guests");
    disk.write(|txn, _| {
        txn.open_table(table)?.insert("g1", &b"{\"id\": \"no\"}"[..])?;
        Ok(())
    })
    .unwrap();
    let why = disk.load().unwrap_err().to_string();
    assert!(why.contains("the entry of g1") && why.contains("damaged"), "{why}");
}

#[test]
fn a_file_of_another_version_is_refused_with_both_numbers() {
    let platter = Platter::default();
    let mut disk = platter.open().unwrap();
    let table = redb::TableDefinition::<&str, u64>::new("meta");
    disk.write(|txn, _| {
        txn.open_table(table)?.insert("format", 9)?;
        Ok(())
    })
    .unwrap();
    drop(disk);
    let why = platter.open().unwrap_err();
    assert_eq!(why, Error::Format { path: "/state/store.redb".into(), found: 9, wanted: FORMAT });
}

#[test]
fn a_folder_that_cannot_be_made_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    let why = Disk::open(&file).unwrap_err().to_string();
    assert!(why.contains("cannot use") && why.contains("file/store.redb"), "{why}");
}
