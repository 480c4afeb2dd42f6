//! The command line. The tender is started by a supervisor far more often than by
//! hand, so the parser is these lines and no library: it costs no start-up time.

use std::ffi::OsString;
use std::os::fd::RawFd;
use std::path::PathBuf;

/// What `atoll-tender -h` prints.
pub const HELP: &str = "\
Runs one guest as a sandboxed process, in the foreground.

usage: atoll-tender [OPTION VALUE]... IMAGE

  --control PATH     serve the guest's tree on a unix socket made here (its name
                     stays behind: the sandbox removes no files)
  --control-fd N     the same, on a listening socket that was inherited
  --host PATH        be a 9P client of whoever connects to this unix socket
  --host-fd N        the same, on a listening socket that was inherited
  --record-fd N      write the record of a failure there (default: 2)
  --launch \"K=V ...\" what the host tells the guest, such as atoll.wall=NS
  --memory BYTES     give the guest more or less memory than its image says
  --parent PID       end when this process, which must be the parent, ends

example: atoll-tender --control /tmp/hello.sock hello.img

Ends with the guest's own status; with 100 when it failed and a record of that
was written; with 101 when it was never run.
";

/// Where a stream's connections come from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Listen {
    /// Nowhere: the guest does without.
    #[default]
    Nothing,
    /// A socket that is made here.
    Path(PathBuf),
    /// A listening socket that whoever started this made.
    Fd(RawFd),
}

/// The command line, parsed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Args {
    /// The image.
    pub image: PathBuf,
    /// The `control` stream.
    pub control: Listen,
    /// The `host` stream.
    pub host: Listen,
    /// Where a record goes.
    pub record: Option<RawFd>,
    /// The launch line.
    pub launch: String,
    /// Memory, if other than the image's.
    pub memory: Option<u64>,
    /// The parent that must not be outlived.
    pub parent: Option<u32>,
    /// Whether the help was asked for.
    pub help: bool,
}

impl Args {
    /// Parses a command line, without the program's name.
    pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Args, String> {
        let mut out = Args::default();
        let mut image = None;
        let mut args = args.into_iter();
        while let Some(arg) = args.next() {
            let Some(name) = arg.to_str().filter(|a| a.starts_with('-')) else {
                if image.replace(PathBuf::from(&arg)).is_some() {
                    return Err(format!("{}: one image is enough", arg.display()));
                }
                continue;
            };
            if matches!(name, "-h" | "--help") {
                out.help = true;
                return Ok(out);
            }
            let value = args.next().ok_or(format!("{name} needs a value"))?;
            let bad = || format!("{name} {}: not a number", value.display());
            let number = || value.to_str().and_then(|v| v.parse().ok()).ok_or_else(bad);
            let fd = || {
                let fd: Result<u64, String> = number();
                RawFd::try_from(fd?).map_err(|_| bad())
            };
            match name {
                "--control" => out.control = Listen::Path(value.into()),
                "--control-fd" => out.control = Listen::Fd(fd()?),
                "--host" => out.host = Listen::Path(value.into()),
                "--host-fd" => out.host = Listen::Fd(fd()?),
                "--record-fd" => out.record = Some(fd()?),
                "--memory" => out.memory = Some(number()?),
                "--parent" => out.parent = Some(u32::try_from(number()?).map_err(|_| bad())?),
                "--launch" => {
                    out.launch = value.into_string().map_err(|_| "--launch: not UTF-8")?;
                }
                _ => return Err(format!("{name}: no such option (see atoll-tender -h)")),
            }
        }
        out.image = image.ok_or("which IMAGE? (see atoll-tender -h)")?;
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Args, String> {
        Args::parse(line.split_whitespace().map(OsString::from))
    }

    #[test]
    fn options_come_in_any_order() {
        let args = parse("--control-fd 3 a.img --host /h --memory 4096 --launch atoll.wall=5");
        let want = Args {
            image: "a.img".into(),
            control: Listen::Fd(3),
            host: Listen::Path("/h".into()),
            launch: "atoll.wall=5".into(),
            memory: Some(4096),
            ..Args::default()
        };
        assert_eq!(args, Ok(want));
        assert!(parse("x --help").unwrap().help);
    }

    #[test]
    fn mistakes_are_named() {
        for (line, want) in [
            ("", "which IMAGE?"),
            ("a b", "one image"),
            ("a --memory", "needs a value"),
            ("a --control-fd -1", "not a number"),
            ("a --control-fd 4294967296", "not a number"),
            ("a --what 1", "no such option"),
        ] {
            let error = parse(line).unwrap_err();
            assert!(error.contains(want), "{line}: {error}");
        }
    }
}
