//! Xen: the guest as a PVH domain, made by `xl` in dom0. The program is this one
//! ([`crate::domain`]), since a domain is no process, or a double of this process.

use std::ffi::OsString;
use std::io;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::ExitStatus;

use atoll_fork::Title;
use rustix::fd::OwnedFd;

use super::{ARRIVAL_FD, Backend, Ended, Spec, Work};
use crate::domain::{COMMAND, LOST, MOVED, RECORDED, TAKEN, UNSTARTED, front};

/// Xen.
#[derive(Debug)]
pub struct Xen {
    /// This program.
    pub atoll: PathBuf,
    /// What the domain is called.
    pub name: String,
    /// The payload of its image, as a hash.
    pub payload: String,
    /// The owner epoch.
    pub epoch: u64,
    /// The folder that a supervisor has for the guest, where it leaves a mark when it moves.
    pub home: Option<PathBuf>,
    /// The record of a prepared shell that it may take.
    pub shell: Option<PathBuf>,
    /// Where it arrives from elsewhere, if it does.
    pub arrival: Option<UnixListener>,
}

impl Backend for Xen {
    fn name(&self) -> String {
        "xen".into()
    }

    fn follows_parent(&self) -> bool {
        false
    }

    fn has_monitor(&self) -> bool {
        true
    }

    fn receive(&mut self, listener: UnixListener) -> io::Result<()> {
        self.arrival = Some(listener);
        Ok(())
    }

    fn has_streams_again(&self) -> bool {
        true
    }

    fn files(&self) -> io::Result<Vec<(OwnedFd, i32)>> {
        let Some(listener) = &self.arrival else { return Ok(Vec::new()) };
        Ok(vec![(listener.try_clone()?.into(), ARRIVAL_FD)])
    }

    fn line(&self, spec: &Spec) -> Vec<OsString> {
        let mut line: Vec<OsString> = vec![self.atoll.clone().into(), COMMAND.into()];
        let words = [
            ("--name", self.name.clone()),
            ("--memory", spec.memory.to_string()),
            ("--launch", spec.launch.clone()),
            ("--payload", self.payload.clone()),
            ("--epoch", self.epoch.to_string()),
        ];
        line.extend(words.into_iter().flat_map(|(name, value)| [name.into(), value.into()]));
        line.extend(self.arrival.as_ref().map(|_| "--receive".into()));
        if let Some(home) = &self.home {
            line.extend(["--home".into(), home.clone().into()]);
        }
        if let Some(shell) = &self.shell {
            line.extend(["--shell".into(), shell.clone().into()]);
        }
        line.push(spec.image.clone().into());
        line
    }

    fn double(&self, spec: &Spec) -> Option<Work> {
        let args = front::Args {
            name: self.name.clone(),
            memory: spec.memory,
            launch: spec.launch.clone(),
            payload: self.payload.clone(),
            epoch: self.epoch,
            receive: self.arrival.is_some(),
            home: self.home.clone(),
            shell: self.shell.clone(),
            image: spec.image.clone(),
        };
        Some(Box::new(move |files| {
            let title = [COMMAND.as_bytes(), args.name.as_bytes()];
            Title::find().into_iter().for_each(|t| t.set_behind_program(&title));
            front::stand_for(&args, files)
        }))
    }

    fn ended(&self, status: ExitStatus, stderr: &str) -> Ended {
        match status.code() {
            Some(RECORDED) => Ended::Recorded,
            Some(UNSTARTED) => Ended::Unstarted(stderr.to_owned()),
            // Whoever was to start it ends with 1, and says why.
            Some(1) if stderr.starts_with("atoll:") => Ended::Unstarted(stderr.to_owned()),
            Some(status @ 0..64) => Ended::Status(status as u8),
            // The mark says where.
            Some(MOVED) => Ended::Moved("as it was told".into()),
            Some(TAKEN) => Ended::Moved("somebody else has saved it or moved it, by xl".into()),
            Some(LOST) => Ended::Lost(stderr.to_owned()),
            _ => Ended::Lost(format!("the domain's process ended with {status} {stderr}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;

    fn xen(atoll: &str) -> Xen {
        let (name, payload) = ("hello".into(), "ab12".into());
        Xen { atoll: atoll.into(), name, payload, epoch: 3, home: None, shell: None, arrival: None }
    }

    #[test]
    fn ends_are_told_apart() {
        let xen = xen("atoll");
        let ended = |raw: i32| xen.ended(ExitStatus::from_raw(raw), "why");
        assert_eq!(ended(0), Ended::Status(0));
        assert_eq!(ended(1 << 8), Ended::Status(1));
        let exec = xen.ended(ExitStatus::from_raw(1 << 8), "atoll: cannot start /x: no");
        assert!(matches!(exec, Ended::Unstarted(_)));
        assert_eq!(ended(RECORDED << 8), Ended::Recorded);
        assert_eq!(ended(UNSTARTED << 8), Ended::Unstarted("why".into()));
        assert_eq!(ended(LOST << 8), Ended::Lost("why".into()));
        assert_eq!(ended(MOVED << 8), Ended::Moved("as it was told".into()));
        assert!(matches!(ended(TAKEN << 8), Ended::Moved(why) if why.contains("somebody else")));
        assert!(matches!(ended(9), Ended::Lost(_)));
    }

    #[test]
    fn the_command_line_is_data() {
        let mut xen = xen("/a b/atoll");
        let spec = Spec {
            image: "/x".into(),
            memory: 1 << 20,
            launch: "atoll.wall=5 b".into(),
            calls: true,
        };
        let line = xen.line(&spec);
        assert_eq!(line[..4], ["/a b/atoll", "__domain", "--name", "hello"]);
        assert!(line.windows(2).any(|two| two == ["--launch", "atoll.wall=5 b"]));
        assert_eq!(line[line.len() - 3..], ["--epoch", "3", "/x"]);
        xen.home = Some("/g/hello".into());
        let line = xen.line(&spec);
        assert_eq!(line[line.len() - 3..], ["--home", "/g/hello", "/x"]);
        xen.shell = Some("/s/u".into());
        let line = xen.line(&spec);
        assert_eq!(line[line.len() - 3..], ["--shell", "/s/u", "/x"]);
    }
}
