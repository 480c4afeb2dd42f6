//! These tests on a Xen host that is somebody's, without a lab: the dom0 of a lab is such a
//! host, and this program runs in it once more.

use super::{FILES, dom0_apart};

/// What a host has that must be the same before and after, and not only of what runs.
const STATE: &str = "find /run /tmp /mnt /var/lib/xen ! -name 'job*' ! -path '/run/job/*' \
  ! -path '/run/lab*' | sort; xl list | wc -l
  xenstore-list /local/domain; xenstore-list /vm; xenstore-list /libxl; wc -l </proc/mounts
  xenstore-list /; cat /etc/xen/xl.conf; ls /dev/xen /var/log/xen; pidof atoll xl socat; true";

/// Runs some of these tests on the lab's own host: what they say, and how they ended.
const RUN: &str = "run() { /mnt/tests --exact --test-threads 1 --show-output \"$@\" 2>&1; }";

#[test]
fn a_host_is_taken_for_tests_and_given_back_as_it_was() {
    let Some(lab) = dom0_apart("it is about this itself") else { return };
    lab.bring("tests", &std::env::current_exe().unwrap()).unwrap();
    let run = format!("export ATOLL_LAB=here {FILES}=/mnt; {RUN}");
    // What Xen keeps of the first domain on a host is no trace of ours.
    lab.put("cfg", b"name=\"x\"\ntype=\"pvh\"\nkernel=\"/mnt/hello.img\"\nmemory=4\nvcpus=1\n")
        .unwrap();
    lab.ok("xl create -q -p /mnt/cfg 2>&1 && xl destroy x").unwrap();
    let before = lab.ok(STATE).unwrap();
    let out = lab
        .run(&format!(
            "{run}\nrun a_guest_lives_and_ends_as_a_domain serve::a_domain_outlives_its_supervisor \
            relocate::who_is_taken_by_somebody_else_is_not_lost wrong::no_privileges_and_no_xenstored"
        ))
        .unwrap();
    let said = out.text();
    assert!(out.status == 0 && said.contains("4 passed; 0 failed"), "{said}\n{}", lab.log());
    let left_out = "left out on this host: it makes a user and takes devices away\n";
    assert_eq!(said.matches("left out").count(), 1, "{said}");
    assert!(said.contains(left_out), "{said}");
    assert_eq!(lab.ok(STATE).unwrap(), before);

    // One that is killed leaves no process and no mount, and the domain that it leaves is named.
    let said = lab
        .ok(&format!(
            "{run}\nrun serve::a_domain_outlives_its_supervisor >/dev/null & t=$!
            until xl domid a >/dev/null 2>&1; do usleep 20000; done
            kill -9 $(pidof tests); wait $t; until [ -z \"$(pidof atoll xl)\" ]; do usleep 20000; done
            n=$(xl domid a); run a_guest_lives_and_ends_as_a_domain | sed \"s/($n)/(N)/\"
            xl destroy a; until [ $(xl list | wc -l) = 2 ]; do usleep 20000; done"
        ))
        .unwrap();
    assert!(said.contains("there are domains on this host: a (N); tests want"), "{said}");
    assert_eq!(lab.ok(STATE).unwrap(), before);
}
