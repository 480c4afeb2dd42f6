//! Guests' trees, through everything that lies between: `atoll run` on QEMU and as
//! a process. The guest has the same files, as far as they fit into an image.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::place::{DATA, GUEST_DATA, Place, SMALL};
use super::servers::{GUEST, Server};
use crate::load::content;
use crate::proc::Program;
use crate::product;

/// Builds the image, and starts it on both.
pub fn start(root: &Path, place: &Place, atoll: &Path, say: &dyn Fn(&str)) -> Result<Vec<Server>> {
    say("building a guest with files, and the tender");
    let args = ["--release", "--package", "atoll-tender", "--bin", "atoll-tender"];
    let tender = product::cargo(root, &args, "atoll-tender")?;
    let image = image(root, place)?;
    let one = |on: &str, name: &str| -> Result<Server> {
        let socket = place.socket(on);
        let program = Program::new(atoll)?
            .arg("run")
            .arg(&image)
            .args(["--quiet", "--on", on, "--socket"])
            .arg(&socket)
            .env("ATOLL_TENDER", &tender)
            // Nobody's guest of the same name is in the way.
            .env("XDG_RUNTIME_DIR", place.sockets());
        let server = Server::start(&format!("{GUEST} {name}"), program, socket, "")?;
        Ok(server.in_dir(&["export"]))
    };
    Ok(vec![one("process", "as a process")?, one("qemu", "on QEMU")?])
}

/// An image of a guest with files.
pub fn image(root: &Path, place: &Place) -> Result<PathBuf> {
    let dir = place.scratch()?;
    let text = std::str::from_utf8(SMALL.1)?.trim_end();
    let config = format!(
        "[guest]\nname = \"bench\"\nversion = \"1\"\nmemory = \"16MiB\"\n\n\
         [[file]]\npath = \"{}\"\ntext = \"{text}\\n\"\n\n\
         [[file]]\npath = \"{}\"\nsource = \"data.bin\"\n",
        SMALL.0, DATA.0
    );
    std::fs::write(dir.join("guest.toml"), config)?;
    std::fs::write(dir.join("data.bin"), content::block(0, GUEST_DATA as usize))?;
    let out = dir.join("bench.img");
    product::Builder::find(root)?.build(&dir.join("guest.toml"), Some(&out)).context("a guest")?;
    Ok(out)
}
