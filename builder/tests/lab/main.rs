//! An image on Xen: what `xl` and a client of another project's vchan see of it.

use std::io::Read;
use std::path::Path;
use std::time::{Duration, Instant};

use atoll_9p::client::blocking::Connection;
use atoll_builder::build::{Options, build};
use atoll_builder::repo::Repo;
use atoll_builder::ui::Ui;
use atoll_lab::job::Job;
use atoll_lab::xen::Lab;

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

/// Puts an image and its configuration into the lab, and starts it as a domain.
fn create(lab: &Lab, name: &str, image: &[u8], memory: u32) {
    let kernel = lab.put(&format!("{name}.img"), image).unwrap();
    let text = format!(
        "name = \"{name}\"\ntype = \"pvh\"\nvcpus = 1\nmemory = {memory}\nkernel = \"{kernel}\"\n\
         tsc_mode = \"native\"\non_poweroff = \"preserve\"\non_crash = \"preserve\"\n"
    );
    let config = lab.put(&format!("{name}.cfg"), text.as_bytes()).unwrap();
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
    // With the status that it leaves.
    lab.ok("xl shutdown -w hello").unwrap();
    let status = "xenstore-read /local/domain/$(xl domid hello)/data/status";
    assert_eq!(lab.ok(status).unwrap(), "0\n");
    drop((guest, client));
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
