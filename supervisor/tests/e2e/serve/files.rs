//! The control tree by itself: records, figures, many readers, and a client that stalls.

use std::os::unix::net::UnixStream;

use atoll_9p::client::blocking::Connection;
use atoll_9p::record::Record;

use super::Daemon;

impl Daemon {
    /// Its tree, for a program.
    pub(super) fn tree(&self) -> Connection {
        Connection::unix(self.place.dir.path().join("atoll/supervisor")).unwrap()
    }
}

#[test]
fn records_are_text_and_bytes_and_metrics_are_figures() {
    let daemon = Daemon::start();
    daemon.run("hello", "a", "process", &[]);
    let tree = daemon.tree();
    let bytes = tree.read("rec/guests/a/status").unwrap();
    let status = atoll_supervisor::serve::show::Status::from_wire(&bytes).unwrap();
    assert_eq!((&*status.name, &*status.state, status.run), ("a", "running", 1));
    assert_eq!(status.to_text(), daemon.ok(&["cat", "@", "/guests/a/status"]));
    let metrics = daemon.ok(&["cat", "@", "/metrics"]);
    assert!(metrics.contains("\natoll_guests{state=\"running\"} 1\n"), "{metrics}");
    assert!(metrics.ends_with("# EOF\n"), "{metrics}");
    for line in metrics.lines().filter(|l| !l.starts_with('#')) {
        let (name, value) = line.rsplit_once(' ').unwrap();
        assert!(name.starts_with("atoll_") && value.parse::<f64>().is_ok(), "{line}");
    }
    drop(tree);
    daemon.finish();
}

#[test]
fn an_event_reaches_a_hundred_watchers_and_one_that_stalls_holds_up_nobody() {
    let daemon = Daemon::start();
    daemon.ok(&["create", crate::fixture::image("hello").to_str().unwrap(), "--name", "a"]);
    // It connects, asks for a lot, and never reads.
    let mut stalled =
        UnixStream::connect(daemon.place.dir.path().join("atoll/supervisor")).unwrap();
    std::io::Write::write_all(&mut stalled, &[0x13, 0, 0, 0, 100]).unwrap();
    let watchers: Vec<_> = (0..100)
        .map(|_| {
            let tree = daemon.tree();
            std::thread::spawn(move || {
                use std::io::Read;
                let mut log = tree.open("log").unwrap();
                let (mut all, mut buf) = (String::new(), [0; 4096]);
                while !all.contains(" a 0 forgotten") {
                    let n = log.read(&mut buf).unwrap();
                    all += std::str::from_utf8(&buf[..n]).unwrap();
                }
                all.lines().count()
            })
        })
        .collect();
    daemon.ok(&["rm", "--yes", "a"]);
    let counts: Vec<usize> = watchers.into_iter().map(|w| w.join().unwrap()).collect();
    assert!(counts.iter().all(|n| *n == counts[0]), "{counts:?}");
    drop(stalled);
    daemon.finish();
}
