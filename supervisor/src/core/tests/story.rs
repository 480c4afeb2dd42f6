//! What a log must be, whoever has died while it was written.

use std::collections::BTreeMap;

use crate::core::*;
use crate::store::Loaded;

/// Numbers without holes, and every run's story once.
pub(super) fn check_log(stored: &Loaded) {
    let mut alive: BTreeMap<&Name, (u64, u8)> = BTreeMap::new();
    for (i, event) in stored.events.iter().enumerate() {
        assert_eq!(event.seq, stored.events[0].seq + i as u64, "{event}");
        let Some(guest) = &event.guest else { continue };
        let (run, stage) = alive.entry(guest).or_insert((0, 2));
        match event.what {
            What::Starting(_) => {
                assert!(event.run > *run && *stage == 2, "{event}");
                (*run, *stage) = (event.run, 0);
            }
            What::Running(_) => {
                assert!(event.run == *run && *stage == 0, "{event}");
                *stage = 1;
            }
            What::Ended(_) => {
                assert!(event.run == *run && *stage < 2, "{event}");
                *stage = 2;
            }
            What::Forgotten => assert!(alive.remove(guest).is_some_and(|(_, s)| s == 2)),
            _ => {}
        }
    }
    let next = stored.events.last().map_or(1, |e| e.seq + 1);
    assert_eq!(next, stored.next_seq);
}
