//! What people do with files, by each of the dialects.
//!
//! A row is a script and what it writes. It runs in an empty folder of a mount; `$O`
//! is the same folder through a second mount, so another connection. What the kernel's
//! client cannot do by plain 9P2000 is a row too, with the error that the user sees
//! or, worse, the silence. The tree is in memory, has a budget of four mebibytes, and
//! for it the time is always [`NOW`].

use atoll_9p::access::Identity;
use atoll_9p::ram::{Budget, Ram};
use atoll_9p::types::Time;
use atoll_lab::linux::Linux;
use atoll_lab::nine::Server;

use crate::mounts;
use crate::report::Report;

/// 2020-09-13 12:26:40.
const NOW: u64 = 1_600_000_000;

const LOCK: &str = "LAB_LOCK";

/// Locks of `fcntl(2)`, which no program of busybox asks for by itself.
#[test]
fn lock_in_the_guest() {
    use rustix::fs::{FlockOperation, fcntl_lock};
    let Some(path) = std::env::var_os(LOCK) else { return };
    let file = std::fs::File::options().read(true).write(true).open(path).unwrap();
    match fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => println!("word: locked"),
        Err(e) => println!("word: {e}"),
    }
    // Until there is nothing more to read: whoever has started it decides when.
    let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
}

struct Row {
    name: &'static str,
    script: &'static str,
    /// What it writes by 9P2000.L.
    l: &'static str,
    /// By 9P2000.
    plain: &'static str,
}

const fn both(name: &'static str, script: &'static str, writes: &'static str) -> Row {
    Row { name, script, l: writes, plain: writes }
}

const fn each(
    name: &'static str,
    script: &'static str,
    l: &'static str,
    plain: &'static str,
) -> Row {
    Row { name, script, l, plain }
}

