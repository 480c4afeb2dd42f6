//! QEMU: a microvm without anything that a guest does not use.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitStatus;

use serde::{Deserialize, Serialize};

use super::{Backend, CONTROL_FD, DEBUG_FD, Ended, HOST_FD, MONITOR_FD, Spec};

/// What executes the guest's instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Accel {
    /// QEMU's own translator.
    Tcg,
    /// The processor.
    Kvm,
}

/// The value on the exit port that stands for a record.
const RECORDED: i32 = 64;

/// QEMU.
#[derive(Clone, Debug)]
pub struct Qemu {
    /// The program.
    pub program: PathBuf,
    /// What executes the guest's instructions.
    pub accel: Accel,
}

impl Backend for Qemu {
    fn name(&self) -> String {
        let accel = match self.accel {
            Accel::Tcg => "tcg",
            Accel::Kvm => "kvm",
        };
        format!("qemu ({accel})")
    }

    fn follows_parent(&self) -> bool {
        false
    }

    fn has_monitor(&self) -> bool {
        true
    }

    fn line(&self, spec: &Spec) -> Vec<OsString> {
        let mut line: Vec<OsString> = vec![self.program.clone().into()];
        let mut add = |words: &str| line.extend(words.split(' ').map(OsString::from));
        add("-M microvm,acpi=off,pic=off,pit=off,rtc=off");
        add(match self.accel {
            // x86-64-v2, for which atoms are compiled, and nothing above.
            Accel::Tcg => "-accel tcg -cpu qemu64,+ssse3,+sse4.1,+sse4.2,+popcnt",
            Accel::Kvm => "-accel kvm -cpu host",
        });
        add(&format!("-m {}", spec.memory.div_ceil(1 << 20)));
        add("-nodefaults -no-user-config -nographic -no-reboot");
        add("-global virtio-mmio.force-legacy=false");
        add("-device virtio-serial-device,max_ports=3");
        for (name, fd, nr) in [("control", CONTROL_FD, 1), ("host", HOST_FD, 2)] {
            add(&format!("-chardev socket,id={name},fd={fd},server=on,wait=off"));
            add(&format!("-device virtserialport,chardev={name},name={name},nr={nr}"));
        }
        add("-device virtio-rng-device");
        // Without `append` it would be truncated, which a pipe cannot be.
        add(&format!("-add-fd fd={DEBUG_FD},set=1"));
        add("-chardev file,id=dbg,path=/dev/fdset/1,append=on");
        add(&format!("-chardev socket,id=mon,fd={MONITOR_FD},server=on,wait=off"));
        add("-mon chardev=mon,mode=control");
        add("-device isa-debugcon,iobase=0xe9,chardev=dbg");
        add("-device isa-debug-exit,iobase=0xf4,iosize=1");
        line.extend([OsString::from("-kernel"), spec.image.clone().into()]);
        line.extend([OsString::from("-append"), spec.launch.clone().into()]);
        line
    }

    fn ended(&self, status: ExitStatus, stderr: &str) -> Ended {
        // QEMU's own failures end with 1 too, the loader's with 127, but not without a
        // word; nor does whoever was to start it.
        let of = |l: &str| l.contains("qemu") || l.starts_with("atoll:");
        let complaint = stderr.lines().any(|l| of(l) && !l.contains("warning:"));
        match status.code() {
            Some(1 | 127) if complaint => Ended::Unstarted(stderr.to_owned()),
            Some(0) => Ended::Lost("the machine reset itself (a triple fault)".into()),
            Some(code) if code & 1 == 1 => match code >> 1 {
                RECORDED => Ended::Recorded,
                status => Ended::Status(status as u8),
            },
            _ => Ended::Lost(format!("QEMU ended with {status} {stderr}").trim_end().into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;

    #[test]
    fn the_command_line_is_data() {
        let qemu = Qemu { program: "qemu".into(), accel: Accel::Tcg };
        let spec = Spec {
            image: "/a b.img".into(),
            memory: (4 << 20) + 1,
            launch: "atoll.wall=5".into(),
            calls: true,
        };
        let line: Vec<String> =
            qemu.line(&spec).iter().map(|w| w.to_str().unwrap().to_owned()).collect();
        let text = line.join(" ");
        for part in [
            "qemu -M microvm,acpi=off,pic=off,pit=off,rtc=off \
             -accel tcg -cpu qemu64,+ssse3,+sse4.1,+sse4.2,+popcnt -m 5 ",
            "-chardev socket,id=control,fd=3,server=on,wait=off -device \
             virtserialport,chardev=control,name=control,nr=1",
            "-add-fd fd=5,set=1 -chardev file,id=dbg,path=/dev/fdset/1,append=on",
            "-chardev socket,id=mon,fd=6,server=on,wait=off -mon chardev=mon,mode=control",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
        assert_eq!(line[line.len() - 4..], ["-kernel", "/a b.img", "-append", "atoll.wall=5"]);
    }

    #[test]
    fn ends_are_told_apart() {
        let qemu = Qemu { program: "qemu".into(), accel: Accel::Tcg };
        let ended = |raw, stderr| qemu.ended(ExitStatus::from_raw(raw), stderr);
        assert_eq!(ended(1 << 8, ""), Ended::Status(0));
        assert_eq!(ended(1 << 8, "qemu-system-x86_64: warning: slow"), Ended::Status(0));
        assert_eq!(ended(7 << 8, ""), Ended::Status(3));
        assert_eq!(ended(129 << 8, ""), Ended::Recorded);
        assert!(matches!(ended(1 << 8, "qemu-system-x86_64: no"), Ended::Unstarted(_)));
        let loader = "qemu-system-x86_64: error while loading shared libraries: libx.so";
        assert!(matches!(ended(127 << 8, loader), Ended::Unstarted(_)));
        assert!(matches!(ended(1 << 8, "atoll: cannot start /x: no"), Ended::Unstarted(_)));
        assert_eq!(ended(127 << 8, ""), Ended::Status(63));
        assert!(matches!(ended(0, ""), Ended::Lost(_)));
        assert!(matches!(ended(9, ""), Ended::Lost(_)));
    }
}
