//! The daemon's end of a shim.

use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use atoll_9p::client::tokio::{Connection, Stream};
use atoll_9p::fault::{Errno, Fault};
use atoll_9p::record::Record;
use atoll_9p::types::OpenFlags;
use rustix::fd::AsFd;
use tokio::net::UnixStream;
use tokio::sync::{Mutex, mpsc};
use tokio::time::{Instant, sleep, timeout};

use super::births::{Births, Born};
use super::folder::Folder;
use super::{
    End, Error, FORMAT, How, Mark, OWN, Order, Report, SOCKET, Spec, Status, follow, mark,
};
use crate::socket;

/// How long a shim may take to answer what needs no waiting.
pub(super) const ANSWER: Duration = Duration::from_secs(10);
/// How long a shim may be there and not be reached: it starts, or ends.
const BETWEEN: Duration = Duration::from_secs(30);
/// Reports that nobody has taken yet.
const REPORTS: usize = 16;

/// A guest's shim, as the daemon holds it. To let it go changes nothing for the guest.
pub struct Shim {
    spec: Spec,
    /// None of one that has ended before it was spoken to.
    conn: Option<Connection>,
    /// How things were when it was reached.
    reached: Option<Status>,
    reports: Mutex<Reports>,
}

struct Reports {
    from: mpsc::Receiver<Report>,
    /// The last there was, when it was the last of all.
    last: Option<Report>,
}

/// What became of a guest's last run.
pub enum Found {
    /// It is under way.
    Alive(Box<Shim>),
    /// It has ended.
    Ended(End),
    /// It is over, and nobody knows how it ended; the text says what is known.
    Gone {
        /// Which run.
        run: u64,
        /// Under which epoch.
        epoch: u64,
        /// What is known.
        why: String,
    },
    /// There never was one.
    Nothing,
}

impl Shim {
    /// Starts the guest of a folder, which is made if there is none. What comes of that
    /// is reported.
    pub async fn start(births: &Births, folder: &Path, spec: &Spec) -> Result<Shim, Error> {
        spec.check()?;
        let at = std::path::absolute(folder).map_err(|e| Error::Io(folder.into(), e))?;
        let folder = Folder::make(&at)?;
        let Some(lock) = folder.lock()? else { return Err(Error::Locked(at)) };
        if let Some(last) = folder.spec()?.filter(|last| last.run >= spec.run) {
            return Err(Error::Stale { asked: spec.run, last: last.run });
        }
        let said = folder.said()?;
        // Whoever wants this run knows how the one before it ended.
        Mark::clear(folder.path())?;
        folder.set_spec(spec)?;
        let io = |e| Error::Io(at.clone(), e);
        let (ours, theirs) = StdUnixStream::pair().map_err(io)?;
        let born = births.birth(&at, [theirs.as_fd(), lock.as_fd(), said.as_fd()]);
        let born = born.await.map_err(io)?;
        // They are the shim's now.
        drop((theirs, lock, said));
        ours.set_nonblocking(true).map_err(io)?;
        let stream = UnixStream::from_std(ours).map_err(io)?;
        match attach(stream, spec).await {
            Ok(reached) => Ok(Shim::over(reached, folder, spec.clone(), born)),
            // It may have ended just now, as one does that cannot start its guest.
            Err(_) => Ok(Shim::ended(folder, spec.clone(), born).await?),
        }
    }

    /// One that could not be spoken to: it has ended, or is ended.
    async fn ended(folder: Folder, spec: Spec, born: Option<Born>) -> Result<Shim, Error> {
        let status = match born {
            Some(mut born) => {
                if timeout(ANSWER, born.wait()).await.is_err() {
                    born.kill();
                }
                born.wait().await
            }
            None => None,
        };
        settled(&folder).await?;
        let last = Some(over(&folder, &spec, None, status, true));
        let reports = Mutex::new(Reports { from: mpsc::channel(1).1, last });
        Ok(Shim { spec, conn: None, reached: None, reports })
    }

