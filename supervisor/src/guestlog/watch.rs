//! Waiting for what is written: of any number of logs, through one descriptor.
//!
//! A user may have few instances of inotify (128 is usual) and many watches, so a process
//! has one [`Watch`] for all the logs that it follows. While nobody waits it holds nothing.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::rc::Rc;

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::io::Errno;
use tokio::net::unix::pipe::Receiver;
use tokio::sync::Notify;
use tokio::task::{JoinHandle, spawn_local};

use super::Reader;

/// Bytes of events that are read at one time.
const EVENTS: usize = 4096;

/// Waits for logs. Clones are the same one.
#[derive(Clone, Debug, Default)]
pub struct Watch(Rc<RefCell<Option<Instance>>>);

/// What there is while somebody waits.
#[derive(Debug)]
struct Instance {
    fd: Rc<Receiver>,
    folders: Folders,
    /// Reads what changes.
    pump: JoinHandle<()>,
}

/// Who waits for a folder, by the number of its watch.
type Folders = Rc<RefCell<BTreeMap<i32, Waiters>>>;

#[derive(Debug, Default)]
struct Waiters {
    count: usize,
    notify: Rc<Notify>,
}

impl Drop for Instance {
    fn drop(&mut self) {
        self.pump.abort();
    }
}

impl Watch {
    /// Waits until there is something at a position: bytes, or a gap. In a `LocalSet`.
    pub async fn wait(&self, reader: &Reader, at: u64) -> io::Result<()> {
        loop {
            // Watched first, then looked at: nothing can come in between.
            let place = self.place(reader.folder())?;
            let mut changed = std::pin::pin!(place.notify.notified());
            changed.as_mut().enable();
            if reader.newest()? > at {
                return Ok(());
            }
            // What has changed is looked up: that something has is enough. The folder may
            // have come only now.
            changed.await;
        }
    }

    /// Watches the log's folder, or until there is one, the folder that it will be in.
    fn place(&self, folder: &Path) -> io::Result<Place> {
        let changes = WatchFlags::MODIFY | WatchFlags::CREATE | WatchFlags::ONLYDIR;
        match self.watch(folder, changes) {
            Err(Errno::NOENT) => {}
            done => return Ok(done?),
        }
        let above = folder.parent().unwrap_or(Path::new("/"));
        let made = WatchFlags::CREATE | WatchFlags::MOVED_TO | WatchFlags::ONLYDIR;
        let place = self.watch(above, made)?;
        // It may have come between the two.
        match self.watch(folder, changes) {
            Err(Errno::NOENT) => Ok(place),
            done => Ok(done?),
        }
    }

    fn watch(&self, folder: &Path, flags: WatchFlags) -> Result<Place, Errno> {
        let mut slot = self.0.borrow_mut();
        let instance = match &mut *slot {
            Some(instance) => instance,
            none => none.insert(Instance::new()?),
        };
        let number = match inotify::add_watch(&*instance.fd, folder, flags) {
            Ok(number) => number,
            Err(why) => {
                // Nothing is held for nobody.
                if instance.folders.borrow().is_empty() {
                    *slot = None;
                }
                return Err(why);
            }
        };
        let mut folders = instance.folders.borrow_mut();
        let waiters = folders.entry(number).or_default();
        waiters.count += 1;
        Ok(Place { watch: self.clone(), number, notify: waiters.notify.clone() })
    }
}

/// Somebody's place among those who wait for a folder.
struct Place {
    watch: Watch,
    number: i32,
    notify: Rc<Notify>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut instance = self.watch.0.borrow_mut();
        let Some(there) = &*instance else { return };
        let mut folders = there.folders.borrow_mut();
        if let Some(waiters) = folders.get_mut(&self.number) {
            waiters.count -= 1;
            if waiters.count == 0 {
                folders.remove(&self.number);
                // It may be gone already, with its folder.
                let _ = inotify::remove_watch(&*there.fd, self.number);
            }
        }
        let idle = folders.is_empty();
        drop(folders);
        if idle {
            *instance = None;
        }
    }
}

