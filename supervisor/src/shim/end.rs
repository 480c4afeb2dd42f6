//! How a run ended.
//!
//! The file is written when the machine is gone, whole or not at all, and the shim ends
//! after that: so whoever finds a shim gone finds either how the run ended, or that
//! nobody knows.

use serde::{Deserialize, Serialize};

use super::spec::{Bad, FORMAT, from_json};
use crate::address::is_name;

/// The longest text about an end.
const MAX_WHY: usize = 4096;

/// How a guest ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum How {
    /// By itself, with this status; 0 is well.
    Exited(u8),
    /// It failed, and wrote a record: `history/RUN/record`.
    Crashed,
    /// It was killed, because that was asked for or because it did not stop in time.
    Killed,
    /// Its machine ended without a word.
    Lost,
    /// It runs elsewhere, or may: it is not started again of itself.
    Moved,
    /// It never ran.
    Unstarted,
}

/// How a run ended: `end.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct End {
    /// [`FORMAT`].
    pub format: u32,
    /// The guest.
    pub name: String,
    /// Which of its starts.
    pub run: u64,
    /// The owner epoch under which it ran.
    pub epoch: u64,
    /// How it ended.
    pub how: How,
    /// The same for people, in one line.
    pub why: String,
    /// Whether it was asked to stop, or to be killed.
    pub asked: bool,
    /// When it was started, milliseconds since 1970 UTC.
    pub started: u64,
    /// When it had ended, milliseconds since 1970 UTC.
    pub ended: u64,
    /// Time for which it had a processor, in microseconds.
    pub cpu: u64,
    /// Where its log ended: bytes since ever ([`crate::guestlog`]).
    pub log: u64,
}

impl End {
    /// Whether it ended well: by itself, with status 0.
    pub fn is_well(&self) -> bool {
        self.how == How::Exited(0)
    }

    /// Reads what a file holds.
    pub fn from_json(text: &[u8]) -> Result<End, Bad> {
        let end: End = from_json(text)?;
        let bad = |field, why| Err(Bad::Field { field, why });
        if !is_name(&end.name) {
            return bad("name", "is no guest's name");
        }
        if end.run == 0 {
            return bad("run", "runs are counted from 1 on");
        }
        if end.why.len() > MAX_WHY || end.why.chars().any(char::is_control) {
            return bad("why", "it is one line, and not a long one");
        }
        Ok(end)
    }

    /// What a file is to hold.
    pub fn to_json(&self) -> Result<String, Bad> {
        let end = End { format: FORMAT, why: line(&self.why), ..self.clone() };
        Ok(serde_json::to_string_pretty(&end)? + "\n")
    }
}

/// A text as one line that is not too long.
fn line(text: &str) -> String {
    let clean = |c: char| if c.is_control() { ' ' } else { c };
    let mut out: String = text.trim().chars().map(clean).collect();
    while out.len() > MAX_WHY {
        out.pop();
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(how: How, why: &str) -> End {
        End {
            format: FORMAT,
            name: "hello".into(),
            run: 3,
            epoch: 1,
            how,
            why: why.into(),
            asked: true,
            started: 1,
            ended: 2,
            cpu: 3,
            log: 4,
        }
    }

    #[test]
    fn an_end_is_read_as_it_was_written() {
        for how in
            [How::Exited(0), How::Exited(7), How::Crashed, How::Killed, How::Moved, How::Unstarted]
        {
            let end = end(how, "it was so");
            let text = end.to_json().unwrap();
            assert_eq!(End::from_json(text.as_bytes()).unwrap(), end);
            assert_eq!(end.is_well(), how == How::Exited(0));
        }
        // What a program said is made a line.
        let long = "x\n\x1b[31m".to_owned() + &"é".repeat(9000);
        let text = end(How::Lost, &long).to_json().unwrap();
        let read = End::from_json(text.as_bytes()).unwrap();
        assert!(read.why.starts_with("x  [31m") && read.why.len() <= MAX_WHY);
    }

    #[test]
    fn what_is_no_end_is_refused() {
        let text = end(How::Lost, "why").to_json().unwrap();
        for cut in 0..text.len() - 2 {
            assert!(End::from_json(&text.as_bytes()[..cut]).is_err(), "{cut}");
        }
        for (from, to) in [
            ("\"hello\"", "\"../hello\""),
            ("\"run\": 3", "\"run\": 0"),
            ("\"why\": \"why\"", "\"why\": \"a\\nb\""),
            ("\"lost\"", "\"gone\""),
            ("\"format\": 1", "\"format\": 2"),
            ("\"cpu\"", "\"gpu\""),
        ] {
            let text = text.replacen(from, to, 1);
            assert!(End::from_json(text.as_bytes()).is_err(), "{text}");
        }
    }
}
