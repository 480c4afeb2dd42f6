//! Clients that behave badly: the others must not notice.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use atoll_9p::msg::Tmsg;
use atoll_9p::types::OpenFlags;
use atoll_9p::wire::{NOFID, NOTAG};

use crate::fixture::{Guest, PATIENCE, Place, backends};

fn frames(messages: &[(u16, Tmsg<'_>)]) -> Vec<u8> {
    let mut out = Vec::new();
    messages.iter().for_each(|(tag, m)| m.encode(*tag, &mut out));
    out
}

/// A client that has attached, with the file `name` open at fid 1.
fn opened(place: &Place, name: &str) -> UnixStream {
    let mut client = UnixStream::connect(place.socket("hello")).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut walk = Vec::new();
    atoll_9p::msg::encode_walk(1, 0, 1, name, &mut walk).unwrap();
    let mut bytes = frames(&[
        (NOTAG, Tmsg::Version { msize: 8192, version: "9P2000.L" }),
        (0, Tmsg::Attach { fid: 0, afid: NOFID, uname: "", aname: "", n_uname: 0 }),
    ]);
    bytes.extend(walk);
    bytes.extend(frames(&[(2, Tmsg::Lopen { fid: 1, flags: OpenFlags::RDONLY })]));
    client.write_all(&bytes).unwrap();
    for ty in [101, 105, 111, 13] {
        let mut size = [0; 4];
        client.read_exact(&mut size).unwrap();
        let mut rest = vec![0; u32::from_le_bytes(size) as usize - 4];
        client.read_exact(&mut rest).unwrap();
        assert_eq!(rest[0], ty);
    }
    client
}

fn answers(place: &Place) {
    let start = Instant::now();
    assert_eq!(place.ok(&["cat", "hello", "name"]), "hello\n");
    assert!(start.elapsed() < Duration::from_secs(5), "others must not wait");
}

#[test]
fn one_that_never_reads_stops_itself_alone() {
    for on in backends() {
        let place = Place::new();
        let guest = Guest::start(&place, "hello", on, &[]);
        let mut clients: Vec<UnixStream> = (0..3).map(|_| opened(&place, "status")).collect();
        for client in &mut clients {
            client.set_nonblocking(true).unwrap();
            let one = frames(&[(3, Tmsg::Read { fid: 1, offset: 0, count: 8000 })]);
            let many = one.repeat(1000);
            // Until nothing more is taken, for a while.
            let (mut sent, mut full) = (0, 0);
            while full < 20 && sent < 64 << 20 {
                match client.write(&many[sent % one.len()..]) {
                    Ok(n) => (sent, full) = (sent + n, 0),
                    Err(_) => {
                        full += 1;
                        std::thread::sleep(Duration::from_millis(5));
                    }
                }
            }
            assert!(sent < 64 << 20, "{on}: a client that does not read is read for ever");
            answers(&place);
        }
        answers(&place);
        drop(clients);
        answers(&place);
        guest.stop();
        place.assert_empty();
    }
}

#[test]
fn one_that_dies_in_mid_message_or_sends_nonsense_is_alone_with_it() {
    for on in backends() {
        let place = Place::new();
        let guest = Guest::start(&place, "hello", on, &[]);
        for i in 0..50u32 {
            let mut client = opened(&place, "log");
            // It also leaves a read behind that waits.
            let read = frames(&[(3, Tmsg::Read { fid: 1, offset: 0, count: 4096 })]);
            client.write_all(&read).unwrap();
            let whole = frames(&[(4, Tmsg::Read { fid: 1, offset: 0, count: 4096 })]);
            client.write_all(&whole[..(i as usize % whole.len())]).unwrap();
        }
        answers(&place);
        for size in [0u32, 1, 4, 6, 7, 8193, 1 << 20, 1 << 31, u32::MAX] {
            let mut client = opened(&place, "name");
            let mut bytes = size.to_le_bytes().to_vec();
            bytes.extend([120, 9, 9, 1, 2, 3, 4]);
            // It may be closed before all is written.
            let _ = client.write_all(&bytes);
            let mut rest = Vec::new();
            client.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
            let _ = client.read_to_end(&mut rest);
        }
        let mut client = opened(&place, "name");
        let _ = client.write_all(&[0xff; 1 << 16]);
        answers(&place);
        let held = place.ok(&["cat", "hello", "/stats"]);
        guest.stop();
        assert!(!held.is_empty());
        place.assert_empty();
    }
}

#[test]
fn many_clients_are_served_and_more_wait_their_turn() {
    let place = Place::new();
    let guest = Guest::start(&place, "hello", "process", &[]);
    let clients: Vec<UnixStream> = (0..100).map(|_| opened(&place, "log")).collect();
    answers(&place);
    let more: Vec<UnixStream> =
        (0..100).map(|_| UnixStream::connect(place.socket("hello")).unwrap()).collect();
    drop(clients);
    answers(&place);
    drop(more);
    guest.stop();
    place.assert_empty();
}
