//! Debian's stock kernel and its modules, as files that belong to nobody's boot.
//!
//! `scripts/setup.sh` puts them under `target/atoll/debian`; a machine that runs
//! that kernel itself has them in `/boot` and `/lib`. (The cloud flavour has no 9P.)
//! The kernel is started unpacked, by its PVH entry: unpacking it once here costs
//! half a second, and the guest two to three on every boot.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::UNIX_EPOCH;

use anyhow::{Context, Result, bail, ensure};
use rustix::fs::{MemfdFlags, SeekFrom, memfd_create, seek};

use crate::module;

/// A kernel that can be booted.
#[derive(Debug)]
pub struct Kernel {
    /// What QEMU loads.
    pub image: PathBuf,
    /// Its release, as `uname -r` says it.
    pub release: String,
    modules: BTreeMap<String, PathBuf>,
}

/// The project's folder.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

impl Kernel {
    /// The newest kernel that there is here, unpacked; an error says how to get one.
    pub fn find() -> Result<Kernel> {
        let fetched = root().join("target/atoll/debian");
        for base in [&fetched, Path::new("/")] {
            for (release, packed) in newest_first(&base.join("boot")) {
                let modules = module::index(&[
                    base.join("lib/modules").join(&release).join("kernel"),
                    base.join("usr/lib/modules").join(&release).join("kernel"),
                ]);
                // A kernel of another flavour or an emptied folder is passed over.
                if modules.contains_key("9p") && modules.contains_key("9pnet_fd") {
                    let image = unpacked(&packed, &release, &fetched)?;
                    return Ok(Kernel { image, release, modules });
                }
            }
        }
        bail!(
            "there is no Debian kernel with 9P here: scripts/setup.sh test fetches it \
             (package linux-image-amd64) as a file"
        )
    }

    /// Whether there is a module of that name.
    pub(crate) fn has(&self, module: &str) -> bool {
        self.modules.contains_key(module)
    }

    /// The modules of these names and all that they depend on, each as its file name
    /// and bytes, in an order in which they can be loaded. Names that this kernel
    /// has no module for are left out: it has them built in, or nobody has.
    pub fn modules(&self, names: &[&str]) -> Result<Vec<(String, Vec<u8>)>> {
        module::ordered(&self.modules, names)
    }
}

/// Release and file of the kernels in a folder.
fn newest_first(boot: &Path) -> Vec<(String, PathBuf)> {
    let entries = std::fs::read_dir(boot).into_iter().flatten().flatten();
    let mut found: Vec<(Vec<u64>, String, PathBuf)> = entries
        .filter_map(|e| {
            let name = e.file_name().into_string().ok()?;
            let release = name.strip_prefix("vmlinuz-")?;
            let plain = release.ends_with("-amd64")
                && !release.contains("-cloud-")
                && !release.contains("-rt-");
            plain.then(|| (numbers(release), release.to_owned(), e.path()))
        })
        .collect();
    found.sort();
    found.into_iter().rev().map(|(_, release, path)| (release, path)).collect()
}

/// The numbers in a release, so that 6.1.0-9 is older than 6.1.0-10.
fn numbers(release: &str) -> Vec<u64> {
    release.split(|c: char| !c.is_ascii_digit()).filter_map(|n| n.parse().ok()).collect()
}

/// The kernel without its own unpacker; as it is, where it is packed in a form that
/// is not known here.
fn unpacked(packed: &Path, release: &str, keep: &Path) -> Result<PathBuf> {
    let about = packed.metadata().with_context(|| format!("cannot read {}", packed.display()))?;
    let time = about.modified()?.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
    // A package of the same release may come again with other bytes.
    let path = keep.join(format!("vmlinux-{release}-{:x}-{time:x}", about.len()));
    if path.is_file() {
        return Ok(path);
    }
    let bytes = std::fs::read(packed)?;
    let payload = payload(&bytes).with_context(|| format!("{} is cut", packed.display()))?;
    if !payload.starts_with(XZ) {
        return Ok(packed.to_owned());
    }
    let elf = unxz(payload)?;
    ensure!(elf.starts_with(b"\x7fELF"), "{} holds no ELF file", packed.display());
    std::fs::create_dir_all(keep)?;
    // Two tests may do this at once.
    let mut file = tempfile::NamedTempFile::new_in(keep)?;
    file.write_all(&elf)?;
    file.persist(&path)?;
    Ok(path)
}

/// The packed kernel in a bzImage. Offsets: `Documentation/arch/x86/boot.rst` of
/// Linux: `setup_sects`, `payload_offset`, `payload_length`.
fn payload(image: &[u8]) -> Option<&[u8]> {
    let long = |at: usize| Some(u32::from_le_bytes(*image.get(at..)?.first_chunk()?) as usize);
    let setup = (usize::from(*image.get(0x1f1)?) + 1) * 512;
    let start = setup.checked_add(long(0x248)?)?;
    image.get(start..start.checked_add(long(0x24c)?)?)
}

const XZ: &[u8] = b"\xfd7zXZ\0";

/// Unpacks the first xz stream of some bytes, by the program `xz`.
pub(crate) fn unxz(packed: &[u8]) -> Result<Vec<u8>> {
    let mut input = File::from(memfd_create("atoll-lab", MemfdFlags::CLOEXEC)?);
    input.write_all(packed)?;
    seek(&input, SeekFrom::Start(0))?;
    // The kernel's payload has its size behind the stream, which xz would call damage.
    let out = Command::new("xz")
        .args(["--decompress", "--stdout", "--single-stream"])
        .stdin(Stdio::from(input))
        .output()
        .context("cannot run xz: install the package xz-utils (scripts/setup.sh test does)")?;
    ensure!(out.status.success(), "xz: {}", String::from_utf8_lossy(&out.stderr).trim());
    Ok(out.stdout)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_ordered_by_their_numbers() {
        assert!(numbers("6.1.0-9-amd64") < numbers("6.1.0-10-amd64"));
        assert!(numbers("6.1.0-56-amd64") < numbers("6.12.0-1-amd64"));
    }

    #[test]
    fn a_payload_outside_its_image_is_none() {
        let mut image = vec![0; 0x1000];
        image[0x1f1] = 1;
        image[0x248] = 0x10;
        image[0x24c] = 4;
        image[0x410] = 7;
        assert_eq!(payload(&image), Some(&[7, 0, 0, 0][..]));
        image[0x24f] = 1;
        assert_eq!(payload(&image), None);
        assert_eq!(payload(&image[..0x24e]), None);
    }
}
