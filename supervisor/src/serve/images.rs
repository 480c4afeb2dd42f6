//! The images that guests are started from, each under its hash.
//!
//! A client makes the directory of the hash, writes `image` and says `commit`: only then
//! is the file read, and only if it is a whole image with that hash does it get its name.
//! What was written and never committed is found by its name at the next start, and goes.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use atoll_9p::fault::{Blame, Errno, Fault};
use atoll_config::image::MAX_IMAGE;

use super::manifest::Manifest;
use crate::core::name::ImageHash;

/// Images that may be kept.
const MAX_IMAGES: usize = 4096;
/// Of those, images that were begun and are not committed.
const MAX_BEGUN: usize = 16;

/// What is known of an image.
#[derive(Debug)]
pub struct Entry {
    /// Its hash, by which it is named.
    pub hash: ImageHash,
    /// What it says of itself; nothing before it was committed.
    pub manifest: Option<Manifest>,
    /// Bytes of its file.
    pub bytes: u64,
    /// It is being read.
    busy: bool,
}

/// All images, by the numbers that nodes have.
#[derive(Debug)]
pub struct Images {
    folder: PathBuf,
    by_id: BTreeMap<u64, Entry>,
    ids: BTreeMap<ImageHash, u64>,
    next: u64,
}

/// An image that was written and is to be read whole: this takes a while, and is done
/// aside.
#[derive(Debug)]
pub struct Check {
    /// Which.
    pub id: u64,
    hash: ImageHash,
    folder: PathBuf,
}

fn io_fault(what: &str, e: &io::Error) -> Fault {
    let errno = e.raw_os_error().map_or(Errno::EIO, |n| Errno(n.unsigned_abs()));
    Fault::new(errno, format!("{what}: {e}")).blame(Blame::Host)
}

impl Images {
    /// The images of a folder.
    pub fn open(folder: &Path) -> io::Result<Images> {
        let mut images =
            Images { folder: folder.into(), by_id: BTreeMap::new(), ids: BTreeMap::new(), next: 1 };
        let mut found = Vec::new();
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            let name = entry.file_name();
            let Some((hash, kind)) = name.to_str().and_then(|n| n.split_once('.')) else {
                continue;
            };
            let Ok(hash) = ImageHash::new(hash) else { continue };
            match kind {
                "img" => found.push(hash),
                // Nobody can go on writing it.
                "part" | "new" => std::fs::remove_file(entry.path())?,
                _ => {}
            }
        }
        found.sort_unstable();
        for hash in found {
            // One that has no manifest beside it, or a strange one, is read again.
            let path = images.path(&hash, "img");
            let manifest = match Manifest::beside(&path) {
                Some(manifest) => Some(manifest),
                None => Manifest::read(&path, &hash).ok(),
            };
            let bytes = std::fs::metadata(&path)?.len();
            images.add(Entry { hash, manifest, bytes, busy: false });
        }
        Ok(images)
    }

    fn path(&self, hash: &ImageHash, kind: &str) -> PathBuf {
        self.folder.join(format!("{hash}.{kind}"))
    }

    fn add(&mut self, entry: Entry) -> u64 {
        let id = self.next;
        self.next += 1;
        self.ids.insert(entry.hash.clone(), id);
        self.by_id.insert(id, entry);
        id
    }

    /// The number of a hash.
    pub fn find(&self, hash: &str) -> Option<u64> {
        self.ids.get(&ImageHash::new(hash).ok()?).copied()
    }

    /// What is known of one.
    pub fn get(&self, id: u64) -> Result<&Entry, Fault> {
        self.by_id.get(&id).ok_or(Errno::ESTALE.into())
    }

    /// Those from a number on.
    pub fn from(&self, id: u64) -> impl Iterator<Item = (u64, &Entry)> {
        self.by_id.range(id..).map(|(id, e)| (*id, e))
    }

    /// The file of an image that is there, whole, and what it says of itself.
    pub fn whole(&self, hash: &ImageHash) -> Result<(PathBuf, &Manifest), Fault> {
        let entry = self.ids.get(hash).and_then(|id| self.by_id.get(id));
        match entry.and_then(|e| e.manifest.as_ref()) {
            Some(manifest) => Ok((self.path(hash, "img"), manifest)),
            None => {
                let text = format!("there is no image {hash}: write it below /images first");
                Err(Fault::new(Errno::ENOENT, text))
            }
        }
    }

    /// Begins an image: its directory was made.
    pub fn begin(&mut self, name: &str) -> Result<u64, Fault> {
        let hash = ImageHash::new(name)
            .map_err(|why| Fault::new(Errno::EINVAL, format!("\"{name}\": {why}")))?;
        let begun = self.by_id.values().filter(|e| e.manifest.is_none()).count();
        if self.by_id.len() >= MAX_IMAGES || begun >= MAX_BEGUN {
            let text = format!("there may be {MAX_IMAGES} images, {MAX_BEGUN} of them begun");
            return Err(Fault::new(Errno::ENOSPC, text));
        }
        Ok(self.add(Entry { hash, manifest: None, bytes: 0, busy: false }))
    }

    /// Forgets one: its directory was removed.
    pub fn remove(&mut self, id: u64) -> Result<(), Fault> {
        let entry = self.get(id)?;
        if entry.busy {
            return Err(Fault::new(Errno::EBUSY, "the image is being read"));
        }
        let hash = entry.hash.clone();
        // The image last but one: a manifest without an image is nobody's.
        for kind in ["part", "img", "json"] {
            match std::fs::remove_file(self.path(&hash, kind)) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(io_fault("image", &e)),
                _ => {}
            }
        }
        self.ids.remove(&hash);
        self.by_id.remove(&id);
        Ok(())
    }

    /// Writes a part of one that is not committed.
    pub fn write(&mut self, id: u64, offset: u64, data: &[u8]) -> Result<usize, Fault> {
        let entry = self.get(id)?;
        if entry.manifest.is_some() || entry.busy {
            return Err(Fault::new(Errno::EROFS, "the image was committed: it does not change"));
        }
        let end = offset.saturating_add(data.len() as u64);
        if end > MAX_IMAGE {
            let text = format!("an image has at most {MAX_IMAGE} bytes");
            return Err(Fault::new(Errno::EFBIG, text));
        }
        let path = self.path(&entry.hash, "part");
        let file =
            OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path);
        let wrote = file.and_then(|f| f.write_all_at(data, offset));
        wrote.map_err(|e| io_fault("image", &e))?;
        if let Some(entry) = self.by_id.get_mut(&id) {
            entry.bytes = entry.bytes.max(end);
        }
        Ok(data.len())
    }

    /// Reads a part of one.
    pub fn read(&self, id: u64, offset: u64, buf: &mut [u8]) -> Result<usize, Fault> {
        let entry = self.get(id)?;
        let kind = if entry.manifest.is_some() { "img" } else { "part" };
        match File::open(self.path(&entry.hash, kind)).and_then(|f| f.read_at(buf, offset)) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(0),
            done => done.map_err(|e| io_fault("image", &e)),
        }
    }

    /// What is to be done for `commit`; nothing when that was done.
    pub fn commit(&mut self, id: u64) -> Result<Option<Check>, Fault> {
        let (folder, entry) = (self.folder.clone(), self.by_id.get_mut(&id).ok_or(Errno::ESTALE)?);
        if entry.manifest.is_some() {
            return Ok(None);
        }
        if entry.busy {
            return Err(Fault::new(Errno::EBUSY, "the image is being read"));
        }
        entry.busy = true;
        Ok(Some(Check { id, hash: entry.hash.clone(), folder }))
    }

    /// Takes note of what came of it.
    pub fn checked(&mut self, id: u64, done: Result<Manifest, Fault>) -> Result<(), Fault> {
        let entry = self.by_id.get_mut(&id).ok_or(Errno::ESTALE)?;
        entry.busy = false;
        entry.manifest = Some(done?);
        Ok(())
    }
}

