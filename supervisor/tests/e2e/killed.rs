//! A supervisor that is killed leaves nothing behind, whenever it happens.

use std::time::Duration;

use crate::fixture::{Guest, Place, backends, image, rand};

#[test]
fn killed_at_any_instant_it_leaves_no_process_and_no_file() {
    image("hello");
    for on in backends() {
        let place = Place::new();
        for i in 0..20 {
            let mut guest = Guest::spawn(&place, "hello", on, &[]);
            // Most of a start takes some milliseconds; now and then it is up.
            let limit = if i % 5 == 4 { 150_000 } else { 20_000 };
            std::thread::sleep(Duration::from_micros(rand() % limit));
            guest.child.kill().unwrap();
            guest.child.wait().unwrap();
            place.assert_empty();
        }
        let guest = Guest::start(&place, "hello", on, &[]);
        guest.stop();
        place.assert_empty();
    }
}
