//! Guests in processes of their own: what they are told, what they tell, and what is left
//! when any of those who have a part in it is killed.

use std::cell::RefCell;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::process::Command;
use std::rc::Rc;

use atoll_supervisor::run::On;
use atoll_supervisor::shim::{Births, End, Error, Found, Report, Shim, Spec};
use tokio::time::timeout;

use crate::fixture::{PATIENCE, Place, image};

mod born;
mod ends;
mod killed;
mod life;

/// A place with a supervisor's state, beside the folder of its sockets.
pub(super) struct House {
    pub(super) place: Place,
    dir: tempfile::TempDir,
    name: &'static str,
    /// Where shims come from, while there is something that does.
    births: RefCell<Option<Rc<Births>>>,
}

impl House {
    pub(super) fn new(name: &'static str) -> House {
        image(name);
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("guests")).unwrap();
        House { place: Place::new(), dir, name, births: RefCell::default() }
    }

    pub(super) fn folder(&self) -> PathBuf {
        self.dir.path().join("guests").join(self.name)
    }

    /// What is to be started: the image of the guest's name.
    pub(super) fn spec(&self, on: &str, run: u64) -> Spec {
        Spec {
            run,
            on: if on == "qemu" { On::Qemu } else { On::Process },
            socket: self.place.socket(self.name),
            sockets: self.place.dir.path().join("atoll/guests").join(self.name),
            ..Spec::new(self.name, &image(self.name))
        }
    }

    fn births(&self) -> Rc<Births> {
        let envs: Vec<_> = self.place.atoll().get_envs().map(owned).collect();
        let atoll = move || {
            let mut atoll = Command::new(crate::fixture::atoll());
            atoll.envs(envs.iter().cloned());
            atoll
        };
        self.births.borrow_mut().get_or_insert_with(|| Rc::new(Births::by(atoll))).clone()
    }

    /// Processes that know of the place, but for the one that shims come from.
    pub(super) fn processes(&self) -> Vec<String> {
        let mut all = self.place.processes();
        all.retain(|line| !line.contains("__zygote"));
        all
    }

    /// Waits until no process and no file is left: nor that one, which goes with who uses it.
    pub(super) fn assert_empty(&self) {
        self.births.take();
        self.place.assert_empty();
    }

    pub(super) async fn try_start(&self, spec: &Spec) -> Result<Shim, Error> {
        let births = self.births();
        Shim::start(&births, &self.folder(), spec).await
    }

    /// Starts a guest, and waits until its tree is there.
    pub(super) async fn start(&self, spec: &Spec) -> Shim {
        let shim = self.try_start(spec).await.unwrap();
        match next(&shim).await {
            Report::Running(_) => shim,
            other => panic!("it is not up: {other:?}"),
        }
    }

    pub(super) async fn adopt(&self) -> Found {
        Shim::adopt(&self.folder()).await.unwrap()
    }

    /// Takes over a guest that must be alive, and is up.
    pub(super) async fn adopt_alive(&self) -> Shim {
        let shim = match self.adopt().await {
            Found::Alive(shim) => *shim,
            Found::Ended(end) => panic!("it has ended: {end:?}"),
            Found::Gone { why, .. } => panic!("it is gone: {why}"),
            Found::Nothing => panic!("nothing was started"),
        };
        assert!(matches!(next(&shim).await, Report::Running(_)));
        shim
    }
}

fn owned((name, value): (&OsStr, Option<&OsStr>)) -> (OsString, OsString) {
    (name.into(), value.unwrap_or_default().into())
}

/// What becomes known next.
pub(super) async fn next(shim: &Shim) -> Report {
    timeout(PATIENCE, shim.next()).await.expect("nothing becomes known")
}

/// How it ended, whatever comes before that.
pub(super) async fn ended(shim: &Shim) -> End {
    loop {
        match next(shim).await {
            Report::Ended(end) => return end,
            Report::Gone(why) => panic!("it is gone: {why}"),
            _ => {}
        }
    }
}

/// Runs a test.
pub(super) fn block_on<T>(f: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(f)
}
