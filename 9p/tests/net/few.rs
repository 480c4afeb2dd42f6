//! A server in a process that has hardly any descriptors.

use super::*;

/// Set in the process that has few.
const FEW: &str = "ATOLL_TEST_FEW_DESCRIPTORS";

/// The limit is a process's, so this test runs itself again in one of its own.
#[test]
fn without_descriptors_nobody_is_let_in_and_nothing_spins() {
    if std::env::var_os(FEW).is_some() {
        return few_descriptors();
    }
    let name = "few::without_descriptors_nobody_is_let_in_and_nothing_spins";
    let out = std::process::Command::new("sh")
        .args(["-c", &format!("ulimit -n 40 && exec \"$0\" --exact {name}")])
        .arg(std::env::current_exe().unwrap())
        .env(FEW, "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&out.stdout);
    assert!(out.status.success() && said.contains("1 passed"), "{said}");
}

fn few_descriptors() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let mut server = Server::new(ram()).unwrap();
    server.listen(UnixListener::bind(&path).unwrap(), Policy::Owner).unwrap();
    let mut first = Cli::of(UnixStream::connect(&path).unwrap());
    first.hello(8192);
    first.answers(&mut server, 2);
    let mut all = Vec::new();
    while let Ok(stream) = UnixStream::connect(&path) {
        all.push(Cli::of(stream));
        assert!(all.len() < 40);
    }
    let begin = std::time::Instant::now();
    for _ in 0..5 {
        server.turn(Some(Duration::from_millis(20))).unwrap();
    }
    // The first turn finds out; each other waits for as long as it may.
    assert!(begin.elapsed() >= Duration::from_millis(80));
    assert_eq!(server.sessions(), 1);
    first.ask(1, &GETATTR);
    first.answers(&mut server, 1);
    // A session that ends makes room for others, and so does anything else in time.
    drop(first);
    turns(&mut server, 2);
    assert_eq!(server.sessions(), 2, "its descriptor here, and that of its client");
    all.truncate(all.len() / 2);
    for _ in 0..100 {
        server.turn(Some(Duration::from_millis(20))).unwrap();
    }
    assert_eq!(server.sessions(), all.len());
    let last = all.last_mut().unwrap();
    last.hello(8192);
    last.answers(&mut server, 2);
}
