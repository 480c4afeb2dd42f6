//! A client of 9P2000 at the socket of a guest that speaks 9P2000.L.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use atoll_9p::dialect::Dialect;
use atoll_9p::msg::{Rmsg, Tmsg, encode_walk, stats};
use atoll_9p::wire::{NOFID, NOTAG};

use crate::fixture::{Guest, PATIENCE, Place};

const OREAD: u8 = 0;
const OWRITE: u8 = 1;

struct Plan9 {
    stream: UnixStream,
    next: u32,
}

impl Plan9 {
    fn attach(place: &Place) -> Plan9 {
        let stream = UnixStream::connect(place.socket("hello")).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut c = Plan9 { stream, next: 0 };
        c.send(NOTAG, &Tmsg::Version { msize: 8192, version: "9P2000" });
        let answer = c.receive();
        let want = Rmsg::Version { msize: 8192, version: "9P2000" };
        assert_eq!(Rmsg::decode(&answer).unwrap(), want);
        let auth = Tmsg::Auth { afid: 7, uname: "glenda", aname: "", n_uname: NOFID };
        assert_eq!(c.ask(&auth).unwrap_err(), "no authentication is needed here");
        let (uname, aname) = ("glenda", "");
        c.ask(&Tmsg::Attach { fid: 0, afid: NOFID, uname, aname, n_uname: NOFID }).unwrap();
        c
    }

    fn send(&mut self, tag: u16, m: &Tmsg<'_>) {
        let mut frame = Vec::new();
        m.encode_in(Dialect::Plain, tag, &mut frame);
        self.stream.write_all(&frame).unwrap();
    }

    fn receive(&mut self) -> Vec<u8> {
        let mut frame = vec![0; 4];
        self.stream.read_exact(&mut frame).unwrap();
        frame.resize(u32::from_le_bytes(frame[..4].try_into().unwrap()) as usize, 0);
        self.stream.read_exact(&mut frame[4..]).unwrap();
        frame
    }

    /// The answer, or the words of the error.
    fn ask(&mut self, m: &Tmsg<'_>) -> Result<Vec<u8>, String> {
        self.send(1, m);
        let answer = self.receive();
        match Rmsg::decode(&answer).unwrap() {
            Rmsg::Error { text } => Err(text.into()),
            _ => Ok(answer),
        }
    }

    /// A new fid for a path.
    fn open(&mut self, path: &str, mode: u8) -> Result<u32, String> {
        self.next += 1;
        let mut walk = Vec::new();
        encode_walk(1, 0, self.next, path, &mut walk).unwrap();
        self.stream.write_all(&walk).unwrap();
        match Rmsg::decode(&self.receive()).unwrap() {
            Rmsg::Error { text } => return Err(text.into()),
            Rmsg::Walk { count, .. } => assert_eq!(usize::from(count), path.split('/').count()),
            other => panic!("{other:?}"),
        }
        self.ask(&Tmsg::Open { fid: self.next, mode })?;
        Ok(self.next)
    }

    fn read(&mut self, path: &str) -> Vec<u8> {
        let fid = self.open(path, OREAD).unwrap();
        let mut all = Vec::new();
        loop {
            let m = Tmsg::Read { fid, offset: all.len() as u64, count: 8000 };
            match Rmsg::decode(&self.ask(&m).unwrap()).unwrap() {
                Rmsg::Read { data: [], .. } => break,
                Rmsg::Read { data, .. } => all.extend_from_slice(data),
                other => panic!("{other:?}"),
            }
        }
        self.ask(&Tmsg::Clunk { fid }).unwrap();
        all
    }

    fn write(&mut self, path: &str, data: &[u8]) -> Result<(), String> {
        let fid = self.open(path, OWRITE)?;
        let done = self.ask(&Tmsg::Write { fid, offset: 0, data, op: None });
        self.ask(&Tmsg::Clunk { fid }).unwrap();
        done.map(drop)
    }
}

#[test]
fn plan_9_s_language_is_spoken_at_the_socket() {
    let place = Place::new();
    let guest = Guest::start(&place, "hello", "process", &[]);
    let mut c = Plan9::attach(&place);
    let list = c.read("export/greeter");
    let names: Vec<_> = stats(&list).map(|s| s.name).collect();
    for name in ["ctl", "events", "greeting"] {
        assert!(names.contains(&name), "{name} in {names:?}");
    }
    c.write("export/greeter/ctl", b"greet Ada\n").unwrap();
    let greeting = String::from_utf8(c.read("export/greeter/greeting")).unwrap();
    assert!(greeting.contains("Ada"), "{greeting:?}");
    assert_eq!(place.ok(&["cat", "hello", "/export/greeter/greeting"]), greeting);
    // Errors are the guest's own words, or those that Linux knows.
    let error = c.write("export/greeter/ctl", b"foo\n").unwrap_err();
    assert!(error.contains("\"foo\""), "{error}");
    assert_eq!(c.open("nothing", OREAD).unwrap_err(), "No such file or directory");
    let fid = c.open("name", OREAD).unwrap();
    match Rmsg::decode(&c.ask(&Tmsg::Stat { fid }).unwrap()).unwrap() {
        Rmsg::Stat { stat } => assert_eq!((stat.name, stat.mode), ("name", 0o444)),
        other => panic!("{other:?}"),
    }
    assert!(c.ask(&Tmsg::Remove { fid }).is_err(), "but the fid is gone");
    assert_eq!(c.ask(&Tmsg::Stat { fid }).unwrap_err(), "Bad file descriptor");

    // A read that waits ends with what happens, or with a flush.
    let fid = c.open("export/greeter/events", OREAD).unwrap();
    let mut offset = 0;
    let line = |c: &mut Plan9, offset: &mut u64| {
        c.send(2, &Tmsg::Read { fid, offset: *offset, count: 8000 });
        let answer = c.receive();
        match Rmsg::decode(&answer).unwrap() {
            Rmsg::Read { data, .. } => {
                *offset += data.len() as u64;
                String::from_utf8(data.to_vec()).unwrap()
            }
            other => panic!("{other:?}"),
        }
    };
    assert!(line(&mut c, &mut offset).contains("Ada"));
    c.send(3, &Tmsg::Read { fid, offset, count: 8000 });
    c.send(4, &Tmsg::Flush { oldtag: 3 });
    let flushed = c.receive();
    assert_eq!((flushed[4], flushed[5]), (109, 4));
    c.send(3, &Tmsg::Read { fid, offset, count: 8000 });
    place.ok(&["write", "hello", "/export/greeter/ctl", "greet", "Bob"]);
    let answer = c.receive();
    match Rmsg::decode(&answer).unwrap() {
        Rmsg::Read { data, .. } => assert!(String::from_utf8_lossy(data).contains("Bob")),
        other => panic!("{other:?}"),
    }
    // It goes with a read that waits and a directory that is being read.
    c.send(5, &Tmsg::Read { fid, offset: 0, count: 8000 });
    let fid = c.open("export", OREAD).unwrap();
    c.send(6, &Tmsg::Read { fid, offset: 0, count: 8000 });
    drop(c);
    assert_eq!(place.ok(&["cat", "hello", "name"]), "hello\n");
    guest.stop();
    place.assert_empty();
}
