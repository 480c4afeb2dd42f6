//! What an image says of itself, whether it is one of ours or not.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use atoll_config::image::{self, MAX_IMAGE};

use crate::core::name::ImageHash;
use crate::core::record::Image;
use crate::foreign::{About, Bad, Foreign};

/// What an image says of itself.
#[derive(Clone, Debug)]
pub enum Manifest {
    /// One of ours.
    Ours(Box<image::Manifest>),
    /// A kernel of somebody else's.
    Foreign(About),
}

impl Manifest {
    /// Reads an image that is to have this hash.
    pub fn read(path: &Path, hash: &ImageHash) -> Result<Manifest, String> {
        let (found, manifest) = match Foreign::open(path) {
            Err(Bad::Magic) => {
                let image = image::Image::open(path).map_err(|e| e.to_string())?;
                let manifest = Box::new(image.manifest().clone());
                (image.hash().to_string(), Manifest::Ours(manifest))
            }
            Err(e) => return Err(e.to_string()),
            Ok(foreign) => {
                (hash_of(path).map_err(|e| e.to_string())?, Manifest::Foreign(foreign.about))
            }
        };
        if found != hash.as_str() {
            return Err(format!("the image's hash is {found}"));
        }
        Ok(manifest)
    }

    /// What is kept beside an image in the daemon's folder, which was read whole when it came
    /// there.
    pub(crate) fn beside(image: &Path) -> Option<Manifest> {
        Manifest::from_json(&std::fs::read(image.with_extension("json")).ok()?)
    }

    /// What was kept of it.
    pub fn from_json(text: &[u8]) -> Option<Manifest> {
        let ours = serde_json::from_slice(text).map(|m| Manifest::Ours(Box::new(m)));
        ours.or_else(|_| serde_json::from_slice(text).map(Manifest::Foreign)).ok()
    }

    /// What is to be kept of it, and shown.
    pub fn to_json(&self) -> Vec<u8> {
        match self {
            Manifest::Ours(manifest) => manifest.to_json(),
            Manifest::Foreign(about) => about.to_json(),
        }
    }

    /// What it calls itself.
    pub fn name(&self) -> &str {
        match self {
            Manifest::Ours(manifest) => &manifest.name,
            Manifest::Foreign(about) => &about.name,
        }
    }

    /// Its version, where it has one.
    pub fn version(&self) -> Option<&str> {
        match self {
            Manifest::Ours(manifest) => Some(&manifest.version),
            Manifest::Foreign(_) => None,
        }
    }

    /// What is to be known of it to judge what may be asked of its guests.
    pub fn image(&self, size: u64) -> Image {
        match self {
            Manifest::Ours(manifest) => Image::of(manifest, size),
            Manifest::Foreign(about) => Image::of_foreign(about, size),
        }
    }

    /// Whether it is none of ours.
    pub fn is_foreign(&self) -> bool {
        matches!(self, Manifest::Foreign(_))
    }
}

/// The hash of a file: BLAKE3 of all its bytes.
fn hash_of(path: &Path) -> std::io::Result<String> {
    let mut hasher = blake3::Hasher::new();
    let mut file = File::open(path)?.take(MAX_IMAGE);
    let mut buf = vec![0; 64 << 10];
    loop {
        match file.read(&mut buf)? {
            0 => break,
            n => hasher.update(buf.get(..n).unwrap_or_default()),
        };
    }
    Ok(hasher.finalize().to_string())
}
