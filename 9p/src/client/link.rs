//! What the faces of the client stand on: a connection, with or without a keeper.

#[cfg(feature = "std")]
use alloc::boxed::Box;
use core::ops::Range;

#[cfg(feature = "std")]
use super::Broken;
use super::keeper::Keeper;
use super::{Client, Tag};
#[cfg(feature = "std")]
use crate::msg::Rmsg;
use crate::msg::Tmsg;

/// Somebody who takes requests: a [`Client`], or a [`Keeper`].
pub trait Ask {
    /// Takes a request, and gives its tag: [`crate::wire::NOTAG`] when it was not taken.
    fn send(&mut self, m: &Tmsg<'_>) -> Tag;
    /// The largest message in bytes.
    fn msize(&self) -> u32;
}

impl Ask for Client {
    fn send(&mut self, m: &Tmsg<'_>) -> Tag {
        Client::send(self, m)
    }
    fn msize(&self) -> u32 {
        Client::msize(self)
    }
}

impl Ask for Keeper {
    fn send(&mut self, m: &Tmsg<'_>) -> Tag {
        Keeper::send(self, m)
    }
    fn msize(&self) -> u32 {
        Keeper::msize(self)
    }
}

/// Where an answer is.
#[derive(Clone, Debug)]
pub(crate) enum Spot {
    Frame(Range<usize>),
    /// With the keeper, who made it.
    Local,
}

#[cfg(feature = "std")]
#[derive(Debug)]
pub(crate) enum Link {
    Plain(Client),
    Kept(Box<Keeper>),
}

#[cfg(feature = "std")]
impl Ask for Link {
    fn send(&mut self, m: &Tmsg<'_>) -> Tag {
        match self {
            Link::Plain(c) => c.send(m),
            Link::Kept(k) => k.send(m),
        }
    }
    fn msize(&self) -> u32 {
        match self {
            Link::Plain(c) => c.msize(),
            Link::Kept(k) => k.msize(),
        }
    }
}

#[cfg(feature = "std")]
impl Link {
    pub(crate) fn output(&self) -> &[u8] {
        match self {
            Link::Plain(c) => c.output(),
            Link::Kept(k) => k.output(),
        }
    }

    pub(crate) fn sent(&mut self, n: usize) {
        match self {
            Link::Plain(c) => c.sent(n),
            Link::Kept(k) => k.sent(n),
        }
    }

    pub(crate) fn spare(&mut self) -> &mut [u8] {
        match self {
            Link::Plain(c) => c.spare(),
            Link::Kept(k) => k.spare(),
        }
    }

    pub(crate) fn received(&mut self, n: usize) {
        match self {
            Link::Plain(c) => c.received(n),
            Link::Kept(k) => k.received(n),
        }
    }

    /// Whether there is no connection, because of a keeper that wants another.
    pub(crate) fn is_down(&self) -> bool {
        matches!(self, Link::Kept(k) if k.state() == super::keeper::State::Down)
    }

    /// The next answer: whose it is, and where.
    pub(crate) fn pull(&mut self) -> Result<Option<(Tag, Spot)>, Broken> {
        match self {
            Link::Plain(c) => Ok(c.pull()?.map(|(tag, range)| (tag, Spot::Frame(range)))),
            Link::Kept(k) => k.pull(),
        }
    }

    /// The bytes of an answer, or of one that says the same.
    #[cfg(feature = "tokio")]
    pub(crate) fn frame(&self, spot: &Spot) -> alloc::borrow::Cow<'_, [u8]> {
        match (self, spot) {
            (Link::Plain(c), Spot::Frame(range)) => c.at(range.clone()).into(),
            (Link::Kept(k), spot) => k.frame(spot),
            (Link::Plain(_), Spot::Local) => (&[][..]).into(),
        }
    }

    /// The answer there, until more is received or pulled.
    pub(crate) fn answer(&self, spot: &Spot) -> Result<Rmsg<'_>, Broken> {
        match (self, spot) {
            (Link::Plain(c), Spot::Frame(range)) => Rmsg::decode(c.at(range.clone())),
            (Link::Kept(k), spot) => return k.answer(spot),
            (Link::Plain(_), Spot::Local) => return Err(Broken::Unasked),
        }
        .map_err(Broken::Frame)
    }
}

#[cfg(feature = "std")]
/// The names of a path, in parts that fit into one walk each; nothing for a path
/// without names.
pub(crate) fn parts(path: &str, msize: usize) -> impl Iterator<Item = &str> {
    let mut rest = Some(path);
    core::iter::from_fn(move || {
        let (part, more) = part(rest?, msize);
        rest = more;
        Some(part)
    })
}

/// As much of the front of a path as fits into one walk, and what follows.
pub(crate) fn part(path: &str, msize: usize) -> (&str, Option<&str>) {
    let (mut end, mut size, mut count) = (0, 17, 0);
    for (i, name) in path.split('/').enumerate() {
        let counts = !name.is_empty() && name != ".";
        size += if counts { 2 + name.len() } else { 0 };
        count += usize::from(counts);
        if count > crate::wire::MAX_WALK || (count > 1 && counts && size > msize) {
            // The slash before this name goes with neither.
            let (part, rest) = path.split_at_checked(end).unwrap_or((path, ""));
            return (part, Some(rest.get(1..).unwrap_or_default()));
        }
        end += name.len() + usize::from(i > 0);
    }
    (path, None)
}

#[cfg(all(test, feature = "std"))]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    #[test]
    fn a_path_is_cut_into_walks() {
        let cut = |path, msize| parts(path, msize).map(str::len).collect::<Vec<_>>();
        assert_eq!(cut("", 512), [0]);
        assert_eq!(cut("/a//b/./c", 512), [9]);
        let long = "abc/".repeat(40);
        for part in parts(&long, 8192) {
            assert!(part.split('/').filter(|n| !n.is_empty()).count() <= 16);
        }
        let all: usize =
            parts(&long, 8192).flat_map(|p| p.split('/')).filter(|n| !n.is_empty()).count();
        assert_eq!(all, 40);
        let wide = [&"n".repeat(200)[..], &"m".repeat(200), &"o".repeat(200)].join("/");
        assert_eq!(cut(&wide, 512), [401, 200]);
    }
}