const ROWS: &[Row] = &[
    both("write", "echo one >f; echo two >>f; cat f; echo three >f; cat f", "one\ntwo\nthree"),
    // The end of the file is the client's idea of it.
    each(
        "append of two clients",
        "exec 3>>f; echo a >&3; echo b >>$O/f; echo c >&3; cat f",
        "a\nb\nc",
        "a\nc",
    ),
    both(
        "O_EXCL",
        "set -C; echo a >f; (echo b >f) 2>&1 | grep -o 'File exists'; cat f",
        "File exists\na",
    ),
    both(
        "cp",
        "head -c 300001 /dev/urandom >/tmp/r; cp /tmp/r f && cp f g; cmp /tmp/r f && cmp f g && echo same; rm /tmp/r",
        "same",
    ),
    both(
        "mv",
        "echo x >f; i=$(stat -c %i f); mv f g; cat g; [ $i = $(stat -c %i g) ] && echo moved; ls",
        "x\nmoved\ng",
    ),
    // A Twstat gives no name that is taken (stat(5)).
    each(
        "mv over another",
        "echo x >f; echo y >g; mv f g; cat g; ls",
        "x\ng",
        "mv: can't rename 'f': File exists\ny\nf\ng",
    ),
    // There is no message for it, and mv copies.
    each(
        "mv to another folder",
        "mkdir a b; echo x >a/f; i=$(stat -c %i a/f); mv a/f b/g; [ $i = $(stat -c %i b/g) ] && echo moved || echo copied; find . | sort",
        "moved\n.\n./a\n./b\n./b/g",
        "copied\n.\n./a\n./b\n./b/g",
    ),
    both(
        "mv of a folder",
        "mkdir a b a/d; echo x >a/d/f; mv a/d b/e; find . | sort",
        ".\n./a\n./b\n./b/e\n./b/e/f",
    ),
    // The same: it is not looked into.
    each(
        "mv of a folder over a full one",
        "mkdir a b; touch a/f b/f; mv -T a b; find . | sort",
        "mv: can't rename 'a': Directory not empty\n.\n./a\n./a/f\n./b\n./b/f",
        "mv: can't rename 'a': File exists\n.\n./a\n./a/f\n./b\n./b/f",
    ),
    both(
        "mv of a folder below itself",
        "mkdir a; mv a a/b; find . | sort",
        "mv: can't rename 'a': Invalid argument\n.\n./a",
    ),
    both(
        "folders",
        "mkdir -p a/b/c; rmdir a; rmdir a/b/c; find . | sort; rm -r a; ls; rmdir a; mkdir b; mkdir b; rm b",
        "rmdir: 'a': Directory not empty\n.\n./a\n./a/b\nrmdir: 'a': No such file or directory\nmkdir: can't create directory 'b': File exists\nrm: 'b' is a directory",
    ),
    // There are no links, ...
    each(
        "ln",
        "echo x >f; ln f g; stat -c %h f; rm f; cat g",
        "2\nx",
        "ln: g: Operation not permitted\n1\ncat: can't open 'g': No such file or directory",
    ),
    // no symbolic ones, ...
    each(
        "ln -s",
        "ln -s no/where l; readlink l; cat l; echo x >f; ln -s f k; cat k; stat -c '%F %s' k",
        "no/where\ncat: can't open 'l': No such file or directory\nx\nsymbolic link 1",
        "ln: l: Operation not permitted\ncat: can't open 'l': No such file or directory\nln: k: Operation not permitted\ncat: can't open 'k': No such file or directory\nstat: can't stat 'k': No such file or directory",
    ),
    // Modes have nine bits. Nobody is told that others are dropped.
    each(
        "chmod",
        "touch f; mkdir d; chmod 640 f; stat -c %a f; chmod 4755 f; stat -c %a f; chmod 1777 d; stat -c %a d",
        "640\n4755\n1777",
        "640\n755\n777",
    ),
    // Whose a file is is neither shown nor changed, and nobody is told.
    each("chown", "touch f; chown 5:6 f; stat -c %u:%g f", "5:6", "4294967294:4294967294"),
    both("umask", "umask 027; touch f; mkdir d; stat -c '%n %a' f d", "f 640\nd 750"),
    both(
        "touch -d",
        "touch f; touch -d '2001-02-03 04:05:06' f; stat -c '%X %Y' f; echo x >>f; stat -c '%Y' f",
        "981173106 981173106\n1600000000",
    ),
    // The client sends its own time.
    each(
        "touch",
        "touch f; touch -d @5 f; touch f; [ $(stat -c %Y f) = 1600000000 ] && echo server || echo client",
        "server",
        "client",
    ),
    both(
        "truncate",
        "printf 123456 >f; truncate -s 3 f; cat f; truncate -s 5 f; od -An -c f; stat -c %s f",
        "123   1   2   3  \\0  \\0\n5",
    ),
    both(
        "dd",
        "printf 0123456789 >f; printf AB | dd of=f bs=1 seek=4 conv=notrunc 2>/dev/null; cat f; printf Z | dd of=f bs=1 seek=12 conv=notrunc 2>/dev/null; od -An -c f; dd if=f bs=2 skip=2 count=1 2>/dev/null",
        "0123AB6789   0   1   2   3   A   B   6   7   8   9  \\0  \\0   Z\nAB",
    ),
    both(
        "find",
        "mkdir -p a/b; touch a/1 a/b/2; find . -type f | sort; find . -name b -type d",
        "./a/1\n./a/b/2\n./a/b",
    ),
    // There is no such message: no sizes.
    each(
        "df",
        "stat -f -c '%t %S %b %l' .; df -k $PWD | wc -l",
        "1021997 4096 1024 255\n2",
        "1021997 4096 0 255\n2",
    ),
    both(
        "a thousand files",
        "for f in /mnt/thousand/*; do echo $f; done | sort -u | wc -l; echo /mnt/thousand/*9 | wc -w; seq 50 | xargs touch; ls | wc -l; rm *; ls | wc -l",
        "1000\n100\n50\n0",
    ),
    // Locks are the client's own, of one mount.
    each(
        "flock",
        "mkfifo /tmp/up /tmp/end; flock f sh -c 'echo >/tmp/up; read x </tmp/end' & read x </tmp/up; flock -n f true || echo kept; flock -n $O/f true || echo kept there; echo >/tmp/end; wait; flock -n $O/f echo free; rm /tmp/up /tmp/end",
        "kept\nkept there\nfree",
        "kept\nfree",
    ),
    // These are not even that: everybody gets them.
    each(
        "fcntl",
        "lock() { LAB_LOCK=$1 own --exact files::lock_in_the_guest --nocapture; }; touch f; mkfifo /tmp/in; lock f </tmp/in >/tmp/out & exec 4>/tmp/in; until grep -o 'word.*' /tmp/out; do usleep 20000; done; for f in f $O/f; do lock $f </dev/null | grep -o 'word.*'; done; exec 4>&-; wait; lock $O/f </dev/null | grep -o 'word.*'; rm /tmp/in /tmp/out",
        "word: locked\nword: Resource temporarily unavailable (os error 11)\nword: Resource temporarily unavailable (os error 11)\nword: locked",
        "word: locked\nword: locked\nword: locked\nword: locked",
    ),
    both(
        "fsync",
        "dd if=/dev/zero of=f bs=4096 count=4 conv=fsync 2>/dev/null; echo $?; sync; stat -c %s f",
        "0\n16384",
    ),
    // and nothing else but files and folders.
    each(
        "mkfifo",
        "mkfifo p; stat -c %F p; [ ! -p p ] || { echo hi >p & cat p; }",
        "fifo\nhi",
        "mkfifo: p: Operation not permitted\nstat: can't stat 'p': No such file or directory",
    ),
    each(
        "mknod",
        "mknod c c 1 3; stat -c '%F %t %T' c; [ ! -c c ] || { echo x >c; echo written; }",
        "character special file 1 3\nwritten",
        "mknod: c: Operation not permitted\nstat: can't stat 'c': No such file or directory",
    ),
    both(
        "an open file is removed",
        "echo here >f; exec 3<f 4>>f; rm f; ls; echo more >&4; cat <&3",
        "here\nmore",
    ),
    both(
        "another removes it",
        "echo here >f; cat f; rm $O/f; cat f; exec 3>g; rm $O/g; echo x >&3",
        "here\ncat: can't open 'f': No such file or directory",
    ),
    both(
        "another's change is seen",
        "echo one >f; cat f; echo another >$O/f; cat f; stat -c %s f",
        "one\nanother\n8",
    ),
    both(
        "names",
        "touch -- 'a b' -c ä $(printf 'x%.0s' $(seq 255)); ls | wc -l; ls | wc -c; touch $(printf 'x%.0s' $(seq 256)) 2>&1 | grep -o 'File.*'",
        "4\n266\nFile name too long",
    ),
    both(
        "no room",
        "dd if=/dev/zero of=f bs=64k count=128 2>/tmp/e; echo $?; grep -o 'No space.*' /tmp/e; rm f; echo again >g; cat g",
        "1\nNo space left on device\nagain",
    ),
    // It moves a new file over the old one.
    each(
        "sed -i",
        "echo one >f; sed -i s/one/two/ f 2>&1 | grep -o 'File exists'; cat f; ls",
        "two\nf",
        "File exists\none\nf",
    ),
    both(
        "tar",
        "mkdir -p d/e; echo x >d/e/f; tar cf t d; mkdir o; tar xf t -C o; diff -r d o/d && echo same",
        "same",
    ),
    both(
        "another user",
        "umask 077; echo mine >f; mkdir d; su ann -c \"cat $PWD/f\"; su ann -c \"echo x >$PWD/d/f\"; chmod 644 f; su ann -c \"cat $PWD/f\"; su ann -c \"echo x >$PWD/f\"; su ann -c \"rm $PWD/f\"",
        "cat: can't open '/mnt/at/f': Permission denied\nsh: can't create /mnt/at/d/f: Permission denied\nmine\nsh: can't create /mnt/at/f: Permission denied\nrm: can't remove '/mnt/at/f': Permission denied",
    ),
    each(
        "a folder for all",
        "chmod 777 .; su ann -c \"cd $PWD && echo hers >f\"; cat f; stat -c %u f",
        "hers\n1000",
        "hers\n4294967294",
    ),
];

