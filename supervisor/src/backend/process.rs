//! The tender: the guest as a sandboxed process.

use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::ExitStatus;

use super::{Backend, CONTROL_FD, DEBUG_FD, Ended, HOST_FD, Spec};

/// The tender ends so when it has written a record.
const RECORDED: i32 = 100;
/// The tender ends so when it could not start.
const UNSTARTED: i32 = 101;
/// SIGSYS: a system call that the sandbox does not allow.
const SIGSYS: i32 = 31;

/// The tender.
#[derive(Clone, Debug)]
pub struct Process {
    /// The program.
    pub program: PathBuf,
}

impl Backend for Process {
    fn name(&self) -> String {
        "process".into()
    }

    fn follows_parent(&self) -> bool {
        true
    }

    fn line(&self, spec: &Spec) -> Vec<OsString> {
        let pid = std::process::id();
        let mut line: Vec<OsString> = vec![self.program.clone().into()];
        let numbers = [
            ("--control-fd", CONTROL_FD.to_string()),
            ("--host-fd", HOST_FD.to_string()),
            ("--record-fd", DEBUG_FD.to_string()),
            ("--memory", spec.memory.to_string()),
            ("--parent", pid.to_string()),
            ("--launch", spec.launch.clone()),
        ];
        line.extend(numbers.into_iter().flat_map(|(name, value)| [name.into(), value.into()]));
        line.push(spec.image.clone().into());
        line
    }

    fn ended(&self, status: ExitStatus, stderr: &str) -> Ended {
        match (status.code(), status.signal()) {
            (Some(RECORDED), _) => Ended::Recorded,
            (Some(UNSTARTED), _) => Ended::Unstarted(stderr.to_owned()),
            (Some(code), _) if code < 64 => Ended::Status(code as u8),
            (_, Some(SIGSYS)) => {
                Ended::Lost("it made a system call that its sandbox does not allow".into())
            }
            _ => Ended::Lost(format!("the tender ended with {status} {stderr}").trim_end().into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_told_apart() {
        let process = Process { program: "t".into() };
        let ended = |raw| process.ended(ExitStatus::from_raw(raw), "why");
        assert_eq!(ended(0), Ended::Status(0));
        assert_eq!(ended(3 << 8), Ended::Status(3));
        assert_eq!(ended(100 << 8), Ended::Recorded);
        assert_eq!(ended(101 << 8), Ended::Unstarted("why".into()));
        assert!(matches!(ended(31), Ended::Lost(why) if why.contains("sandbox")));
    }
}