    /// Finds out what became of the last run that a folder's guest was started for, and
    /// takes it over if it is under way.
    pub async fn adopt(folder: &Path) -> Result<Found, Error> {
        Shim::find(folder, true).await
    }

    /// The same. What two killed processes left of one that is gone, its shim and the
    /// guard, is only cleared if that is wanted.
    pub async fn find(folder: &Path, clear: bool) -> Result<Found, Error> {
        let at = std::path::absolute(folder).map_err(|e| Error::Io(folder.into(), e))?;
        let folder = Folder::at(&at)?;
        let until = Instant::now() + BETWEEN;
        let mut pause = Duration::from_millis(1);
        loop {
            let Some(spec) = folder.spec()? else {
                // Whoever has the lock is about to write it, or was killed before.
                return Ok(Found::Nothing);
            };
            if folder.is_free()? {
                return Ok(match over(&folder, &spec, None, None, clear) {
                    Report::Ended(end) => Found::Ended(end),
                    Report::Gone(why) => Found::Gone { run: spec.run, epoch: spec.epoch, why },
                    _ => Found::Nothing,
                });
            }
            let why = match UnixStream::connect(spec.sockets.join(SOCKET)).await {
                Ok(stream) => match attach(stream, &spec).await {
                    Ok(reached) => {
                        let shim = Shim::over(reached, folder, spec, None);
                        return Ok(Found::Alive(Box::new(shim)));
                    }
                    // It ends just now, or was killed: who cleans up is not done yet.
                    Err(e @ Error::Gone) => e.to_string(),
                    Err(e) => return Err(e),
                },
                Err(e) => e.to_string(),
            };
            if Instant::now() > until {
                return Err(Error::Strange { name: spec.name, why });
            }
            sleep(pause).await;
            pause = (pause * 2).min(Duration::from_millis(100));
        }
    }

    fn over(
        (conn, status): (Connection, Status),
        folder: Folder,
        spec: Spec,
        born: Option<Born>,
    ) -> Shim {
        let (to, from) = mpsc::channel(REPORTS);
        let began = (conn.clone(), status.clone());
        tokio::spawn(follow::follow(began, folder, spec.clone(), born, to));
        let reached = Some(status);
        Shim { spec, conn: Some(conn), reached, reports: Mutex::new(Reports { from, last: None }) }
    }

    fn conn(&self) -> Result<&Connection, Error> {
        self.conn.as_ref().ok_or(Error::Gone)
    }

    /// What a mark in a folder says of a run of which nothing else can be found out: why it may
    /// run elsewhere.
    pub fn may_have_moved(folder: &Path, name: &str, epoch: u64) -> Option<String> {
        mark::moved(folder, name, epoch).map(|moved| moved.text)
    }

    /// What was started.
    pub fn spec(&self) -> &Spec {
        &self.spec
    }

    /// How things were when it was reached, if it was.
    pub fn reached(&self) -> Option<&Status> {
        self.reached.as_ref()
    }

    /// How things are now.
    pub async fn status(&self) -> Result<Status, Error> {
        status(self.conn()?).await
    }

    /// Tells the shim to do something. It has agreed to when this says so; what comes of
    /// it is reported.
    pub async fn order(&self, order: Order) -> Result<(), Error> {
        let line = order.to_string().into_bytes();
        within(self.conn()?.write("ctl", line)).await
    }

    /// Wants to hear, once, when the guest is asked something next ([`Report::Asked`]).
    pub async fn heed(&self) -> Result<(), Error> {
        within(self.conn()?.write("ctl", b"heed".to_vec())).await
    }

    /// Where the guest's tree is for who watches it: what is asked there is not told.
    pub fn own_socket(&self) -> PathBuf {
        self.spec.sockets.join(OWN)
    }

