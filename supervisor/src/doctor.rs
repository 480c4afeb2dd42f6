//! What nobody has any more: found, and cleared where that is wanted (`atoll doctor`).
//!
//! Whoever ends by itself cleans up, and a guard does behind one that was killed. What is
//! left then is what a guard could not see to, because it was killed too or the machine
//! lost its power: sockets at which nobody listens, mounts without a server, guests whose
//! shim is gone. What is in use is left alone, and nothing is removed for its name only: a
//! socket goes when nobody answers at it, a mount when it is dead.

use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::mount::{table, umount};
use crate::shim::{self, How, Mark, Shim};

/// A folder that is younger may be that of somebody who is about to start.
const YOUNG: Duration = Duration::from_secs(60);

/// What was done about something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Done {
    /// It was in nobody's use, and is gone.
    Cleared,
    /// It is as it should be.
    Fine,
    /// It is not, and was left as it is: to clear it was not asked for, or did not work.
    Left,
    /// It is not, and nothing here can tell more: somebody is to look elsewhere.
    Doubt,
}

/// Something that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// `guest`, `socket`, `folder` or `mount`.
    pub kind: &'static str,
    /// Where.
    pub path: PathBuf,
    /// What was done about it.
    pub done: Done,
    /// Why, for people.
    pub why: String,
}

/// Looks at the guests of a state folder, at this user's sockets in `sockets`, and at all
/// mounts of ours. Clears what is in nobody's use if it is to `fix` that.
pub async fn look(state: &Path, sockets: &Path, fix: bool) -> io::Result<Vec<Finding>> {
    let mut found = Found { all: Vec::new(), fix };
    guests(&state.join("guests"), &mut found).await?;
    let own = |path: &Path| {
        std::fs::symlink_metadata(path)
            .is_ok_and(|m| m.is_dir() && m.uid() == rustix::process::geteuid().as_raw())
    };
    if own(sockets) {
        self::sockets(sockets, &mut found)?;
        for folder in list(&sockets.join("guests"))? {
            self::folder(&folder, &["shim"], &mut found)?;
        }
        if fix {
            let _ = std::fs::remove_dir(sockets.join("guests"));
            let _ = std::fs::remove_dir(sockets);
        }
    }
    mounts(&mut found)?;
    Ok(found.all)
}

/// What was found so far.
struct Found {
    all: Vec<Finding>,
    fix: bool,
}

impl Found {
    /// Something is in nobody's use.
    fn dead(
        &mut self,
        kind: &'static str,
        path: &Path,
        clear: impl FnOnce(&Path) -> io::Result<()>,
    ) {
        let (done, why) = match self.fix.then(|| clear(path)) {
            Some(Ok(())) => (Done::Cleared, "nobody serves it".into()),
            Some(Err(e)) => (Done::Left, format!("nobody serves it, and it does not go: {e}")),
            None => (Done::Left, "nobody serves it".into()),
        };
        self.all.push(Finding { kind, path: path.into(), done, why });
    }
}

/// What is in a folder, in order; nothing where there is none.
fn list(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut all = match std::fs::read_dir(folder) {
        Ok(entries) => entries.map(|e| Ok(e?.path())).collect::<io::Result<Vec<_>>>()?,
        Err(e) if e.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(e) => return Err(e),
    };
    all.sort();
    Ok(all)
}

/// Guests that a supervisor started. One that is gone has its sockets cleared.
async fn guests(folder: &Path, found: &mut Found) -> io::Result<()> {
    for path in list(folder)? {
        let hidden = path.file_name().is_none_or(|n| n.as_encoded_bytes().starts_with(b"."));
        if hidden {
            continue;
        }
        let (done, why) = match Shim::find(&path, found.fix).await {
            Ok(shim::Found::Alive(shim)) => {
                (Done::Fine, format!("run {} is alive", shim.spec().run))
            }
            Ok(shim::Found::Ended(end)) if end.how == How::Moved => {
                let sure = matches!(Mark::find(&path), Ok(None));
                let then = "; look there before it is started here with `atoll start --anyway`";
                let (done, then) = if sure { (Done::Fine, "") } else { (Done::Doubt, then) };
                (done, format!("run {} moved: {}{then}", end.run, end.why))
            }
            Ok(shim::Found::Ended(end)) => {
                (Done::Fine, format!("run {} ended: {}", end.run, end.why))
            }
            Ok(shim::Found::Gone { run, why, .. }) => {
                (Done::Cleared, format!("run {run} is lost: {why}"))
            }
            Ok(shim::Found::Nothing) => (Done::Fine, "it never ran".into()),
            Err(e) => (Done::Left, e.to_string()),
        };
        found.all.push(Finding { kind: "guest", path, done, why });
    }
    Ok(())
}

/// Whether a path is a socket at which nobody listens.
fn is_dead(path: &Path) -> bool {
    let is = std::fs::symlink_metadata(path).is_ok_and(|m| m.file_type().is_socket());
    let refused = |e: io::Error| e.kind() == io::ErrorKind::ConnectionRefused;
    is && UnixStream::connect(path).is_err_and(refused)
}

