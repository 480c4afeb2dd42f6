//! What guests in the background store: it needs neither the supervisor nor a clean end.

use super::Daemon;
use crate::fixture::backends;
use crate::stored::sync;

#[test]
fn a_guest_in_the_background_has_what_it_stored_after_every_end() {
    for on in backends() {
        let mut daemon = Daemon::start();
        daemon.run("kv", "db", on, &[]);
        let put = |d: &Daemon, of: &str, key: &str, value: &str| {
            d.place.ok(&["write", of, &format!("/export/kv/names/{key}"), value]);
        };
        let get = |d: &Daemon, of: &str, key: &str| {
            d.place.ok(&["cat", of, &format!("/export/kv/names/{key}")]).trim_end().to_owned()
        };
        put(&daemon, "db", "colour", "blue");
        daemon.kill();
        put(&daemon, "db", "shape", "round");
        sync(&daemon.place, "db");
        daemon.begin();
        daemon.ok(&["kill", "db"]);
        daemon.ok(&["start", "db"]);
        assert_eq!(
            (get(&daemon, "db", "colour"), get(&daemon, "db", "shape")),
            ("blue".into(), "round".into())
        );

        // A fork has a store of its own, which begins as the other's is.
        daemon.ok(&["fork", "db", "other"]);
        daemon.until("other", "running");
        put(&daemon, "other", "colour", "red");
        sync(&daemon.place, "other");
        daemon.ok(&["kill", "other"]);
        daemon.ok(&["start", "other"]);
        assert_eq!(get(&daemon, "other", "colour"), "red");
        assert_eq!(get(&daemon, "other", "shape"), "round");
        daemon.ok(&["restart", "db"]);
        assert_eq!(get(&daemon, "db", "colour"), "blue");
        daemon.finish();
    }
}
