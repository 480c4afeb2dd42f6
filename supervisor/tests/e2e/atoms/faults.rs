//! Everything that an atom can do wrong: it ends that dispatch, and nothing else.

use super::{build, connect, refusal, shows, wait_until};
use crate::fixture::{Guest, Place, backends};

/// What `faults.wat` can do wrong, by letter, and what is said of it.
const WRONG: [(char, &str); 21] = [
    ('a', "unreachable code was reached"),
    ('b', "a division by zero"),
    ('c', "a division by zero"),
    ('d', "an integer overflow"),
    ('e', "a float that is no integer"),
    ('f', "an integer overflow"),
    ('g', "an access outside of its memory"),
    ('h', "an access outside of its memory"),
    ('i', "an access outside of its memory"),
    ('j', "an access outside of its memory"),
    ('k', "an access outside of its memory"),
    ('l', "an access outside of its memory"),
    ('m', "an access outside of its memory"),
    ('n', "a call outside of its table"),
    ('o', "a call outside of its table"),
    ('p', "a call of a function that is not there"),
    ('q', "a call of a function of another type"),
    ('r', "its stack is used up"),
    ('s', "its stack is used up"),
    ('t', "beyond its time"),
    ('u', "an access outside of its memory"),
];

/// A guest of two atoms, one of which does wrong. The other may grow to more memory than the
/// sponsor pays, who pays half of what the machine has.
fn toml(name: &str, on_fault: &str) -> String {
    format!(
        "[guest]\nname = \"{name}\"\nversion = \"1\"\nmemory = \"8MiB\"\non_fault = \"{on_fault}\"\n\
         [sponsor]\nmemory = \"4MiB\"\n\
         [[atom]]\nname = \"bad\"\npath = \"m.wat\"\nmemory = \"1MiB\"\ndeadline = \"200ms\"\n\
         [[atom]]\nname = \"good\"\npath = \"m.wat\"\nmemory = \"8MiB\"\n\
         deadline = \"1m\"\n[export]\nwrite = [\"bad\", \"good\"]\n"
    )
}

#[test]
fn whatever_an_atom_does_wrong_the_guest_goes_on() {
    let image = build(&toml("faults", "restart"), include_str!("faults.wat"));
    for on in backends() {
        let place = Place::new();
        let guest = Guest::start_image(&place, "faults", &image, on, &[]);
        let c = connect(&place, "faults");
        let mut anew = 0;
        for (what, why) in WRONG {
            for place in ["d", "i", "f", "s"] {
                let told = format!("{on}: {place}{what}");
                // Something that a new instance does not know any more.
                c.write("export/bad/do", b"n").unwrap();
                assert_eq!(shows(&c, "export/bad/count"), "1", "{told}");
                let (errno, text) =
                    refusal(c.write("export/bad/do", format!("{place}{what}").as_bytes()));
                match (place, what) {
                    ("d", 't') => assert_eq!(errno, "ETIMEDOUT", "{told}"),
                    ("d", _) => assert_eq!(errno, "EIO", "{told}"),
                    // It comes later, and nobody hears of it.
                    _ => assert_eq!(errno, "", "{told}"),
                }
                if place == "d" {
                    assert!(text.contains(why), "{told}: {text}");
                }
                anew += 1;
                let restarts = format!("\nrestarts {anew}\n");
                let said = wait_until(&c, "atom/bad/status", |s| s.contains(&restarts));
                assert!(said.contains("state running"), "{told}: {said}");
                let want = format!("abandoned a dispatch: {why}; made anew");
                let log = shows(&c, "atom/bad/log");
                let last = log.lines().rfind(|l| l.ends_with("made anew"));
                assert!(last.is_some_and(|l| l.ends_with(&want)), "{told}: {log}");
                assert_eq!(shows(&c, "export/bad/count"), "0", "{told}");
            }
            c.write("export/good/do", b"n").unwrap();
        }
        // 21 commands, counted in one digit from `0` on.
        assert_eq!(shows(&c, "export/good/count"), "E", "{on}");
        // Memory that the machine does not have is refused to who asks for it, and there
        // again for others as soon as that one has gone.
        for _ in 0..3 {
            let (errno, text) = refusal(c.write("export/good/do", b"du"));
            assert!(errno == "EIO" && text.contains("outside of its memory"), "{on}: {text}");
            c.write("export/good/do", b"n").unwrap();
            refusal(c.write("export/bad/do", b"du"));
            refusal(c.write("export/bad/do", b"n"));
        }
        drop(c);
        guest.stop();
        place.assert_empty();
    }
}

#[test]
fn where_the_policy_is_to_stop_the_guest_stops_and_says_why() {
    let image = build(&toml("faults-stop", "stop"), include_str!("faults.wat"));
    for on in backends() {
        for (what, why) in WRONG.into_iter().filter(|(what, _)| "bhrst".contains(*what)) {
            let place = Place::new();
            let guest = Guest::start_image(&place, "faults-stop", &image, on, &[]);
            let c = connect(&place, "faults-stop");
            // Whoever prints the log has to be there before the guest is gone.
            c.write("atom/good/ctl", b"pause").unwrap();
            guest.wait_for("pause");
            // The guest may be gone before it could answer.
            let _ = c.write("export/bad/do", &[b'i', what as u8]);
            drop(c);
            let (code, said) = guest.wait();
            assert_eq!(code, Some(1), "{on}: {what}: {said}");
            assert!(said.contains(why) && said.contains("the guest stops"), "{on}: {what}: {said}");
            place.assert_empty();
        }
    }
}

#[test]
fn where_the_policy_is_to_go_back_all_of_the_guest_does() {
    let image = build(&toml("faults-back", "restore"), include_str!("faults.wat"));
    for on in backends() {
        let place = Place::new();
        let state = place.dir.path().join("state");
        let with = ["--state", state.to_str().unwrap()];
        let guest = Guest::start_image(&place, "faults-back", &image, on, &with);
        let c = connect(&place, "faults-back");
        c.write("export/good/do", b"n").unwrap();
        c.write("ctl", b"checkpoint").unwrap();
        guest.wait_for("checkpoint 1 is in");
        c.write("export/good/do", b"n").unwrap();
        c.write("export/bad/do", b"n").unwrap();
        assert_eq!(shows(&c, "export/good/count"), "2", "{on}");
        // One fails, and the other is as it was, too.
        refusal(c.write("export/bad/do", b"da"));
        guest.wait_for("goes on from checkpoint 1");
        assert_eq!(shows(&c, "export/good/count"), "1", "{on}");
        assert_eq!(shows(&c, "export/bad/count"), "0", "{on}");
        // Its checkpoint is damaged: it does not go on as something else.
        std::fs::write(state.join("1.checkpoint"), "nonsense").unwrap();
        refusal(c.write("export/bad/do", b"da"));
        drop(c);
        let (code, said) = guest.wait();
        assert_eq!(code, Some(1), "{on}: {said}");
        assert!(said.contains("going back failed: ") && said.contains("status 1"), "{on}: {said}");
        std::fs::remove_dir_all(&state).unwrap();
        place.assert_empty();
    }
}
