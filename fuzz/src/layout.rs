//! Every message of 9P2000 and 9P2000.L as a row of fields.
//!
//! Written from the manual pages of section 5 of Plan 9 and diod's `protocol.md`, and
//! apart from the crate on purpose: seeds and mutations made of it reach the fields
//! of a message that the crate has yet to learn, and a decoder that disagrees with
//! it has a bug, or this has.

use crate::rng::Rng;

/// A field of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// fid\[4\]: small, so that messages meet on the same files.
    Fid,
    /// afid\[4\]: mostly that for none.
    Afid,
    /// oldtag\[2\]
    Tag,
    /// msize\[4\]
    Msize,
    /// version\[s\]
    Version,
    /// A name or other text: \[s\]
    Text,
    /// nwname\[2\] nwname*(wname\[s\])
    Names,
    /// offset\[8\], also a directory's cookie.
    Offset,
    /// count\[4\]
    Count,
    /// count\[4\] data\[count\]
    Data,
    /// n\[2\] and a stat of 9P2000: size\[2\] type\[2\] dev\[4\] qid\[13\] mode\[4\] atime\[4\]
    /// mtime\[4\] length\[8\] name\[s\] uid\[s\] gid\[s\] muid\[s\]
    Stat,
    /// qid\[13\]
    Qid,
    /// nwqid\[2\] nwqid*(qid\[13\])
    Qids,
    /// count\[4\] and entries of qid\[13\] offset\[8\] type\[1\] name\[s\]
    Entries,
    /// 0 or 1, in one byte.
    Flag,
    /// A number of so many bytes.
    Number(u8),
}

use Field::*;

/// A message: its name in the specification, its type, its fields.
pub type Layout = (&'static str, u8, &'static [Field]);

/// A number of one byte, and so on: flags, modes, times, owners.
const N1: Field = Number(1);
const N4: Field = Number(4);
const N8: Field = Number(8);

/// What clients send.
pub const REQUESTS: &[Layout] = &[
    ("Tstatfs", 8, &[Fid]),
    ("Tlopen", 12, &[Fid, N4]),
    ("Tlcreate", 14, &[Fid, Text, N4, N4, N4]),
    ("Tsymlink", 16, &[Fid, Text, Text, N4]),
    ("Tmknod", 18, &[Fid, Text, N4, N4, N4, N4]),
    ("Trename", 20, &[Fid, Fid, Text]),
    ("Treadlink", 22, &[Fid]),
    ("Tgetattr", 24, &[Fid, N8]),
    ("Tsetattr", 26, &[Fid, N4, N4, N4, N4, N8, N8, N8, N8, N8]),
    ("Txattrwalk", 30, &[Fid, Fid, Text]),
    ("Txattrcreate", 32, &[Fid, Text, N8, N4]),
    ("Treaddir", 40, &[Fid, Offset, Count]),
    ("Tfsync", 50, &[Fid]),
    ("Tfsync with datasync", 50, &[Fid, N4]),
    ("Tlock", 52, &[Fid, N1, N4, N8, N8, N4, Text]),
    ("Tgetlock", 54, &[Fid, N1, N8, N8, N4, Text]),
    ("Tlink", 70, &[Fid, Fid, Text]),
    ("Tmkdir", 72, &[Fid, Text, N4, N4]),
    ("Trenameat", 74, &[Fid, Text, Fid, Text]),
    ("Tunlinkat", 76, &[Fid, Text, N4]),
    ("Tversion", 100, &[Msize, Version]),
    ("Tauth of 9P2000", 102, &[Fid, Text, Text]),
    ("Tauth", 102, &[Fid, Text, Text, N4]),
    ("Tattach of 9P2000", 104, &[Fid, Afid, Text, Text]),
    ("Tattach", 104, &[Fid, Afid, Text, Text, N4]),
    ("Tflush", 108, &[Tag]),
    ("Twalk", 110, &[Fid, Fid, Names]),
    ("Topen", 112, &[Fid, N1]),
    ("Tcreate", 114, &[Fid, Text, N4, N1]),
    ("Tread", 116, &[Fid, Offset, Count]),
    ("Twrite", 118, &[Fid, Offset, Data]),
    ("Twrite of 9P2000.L.atoll", 118, &[Fid, Offset, Data, N8, N8, Flag]),
    ("Tclunk", 120, &[Fid]),
    ("Tremove", 122, &[Fid]),
    ("Tstat", 124, &[Fid]),
    ("Twstat", 126, &[Fid, Stat]),
];

