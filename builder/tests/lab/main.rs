//! An image on Xen: what `xl` and a client of another project's vchan see of it.

use std::io::Read;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use atoll_9p::client::blocking::Connection;
use atoll_builder::build::{Options, build};
use atoll_builder::repo::Repo;
use atoll_builder::ui::Ui;
use atoll_config::xl::Domain;
use atoll_lab::job::Job;
use atoll_lab::xen::wire::join;
use atoll_lab::xen::{Lab, Wire};

mod faults;

const UI: Ui = Ui { quiet: true, verbose: false, colours: false };

/// Where the guest's stream is, in dom0, once a client of it listens there.
const SOCKET: &str = "/run/control";

/// The image of a guest of this repository.
fn image(name: &str) -> Vec<u8> {
    image_of(&Repo::find().unwrap().path("images").join(name).join("guest.toml"))
}

/// The image of a guest.
fn image_of(file: &Path) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("image");
    let options = Options { out: Some(out.clone()), kernel: None };
    build(&Repo::find().unwrap(), file, &options, UI).unwrap();
    std::fs::read(out).unwrap()
}

/// Puts an image and its configuration, as `build --xl` writes it, into the lab, and starts it
/// as a domain.
fn create(lab: &Lab, name: &str, image: &[u8], memory: u64) {
    let kernel = lab.put(&format!("{name}.img"), image).unwrap();
    let domain = Domain { name, kernel: &kernel, memory: memory << 20, ..Domain::default() };
    let config = lab.put(&format!("{name}.cfg"), domain.config().as_bytes()).unwrap();
    lab.ok(&format!("xl create -q {config}")).unwrap();
}

/// Waits for what a script in dom0 finds.
fn until(lab: &Lab, script: &str) -> String {
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        let out = lab.run(script).unwrap();
        if out.status == 0 {
            return String::from_utf8(out.bytes).unwrap();
        }
        let state = || lab.ok("xl list; xenstore-ls /local/domain");
        assert!(Instant::now() < end, "{script}: {:?}", state());
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Starts Xen's own client of the guest's stream, which is told what comes to a socket. It
/// runs as long as what is returned here is kept.
fn proxy(lab: &Lab, name: &str) -> Job {
    let path = "/local/domain/$D/data/vchan/control";
    until(lab, &format!("D=$(xl domid {name}) && xenstore-read {path}/event-channel"));
    let script = format!(
        "rm -f {SOCKET}; D=$(xl domid {name}); exec vchan-socket-proxy -v $D {path} {SOCKET}"
    );
    let job = lab.job(&script).unwrap();
    until(lab, &format!("test -S {SOCKET}"));
    job
}

/// A session with the guest.
fn session(lab: &Lab) -> Connection {
    let stream = lab.open(&format!("UNIX-CONNECT:{SOCKET}")).unwrap();
    Connection::over(stream).unwrap()
}

/// What a file shows now.
fn read(guest: &Connection, path: &str) -> String {
    let mut buf = vec![0; 4096];
    let n = guest.open(path).unwrap().read(&mut buf).unwrap();
    String::from_utf8_lossy(&buf[..n]).into_owned()
}

/// A figure out of a file of lines that are a name and a number.
fn figure(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|l| l.strip_prefix(name)).unwrap();
    line.trim().parse().unwrap()
}

/// The guest's time of day, which is the host's: within an hour, whatever is slow.
fn wall(lab: &Lab, guest: &Connection) -> String {
    let text = read(guest, "export/clock/now");
    let bound =
        |seconds| lab.ok(&format!("date -u -d @$(($(date +%s) {seconds})) +%FT%T")).unwrap();
    assert!(bound("- 3600") < text && text < bound("+ 3600"), "{text}");
    text
}

#[test]
fn a_guest_goes_on_after_it_was_saved_and_after_it_was_moved() {
    let Some(lab) = Lab::for_test() else { return };
    let image = image("hello");
    // The image for all platforms.
    assert!(image.len() <= 128 << 10, "{} bytes", image.len());
    create(&lab, "hello", &image, 4);
    let client = proxy(&lab, "hello");
    let guest = session(&lab);
    guest.write("export/greeter/ctl", b"greet reef").unwrap();
    let mut last = figure(&read(&guest, "status"), "uptime_ms");
    let mut day = wall(&lab, &guest);
    let made = guest.stat("name").unwrap().mtime.sec;
    assert!(lab.ok("date +%s").unwrap().trim().parse::<u64>().unwrap().abs_diff(made) < 3600);
    let moves = [
        "xl save hello /run/saved && xl restore /run/saved",
        "xl migrate -s '' hello 'xl migrate-receive'",
    ];
    let mut held = Some((guest, client));
    for how in moves {
        // A session that is open is ended by the guest, so that nothing holds its memory.
        lab.ok(how).unwrap();
        drop(held.take());
        let client = proxy(&lab, "hello");
        let guest = session(&lab);
        assert_eq!(read(&guest, "export/greeter/greeting"), "Hello, reef!\n", "{how}");
        let now = figure(&read(&guest, "status"), "uptime_ms");
        assert!(now >= last, "{how}: time went back from {last} to {now}");
        last = now;
        let later = wall(&lab, &guest);
        assert!(later >= day, "{how}: the time of day went back from {day} to {later}");
        day = later;
        held = Some((guest, client));
    }
    let list = lab.ok("xl list").unwrap();
    assert_eq!(list.lines().count(), 3, "a domain is left behind: {list}");
    lab.ok("xl shutdown -w hello").unwrap();
}

