//! What a process is called where processes are listed: its command line.
//!
//! That is a piece of its own memory, as long as it was when the program began; proc(5) tells
//! where. So who is to have another one later begins with a long one.

use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;

/// The memory of a command line.
#[derive(Clone, Copy, Debug)]
pub struct Title {
    at: u64,
    len: usize,
}

impl Title {
    /// Where that of this process is; nothing where that cannot be known.
    pub fn find() -> Option<Title> {
        let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
        // The second field is a name in parentheses, in which there may be any character.
        let (_, rest) = stat.rsplit_once(") ")?;
        let mut fields = rest.split(' ').skip(48 - 3);
        let (at, end): (u64, u64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
        let len = usize::try_from(end.checked_sub(at)?).ok()?;
        (at > 0 && len > 0).then_some(Title { at, len })
    }

    /// The same, behind the name of the program.
    pub fn set_behind_program(self, words: &[&[u8]]) {
        let program = std::env::args_os().next().unwrap_or_default();
        self.set(&[&[program.as_bytes()], words].concat());
    }

    /// Says what the process is called from now on, as far as there is room. Whoever asks for
    /// its arguments afterwards is told of these.
    pub fn set(self, words: &[&[u8]]) {
        let mut line: Vec<u8> = words.join(&0);
        // The last byte says where the line ends.
        line.truncate(self.len - 1);
        line.resize(self.len, 0);
        if let Ok(memory) = File::options().write(true).open("/proc/self/mem") {
            let _ = memory.write_all_at(&line, self.at);
        }
    }
}