/// What servers send.
pub const ANSWERS: &[Layout] = &[
    ("Rlerror", 7, &[N4]),
    ("Rlerror with text", 7, &[N4, Text]),
    ("Rstatfs", 9, &[N4, N4, N8, N8, N8, N8, N8, N8, N4]),
    ("Rlopen", 13, &[Qid, N4]),
    ("Rlcreate", 15, &[Qid, N4]),
    ("Rsymlink", 17, &[Qid]),
    ("Rmknod", 19, &[Qid]),
    ("Rrename", 21, &[]),
    ("Rreadlink", 23, &[Text]),
    (
        "Rgetattr",
        25,
        &[N8, Qid, N4, N4, N4, N8, N8, N8, N8, N8, N8, N8, N8, N8, N8, N8, N8, N8, N8, N8],
    ),
    ("Rsetattr", 27, &[]),
    ("Rxattrwalk", 31, &[N8]),
    ("Rxattrcreate", 33, &[]),
    ("Rreaddir", 41, &[Entries]),
    ("Rfsync", 51, &[]),
    ("Rlock", 53, &[N1]),
    ("Rgetlock", 55, &[N1, N8, N8, N4, Text]),
    ("Rlink", 71, &[]),
    ("Rmkdir", 73, &[Qid]),
    ("Rrenameat", 75, &[]),
    ("Runlinkat", 77, &[]),
    ("Rversion", 101, &[Msize, Version]),
    ("Rauth", 103, &[Qid]),
    ("Rattach", 105, &[Qid]),
    ("Rerror", 107, &[Text]),
    ("Rflush", 109, &[]),
    ("Rwalk", 111, &[Qids]),
    ("Ropen", 113, &[Qid, N4]),
    ("Rcreate", 115, &[Qid, N4]),
    ("Rread", 117, &[Data]),
    ("Rread with next", 117, &[Data, N8]),
    ("Rwrite", 119, &[Count]),
    ("Rclunk", 121, &[]),
    ("Rremove", 123, &[]),
    ("Rstat", 125, &[Stat]),
    ("Rwstat", 127, &[]),
];

/// Names of the tree that sessions are tried on, of no file, and of no use.
pub const NAMES: &[&str] = &[
    "text",
    "README",
    "ctl",
    "log",
    "dir",
    "deep",
    "leaf",
    "many",
    "0",
    "39-",
    "fault",
    "rec",
    "status",
    "schema",
    "conn",
    "clone",
    "data",
    "console",
    "tty",
    "huge",
    "f7",
    "..",
    ".",
    "",
    "no",
    "a/b",
    "\u{e4}\u{f6}",
    "nul\0",
];
/// Versions that there are, and some that there are not.
pub const VERSIONS: &[&str] =
    &["9P2000.L", "9P2000.L.atoll", "9P2000", "9P2000.u", "9P2000.L.x", "9P2000.x", "unknown", ""];
/// What a ctl file takes, and what it does not.
pub const COMMANDS: &[&str] = &[
    "add 1",
    "add x",
    "say hello",
    "reset",
    "reset 1",
    "hangup",
    "count 7\nname x\n",
    "count 13\nname x\n",
    "\x03\x07\x01x",
    "\n",
    "",
];
/// Numbers at the edges of what fields mean.
pub const NUMBERS: &[u64] =
    &[0, 1, 2, 3, 8, 0x10, 0x200, 0x7ff, 0x8000, 0x4000_0000, 0x8000_0000, 0xffff_ffff, u64::MAX];

fn number(rng: &mut Rng) -> u64 {
    if rng.one_in(4) { rng.next() } else { *rng.pick(NUMBERS) }
}

fn le(out: &mut Vec<u8>, v: u64, bytes: usize) {
    out.extend(v.to_le_bytes().iter().take(bytes));
}

fn text(out: &mut Vec<u8>, s: &str) {
    le(out, s.len() as u64, 2);
    out.extend(s.as_bytes());
}

