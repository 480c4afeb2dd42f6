//! `/log` and `/guests/NAME/events`: what happened, a line each, and then what happens.
//!
//! A place is the number of an event, which means the same after a restart of the
//! supervisor, and how much of its line was read: so who lost a connection, or the whole
//! supervisor, goes on where they were and reads no line twice. What is lost is told as
//! `gap N`: so many events of all guests.

use atoll_9p::fault::Fault;
use atoll_9p::synth::Special;
use atoll_9p::tree::Reply;

use super::state::State;
use crate::core::log::Piece;

/// Bits of a place that hold how much of a line was read.
const INSIDE: u32 = 20;

/// Events of all, or of one guest.
pub(super) struct Events {
    pub(super) all: bool,
}

impl Special<State> for Events {
    fn perm(&self) -> u16 {
        0o444
    }

    fn read(
        &self,
        s: &mut State,
        id: u64,
        place: &mut u64,
        _: u64,
        buf: &mut [u8],
    ) -> Result<Reply, Fault> {
        let guest = if self.all { None } else { Some(s.guest(id)?.name.clone()) };
        let (log, mut done) = (s.core.log(), 0);
        while let Some((piece, next)) = log.read(*place >> INSIDE) {
            let inside = (*place & ((1 << INSIDE) - 1)) as usize;
            let line = match piece {
                Piece::Gap(n) => format!("gap {n}\n"),
                Piece::Event(e) if guest.is_none() || e.guest == guest => format!("{e}\n"),
                Piece::Event(_) => {
                    *place = next << INSIDE;
                    continue;
                }
            };
            let rest = line.as_bytes().get(inside..).unwrap_or_default();
            let room = buf.get_mut(done..).unwrap_or_default();
            if done > 0 && rest.len() > room.len() {
                // Lines are given whole where that is possible.
                break;
            }
            let n = rest.len().min(room.len());
            for (to, from) in room.iter_mut().zip(rest) {
                *to = *from;
            }
            done += n;
            *place = if n < rest.len() { *place + n as u64 } else { next << INSIDE };
            if done == buf.len() {
                break;
            }
        }
        Ok(if done == 0 { Reply::Later } else { Reply::Done(done) })
    }

    fn seek(&self, _: &mut State, _: u64, place: &mut u64, to: u64) -> Result<(), Fault> {
        *place = to;
        Ok(())
    }

    fn can_seek(&self) -> bool {
        true
    }
}
