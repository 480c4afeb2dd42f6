//! What can be asked over a connection.

use super::*;

impl Connection {
    /// Connects to a unix socket.
    pub async fn unix(path: impl AsRef<std::path::Path>) -> Result<Connection, Error> {
        Connection::over(UnixStream::connect(path).await?).await
    }

    /// Connects to a TCP port.
    pub async fn tcp(addr: impl ::tokio::net::ToSocketAddrs) -> Result<Connection, Error> {
        Connection::over(TcpStream::connect(addr).await?).await
    }

    /// Attaches over a socket that is connected.
    pub async fn over(stream: impl Into<Stream>) -> Result<Connection, Error> {
        let link = Link::Plain(Client::new(MSIZE));
        Connection::attach(link, Some(stream.into()), None).await
    }

    /// Connects with `connect`, and again whenever the connection breaks. `client` is a
    /// random number ([`Settings::client`]).
    pub async fn reconnecting(
        client: u64,
        mut connect: impl FnMut() -> Connecting + Send + 'static,
    ) -> Result<Connection, Error> {
        let keeper = Keeper::new(Settings { msize: MSIZE, ..Settings::new(client) });
        let first = connect().await?;
        let mut link = Link::Kept(Box::new(keeper));
        if let Link::Kept(keeper) = &mut link {
            keeper.connected();
        }
        Connection::attach(link, Some(first), Some(Box::new(connect))).await
    }

