//! What the three atoms of a random program may do.

use proptest::prelude::*;

pub const ATOMS: [&str; 3] = ["a", "b", "c"];

/// One thing to do, as a script says it.
pub fn act() -> impl Strategy<Value = String> {
    let who = prop::sample::select(ATOMS.to_vec());
    let (w2, w3, w4) = (who.clone(), who.clone(), who.clone());
    prop_oneof![
        who.prop_map(|w| format!("send {w} hello")),
        w2.prop_map(|w| format!("ask {w} reply 1 ok")),
        w3.prop_map(|w| format!("ask {w}")),
        Just("reply 0 late".to_owned()),
        (0u64..60).prop_map(|ns| format!("sleep {ns}")),
        Just("lose".to_owned()),
        Just("lock 1".to_owned()),
        Just("share 1".to_owned()),
        Just("unlock 1".to_owned()),
        (w4, 0..3).prop_map(|(w, code)| format!("signal {w} {code} 1")),
        (0..8).prop_map(|bits| format!("mask {bits}")),
        (0..8).prop_map(|bits| format!("unmask {bits}")),
        (0..3, 0..9).prop_map(|(k, v)| format!("put k{k} v{v}")),
        (0..3).prop_map(|k| format!("del k{k}")),
        Just("append r".to_owned()),
        Just("add 8 1".to_owned()),
        (0..2).prop_map(|n| format!("register n{n}")),
        (0..3).prop_map(|n| format!("spawn s{n}")),
        (0..3).prop_map(|n| format!("kill s{n}")),
        Just("random".to_owned()),
    ]
}