    /// Waits for what becomes known next. After the end it says the same again.
    pub async fn next(&self) -> Report {
        let mut reports = self.reports.lock().await;
        if let Some(last) = &reports.last {
            return last.clone();
        }
        let none = || Report::Gone("what followed it is gone".into());
        let report = reports.from.recv().await.unwrap_or_else(none);
        if matches!(report, Report::Ended(_) | Report::Gone(_)) {
            reports.last = Some(report.clone());
        }
        report
    }
}

/// Attaches to a shim, which must be the one of the spec.
async fn attach(stream: UnixStream, spec: &Spec) -> Result<(Connection, Status), Error> {
    let strange = |why: &str| Error::Strange { name: spec.name.clone(), why: why.into() };
    let me = rustix::process::geteuid().as_raw();
    if stream.peer_cred().map_or(true, |peer| peer.uid() != me) {
        return Err(strange("it is somebody else's"));
    }
    let conn = within(Connection::over(Stream::Unix(stream))).await?;
    let status = status(&conn).await?;
    if (&status.name, status.run, status.epoch) != (&spec.name, spec.run, spec.epoch) {
        return Err(strange("it has another guest, or another run of it"));
    }
    Ok((conn, status))
}

async fn status(conn: &Connection) -> Result<Status, Error> {
    // It is a few hundred bytes, which is all that comes in the first message.
    let read = async {
        let file = conn.open("rec/status", OpenFlags::RDONLY).await?;
        file.read(0, u32::MAX, Vec::new()).await
    };
    let bytes = within(read).await?;
    Status::from_wire(&bytes).map_err(Error::Refused)
}

async fn within<T>(
    f: impl Future<Output = Result<T, atoll_9p::client::Error>>,
) -> Result<T, Error> {
    match timeout(ANSWER, f).await {
        Ok(done) => Ok(done?),
        Err(_) => Err(Error::Refused(Fault::new(Errno::ETIMEDOUT, "the shim does not answer"))),
    }
}

/// Waits until nothing of a run is left.
pub(super) async fn settled(folder: &Folder) -> Result<(), Error> {
    let mut pause = Duration::from_millis(1);
    while !folder.is_free()? {
        sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(1));
    }
    Ok(())
}

/// How a run ended of which nothing is left. `told` is what its shim told, `status` how
/// that one ended.
pub(super) fn over(
    folder: &Folder,
    spec: &Spec,
    told: Option<End>,
    status: Option<ExitStatus>,
    clear: bool,
) -> Report {
    let is_its = |end: &End| (&end.name, end.run, end.epoch) == (&spec.name, spec.run, spec.epoch);
    let (written, why) = match folder.end() {
        Ok(end) => (end, None),
        Err(e) => (None, Some(e.to_string())),
    };
    if let Some(end) = written.filter(is_its).or(told.filter(is_its)) {
        return Report::Ended(end);
    }
    if clear {
        socket::clear(&spec.sockets, &spec.socket);
    }
    if let Some(moved) = mark::of(folder.path(), spec) {
        return Report::Ended(moved_end(spec, moved.text));
    }
    let mut text = String::from("its shim is gone and has not said how it ended");
    let status = status.map(|s| s.to_string());
    for more in [status, folder.complaint(), why].into_iter().flatten() {
        text += "; ";
        text += &more;
    }
    Report::Gone(text)
}

/// The end of a run of which nothing is known but that it was told to go on elsewhere.
fn moved_end(spec: &Spec, why: String) -> End {
    let (name, run, epoch) = (spec.name.clone(), spec.run, spec.epoch);
    let now = super::process::now();
    let (format, how, asked) = (FORMAT, How::Moved, false);
    End { format, name, run, epoch, how, why, asked, started: now, ended: now, cpu: 0, log: 0 }
}

/// This program, also when its file was replaced meanwhile.
pub(super) fn program() -> PathBuf {
    let path = std::env::current_exe().unwrap_or_else(|_| "atoll".into());
    match path.to_str().and_then(|p| p.strip_suffix(" (deleted)")) {
        Some(new) if !path.exists() => new.into(),
        _ => path,
    }
}
