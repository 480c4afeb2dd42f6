//! Sources of files on a real disk: nothing outside the guest's folder is read.

use std::path::Path;

use atoll_config::text::{BadGuest, Checked, load};

struct Place(std::path::PathBuf);

impl Place {
    fn new(name: &str) -> Place {
        let dir = std::env::temp_dir().join(format!("atoll-{name}-{}", std::process::id()));
        std::fs::create_dir_all(dir.join("guest/files")).unwrap();
        std::fs::write(dir.join("secret"), "secret").unwrap();
        std::fs::write(dir.join("guest/files/motd"), "hi").unwrap();
        Place(dir)
    }

    fn load(&self, source: &str) -> Result<Checked, String> {
        let text = format!(
            "[guest]\nname = \"g\"\nmemory = \"4MiB\"\n[[file]]\npath = \"x\"\nsource = {source:?}\n"
        );
        let file = self.0.join("guest/guest.toml");
        std::fs::write(&file, text).unwrap();
        load(&file).map_err(|e| match e {
            BadGuest::Report(r) => r.render(false, 300),
            e => e.to_string(),
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn refused(place: &Place, source: &str, why: &str) {
    let e = place.load(source).unwrap_err();
    assert!(e.contains(why), "{source}: {e}");
    assert!(e.contains("guest.toml:6:10"), "{source}: {e}");
}

#[test]
fn a_source_is_a_file_inside_the_folder() {
    let place = Place::new("sources");
    let guest = place.load("files/motd").unwrap();
    assert_eq!((guest.files[0].data.as_slice(), guest.files[0].path.as_str()), (&b"hi"[..], "x"));
    refused(&place, "../secret", "leaves the guest's folder");
    refused(&place, "files/../../secret", "leaves the guest's folder");
    refused(&place, &place.0.join("secret").display().to_string(), "leaves the guest's folder");
    refused(&place, "files/none", "create ");
    refused(&place, "files", "is not a file");
    let guest = place.0.join("guest");
    std::os::unix::fs::symlink(place.0.join("secret"), guest.join("link")).unwrap();
    std::os::unix::fs::symlink("files/motd", guest.join("inner")).unwrap();
    refused(&place, "link", "by a symbolic link");
    assert!(place.load("inner").is_ok());
    std::fs::write(guest.join("huge"), vec![0; 4 << 20]).unwrap();
    refused(&place, "huge", "are left for files");
}

#[test]
fn a_file_that_is_no_text_is_refused_with_its_name() {
    let place = Place::new("unreadable");
    let e = load(Path::new("no/such/guest.toml")).unwrap_err().to_string();
    assert!(e.contains("cannot read no/such/guest.toml"), "{e}");
    let file = place.0.join("guest/guest.toml");
    std::fs::write(&file, b"# \xff").unwrap();
    let e = load(&file).unwrap_err().to_string();
    assert!(e.contains("not UTF-8 from byte 2"), "{e}");
    std::fs::write(&file, vec![b'#'; 2 << 20]).unwrap();
    let e = load(&file).unwrap_err().to_string();
    assert!(e.contains("too many for a guest.toml"), "{e}");
}
