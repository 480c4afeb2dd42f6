//! What Linux's client does and others do not.

use atoll_9p::dialect::Dialect;
use atoll_9p::msg::Tmsg;
use atoll_9p::ram::Ram;
use atoll_9p::server::Limits;

mod common;
use common::{Peer, attach, data};

fn plain(m: &Tmsg<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    m.encode_in(Dialect::Plain, 1, &mut out);
    out
}

/// Its buffer with messages of 4096 bytes.
const BUFFER: usize = 4096 - 24;

/// It asks for the rest of its buffer until nothing comes (`p9_client_read`), also of
/// a directory, where an error would be one of the whole read (`v9fs_dir_readdir`).
#[test]
fn a_directory_that_fills_a_buffer_in_two_reads_is_read_on() {
    let mut ram = Ram::default();
    for i in 0..100 {
        ram.put(&format!("a file with a name {i:03}"), b"").unwrap();
    }
    let mut p = Peer::new(Limits::default());
    p.greet(&mut ram, 4096, "9P2000");
    p.one(&mut ram, &plain(&attach(1)));
    p.one(&mut ram, &plain(&Tmsg::Open { fid: 1, mode: 0 }));
    let mut read = |offset, count| {
        let m = Tmsg::Read { fid: 1, offset, count };
        let answer = p.one(&mut ram, &plain(&m));
        // Else it is an Rerror.
        (answer[4] == m.ty() + 1).then(|| data(&answer))
    };
    let (mut at, mut names, mut fills) = (0u64, 0, 0);
    loop {
        let mut buffer = Vec::new();
        while buffer.len() < BUFFER {
            let more = read(at, (BUFFER - buffer.len()) as u32).expect("an Rread");
            if more.is_empty() {
                break;
            }
            at += more.len() as u64;
            buffer.extend(more);
        }
        if buffer.is_empty() {
            break;
        }
        fills += 1;
        let mut rest = &buffer[..];
        while !rest.is_empty() {
            rest = &rest[usize::from(u16::from_le_bytes([rest[0], rest[1]])) + 2..];
            names += 1;
        }
    }
    assert_eq!(names, 100);
    assert!(fills > 1, "one buffer holds them all");
    // Who begins with so little is told why there will never be more.
    assert!(read(0, 20).is_none());
}
