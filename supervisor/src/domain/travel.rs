//! What two supervisors say to each other when a domain moves: lines, and in between what
//! `xl save` writes and `xl restore` reads.
//!
//! | who | says |
//! |---|---|
//! | source | [`Hello`] as a line of JSON |
//! | target | `welcome`, or `no WHY` |
//! | source | the domain: pieces, each with its length\[4\] before it, then one of length 0 |
//! | target | `ready`: it has a domain that does not run yet; or `no WHY` |
//! | source | `go EPOCH`: from now on it is the target's, and the source's never runs again |
//! | target | `running`; or `no WHY`: there is nothing of it there |
//!
//! A stream that ends anywhere before `go` has moved nothing, and both sides know it. One that
//! ends between `go` and its answer leaves the source in doubt, and a mark there says so
//! ([`crate::shim::Mark`]).

use std::io::{self, BufRead, Read, Write};

use anyhow::{Result, bail, ensure};
use serde::{Deserialize, Serialize};

/// The only version there is.
pub(super) const FORMAT: u32 = 1;
/// The longest line.
const MAX_LINE: u64 = 4096;
/// The longest piece of a domain, in bytes.
pub(super) const PIECE: usize = 64 << 10;

/// Who wants to come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Hello {
    /// [`FORMAT`].
    pub(super) format: u32,
    /// What the guest is called.
    pub(super) name: String,
    /// The payload of its image, as a hash.
    pub(super) payload: String,
    /// Its memory in bytes.
    pub(super) memory: u64,
    /// The owner epoch under which it runs.
    pub(super) epoch: u64,
}

impl Hello {
    /// Whether it may come to where this one is expected.
    pub(super) fn check(&self, expected: &Hello) -> Result<(), String> {
        let differs = |what: &str, its: &dyn std::fmt::Display, ours: &dyn std::fmt::Display| {
            Err(format!("its {what} is {its}, and {ours} is expected"))
        };
        if self.format != FORMAT {
            return differs("format", &self.format, &FORMAT);
        }
        if self.name != expected.name {
            return differs("name", &self.name.escape_debug(), &expected.name);
        }
        if self.payload != expected.payload {
            return differs("payload", &self.payload.escape_debug(), &expected.payload);
        }
        if self.memory != expected.memory {
            return differs("memory", &self.memory, &expected.memory);
        }
        Ok(())
    }
}

/// Says a line.
pub(super) fn say(mut to: impl Write, line: &str) -> io::Result<()> {
    to.write_all(format!("{line}\n").as_bytes())
}

/// Hears a line. How long is waited for it is the stream's.
pub(super) fn hear(from: &mut impl BufRead) -> Result<String> {
    let mut line = Vec::new();
    if let Err(e) = from.take(MAX_LINE).read_until(b'\n', &mut line) {
        ensure!(e.kind() != io::ErrorKind::WouldBlock, "the other side says nothing");
        return Err(e.into());
    }
    ensure!(line.pop() == Some(b'\n'), "the stream ended");
    Ok(String::from_utf8(line)?)
}

/// What the other side says if it does not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[error("the other side refuses: {0}")]
pub(super) struct Refusal(String);

/// Hears one word, or why not.
pub(super) fn expect(from: &mut impl BufRead, word: &str) -> Result<()> {
    let said = hear(from)?;
    match said.strip_prefix("no ") {
        _ if said == word => Ok(()),
        Some(why) => Err(Refusal(why.escape_debug().to_string()).into()),
        None => bail!("the other side said {said:?} instead of {word}"),
    }
}

/// Sends all that there is, in pieces: how many bytes.
pub(super) fn send(mut from: impl Read, mut to: impl Write) -> io::Result<u64> {
    let mut buf = vec![0; PIECE];
    let mut sent = 0;
    loop {
        let n = match from.read(&mut buf) {
            Ok(n) => n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(e),
        };
        if n == 0 {
            return Ok(sent);
        }
        to.write_all(&(n as u32).to_le_bytes())?;
        to.write_all(buf.get(..n).unwrap_or_default())?;
        sent += n as u64;
    }
}

