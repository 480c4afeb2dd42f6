//! The lab itself: what every test against Xen relies on.

mod apart;

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use atoll_lab::shell::JOBS;
use atoll_lab::xen::{Lab, Store, Wire};

#[test]
fn dom0_runs_what_it_is_told_and_leaves_nothing() {
    let Some(lab) = Lab::for_test() else { return };
    println!("{:?}", lab.took());
    let info = lab.ok("xl info").unwrap();
    let version = if lab.is_here() { ": 4." } else { ": 4.17" };
    assert!(info.contains(&format!("xen_version            {version}")), "{info}");
    assert!(info.contains("hvm") && info.contains("free_memory"), "{info}");
    assert_eq!(lab.ok("xenstore-read /local/domain/0/name").unwrap(), "Domain-0\n");

    let out = lab.run("printf 'a\\0\\377'; echo b >&2; exit 7").unwrap();
    assert_eq!((out.status, out.bytes), (7, b"a\0\xffb\n".to_vec()));
    let late = lab.job("sleep 1000").unwrap().wait_within(Duration::from_millis(1));
    assert!(late.unwrap_err().to_string().contains("took too long"));
    assert_eq!(lab.run("pidof sleep").unwrap().status, 1);

    // Files are the same on both sides, also large ones.
    let bytes: Vec<u8> =
        (0..3_000_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let path = lab.put("bytes", &bytes).unwrap();
    lab.ok(&format!("cp {path} /run/b && cp /run/b /mnt/back")).unwrap();
    assert!(std::fs::read(lab.share().join("back")).unwrap() == bytes);
    // A program of the host finds its libraries.
    let own = lab.bring("own", &std::env::current_exe().unwrap()).unwrap();
    assert!(lab.ok(&format!("{own} --list")).unwrap().contains("leaves_nothing: test"));

    let (folder, id) = (lab.share(), lab.id());
    drop(lab);
    assert!(!folder.exists());
    assert!(!std::path::Path::new(&format!("/proc/{id}")).exists());
}

#[test]
fn streams_carry_bytes_both_ways_and_end() {
    let Some(lab) = Lab::for_test() else { return };
    // More than there are ports, one after the other, over all that these have.
    for turn in 0..12u8 {
        let mut stream = lab.open("EXEC:cat").unwrap();
        let bytes: Vec<u8> = (0..100_000u32).map(|i| (i % 251) as u8 ^ turn).collect();
        let mut up = stream.socket().unwrap();
        let there = bytes.clone();
        let writer = std::thread::spawn(move || up.write_all(&there).unwrap());
        let mut back = vec![0; bytes.len()];
        stream.read_exact(&mut back).unwrap();
        assert!(back == bytes, "turn {turn}");
        writer.join().unwrap();
    }
    // The end of what is in dom0 is the end of the stream, after all that it wrote.
    let mut text = String::new();
    lab.open("EXEC:seq 1 5000").unwrap().read_to_string(&mut text).unwrap();
    assert!(text.starts_with("1\n2\n") && text.ends_with("\n5000\n"), "{}", text.len());
    let mut none = lab.open("UNIX-CONNECT:/run/nobody").unwrap();
    assert_eq!(none.read(&mut [0]).unwrap(), 0);
    assert!(none.said().contains("No such file"), "{}", none.said());
    // Also where dom0 has a last word that nobody hears.
    drop(lab.open("SYSTEM:cat >/dev/null; echo late").unwrap());
    // Ends are heard of in dom0 too.
    let left = "pidof socat cat seq";
    let until = Instant::now() + Duration::from_secs(30);
    while lab.run(left).unwrap().status == 0 {
        assert!(Instant::now() < until, "{}", lab.ok("ps").unwrap());
    }
}

#[test]
fn labs_are_apart_and_run_side_by_side() {
    let Some(one) = Lab::for_test_apart("it takes two hosts") else { return };
    let two = Lab::with(Store::OCaml, None, &mut |_| ()).unwrap();
    one.ok("xenstore-write /test one; echo one >/mnt/file").unwrap();
    assert_eq!(two.run("xenstore-exists /test").unwrap().status, 1);
    assert!(!two.share().join("file").exists());
    two.ok("xenstore-write /test two").unwrap();
    assert_eq!(one.ok("xenstore-read /test").unwrap(), "one\n");
    assert_eq!(one.run("pidof xenstored oxenstored | wc -w").unwrap().text(), "1\n");
    assert!(two.ok("readlink /proc/$(pidof oxenstored)/exe").unwrap().contains("oxenstored"));
    let jobs: Vec<_> =
        (0..JOBS).map(|i| one.job(&format!("sleep 0.2; echo {i}")).unwrap()).collect();
    for (i, job) in jobs.into_iter().enumerate() {
        assert_eq!(job.wait().unwrap().text(), format!("{i}\n"));
    }
}

#[test]
fn a_wire_joins_two_hosts() {
    let Some(one) = Lab::for_test_apart("it takes two hosts") else { return };
    let two = Lab::start().unwrap();
    two.ok("echo two >/run/who").unwrap();
    let wire = Wire::new(&one, "/run/wire", &two, "EXEC:sh").unwrap();
    let script = "echo 'cat /run/who; head -c 1000000 /dev/zero; exit' | \
        socat -t 60 - UNIX-CONNECT:/run/wire >/run/said; head -n 1 /run/said; wc -c </run/said";
    assert_eq!(one.ok(script).unwrap(), "two\n1000004\n");
    let (there, back) = wire.wait().unwrap();
    assert!(there > 0 && back == 1_000_004, "{there} {back}");
}
