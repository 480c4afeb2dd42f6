//! `atoll top` on a terminal of its own: what it shows, what its keys do, a supervisor that
//! goes and comes, and how it leaves the terminal.

use std::fs::File;
use std::io::{Read, Write};
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};

use super::Daemon;
use crate::fixture::PATIENCE;

/// Rows and columns of the terminal.
const SIZE: (usize, usize) = (24, 100);

/// What is to be seen on a terminal: text, and where it goes. Only what differs is ever
/// drawn, so what came last is no picture.
struct Screen {
    cells: Vec<Vec<char>>,
    at: (usize, usize),
    /// What came.
    all: String,
    done: usize,
}

impl Screen {
    fn new() -> Screen {
        let cells = vec![vec![' '; SIZE.1]; SIZE.0];
        Screen { cells, at: (0, 0), all: String::new(), done: 0 }
    }

    /// Takes in what is whole.
    fn draw(&mut self) {
        loop {
            let rest = &self.all[self.done..];
            let Some(first) = rest.chars().next() else { return };
            let mut len = first.len_utf8();
            if first == '\x1b' {
                // CSI sequences end with a letter; others are not used here.
                let Some(end) = rest.find(|c: char| c.is_ascii_alphabetic()) else { return };
                len = end + 1;
                let args = rest.get(2..end).unwrap_or_default();
                match &rest[end..=end] {
                    "H" => {
                        let mut n = args.split(';').map(|n| n.parse::<usize>().unwrap_or(1) - 1);
                        self.at = (n.next().unwrap_or(0), n.next().unwrap_or(0));
                    }
                    "J" => self.cells.iter_mut().for_each(|row| row.fill(' ')),
                    _ => {}
                }
            } else if !first.is_control() {
                let row = self.cells.get_mut(self.at.0);
                if let Some(cell) = row.and_then(|row| row.get_mut(self.at.1)) {
                    *cell = first;
                }
                self.at.1 += 1;
            }
            self.done += len;
        }
    }

    fn text(&self) -> String {
        self.cells.iter().map(|row| row.iter().collect::<String>() + "\n").collect()
    }
}

/// A command on a terminal.
struct Seat {
    child: Child,
    /// Our end.
    master: File,
    /// The terminal, kept open so that its modes can be looked at.
    slave: File,
    out: Receiver<Vec<u8>>,
    screen: Screen,
    /// Bytes of a character that is not whole.
    part: Vec<u8>,
}

impl Seat {
    fn new(daemon: &Daemon, args: &[&str]) -> Seat {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let size =
            Winsize { ws_row: SIZE.0 as u16, ws_col: SIZE.1 as u16, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&master, size).unwrap();
        let flags = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NOCTTY;
        let slave = rustix::fs::open(&*name, flags, rustix::fs::Mode::empty()).unwrap();
        let (master, slave) = (File::from(master), File::from(slave));
        let end = || Stdio::from(slave.try_clone().unwrap());
        // Without a terminal of ours, so that it asks the one that it was given.
        let atoll = daemon.place.atoll();
        let mut command = std::process::Command::new("setsid");
        command.arg("--wait").arg(atoll.get_program()).args(args);
        for (key, value) in atoll.get_envs() {
            value.map(|v| command.env(key, v));
        }
        command.env("TERM", "xterm").env_remove("NO_COLOR");
        let child = command.stdin(end()).stdout(end()).stderr(end()).spawn().unwrap();
        let (to, out) = channel();
        let mut from = master.try_clone().unwrap();
        std::thread::spawn(move || {
            let mut buf = [0; 4096];
            while let Ok(n @ 1..) = from.read(&mut buf) {
                if to.send(buf[..n].to_vec()).is_err() {
                    return;
                }
            }
        });
        Seat { child, master, slave, out, screen: Screen::new(), part: Vec::new() }
    }

    /// Waits until this is so of what is seen.
    fn until(&mut self, what: &str, is: impl Fn(&Screen) -> bool) {
        let until = Instant::now() + PATIENCE;
        while !is(&self.screen) {
            let left = until.saturating_duration_since(Instant::now());
            let Ok(more) = self.out.recv_timeout(left) else {
                panic!("no {what:?}:\n{}", self.screen.text());
            };
            self.part.extend(more);
            let whole = match std::str::from_utf8(&self.part) {
                Ok(text) => text.len(),
                Err(e) => e.valid_up_to(),
            };
            let whole: Vec<u8> = self.part.drain(..whole).collect();
            self.screen.all += std::str::from_utf8(&whole).unwrap();
            self.screen.draw();
        }
    }

    /// Waits until this is on the screen.
    fn wait_for(&mut self, text: &str) {
        self.until(text, |screen| screen.text().contains(text));
    }

    fn press(&mut self, keys: &str) {
        self.master.write_all(keys.as_bytes()).unwrap();
    }

    /// Whether lines are edited and shown by the terminal, as a shell wants it.
    fn is_cooked(&self) -> bool {
        let modes = tcgetattr(&self.slave).unwrap().local_modes;
        modes.contains(LocalModes::ICANON | LocalModes::ECHO)
    }

    /// Waits for its end: the terminal is as it was.
    fn end(mut self) {
        self.until("other screen", |screen| screen.all.contains("\x1b[?1049l"));
        assert!(self.child.wait().unwrap().success());
        assert!(self.is_cooked());
    }

    /// The process of top.
    fn pid(&self) -> Pid {
        // setsid becomes it, unless it had to leave a process group first.
        let path = format!("/proc/{0}/task/{0}/children", self.child.id());
        let children = std::fs::read_to_string(path).unwrap_or_default();
        let child = children.split_whitespace().next().and_then(|n| n.parse().ok());
        Pid::from_raw(child.unwrap_or(self.child.id() as i32)).unwrap()
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn it_shows_guests_obeys_keys_and_outlives_the_supervisor() {
    let mut daemon = Daemon::start();
    daemon.run("hello", "web", "process", &[]);
    let mut top = Seat::new(&daemon, &["top"]);
    top.wait_for("1 guest");
    top.wait_for("hello  pid ");
    assert!(!top.is_cooked());
    top.press("p");
    top.wait_for("web  paused");
    top.wait_for("stands still");
    assert_eq!(daemon.status("web", "state"), "paused");
    top.press("p");
    top.wait_for("web  running");
    assert_eq!(daemon.status("web", "state"), "running");
    top.press("l");
    top.wait_for("log of web");
    top.wait_for("tree at unix:");
    top.press("l");
    top.wait_for("hello  pid ");
    // The supervisor goes; it waits for the next one, and goes on.
    daemon.kill();
    top.wait_for("no supervisor");
    daemon.begin();
    top.wait_for("1 guest");
    top.press("k");
    top.wait_for("Kill web?");
    top.press("y");
    top.wait_for("web  stopped");
    top.wait_for("was killed");
    assert_eq!(daemon.status("web", "state"), "stopped");
    top.press("q");
    top.end();
    daemon.finish();
}

#[test]
fn it_gives_the_terminal_back_when_it_is_told_to_end() {
    let daemon = Daemon::start();
    let mut top = Seat::new(&daemon, &["top"]);
    top.wait_for("no guests yet");
    assert!(!top.is_cooked());
    kill_process(top.pid(), Signal::TERM).unwrap();
    top.end();
    let (code, why) = daemon.fails(&["top"]);
    assert!(code == 2 && why.contains("`atoll ps`"), "{code} {why}");
    daemon.finish();
}