/// Says that this was all.
pub(super) fn end(mut to: impl Write) -> io::Result<()> {
    to.write_all(&0u32.to_le_bytes())
}

/// The next piece; none at the end.
pub(super) fn piece(mut from: impl Read, buf: &mut Vec<u8>) -> Result<Option<&[u8]>> {
    let mut len = [0; 4];
    from.read_exact(&mut len)?;
    let len = u32::from_le_bytes(len) as usize;
    ensure!(len <= PIECE, "a piece of {len} bytes is too long");
    if len == 0 {
        return Ok(None);
    }
    buf.resize(len, 0);
    from.read_exact(buf)?;
    Ok(Some(buf))
}

#[cfg(test)]
mod tests {
    use std::io::BufReader;
    use std::os::unix::net::UnixStream;
    use std::time::Duration;

    use super::*;

    fn hello() -> Hello {
        let (name, payload) = ("hello".to_owned(), "ab12".to_owned());
        Hello { format: FORMAT, name, payload, memory: 4 << 20, epoch: 3 }
    }

    #[test]
    fn only_who_is_expected_may_come() {
        let expected = Hello { epoch: 0, ..hello() };
        assert_eq!(hello().check(&expected), Ok(()));
        for (other, why) in [
            (Hello { format: 2, ..hello() }, "its format is 2, and 1 is expected"),
            (Hello { name: "a\nb".into(), ..hello() }, "its name is a\\nb, and hello"),
            (Hello { payload: "ab13".into(), ..hello() }, "its payload is ab13, and ab12"),
            (Hello { memory: 1, ..hello() }, "its memory is 1, and 4194304"),
        ] {
            let said = other.check(&expected).unwrap_err();
            assert!(said.starts_with(why), "{said}");
        }
    }

    #[test]
    fn a_domain_arrives_as_it_was_sent_or_not_at_all() {
        let sent: Vec<u8> = (0..3 * PIECE + 17).map(|i| i as u8).collect();
        let mut wire = Vec::new();
        assert_eq!(send(&*sent, &mut wire).unwrap(), sent.len() as u64);
        end(&mut wire).unwrap();
        let take = |mut wire: &[u8]| -> Result<Vec<u8>> {
            let (mut all, mut buf) = (Vec::new(), Vec::new());
            while let Some(piece) = piece(&mut wire, &mut buf)? {
                all.extend_from_slice(piece);
            }
            Ok(all)
        };
        assert_eq!(take(&wire).unwrap(), sent);
        for cut in [0, 3, 4, 5, PIECE, PIECE + 4, wire.len() - 4, wire.len() - 1] {
            assert!(take(&wire[..cut]).is_err(), "{cut}");
        }
        assert!(take(&u32::MAX.to_le_bytes()).unwrap_err().to_string().contains("too long"));
    }

    #[test]
    fn who_says_nothing_is_not_waited_for_for_ever() {
        let (one, _two) = UnixStream::pair().unwrap();
        one.set_read_timeout(Some(Duration::from_millis(10))).unwrap();
        let why = expect(&mut BufReader::new(&one), "welcome").unwrap_err();
        assert_eq!(why.to_string(), "the other side says nothing");
    }

    #[test]
    fn lines_have_an_end_and_say_why_not() {
        let mut said: &[u8] = b"welcome\nno such guest\nmore";
        expect(&mut said, "welcome").unwrap();
        let why = expect(&mut said, "ready").unwrap_err();
        assert_eq!(why.to_string(), "the other side refuses: such guest");
        assert_eq!(hear(&mut said).unwrap_err().to_string(), "the stream ended");
        let long = [b'x'; 2 * MAX_LINE as usize];
        assert!(hear(&mut &long[..]).is_err());
        assert!(expect(&mut &b"go\n"[..], "ready").is_err());
    }
}
