//! What runs instead of a guest in a kernel that tests its drivers: bytes that
//! come in on a stream go out on it again, and a few words do things.

use alloc::vec;
use alloc::vec::Vec;

use atoll_runtime::platform::{Conn, Platform, Signal, Time, Trap};

use crate::plat::Machine;

/// Runs until `control` says `exit`.
pub(crate) fn run(machine: &mut Machine) -> u8 {
    let _ = machine.seed();
    let mut open: Vec<(Conn, Vec<u8>)> = Vec::new();
    let mut alarm: Option<Time> = None;
    loop {
        while let Some(signal) = machine.poll() {
            match signal {
                Signal::Opened(_, conn) => open.push((conn, Vec::new())),
                Signal::Closed(conn) => open.retain(|(c, _)| *c != conn),
                Signal::Readable(conn) | Signal::Writable(conn) => {
                    let Some((_, left)) = open.iter_mut().find(|(c, _)| *c == conn) else {
                        continue;
                    };
                    if let Some(status) = turn(machine, conn, left, &mut alarm) {
                        return status;
                    }
                }
                Signal::Stop => return 0,
            }
        }
        if alarm.is_some_and(|a| a <= machine.now()) {
            let now = machine.now();
            let late = now.0 - alarm.take().unwrap_or_default().0;
            for (conn, _) in &open {
                machine.send(*conn, alloc::format!("now {} late {late}\n", now.0).as_bytes());
            }
            continue;
        }
        machine.idle(alarm);
    }
}

fn turn(
    machine: &mut Machine,
    conn: Conn,
    left: &mut Vec<u8>,
    alarm: &mut Option<Time>,
) -> Option<u8> {
    let mut buf = vec![0; 4096];
    loop {
        let n = machine.send(conn, left);
        left.drain(..n);
        if !left.is_empty() {
            return None;
        }
        let n = machine.recv(conn, &mut buf);
        let bytes = buf.get(..n).unwrap_or_default();
        match bytes {
            [] => return None,
            b"!exit\n" => return Some(7),
            b"!panic\n" => panic!("as told"),
            b"!read\n" => machine.trap(Trap::Read),
            b"!code\n" => machine.trap(Trap::Code),
            b"!data\n" => machine.trap(Trap::Data),
            b"!double\n" => machine.trap(Trap::Double),
            b"!deep\n" => drop(deep(1)),
            b"!oom\n" => eat(),
            b"!close\n" => machine.close(conn),
            b"!stats\n" => {
                let memory = machine.memory();
                let mut text = alloc::format!("{memory:?} {:?}\n", machine.now());
                machine.stats(&mut |k, v| text.push_str(&alloc::format!("{k} {v}\n")));
                machine.machine_log(&mut |l| text.push_str(&alloc::format!("log {l}\n")));
                left.extend_from_slice(text.as_bytes());
            }
            [b'!', b't', digits @ ..] => {
                let ms: u64 = core::str::from_utf8(digits)
                    .ok()
                    .and_then(|d| d.trim().parse().ok())
                    .unwrap_or(1);
                *alarm = Some(machine.now().after(ms * 1_000_000));
            }
            other => left.extend_from_slice(other),
        }
    }
}

fn deep(n: u64) -> u64 {
    let keep = core::hint::black_box([n; 100]);
    if keep.contains(&0) {
        return 0;
    }
    let below = deep(core::hint::black_box(n + 1));
    below + keep.iter().sum::<u64>()
}

fn eat() {
    let mut all = Vec::new();
    loop {
        all.push(vec![1u8; 100_000]);
        log::info!("ate {}", all.len());
    }
}