impl Instance {
    fn new() -> Result<Instance, Errno> {
        let fd = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
        // It is no pipe, but is waited for and read like one.
        let fd = Receiver::from_owned_fd_unchecked(fd);
        let fd = fd.map_err(|e| Errno::from_io_error(&e).unwrap_or(Errno::NOMEM))?;
        let (fd, folders) = (Rc::new(fd), Folders::default());
        let pump = spawn_local(pump(fd.clone(), folders.clone()));
        Ok(Instance { fd, folders, pump })
    }
}

/// Tells those who wait for a folder in which something changes.
async fn pump(fd: Rc<Receiver>, folders: Folders) {
    let mut buf = [0; EVENTS];
    while fd.readable().await.is_ok() {
        while let Ok(n @ 1..) = fd.try_read(&mut buf) {
            tell(&folders, buf.get(..n).unwrap_or_default());
        }
    }
}

/// Tells of events: each has the number of a watch, what happened, a cookie, the length of a
/// name, and the name (inotify(7)).
fn tell(folders: &Folders, mut events: &[u8]) {
    let folders = folders.borrow();
    while let Some((head, rest)) = events.split_first_chunk::<16>() {
        let [number, what, _, name] =
            [0, 4, 8, 12].map(|at| head.get(at..).and_then(|b| b.first_chunk().copied()));
        let word = |bytes: Option<[u8; 4]>| u32::from_ne_bytes(bytes.unwrap_or_default());
        if word(what) & ReadFlags::QUEUE_OVERFLOW.bits() != 0 {
            // What was lost may have been about any of them.
            folders.values().for_each(|w| w.notify.notify_waiters());
        } else if let Some(waiters) = folders.get(&word(number).cast_signed()) {
            waiters.notify.notify_waiters();
        }
        events = rest.get(word(name) as usize..).unwrap_or_default();
    }
}

#[cfg(test)]
mod tests {
    use super::super::Writer;
    use super::*;
    use std::time::Duration;
    use tokio::task::LocalSet;

    #[tokio::test(flavor = "current_thread")]
    async fn many_logs_are_waited_for_at_once_and_then_nothing_is_held() {
        let dir = tempfile::tempdir().unwrap();
        let local = LocalSet::new();
        local
            .run_until(async {
                let watch = Watch::default();
                let mut waiting = Vec::new();
                // More than there may be instances, two readers each; half of the logs are
                // not there yet.
                for i in 0..300 {
                    let folder = dir.path().join(format!("{i}/log"));
                    std::fs::create_dir(dir.path().join(format!("{i}"))).unwrap();
                    if i % 2 == 0 {
                        Writer::open(&folder).unwrap();
                    }
                    for _ in 0..2 {
                        let (watch, reader) = (watch.clone(), Reader::open(&folder));
                        waiting.push(spawn_local(async move { watch.wait(&reader, 0).await }));
                    }
                }
                let watched = || watch.0.borrow().as_ref().map_or(0, |i| i.folders.borrow().len());
                while watched() < 300 {
                    tokio::task::yield_now().await;
                }
                for i in 0..300 {
                    let folder = dir.path().join(format!("{i}/log"));
                    Writer::open(&folder).unwrap().write(b"line\n").unwrap();
                }
                for task in waiting {
                    task.await.unwrap().unwrap();
                }
                assert!(watch.0.borrow().is_none());
            })
            .await;
    }

    #[tokio::test(flavor = "current_thread")]
    async fn who_waits_learns_that_the_log_is_gone_and_who_gives_up_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let guest = dir.path().join("guest");
        std::fs::create_dir(&guest).unwrap();
        Writer::open(&guest.join("log")).unwrap();
        let local = LocalSet::new();
        local
            .run_until(async {
                let (watch, reader) = (Watch::default(), Reader::open(&guest.join("log")));
                let short = Duration::from_millis(1);
                let given_up = tokio::time::timeout(short, watch.wait(&reader, 0)).await;
                assert!(given_up.is_err() && watch.0.borrow().is_none());
                let w = watch.clone();
                let waits = spawn_local(async move { w.wait(&reader, 0).await });
                tokio::task::yield_now().await;
                std::fs::remove_dir_all(&guest).unwrap();
                assert_eq!(waits.await.unwrap().unwrap_err().kind(), io::ErrorKind::NotFound);
                assert!(watch.0.borrow().is_none());
            })
            .await;
    }
}