/// Whether there is a process with the number that a name tells.
fn is_process(number: &str) -> bool {
    number.parse::<u32>().is_ok_and(|n| Path::new("/proc").join(n.to_string()).exists())
}

/// Public sockets, and what is private to those who run in the foreground.
fn sockets(folder: &Path, found: &mut Found) -> io::Result<()> {
    for path in list(folder)? {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if let Some(number) = name.strip_prefix("run-") {
            if !is_process(number) {
                self::folder(&path, &["control", "host", "monitor", "own"], found)?;
            }
            continue;
        }
        // One that is about to get its name does not listen yet.
        let maker = name.strip_suffix(".new").and_then(|n| n.rsplit_once('.'));
        if maker.is_some_and(|(_, number)| is_process(number)) {
            continue;
        }
        let public = maker.is_some() || name.ends_with(".sock") || name == "supervisor";
        if public && is_dead(&path) {
            found.dead("socket", &path, |path| std::fs::remove_file(path));
        }
    }
    Ok(())
}

/// A folder of sockets of which somebody should have these.
fn folder(path: &Path, names: &[&str], found: &mut Found) -> io::Result<()> {
    let all = list(path)?;
    let lives = |socket: &PathBuf| {
        std::fs::symlink_metadata(socket).is_ok_and(|m| m.file_type().is_socket())
            && !is_dead(socket)
    };
    let known = |p: &Path| p.file_name().is_some_and(|n| names.iter().any(|name| n == *name));
    let young = std::fs::symlink_metadata(path)?
        .modified()
        .is_ok_and(|at| at.elapsed().is_ok_and(|age| age < YOUNG));
    if all.iter().any(lives) || (young && !all.iter().any(|p| known(p) && is_dead(p))) {
        return Ok(());
    }
    found.dead("folder", path, |path| {
        all.iter().filter(|p| is_dead(p)).try_for_each(std::fs::remove_file)?;
        std::fs::remove_dir(path)
    });
    Ok(())
}

/// Mounts whose server is gone.
fn mounts(found: &mut Found) -> io::Result<()> {
    for mount in table::read()?.into_iter().filter(table::Entry::is_ours) {
        if !umount::is_dead(&mount.dir) {
            continue;
        }
        found.dead("mount", &mount.dir, |dir| {
            umount::remove_dead(dir);
            if umount::is_dead(dir) { Err(io::ErrorKind::ResourceBusy.into()) } else { Ok(()) }
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;
    use std::time::SystemTime;

    fn age(path: &Path) {
        let old = SystemTime::now() - 2 * YOUNG;
        std::fs::File::open(path).unwrap().set_modified(old).unwrap();
    }

    #[tokio::test(flavor = "current_thread")]
    async fn the_dead_go_and_the_living_stay() {
        let dir = tempfile::tempdir().unwrap();
        let all = dir.path().join("atoll");
        let at = |name: &str| all.join(name);
        for folder in ["guests/a", "guests/b", "guests/new", "run-4194999", "run-1"] {
            std::fs::create_dir_all(at(folder)).unwrap();
        }
        // What a supervisor on Xen has had, and a moment ago.
        std::fs::create_dir(at("run-4194998")).unwrap();
        let dead = [
            "a.sock",
            "guests/a/shim",
            "x.4194999.new",
            "run-4194998/own",
            "run-4194999/host",
            "supervisor",
        ];
        for name in dead {
            drop(UnixListener::bind(at(name)).unwrap());
        }
        let kept = ["b.sock", "guests/b/shim", "run-1/control"];
        let alive = kept.map(|name| UnixListener::bind(at(name)).unwrap());
        drop(UnixListener::bind(at("y.1.new")).unwrap());
        std::fs::write(at("c.sock"), "a file").unwrap();
        for folder in ["guests/a", "guests/b", "run-4194999", "run-1"] {
            age(&at(folder));
        }
        let state = dir.path().join("state");
        // Nothing goes before that is asked for.
        let found = look(&state, &all, false).await.unwrap();
        assert_eq!(found.iter().filter(|f| f.done == Done::Left).count(), 6, "{found:?}");
        assert!(dead.iter().all(|name| at(name).exists()));
        let found = look(&state, &all, true).await.unwrap();
        let cleared: Vec<_> = found.iter().filter(|f| f.done == Done::Cleared).collect();
        assert_eq!(cleared.len(), 6, "{found:?}");
        for name in dead {
            assert!(!at(name).exists(), "{name}");
        }
        assert!(!at("guests/a").exists() && !at("run-4194999").exists());
        for name in kept.into_iter().chain(["y.1.new", "c.sock", "guests/new", "run-1"]) {
            assert!(at(name).exists(), "{name}");
        }
        drop(alive);
        // Where there is nothing, there is nothing to do.
        let none = dir.path().join("none");
        let found = look(&none, &none, true).await.unwrap();
        assert!(found.iter().all(|f| f.kind == "mount"), "{found:?}");
    }
}
