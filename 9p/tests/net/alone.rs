//! A client that is served alone, in a loop that runs, and those who come beside it.

use super::*;

/// One request after the other, by sockets that wait.
struct Asks(UnixStream);

impl Asks {
    fn ask(&mut self, m: &Tmsg<'_>) -> Vec<u8> {
        self.0.write_all(&frame(1, m)).unwrap();
        let mut answer = vec![0; 4];
        self.0.read_exact(&mut answer).unwrap();
        let size = u32::from_le_bytes(*answer.first_chunk().unwrap()) as usize;
        answer.resize(size, 0);
        self.0.read_exact(&mut answer[4..]).unwrap();
        answer
    }

    fn hello(stream: UnixStream) -> Asks {
        let mut asks = Asks(stream);
        asks.ask(&Tmsg::Version { msize: 8192, version: "9P2000.L" });
        let (uname, aname) = ("", "");
        asks.ask(&Tmsg::Attach { fid: 0, afid: NOFID, uname, aname, n_uname: NOFID });
        asks
    }

    /// So often that the loop waits for nobody else, if it is quick enough.
    fn much(&mut self) {
        for _ in 0..300 {
            assert!(matches!(Rmsg::decode(&self.ask(&GETATTR)).unwrap(), Rmsg::Getattr { .. }));
        }
    }
}

#[test]
fn who_is_served_alone_holds_nobody_off_and_can_go() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("socket");
    let listener = UnixListener::bind(&socket).unwrap();
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    let (to, from) = channel();
    let thread = std::thread::spawn(move || {
        let mut server = Server::new(events()).unwrap();
        server.listen(listener, Policy::Owner).unwrap();
        let mut reader = theirs.try_clone().unwrap();
        server
            .watch(theirs, move |tree| {
                let n = reader.read(&mut [0; 16]).unwrap();
                (0..n).for_each(|_| tree.state.events.push("news"));
            })
            .unwrap();
        to.send(server.handle()).unwrap();
        server.run().unwrap();
        server.sessions()
    });
    let handle = from.recv().unwrap();
    let connect = || Asks::hello(UnixStream::connect(&socket).unwrap());
    let mut one = connect();
    one.much();
    // Another comes, also while the first goes on,
    let mut two = connect();
    one.much();
    two.much();
    // and the first goes without a word.
    drop(one);
    two.much();
    // What comes by a descriptor is heard, and what waits then is answered.
    ours.write_all(b"1").unwrap();
    two.0.write_all(&walk_frame(1, 0, 1, &[b"events"])).unwrap();
    two.0.read_exact(&mut [0; 9 + 13]).unwrap();
    two.ask(&Tmsg::Lopen { fid: 1, flags: OpenFlags::RDONLY });
    let read = Tmsg::Read { fid: 1, offset: 0, count: 100 };
    assert_eq!(text(&two.ask(&read)), "news\n");
    two.much();
    two.0.write_all(&frame(1, &Tmsg::Read { fid: 1, offset: 5, count: 100 })).unwrap();
    ours.write_all(b"1").unwrap();
    let mut answer = [0; 11 + 5];
    two.0.read_exact(&mut answer).unwrap();
    assert_eq!(text(&answer), "news\n");
    // A silent client does not keep the loop.
    two.much();
    handle.stop();
    assert_eq!(thread.join().unwrap(), 1);
}

#[test]
fn what_is_left_of_a_message_is_waited_for() {
    let mut server = Server::new(ram()).unwrap();
    let (ours, theirs) = UnixStream::pair().unwrap();
    server.adopt(theirs, Identity::Owner).unwrap();
    let handle = server.handle();
    let thread = std::thread::spawn(move || server.run());
    let mut cli = Asks::hello(ours);
    for _ in 0..20 {
        cli.much();
        let asked = frame(1, &GETATTR);
        for part in asked.chunks(5) {
            cli.0.write_all(part).unwrap();
        }
        let mut answer = [0; 160];
        cli.0.read_exact(&mut answer).unwrap();
        assert!(matches!(Rmsg::decode(&answer).unwrap(), Rmsg::Getattr { .. }));
    }
    handle.stop();
    thread.join().unwrap().unwrap();
}

#[test]
fn who_was_alone_and_stops_reading_hears_all_when_it_reads_again() {
    const MANY: usize = 20_000;
    let mut server = Server::new(ram()).unwrap();
    let (ours, theirs) = UnixStream::pair().unwrap();
    server.adopt(theirs, Identity::Owner).unwrap();
    let handle = server.handle();
    let thread = std::thread::spawn(move || server.run());
    let mut cli = Asks::hello(ours);
    for _ in 0..3 {
        cli.much();
        let mut writer = cli.0.try_clone().unwrap();
        // More than both directions of the socket hold: the server has to wait for room.
        let flood = std::thread::spawn(move || {
            let asked = frame(1, &GETATTR);
            (0..MANY).for_each(|_| writer.write_all(&asked).unwrap());
        });
        std::thread::sleep(Duration::from_millis(20));
        let mut answer = [0; 160];
        for _ in 0..MANY {
            cli.0.read_exact(&mut answer).unwrap();
        }
        assert!(matches!(Rmsg::decode(&answer).unwrap(), Rmsg::Getattr { .. }));
        flood.join().unwrap();
        cli.much();
        // A pause, and a request after it.
        std::thread::sleep(Duration::from_millis(5));
    }
    handle.stop();
    thread.join().unwrap().unwrap();
}
