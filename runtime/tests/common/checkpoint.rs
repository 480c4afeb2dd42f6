//! Checkpoints of guests of scripts, past their files.

use atoll_9p::fault::Fault;
use atoll_runtime::core::Core;
use atoll_runtime::snapshot::{Cut, Fresh, Incoming, State};

use super::ONE;
use super::script::Guest;

pub fn core(g: &mut Guest) -> &mut Core<'static> {
    g.w.rt.guest(ONE).expect("a guest")
}

/// What a guest is, as bytes that are the same for guests that are the same.
pub fn state(g: &mut Guest) -> Vec<u8> {
    let state = core(g).capture();
    State::without_figures(state).to_bytes()
}

/// A checkpoint.
pub fn cut(g: &mut Guest) -> Vec<u8> {
    bytes(&core(g).cut(false).expect("a checkpoint"))
}

pub fn bytes(cut: &Cut) -> Vec<u8> {
    let mut bytes = vec![0; cut.len() as usize];
    assert_eq!(cut.read(0, &mut bytes), bytes.len());
    bytes
}

/// Makes a guest go on from a checkpoint, without its being told.
pub fn go_on(g: &mut Guest, checkpoint: &[u8]) -> Result<(), Fault> {
    let mut incoming = Incoming::default();
    let mut whole = false;
    for piece in checkpoint.chunks(1000) {
        whole = incoming.feed(core(g), piece)?;
    }
    assert!(whole);
    let fresh: Fresh<'_> = incoming.take().expect("a guest");
    core(g).become_other(fresh);
    Ok(())
}