fn tree() -> Ram {
    let mut ram = Ram::new(Budget { bytes: 4 << 20, files: 2000 });
    ram.set_now(Time::from_secs(NOW));
    for i in 0..1000 {
        ram.put(&format!("thousand/file-with-a-long-name-{i:04}"), b"x").unwrap();
    }
    ram
}

pub(crate) fn run(linux: &Linux, report: &mut Report) {
    for mount in [mounts::L, mounts::PLAIN, mounts::JOINT] {
        // Plain 9P2000 has no numbers of users: everybody is who has mounted.
        let identity = match mount.is_plain() {
            true => Identity::Peer { uid: 0, gid: 0 },
            false => Identity::Claimed,
        };
        let server = Server::start_on(mount.way, identity, tree).unwrap();
        mount.at(linux, server.port(), "/mnt");
        mount.at(linux, server.port(), "/tmp/other");
        for row in ROWS {
            let name = format!("{}: {}", mount.name, row.name);
            report.case(linux, &name, || {
                let around = format!(
                    "mkdir /mnt/at && cd /mnt/at && export O=/tmp/other/at || exit\n{}\ncd / && rm -rf /mnt/at",
                    row.script
                );
                let said = linux.run(&around).unwrap().text();
                let want = if mount.is_plain() { row.plain } else { row.l };
                assert_eq!(said.trim_end(), want);
            });
        }
        linux.ok("umount /mnt /tmp/other").unwrap();
    }
}
