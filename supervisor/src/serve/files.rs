//! The files of the control tree that are more than a function: commands that are answered
//! when they are done, texts that are written in parts, and reads that wait.

use atoll_9p::fault::{Blame, Errno, Fault};
use atoll_9p::synth::Special;
use atoll_9p::tree::{Reply, slice_at};

use super::authority::Act;
use super::config::MAX_TEXT;
use super::state::{State, Todo};
use super::{cuts, show};
use crate::core::{Input, Until, verb};
use crate::guestlog::Piece;

/// `/guests/NAME/ctl`: a write waits until its command is done.
pub(super) struct GuestCtl;

impl Special<State> for GuestCtl {
    fn perm(&self) -> u16 {
        0o644
    }

    fn read(
        &self,
        s: &mut State,
        id: u64,
        _: &mut u64,
        offset: u64,
        buf: &mut [u8],
    ) -> Result<Reply, Fault> {
        let usage = verb::usage(s.view(id)?.state(), s.can(id));
        Ok(Reply::Done(slice_at(usage.as_bytes(), offset, buf)))
    }

    fn write(
        &self,
        s: &mut State,
        id: u64,
        place: &mut u64,
        _: u64,
        data: &[u8],
    ) -> Result<Reply, Fault> {
        let node = s.nodes.ctl.map(|n| n.of(id));
        s.command(node, place, data, |s, ask| s.guest_command(id, ask, data))
    }

    fn close(&self, s: &mut State, _: u64, place: u64) {
        if place != 0 {
            s.withdraw(place);
        }
    }
}

/// `/guests/NAME/config`: what was written, committed or not.
pub(super) struct Config;

impl Config {
    fn text(s: &State, id: u64) -> Result<&str, Fault> {
        let record = s.view(id)?.record();
        let committed = record.config.as_ref().map(|c| c.text.as_str());
        Ok(record.draft.as_deref().or(committed).unwrap_or_default())
    }

    fn put(s: &mut State, id: u64, text: String) -> Result<(), Fault> {
        let guest = s.guest(id)?.name.clone();
        s.may(Act::Guest(guest.as_str(), "config"))?;
        s.ask_now(|ask| Input::Draft { ask, guest, text: Some(text) })
    }
}

impl Special<State> for Config {
    fn perm(&self) -> u16 {
        0o644
    }

    fn read(
        &self,
        s: &mut State,
        id: u64,
        _: &mut u64,
        offset: u64,
        buf: &mut [u8],
    ) -> Result<Reply, Fault> {
        Ok(Reply::Done(slice_at(Config::text(s, id)?.as_bytes(), offset, buf)))
    }

    /// What is written at the start is a new text; the rest of a long one follows it.
    fn write(
        &self,
        s: &mut State,
        id: u64,
        _: &mut u64,
        offset: u64,
        data: &[u8],
    ) -> Result<Reply, Fault> {
        let old = if offset == 0 { "" } else { Config::text(s, id)? };
        if offset != old.len() as u64 {
            let text = "config is written from its start, one part behind the other";
            return Err(Fault::new(Errno::EINVAL, text));
        }
        let not_text = |_| Fault::new(Errno::EINVAL, "config is UTF-8 text");
        let text = old.to_owned() + std::str::from_utf8(data).map_err(not_text)?;
        if text.len() > MAX_TEXT {
            return Err(Fault::new(Errno::EFBIG, format!("config has at most {MAX_TEXT} bytes")));
        }
        Config::put(s, id, text)?;
        Ok(Reply::Done(data.len()))
    }

    fn size(&self, s: &mut State, id: u64) -> u64 {
        Config::text(s, id).map_or(0, |text| text.len() as u64)
    }

    fn appends(&self) -> bool {
        false
    }
}

/// `/guests/NAME/log`: what it said, from the oldest byte that is kept; then it waits. A
/// place is a position.
pub(super) struct Log;

impl Special<State> for Log {
    fn perm(&self) -> u16 {
        0o444
    }

    fn open(&self, s: &mut State, id: u64) -> Result<u64, Fault> {
        s.said(id)?.oldest().map_err(|e| unread(&e))
    }

