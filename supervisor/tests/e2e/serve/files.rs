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

#[test]
fn a_gap_in_a_log_is_told_whole_to_who_reads_a_few_bytes_at_a_time() {
    use std::io::Read;
    let daemon = Daemon::start();
    daemon.ok(&["create", crate::fixture::image("hello").to_str().unwrap(), "--name", "a"]);
    let folder = daemon.state().join("guests/a/log");
    std::fs::create_dir_all(&folder).unwrap();
    let segment = |at: u64| folder.join(format!("{at:020}"));
    std::fs::write(segment(0), "one\n").unwrap();
    let tree = daemon.tree();
    let (mut log, mut other) =
        (tree.open("guests/a/log").unwrap(), tree.open("guests/a/log").unwrap());
    let mut buf = [0; 4];
    for log in [&mut log, &mut other] {
        log.read_exact(&mut buf).unwrap();
        assert_eq!(&buf, b"one\n");
    }
    std::fs::write(segment(1_000_004), "two\n").unwrap();
    std::fs::remove_file(segment(0)).unwrap();
    let want = "gap 1000000\ntwo\n";
    let mut said = String::new();
    while !said.ends_with("two\n") {
        let n = log.read(&mut buf[..3]).unwrap();
        said += std::str::from_utf8(&buf[..n]).unwrap();
    }
    assert_eq!(said, want);
    // One that goes away in the middle leaves nothing that others would see.
    other.read_exact(&mut buf).unwrap();
    drop(other);
    let mut other = tree.open("guests/a/log").unwrap();
    other.read_exact(&mut buf).unwrap();
    assert_eq!(&buf, b"two\n");
    drop((log, other, tree));
    daemon.finish();
}