impl Check {
    /// Reads the image that was written, and gives it its name.
    pub fn run(&self) -> Result<Manifest, Fault> {
        let at = |kind: &str| self.folder.join(format!("{}.{kind}", self.hash));
        let bad = |e: &dyn std::fmt::Display| Fault::new(Errno::EINVAL, format!("\"commit\": {e}"));
        if !at("part").exists() {
            return Err(bad(&"nothing was written to image"));
        }
        let manifest = Manifest::read(&at("part"), &self.hash).map_err(|e| bad(&e))?;
        let kept = || -> io::Result<()> {
            std::fs::write(at("new"), manifest.to_json())?;
            for kind in ["part", "new"] {
                File::open(at(kind))?.sync_all()?;
            }
            std::fs::rename(at("new"), at("json"))?;
            std::fs::rename(at("part"), at("img"))?;
            File::open(&self.folder)?.sync_all()
        };
        kept().map_err(|e| io_fault("\"commit\"", &e))?;
        Ok(manifest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_gets_its_name_when_it_is_whole_and_not_before() {
        let dir = tempfile::tempdir().unwrap();
        let mut images = Images::open(dir.path()).unwrap();
        for bad in ["", "abc", "../x", &"A".repeat(64)] {
            assert_eq!(images.begin(bad).unwrap_err().errno, Errno::EINVAL, "{bad}");
        }
        let hash = "0".repeat(64);
        let id = images.begin(&hash).unwrap();
        assert_eq!((images.find(&hash), images.from(0).count()), (Some(id), 1));
        let check = images.commit(id).unwrap().unwrap();
        assert_eq!(images.commit(id).unwrap_err().errno, Errno::EBUSY);
        assert_eq!(images.remove(id).unwrap_err().errno, Errno::EBUSY);
        let none = check.run().unwrap_err();
        assert!(none.text().contains("nothing was written"), "{}", none.text());
        images.checked(id, Err(none)).unwrap_err();
        images.write(id, 0, b"no image").unwrap();
        let mut buf = [0; 99];
        assert_eq!(images.read(id, 3, &mut buf).unwrap(), 5);
        let fault = images.write(id, u64::MAX, b"x").unwrap_err();
        assert_eq!(fault.errno, Errno::EFBIG);
        let fault = images.commit(id).unwrap().unwrap().run().unwrap_err();
        assert!(fault.text().starts_with("\"commit\": "), "{}", fault.text());
        images.checked(id, Err(fault)).unwrap_err();
        assert!(images.whole(&ImageHash::new(&hash).unwrap()).is_err());
        // What was begun and not committed is gone at the next start.
        assert_eq!(Images::open(dir.path()).unwrap().from(0).count(), 0);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        images.remove(id).unwrap();
        assert_eq!(images.get(id).unwrap_err().errno, Errno::ESTALE);
    }

    #[test]
    fn few_images_are_begun_at_one_time() {
        let dir = tempfile::tempdir().unwrap();
        let mut images = Images::open(dir.path()).unwrap();
        for n in 0..MAX_BEGUN {
            images.begin(&format!("{n:064x}")).unwrap();
        }
        assert_eq!(images.begin(&"f".repeat(64)).unwrap_err().errno, Errno::ENOSPC);
    }
}
