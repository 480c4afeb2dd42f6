//! A file system in memory, for as long as the program runs.
//!
//! ```text
//! cargo run --package atoll-9p --features std --example ramfs /tmp/ram.sock
//! atoll mount /tmp/ram.sock /mnt
//! ```

use std::io;
use std::os::unix::net::UnixListener;
use std::time::{SystemTime, UNIX_EPOCH};

use atoll_9p::net::{Policy, Server};
use atoll_9p::ram::{Budget, Ram};
use atoll_9p::types::Time;

fn main() -> io::Result<()> {
    let mut args = std::env::args_os().skip(1);
    let Some(path) = args.next() else {
        return Err(io::Error::other("usage: ramfs SOCKET"));
    };
    let mut ram = Ram::new(Budget::default());
    ram.put("README", b"Gone when the server ends.\n").map_err(io::Error::other)?;
    let mut server = Server::new(ram)?;
    server.before_turns(|ram| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        ram.set_now(Time { sec: now.as_secs(), nsec: now.subsec_nanos() });
    });
    server.listen(UnixListener::bind(path)?, Policy::Owner)?;
    server.run()
}
