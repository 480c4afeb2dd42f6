//! Atoms in the machines that people run them in: images with real modules, on QEMU with
//! a packed kernel and in the tender's sandbox, driven through their files.

mod conformance;
mod faults;
mod images;
mod reopened;
mod storm;

use std::io::Read;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use atoll_9p::client::Error;
use atoll_9p::client::blocking::Connection;

use crate::fixture::{PATIENCE, Place, image};

/// Builds the image of a guest that is not in `images/`: its configuration, and the one
/// module `m.wat` that its atoms are of.
fn build(toml: &str, wat: &str) -> PathBuf {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("m.wat"), wat).unwrap();
    let file = folder.path().join("guest.toml");
    std::fs::write(&file, toml).unwrap();
    image(file.to_str().unwrap())
}

/// A connection to a guest.
fn connect(place: &Place, guest: &str) -> Connection {
    Connection::unix(place.socket(guest)).unwrap()
}

/// What a file shows now. Of an event file what has come so far, which must be something.
fn shows(c: &Connection, path: &str) -> String {
    let mut buf = vec![0; 1 << 16];
    let n = c.open(path).unwrap().read(&mut buf).unwrap();
    String::from_utf8_lossy(&buf[..n]).into_owned()
}

/// Waits until a file shows what it should.
fn wait_until(c: &Connection, path: &str, good: impl Fn(&str) -> bool) -> String {
    let end = Instant::now() + PATIENCE;
    loop {
        let got = shows(c, path);
        if good(&got) {
            return got;
        }
        assert!(Instant::now() < end, "{path} shows {got:?}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// The error number's name with which a write was refused, and its text; two empty ones
/// where it was taken.
fn refusal(written: Result<(), Error>) -> (String, String) {
    match written {
        Ok(()) => Default::default(),
        Err(Error::Refused(f)) => {
            (f.errno.name().map_or(f.errno.0.to_string(), String::from), f.text().to_string())
        }
        Err(other) => panic!("{other}"),
    }
}
