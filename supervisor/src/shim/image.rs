//! What the image of a guest says of itself, as its shim learns it.

use std::path::Path;

use atoll_config::image::Manifest;

use crate::run;
use crate::serve::{IMAGES, manifest::Manifest as Kept};

/// The manifest of an image. One of the daemon's own images is not read for that: the daemon has
/// read it whole, and keeps beside it what it says. `folder` is the guest's, in the daemon's.
pub(super) fn manifest(folder: &Path, image: &Path) -> anyhow::Result<Manifest> {
    let state = folder.parent().and_then(Path::parent);
    let own = state.map(|state| state.join(IMAGES));
    let kept = || match Kept::beside(image)? {
        Kept::Ours(manifest) if image.is_file() => Some(*manifest),
        _ => None,
    };
    let kept = (image.parent() == own.as_deref()).then(kept).flatten();
    kept.map_or_else(|| run::manifest(image), Ok)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_daemon_keeps_is_believed_and_nothing_elsewhere() {
        let dir = tempfile::tempdir().unwrap();
        let (guest, images) = (dir.path().join("guests/a"), dir.path().join(IMAGES));
        std::fs::create_dir_all(&guest).unwrap();
        std::fs::create_dir_all(&images).unwrap();
        let hash = "ab".repeat(32);
        let said = format!(
            r#"{{"manifest":1,"name":"a","version":"1","platforms":["process"],"memory":4194304,
            "devices":[],"imports":[],"exports":[],"components":[],"abi":{{"payload":1,"image":1}},
            "kernel_hash":"{hash}","payload_hash":"{hash}","can":[]}}"#
        );
        let put = |folder: &Path| {
            let image = folder.join("ab.img");
            std::fs::write(&image, b"no image").unwrap();
            std::fs::write(image.with_extension("json"), &said).unwrap();
            image
        };
        let own = put(&images);
        assert_eq!(manifest(&guest, &own).unwrap().payload_hash.to_string(), hash);
        // Anybody may have written what lies beside other images.
        let why = format!("{:#}", manifest(&guest, &put(dir.path())).unwrap_err());
        assert!(why.contains("ab.img"), "{why}");
        std::fs::write(own.with_extension("json"), b"{}").unwrap();
        assert!(manifest(&guest, &own).is_err());
        std::fs::write(own.with_extension("json"), &said).unwrap();
        std::fs::remove_file(&own).unwrap();
        let why = format!("{:#}", manifest(&guest, &own).unwrap_err());
        assert!(why.contains("No such file"), "{why}");
    }
}
