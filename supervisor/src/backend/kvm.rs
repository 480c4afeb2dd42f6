//! Whether KVM is of any use here.
//!
//! `/dev/kvm` may exist and be a software emulation that is a thousand times
//! slower than QEMU's translator. So it is used only where the processor says that
//! it can, and a tiny guest that counts to two million is back in time.

use std::io::{Seek, SeekFrom, Write};
use std::process::Stdio;
use std::time::Duration;

use command_fds::{CommandFdExt, FdMapping};
use rustix::fs::{MemfdFlags, memfd_create};

use super::qemu::Accel;

/// How long the tiny guest may take.
const LIMIT: Duration = Duration::from_millis(500);
/// What it puts on the exit port.
const VALUE: u8 = 42;

/// What to use, and why.
pub async fn choose(qemu: &std::path::Path) -> (Accel, String) {
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    if !has_flag(&cpu) {
        return (Accel::Tcg, "the processor shows neither vmx nor svm".into());
    }
    if let Err(e) = std::fs::File::options().read(true).write(true).open("/dev/kvm") {
        return (Accel::Tcg, format!("/dev/kvm: {e}"));
    }
    match probe(qemu, "kvm", LIMIT).await {
        Ok(()) => (Accel::Kvm, "a probe guest answered in time".into()),
        Err(why) => (Accel::Tcg, format!("the probe guest on KVM: {why}")),
    }
}

fn has_flag(cpuinfo: &str) -> bool {
    let flags = cpuinfo.lines().filter(|l| l.starts_with("flags"));
    flags.flat_map(str::split_whitespace).any(|f| f == "vmx" || f == "svm")
}

/// Boots the tiny guest.
async fn probe(qemu: &std::path::Path, accel: &str, limit: Duration) -> Result<(), String> {
    let said = |e: std::io::Error| e.to_string();
    let memory = memfd_create("probe", MemfdFlags::CLOEXEC).map_err(|e| said(e.into()))?;
    let mut file = std::fs::File::from(memory);
    file.write_all(&kernel()).map_err(said)?;
    file.seek(SeekFrom::Start(0)).map_err(said)?;
    let mut command = tokio::process::Command::new(qemu);
    let line = "-M microvm,acpi=off,pic=off,pit=off,rtc=off -m 2 -nodefaults -no-user-config \
                -nographic -no-reboot -device isa-debug-exit,iobase=0xf4,iosize=1";
    command.args(line.split_whitespace()).args(["-accel", accel, "-kernel", "/proc/self/fd/3"]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.process_group(0).kill_on_drop(true);
    let mapping = FdMapping { parent_fd: file.into(), child_fd: 3 };
    command.as_std_mut().fd_mappings(vec![mapping]).map_err(|e| e.to_string())?;
    let mut child = command.spawn().map_err(said)?;
    match tokio::time::timeout(limit, child.wait()).await {
        Ok(Ok(status)) if status.code() == Some(i32::from(VALUE) << 1 | 1) => Ok(()),
        Ok(Ok(status)) => Err(format!("ended with {status}")),
        Ok(Err(e)) => Err(e.to_string()),
        Err(_) => {
            let _ = child.kill().await;
            Err(format!("no answer within {limit:?}"))
        }
    }
}

/// A kernel that counts to two million and says [`VALUE`]: an ELF with one
/// loadable segment at 1 MiB and the note that names its 32-bit entry (PVH).
fn kernel() -> Vec<u8> {
    const BASE: u32 = 0x10_0000;
    const NOTE: usize = 64 + 2 * 56;
    const CODE: usize = NOTE + 20;
    let code = [
        0xb9, 0x80, 0x84, 0x1e, 0x00, // mov ecx, 2000000
        0x49, // dec ecx
        0x75, 0xfd, // jnz -3
        0xb0, VALUE, // mov al, VALUE
        0xe6, 0xf4, // out 0xf4, al
        0xf4, // hlt
        0xeb, 0xfd, // jmp -3
    ];
    let size = CODE + code.len();
    let mut out = Vec::with_capacity(size);
    let (half, word, long) = (
        |out: &mut Vec<u8>, v: u16| out.extend(v.to_le_bytes()),
        |out: &mut Vec<u8>, v: u32| out.extend(v.to_le_bytes()),
        |out: &mut Vec<u8>, v: u64| out.extend(v.to_le_bytes()),
    );
    out.extend(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0");
    half(&mut out, 2); // an executable
    half(&mut out, 62); // x86-64
    word(&mut out, 1);
    long(&mut out, u64::from(BASE) + CODE as u64);
    long(&mut out, 64); // program headers
    long(&mut out, 0); // no sections
    word(&mut out, 0);
    for v in [64, 56, 2, 0, 0, 0] {
        half(&mut out, v);
    }
    for (kind, flags, offset, len) in [(1, 5, 0, size), (4, 4, NOTE, 20)] {
        word(&mut out, kind);
        word(&mut out, flags);
        let at = u64::from(BASE) + offset as u64;
        for v in [offset as u64, at, at, len as u64, len as u64, 4] {
            long(&mut out, v);
        }
    }
    for v in [4, 4, 18] {
        word(&mut out, v); // XEN_ELFNOTE_PHYS32_ENTRY
    }
    out.extend(b"Xen\0");
    word(&mut out, BASE + CODE as u32);
    out.extend(code);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flags_decide_first() {
        assert!(has_flag("flags\t\t: fpu vmx sse\n"));
        assert!(!has_flag("flags\t\t: fpu vmxoff sse\nbugs: svm\n"));
    }

    #[tokio::test(flavor = "current_thread")]
    async fn the_probe_guest_answers_where_it_can_run() {
        let qemu = std::path::Path::new("/usr/bin/qemu-system-x86_64");
        if !qemu.exists() {
            return atoll_lab::left_out("QEMU is not installed");
        }
        assert_eq!(probe(qemu, "tcg", Duration::from_secs(20)).await, Ok(()));
        assert!(probe(qemu, "tcg", Duration::from_millis(1)).await.is_err());
    }
}