fn name(out: &mut Vec<u8>, rng: &mut Rng) {
    match rng.below(16) {
        0 => text(out, &"n".repeat(254 + rng.below(3))),
        _ => text(out, rng.pick::<&str>(NAMES)),
    }
}

fn qid(out: &mut Vec<u8>, rng: &mut Rng) {
    le(out, *rng.pick(&[0, 0x80, 0x40, 0x02]), 1);
    le(out, number(rng), 4);
    le(out, number(rng), 8);
}

impl Field {
    /// Appends a value, likely one that means something.
    fn write(self, out: &mut Vec<u8>, rng: &mut Rng) {
        match self {
            Fid => le(out, if rng.one_in(30) { number(rng) } else { rng.below(5) as u64 }, 4),
            Afid => le(out, if rng.one_in(8) { number(rng) } else { u64::MAX }, 4),
            Tag => le(out, if rng.one_in(30) { number(rng) } else { rng.below(6) as u64 }, 2),
            Msize => le(out, *rng.pick(&[512, 8192, 600, 65_536, 511, 0, u64::MAX]), 4),
            Version => text(out, rng.pick::<&str>(VERSIONS)),
            Text => name(out, rng),
            Names => {
                let n = if rng.one_in(10) { rng.below(18) } else { rng.below(4) };
                le(out, n as u64, 2);
                (0..n).for_each(|_| name(out, rng));
            }
            Offset => le(out, if rng.one_in(2) { 0 } else { number(rng) }, 8),
            Count => le(out, *rng.pick(&[8192, 64, 300, 0, 1, 501, u64::MAX]), 4),
            Data => match rng.below(4) {
                0 => {
                    let n = rng.below(100);
                    le(out, n as u64, 4);
                    out.resize(out.len() + n, b'd');
                }
                _ => {
                    let command = rng.pick(COMMANDS);
                    le(out, command.len() as u64, 4);
                    out.extend(command.as_bytes());
                }
            },
            Stat => {
                let mut stat = Vec::new();
                le(&mut stat, number(rng), 2);
                le(&mut stat, number(rng), 4);
                qid(&mut stat, rng);
                (0..3).for_each(|_| le(&mut stat, number(rng), 4));
                le(&mut stat, number(rng), 8);
                (0..4).for_each(|_| name(&mut stat, rng));
                le(out, stat.len() as u64 + 2, 2);
                le(out, stat.len() as u64, 2);
                out.extend(stat);
            }
            Qid => qid(out, rng),
            Qids => {
                let n = if rng.one_in(10) { rng.below(18) } else { rng.below(4) };
                le(out, n as u64, 2);
                (0..n).for_each(|_| qid(out, rng));
            }
            Entries => {
                let mut entries = Vec::new();
                for i in 0..rng.below(4) {
                    qid(&mut entries, rng);
                    le(&mut entries, if rng.one_in(8) { number(rng) } else { i as u64 + 1 }, 8);
                    le(&mut entries, *rng.pick(&[4, 8, 10]), 1);
                    name(&mut entries, rng);
                }
                le(out, entries.len() as u64, 4);
                out.extend(entries);
            }
            Flag => le(out, rng.below(2) as u64, 1),
            Number(bytes) => le(out, number(rng), bytes.into()),
        }
    }
}

/// The fields of a message, with values.
pub fn body(layout: &Layout, rng: &mut Rng) -> Vec<u8> {
    let mut out = Vec::new();
    layout.2.iter().for_each(|field| field.write(&mut out, rng));
    out
}

/// A frame: size\[4\] type\[1\] tag\[2\] and the fields.
pub fn frame(ty: u8, tag: u16, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(7 + body.len());
    le(&mut out, 7 + body.len() as u64, 4);
    out.push(ty);
    le(&mut out, tag.into(), 2);
    out.extend(body);
    out
}

/// A message that is given as type\[1\] tag\[2\] and fields, for people.
pub fn show(of: &[Layout], message: &[u8]) -> String {
    let [ty, a, b, body @ ..] = message else { return "nothing".into() };
    let name = of.iter().find(|l| l.1 == *ty).map_or("no message", |l| l.0);
    let text: String =
        body.iter().map(|b| if b.is_ascii_graphic() { char::from(*b) } else { '.' }).collect();
    let tag = u16::from_le_bytes([*a, *b]);
    format!("{name} ({ty}) tag {tag}: {body:02x?} {text}")
}