    fn read(
        &self,
        s: &mut State,
        id: u64,
        place: &mut u64,
        _: u64,
        buf: &mut [u8],
    ) -> Result<Reply, Fault> {
        if let Some(n) = s.cuts.read(place, buf) {
            return Ok(Reply::Done(n));
        }
        match s.said(id)?.read(*place, buf.len()).map_err(|e| unread(&e))? {
            Piece::Gap(n) => Ok(Reply::Done(s.cuts.begin(place, n, buf))),
            Piece::Bytes(bytes) if bytes.is_empty() => {
                let guest = s.guests.get_mut(&id).ok_or(Errno::ESTALE)?;
                if let Some(why) = guest.deaf.take() {
                    return Err(Fault::new(Errno::EIO, why).blame(Blame::Host));
                }
                if !guest.followed {
                    guest.followed = true;
                    s.to_do(Todo::Follow(id, *place));
                }
                Ok(Reply::Later)
            }
            Piece::Bytes(bytes) => {
                let n = slice_at(&bytes, 0, buf);
                *place += n as u64;
                Ok(Reply::Done(n))
            }
        }
    }

    fn seek(&self, s: &mut State, _: u64, place: &mut u64, to: u64) -> Result<(), Fault> {
        s.cuts.end(*place);
        *place = to.min(cuts::LAST);
        Ok(())
    }

    fn close(&self, s: &mut State, _: u64, place: u64) {
        s.cuts.end(place);
    }

    fn can_seek(&self) -> bool {
        true
    }
}

fn unread(e: &std::io::Error) -> Fault {
    Fault::new(Errno::EIO, format!("its log cannot be read: {e}")).blame(Blame::Host)
}

/// `/guests/NAME/wait`: one line, when its run has ended; at once when there is none. A
/// place is the number of the question, and after its answer [`TOLD`].
pub(super) struct Wait;

/// The place of a reader that has its answer.
const TOLD: u64 = u64::MAX;

impl Special<State> for Wait {
    fn perm(&self) -> u16 {
        0o444
    }

    fn read(
        &self,
        s: &mut State,
        id: u64,
        place: &mut u64,
        offset: u64,
        buf: &mut [u8],
    ) -> Result<Reply, Fault> {
        if *place == 0 {
            let guest = s.guest(id)?.name.clone();
            *place = s.answers.begin(s.nodes.wait.map(|n| n.of(id)), b"");
            let ask = *place;
            s.input(Input::Wait { ask, guest, until: Until::Ended });
        }
        if *place != TOLD {
            match s.answers.take(*place) {
                None => return Ok(Reply::Later),
                Some(result) => {
                    *place = 0;
                    result?;
                    *place = TOLD;
                }
            }
        }
        let line = show::ended(s, id)?;
        Ok(Reply::Done(slice_at(line.as_bytes(), offset, buf)))
    }

    fn close(&self, s: &mut State, _: u64, place: u64) {
        if place != 0 && place != TOLD {
            s.withdraw(place);
        }
    }
}

/// `/images/HASH/ctl`
pub(super) struct ImageCtl;

impl Special<State> for ImageCtl {
    fn perm(&self) -> u16 {
        0o644
    }

    fn read(
        &self,
        _: &mut State,
        _: u64,
        _: &mut u64,
        offset: u64,
        buf: &mut [u8],
    ) -> Result<Reply, Fault> {
        Ok(Reply::Done(slice_at(b"commit\n", offset, buf)))
    }

    fn write(
        &self,
        s: &mut State,
        id: u64,
        place: &mut u64,
        _: u64,
        data: &[u8],
    ) -> Result<Reply, Fault> {
        const VERBS: &[atoll_9p::synth::Verb] = &[atoll_9p::synth::Verb::new("commit", "", 0)];
        let node = s.nodes.image.map(|n| n.of(id));
        s.command(node, place, data, |s, ask| {
            atoll_9p::synth::Command::parse(VERBS, data)?;
            s.may(Act::Host("commit image"))?;
            match s.images.commit(id)? {
                Some(check) => s.to_do(Todo::Check(ask, check)),
                None => s.answer(ask, Ok(())),
            }
            Ok(())
        })
    }

    fn close(&self, s: &mut State, _: u64, place: u64) {
        s.answers.forget(place);
    }
}

/// `/images/HASH/image`
pub(super) struct ImageFile;

impl Special<State> for ImageFile {
    fn perm(&self) -> u16 {
        0o644
    }

    fn read(
        &self,
        s: &mut State,
        id: u64,
        _: &mut u64,
        offset: u64,
        buf: &mut [u8],
    ) -> Result<Reply, Fault> {
        s.images.read(id, offset, buf).map(Reply::Done)
    }

    fn write(
        &self,
        s: &mut State,
        id: u64,
        _: &mut u64,
        offset: u64,
        data: &[u8],
    ) -> Result<Reply, Fault> {
        s.images.write(id, offset, data).map(Reply::Done)
    }

    fn size(&self, s: &mut State, id: u64) -> u64 {
        s.images.get(id).map_or(0, |e| e.bytes)
    }

    fn appends(&self) -> bool {
        false
    }
}
