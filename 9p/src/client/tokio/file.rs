//! A file that is open, for many tasks.

use super::*;

/// A fid. It is given back when it is dropped.
pub struct File {
    pub(super) conn: Connection,
    pub(super) fid: u32,
    pub(super) qid: Qid,
    /// Whether the server may have it.
    pub(super) there: bool,
}

impl File {
    /// The server's name for the file.
    pub fn qid(&self) -> Qid {
        self.qid
    }

    /// Opens what was walked to.
    pub async fn open(&mut self, flags: OpenFlags) -> Result<(), Error> {
        let m = Tmsg::Lopen { fid: self.fid, flags };
        let opened = self.conn.call(&m, |r| match r {
            Rmsg::Lopen { qid, .. } => Some(*qid),
            _ => None,
        });
        self.qid = opened.await?;
        Ok(())
    }

    /// What there is to know about it.
    pub async fn stat(&self) -> Result<Stat, Error> {
        let m = Tmsg::Getattr { fid: self.fid, mask: getattr::BASIC };
        let stat = self.conn.call(&m, |r| match r {
            Rmsg::Getattr { stat } => Some(*stat),
            _ => None,
        });
        stat.await
    }

    /// Reads as much as one message holds, at most `count` bytes; waits for as long as
    /// the file wants. Nothing at the end. The buffer is used again.
    pub async fn read(&self, offset: u64, count: u32, buf: Vec<u8>) -> Result<Vec<u8>, Error> {
        let count = count.min(self.conn.msize() - READ_OVERHEAD);
        match self.conn.request(&Tmsg::Read { fid: self.fid, offset, count }, buf).await? {
            Answer::Data(data) => Ok(data),
            Answer::Fault(fault) => Err(fault.into()),
            Answer::Frame(_) => Err(Errno::EPROTO.into()),
        }
    }

    /// Writes as much as one message holds; says how much that was.
    pub async fn write(&self, offset: u64, data: &[u8]) -> Result<usize, Error> {
        let room = (self.conn.msize() - WRITE_OVERHEAD) as usize;
        let data = data.get(..room.min(data.len())).unwrap_or_default();
        let m = Tmsg::Write { fid: self.fid, offset, data, op: None };
        let n = self.conn.call(&m, |r| match r {
            Rmsg::Write { count } => Some(*count as usize),
            _ => None,
        });
        n.await
    }

    pub(super) fn window(&self) -> usize {
        if self.qid.ty & qid_type::APPEND != 0 { 1 } else { WINDOW }
    }

    /// Reads from an offset to the end, with several requests underway; more than
    /// `max` bytes are an error.
    pub async fn read_to_end(&self, offset: u64, max: usize) -> Result<Vec<u8>, Error> {
        let fetch = Fetch::new(self.fid, offset, max, self.window(), Vec::new());
        self.conn.run(Box::new(fetch)).await
    }

    /// Writes all of it, with several requests underway: one, if it fits into one.
    pub async fn write_all(&self, offset: u64, data: Vec<u8>) -> Result<(), Error> {
        let store = Store::new(self.fid, offset, data, self.window());
        self.conn.run(Box::new(store)).await.map(drop)
    }

    /// The names in the directory.
    pub async fn list(&self) -> Result<Vec<Name>, Error> {
        let (mut names, mut offset) = (Vec::new(), 0);
        loop {
            let count = self.conn.msize() - READ_OVERHEAD;
            let m = Tmsg::Readdir { fid: self.fid, offset, count };
            let last = self.conn.call(&m, |r| {
                let Rmsg::Readdir { data } = r else { return None };
                let mut last = None;
                for e in entries(data) {
                    last = Some(e.cookie);
                    if e.name != "." && e.name != ".." {
                        names.push(Name { name: String::from(e.name), qid: e.qid });
                    }
                }
                Some(last)
            });
            match last.await? {
                Some(cookie) if cookie != offset => offset = cookie,
                _ => return Ok(names),
            }
        }
    }

    /// Gives it back, and says how that went.
    pub async fn close(mut self) -> Result<(), Error> {
        self.there = false;
        let done = self.conn.call(&Tmsg::Clunk { fid: self.fid }, |_| Some(())).await;
        self.conn.shared().lock().free.push(self.fid);
        done
    }
}

impl Drop for File {
    fn drop(&mut self) {
        if !self.there {
            return;
        }
        let shared = self.conn.shared();
        let mut state = shared.lock();
        if state.ask(&Tmsg::Clunk { fid: self.fid }, Slot::Clunk(self.fid)).is_ok()
            && state.push().unwrap_or(true)
        {
            shared.news.notify_one();
        }
    }
}
