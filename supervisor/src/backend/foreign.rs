//! QEMU for a guest that is none of ours: the usual machine of a PC, which any kernel knows,
//! with a serial port that is its log and a power button.

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;

use rustix::fd::OwnedFd;

use super::qemu::{Accel, Qemu};
use super::{Backend, DEBUG_FD, Ended, INITRD_FD, KERNEL_FD, MONITOR_FD, Spec};

/// QEMU, with a kernel of somebody else's.
#[derive(Debug)]
pub struct Foreign {
    /// The program.
    pub program: PathBuf,
    /// What executes the guest's instructions.
    pub accel: Accel,
    /// The kernel's file.
    pub kernel: OwnedFd,
    /// The file of its initial file system.
    pub initrd: Option<OwnedFd>,
}

impl Foreign {
    fn qemu(&self) -> Qemu {
        Qemu { program: self.program.clone(), accel: self.accel }
    }
}

impl Backend for Foreign {
    fn name(&self) -> String {
        self.qemu().name()
    }

    fn follows_parent(&self) -> bool {
        false
    }

    fn has_monitor(&self) -> bool {
        true
    }

    fn has_streams(&self) -> bool {
        false
    }

    fn files(&self) -> io::Result<Vec<(OwnedFd, i32)>> {
        let mut files = vec![(self.kernel.try_clone()?, KERNEL_FD)];
        if let Some(initrd) = &self.initrd {
            files.push((initrd.try_clone()?, INITRD_FD));
        }
        Ok(files)
    }

    fn line(&self, spec: &Spec) -> Vec<OsString> {
        let mut line: Vec<OsString> = vec![self.program.clone().into()];
        let mut add = |words: &str| line.extend(words.split(' ').map(OsString::from));
        add("-M q35");
        add(match self.accel {
            Accel::Tcg => "-accel tcg -cpu max",
            Accel::Kvm => "-accel kvm -cpu host",
        });
        add(&format!("-m {}", spec.memory.div_ceil(1 << 20)));
        add("-nodefaults -no-user-config -display none -no-reboot");
        add("-device virtio-rng-pci");
        add(&format!("-add-fd fd={DEBUG_FD},set=1"));
        add("-chardev file,id=com,path=/dev/fdset/1,append=on -serial chardev:com");
        add(&format!("-chardev socket,id=mon,fd={MONITOR_FD},server=on,wait=off"));
        add("-mon chardev=mon,mode=control");
        add(&format!("-kernel /proc/self/fd/{KERNEL_FD}"));
        if self.initrd.is_some() {
            add(&format!("-initrd /proc/self/fd/{INITRD_FD}"));
        }
        line.extend([OsString::from("-append"), spec.launch.clone().into()]);
        line
    }

    /// That it ended with 0 says that the machine was turned off or has reset itself: which
    /// of the two, its monitor has said.
    fn ended(&self, status: ExitStatus, stderr: &str) -> Ended {
        match self.qemu().ended(status, stderr) {
            _ if status.success() => Ended::Status(0),
            Ended::Unstarted(why) => Ended::Unstarted(why),
            _ => Ended::Lost(format!("QEMU ended with {status} {stderr}").trim_end().into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;

    fn null() -> OwnedFd {
        std::fs::File::open("/dev/null").unwrap().into()
    }

    #[test]
    fn the_command_line_is_data() {
        let of =
            |initrd| Foreign { program: "qemu".into(), accel: Accel::Tcg, kernel: null(), initrd };
        let spec = Spec {
            image: "/x".into(),
            memory: 64 << 20,
            launch: "console=ttyS0 a=\"b c\"".into(),
            calls: false,
        };
        for (foreign, files) in [(of(None), 1), (of(Some(null())), 2)] {
            let line: Vec<String> =
                foreign.line(&spec).iter().map(|w| w.to_str().unwrap().to_owned()).collect();
            let text = line.join(" ");
            assert!(text.starts_with("qemu -M q35 -accel tcg -cpu max -m 64 "), "{text}");
            assert!(text.contains(" -kernel /proc/self/fd/7 "), "{text}");
            assert_eq!(text.contains(" -initrd /proc/self/fd/8 "), files == 2, "{text}");
            assert_eq!(line[line.len() - 2..], ["-append", "console=ttyS0 a=\"b c\""]);
            assert_eq!(foreign.files().unwrap().len(), files);
        }
    }

    #[test]
    fn ends_are_told_apart() {
        let foreign =
            Foreign { program: "qemu".into(), accel: Accel::Tcg, kernel: null(), initrd: None };
        let ended = |raw, stderr| foreign.ended(ExitStatus::from_raw(raw), stderr);
        assert_eq!(ended(0, ""), Ended::Status(0));
        assert!(matches!(ended(1 << 8, "qemu-system-x86_64: no"), Ended::Unstarted(_)));
        assert!(matches!(ended(1 << 8, ""), Ended::Lost(_)));
        assert!(matches!(ended(9, ""), Ended::Lost(why) if why.contains("signal: 9")));
    }
}
