//! A host that serves a few files to the guest.

use atoll_9p::ram::Ram;
use atoll_runtime::fake::{Fake, Host};

/// With the files that a script's lines `host PATH TEXT` name.
pub(crate) fn open(fake: &mut Fake, script: &[&str]) -> Host<Ram> {
    let mut ram = Ram::default();
    ram.mkdir("data").expect("an empty tree");
    for file in script.iter().filter_map(|l| l.strip_prefix("host ")) {
        let (path, text) = file.split_once(' ').expect("a path and a text");
        if let Some((dir, _)) = path.rsplit_once('/') {
            ram.mkdir(&format!("data/{dir}")).expect("a directory of one file");
        }
        ram.put(&format!("data/{path}"), text.as_bytes()).expect("a small file");
    }
    Host::open(fake, ram)
}