#[test]
fn a_guest_ends_and_starts_again_when_xl_says_so() {
    let Some(lab) = Lab::for_test() else { return };
    create(&lab, "hello", &image("hello"), 4);
    let client = proxy(&lab, "hello");
    let guest = session(&lab);
    guest.write("export/greeter/ctl", b"greet Ada").unwrap();
    lab.ok("xl shutdown -w hello").unwrap();
    drop((guest, client));
    until(&lab, "test $(xl list | wc -l) = 2");
    // With the status that it leaves where it is not destroyed.
    let kept = "xl create -q /mnt/hello.cfg 'on_poweroff=\"preserve\"'";
    lab.ok(kept).unwrap();
    let status = "xenstore-read /local/domain/$(xl domid hello)/data";
    until(&lab, &format!("{status}/vchan/host/event-channel"));
    lab.ok("xl shutdown -w hello").unwrap();
    assert_eq!(lab.ok(&format!("{status}/status")).unwrap(), "0\n");
    // As another domain.
    lab.ok("xl destroy hello && xl create -q /mnt/hello.cfg").unwrap();
    let old = lab.ok("xl domid hello").unwrap();
    let old = old.trim();
    until(&lab, &format!("xenstore-read /local/domain/{old}/data/vchan/host/event-channel"));
    lab.ok("xl reboot hello").unwrap();
    until(&lab, &format!("D=$(xl domid hello) && test $D != {old}"));
    let _client = proxy(&lab, "hello");
    assert_eq!(read(&session(&lab), "export/greeter/greeting"), "Hello, world!\n");
}

#[test]
fn a_guest_that_dies_says_why_and_is_seen_to_have() {
    let Some(lab) = Lab::for_test() else { return };
    create(&lab, "crash", &image("crash"), 4);
    let _client = proxy(&lab, "crash");
    let guest = session(&lab);
    // Nobody answers what kills it.
    let _ = guest.write("export/crash/ctl", b"panic\n");
    until(&lab, "xl list crash | grep -q -- '---sc-'");
    // What the console holds; it does not end by itself.
    let record = lab.run("timeout 2 xl console crash </dev/null").unwrap().text();
    let record = record.replace('\r', "");
    assert!(record.contains("atoll-record 1\n") && record.contains("\nend\n"), "{record}");
    assert!(record.contains("kind panic\n"), "{record}");
}

#[test]
fn a_guest_moves_to_another_host_by_xl() {
    let Some(one) = Lab::for_test_apart("it takes two hosts") else { return };
    let Some(two) = Lab::for_test() else { return };
    create(&one, "hello", &image("hello"), 4);
    let client = proxy(&one, "hello");
    let guest = session(&one);
    guest.write("export/greeter/ctl", b"greet reef").unwrap();
    drop((guest, client));
    let wire = Wire::new(&one, "/run/wire", &two, "EXEC:xl migrate-receive").unwrap();
    one.ok("xl migrate -s '' hello 'socat - UNIX-CONNECT:/run/wire' 2>&1").unwrap();
    let (there, _) = wire.wait().unwrap();
    assert!(there > 4 << 20, "{there} bytes of a domain of 4 MiB");
    let _client = proxy(&two, "hello");
    assert_eq!(read(&session(&two), "export/greeter/greeting"), "Hello, reef!\n");
    until(&one, "test $(xl list | wc -l) = 2");
}

/// What a tool of diod says that has the guest's stream, carried by Xen's own client.
fn diod(lab: &Lab, tool: &str, path: &str) -> String {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("socket");
    let listener = UnixListener::bind(&socket).unwrap();
    let stream = lab.open(&format!("UNIX-CONNECT:{SOCKET}")).unwrap();
    let there = stream.socket().unwrap();
    let carrying = std::thread::spawn(move || join(listener.accept()?.0, there));
    let mut command = Command::new(tool);
    let out = command.args(["-t", "60", "-a", "/", "-s"]).arg(&socket).arg(path).output();
    let out = out.expect("diod is installed (scripts/setup.sh ci)");
    carrying.join().unwrap().unwrap();
    assert!(out.status.success(), "{tool} {path}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap()
}

#[test]
fn tools_of_others_reach_a_guest_by_a_vchan_client_of_others() {
    let Some(lab) = Lab::for_test() else { return };
    create(&lab, "hello", &image("hello"), 4);
    for (tool, path, said) in [
        ("diodls", "/", "export"),
        ("diodls", "export/greeter", "greeting"),
        ("diodcat", "name", "hello"),
    ] {
        // It ends with its client.
        let _client = proxy(&lab, "hello");
        let shown = diod(&lab, tool, path);
        assert!(shown.contains(said), "{tool} {path}: {shown}");
    }
}
