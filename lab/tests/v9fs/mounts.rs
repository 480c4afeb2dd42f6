//! The ways to mount.

use std::time::{Duration, Instant};

use atoll_9p::tree::Tree;
use atoll_lab::door::HOST;
use atoll_lab::linux::{Linux, PATIENCE};
use atoll_lab::nine::{Held, Server, Way};

/// A way to mount.
pub(crate) struct Mount<'a> {
    pub(crate) name: &'a str,
    pub(crate) options: &'a str,
    /// The client keeps what it read, and believes sizes: a computed file, which
    /// says 0, is not read at all, and a write is sent when it suits the client.
    pub(crate) cached: bool,
    /// What the server is behind.
    pub(crate) way: Way,
}

impl Mount<'_> {
    /// Whether the language has no numbers of users, and neither links nor locks.
    pub(crate) fn is_plain(&self) -> bool {
        !self.name.starts_with("9P2000.L")
    }

    /// Whether it is told of every error by a number that it knows.
    pub(crate) fn has_numbers(&self) -> bool {
        !self.is_plain() || self.name.starts_with("9P2000.u")
    }

    /// Makes the folder and mounts over it.
    pub(crate) fn at(&self, linux: &Linux, port: u16, folder: &str) {
        let options = format!("trans=tcp,port={port},{}", self.options);
        let script = format!("mkdir -p {folder} && mount -t 9p -o {options} {HOST} {folder}");
        linux.ok(&script).unwrap();
    }
}

pub(crate) const L: Mount<'_> = Mount {
    name: "9P2000.L",
    options: "version=9p2000.L,msize=65536,cache=none",
    cached: false,
    way: Way::Sessions,
};

pub(crate) const PLAIN: Mount<'_> = Mount {
    name: "9P2000",
    options: "version=9p2000,msize=65536,cache=none",
    cached: false,
    way: Way::Sessions,
};

/// As `atoll run` serves the tree of a guest.
pub(crate) const JOINT: Mount<'_> =
    Mount { name: "9P2000 through the joint", way: Way::Joint, ..PLAIN };

/// Every case that can be is run with each.
pub(crate) const MOUNTS: &[Mount<'_>] = &[
    L,
    Mount {
        name: "9P2000.L, small messages",
        options: "version=9p2000.L,msize=4096,cache=none",
        cached: false,
        way: Way::Sessions,
    },
    Mount {
        name: "9P2000.L, cached",
        options: "version=9p2000.L,msize=65536,cache=loose",
        cached: true,
        way: Way::Sessions,
    },
    PLAIN,
    // The server answers 9P2000.u with 9P2000, and the client makes do with that.
    Mount {
        name: "9P2000.u, small messages",
        options: "version=9p2000.u,msize=4096,cache=none",
        cached: false,
        way: Way::Sessions,
    },
    JOINT,
    Mount { name: "9P2000.L through the joint", way: Way::Joint, ..L },
];

/// Waits until a server's connections hold something. It hears of what a guest did a
/// little later.
pub(crate) fn held<T: Tree + 'static>(server: &Server<T>, what: impl Fn(&[Held]) -> bool) {
    let until = Instant::now() + PATIENCE;
    loop {
        let held = server.held();
        if what(&held) {
            return;
        }
        assert!(Instant::now() < until, "the server still holds {held:?}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