    pub(super) async fn attach(
        link: Link,
        stream: Option<Stream>,
        connect: Option<Connect>,
    ) -> Result<Connection, Error> {
        let state = State {
            link,
            stream: stream.map(Arc::new),
            slots: Vec::new(),
            waits: Vec::new(),
            free_waits: Vec::new(),
            jobs: Vec::new(),
            next_fid: ROOT + 1,
            free: Vec::new(),
            failed: None,
            closed: false,
        };
        let shared = Arc::new(Shared { state: Mutex::new(state), news: Notify::new() });
        let conn = Connection(Arc::new(Guard(shared.clone())));
        ::tokio::spawn(drive(shared, connect));
        let (uname, aname) = ("", "");
        let m = Tmsg::Attach { fid: ROOT, afid: NOFID, uname, aname, n_uname: NOFID };
        conn.call(&m, |_| Some(())).await?;
        Ok(conn)
    }

    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.0.0
    }

    pub(super) async fn request(&self, m: &Tmsg<'_>, into: Vec<u8>) -> Result<Answer, Error> {
        let shared = self.shared();
        let (mut request, left) = {
            let mut state = shared.lock();
            let at = state.free_waits.pop().unwrap_or(state.waits.len());
            if at == state.waits.len() {
                state.waits.push(None);
            }
            let tag = match state.ask(m, Slot::Waiting(at)) {
                Ok(tag) => tag,
                Err(e) => {
                    state.free_waits.push(at);
                    return Err(e);
                }
            };
            if let Some(slot) = state.waits.get_mut(at) {
                *slot = Some(Waits::For(None, into));
            }
            // An error is found again by the task that reads.
            let left = state.push().unwrap_or(true) || state.link.is_down();
            (Request { shared, tag, at }, left)
        };
        if left {
            shared.news.notify_one();
        }
        poll_fn(|cx| request.poll(cx)).await
    }

    /// Sends a request and waits for its answer, which `f` takes apart. A future that is
    /// dropped before flushes it.
    pub async fn call<R>(
        &self,
        m: &Tmsg<'_>,
        f: impl FnOnce(&Rmsg<'_>) -> Option<R>,
    ) -> Result<R, Error> {
        let wrong = || Error::from(Fault::new(Errno::EPROTO, "an answer of the wrong kind"));
        match self.request(m, Vec::new()).await? {
            Answer::Fault(fault) => Err(fault.into()),
            Answer::Data(data) => f(&Rmsg::Read { data: &data, next: None }).ok_or_else(wrong),
            Answer::Frame(frame) => {
                // The keeper's own answers that are not errors have no frame.
                let answer = Rmsg::decode(&frame).map_err(crate::client::Broken::Frame)?;
                f(&answer).ok_or_else(wrong)
            }
        }
    }

    /// The agreed message size.
    pub fn msize(&self) -> u32 {
        self.shared().lock().link.msize()
    }

    pub(super) async fn run(&self, job: Job) -> Result<Vec<u8>, Error> {
        let shared = self.shared();
        let at = {
            let mut state = shared.lock();
            if let Some(e) = &state.failed {
                return Err(e.again());
            }
            let at = state.jobs.iter().position(Option::is_none).unwrap_or(state.jobs.len());
            if at == state.jobs.len() {
                state.jobs.push(None);
            }
            if let Some(slot) = state.jobs.get_mut(at) {
                *slot = Some((job, None));
            }
            state.pump(at);
            let _ = state.push();
            at
        };
        let mut running = Running { shared, at, over: false };
        shared.news.notify_one();
        poll_fn(|cx| {
            let mut state = shared.lock();
            let failed = state.failed.as_ref().map(Error::again);
            let slot = state.jobs.get_mut(running.at);
            let Some(Some((job, waker))) = slot.map(|s| s.as_mut().map(|j| (&j.0, &mut j.1)))
            else {
                return Poll::Ready(Err(Error::Closed));
            };
            if !job.is_done() {
                return match failed {
                    Some(e) => Poll::Ready(Err(e)),
                    None => {
                        *waker = Some(cx.waker().clone());
                        Poll::Pending
                    }
                };
            }
            // From here on the place may be another's.
            running.over = true;
            let job = state.jobs.get_mut(running.at).and_then(Option::take);
            Poll::Ready(match job {
                Some((job, _)) => job.result().map_err(Error::from),
                None => Err(Error::Closed),
            })
        })
        .await
    }

    /// A fid for a path, which is not opened.
    pub async fn walk(&self, path: &str) -> Result<File, Error> {
        let fid = {
            let mut state = self.shared().lock();
            let fid = state.free.pop().unwrap_or(state.next_fid);
            state.next_fid += u32::from(fid == state.next_fid);
            fid
        };
        // From here on it is given back, whatever was made of it.
        let mut file = File { conn: self.clone(), fid, qid: Qid::default(), there: true };
        let mut from = ROOT;
        for part in parts(path, self.msize() as usize) {
            if part.split('/').any(|n| n.len() > MAX_NAME) {
                file.there = from != ROOT;
                return Err(Errno::ENAMETOOLONG.into());
            }
            let mut frame = Vec::new();
            let names = crate::msg::encode_walk(0, from, fid, part, &mut frame);
            let names = names.map_err(|bad| Error::Refused(bad.into()))?;
            let m = Tmsg::decode(&frame).map_err(|bad| Error::Refused(bad.into()))?;
            let walked = self.call(&m, |r| match r {
                Rmsg::Walk { count, last } => Some((usize::from(*count), *last)),
                _ => None,
            });
            match walked.await {
                Ok((n, last)) if n == names => file.qid = last.unwrap_or(file.qid),
                Ok(_) => {
                    file.there = from != ROOT;
                    return Err(Errno::ENOENT.into());
                }
                Err(e) => {
                    file.there = from != ROOT;
                    return Err(e);
                }
            }
            from = fid;
        }
        Ok(file)
    }

    /// Opens a file.
    pub async fn open(&self, path: &str, flags: OpenFlags) -> Result<File, Error> {
        let mut file = self.walk(path).await?;
        file.open(flags).await?;
        Ok(file)
    }

    /// Makes a file and opens it.
    pub async fn create(&self, path: &str, flags: OpenFlags, mode: u32) -> Result<File, Error> {
        let (dir, name) = split(path);
        let mut file = self.walk(dir).await?;
        let m = Tmsg::Lcreate { fid: file.fid, name, flags, mode, gid: NOFID };
        file.qid = self
            .call(&m, |r| match r {
                Rmsg::Lcreate { qid, .. } => Some(*qid),
                _ => None,
            })
            .await?;
        Ok(file)
    }

    /// Makes a directory.
    pub async fn mkdir(&self, path: &str, mode: u32) -> Result<(), Error> {
        let (dir, name) = split(path);
        let dir = self.walk(dir).await?;
        let m = Tmsg::Mkdir { dfid: dir.fid, name, mode, gid: NOFID };
        self.call(&m, |r| matches!(r, Rmsg::Mkdir { .. }).then_some(())).await
    }

    /// Removes a file, or with [`crate::types::unlink::DIR`] a directory.
    pub async fn remove(&self, path: &str, flags: u32) -> Result<(), Error> {
        let (dir, name) = split(path);
        let dir = self.walk(dir).await?;
        let m = Tmsg::Unlinkat { dirfd: dir.fid, name, flags };
        self.call(&m, |r| matches!(r, Rmsg::Unlinkat).then_some(())).await
    }

    /// Reads a file of at most `max` bytes to its end.
    pub async fn read(&self, path: &str, max: usize) -> Result<Vec<u8>, Error> {
        let file = self.open(path, OpenFlags::RDONLY).await?;
        file.read_to_end(0, max).await
    }

    /// Writes a file from its start; what was in it goes.
    pub async fn write(&self, path: &str, data: Vec<u8>) -> Result<(), Error> {
        let flags = OpenFlags(OpenFlags::WRONLY.0 | OpenFlags::TRUNC);
        self.open(path, flags).await?.write_all(0, data).await
    }

    /// What there is to know about a file.
    pub async fn stat(&self, path: &str) -> Result<Stat, Error> {
        self.walk(path).await?.stat().await
    }
}
