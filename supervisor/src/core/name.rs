//! Names that are checked once and then believed.

use std::fmt;

use atoll_config::rules;
use serde::{Deserialize, Serialize};

/// A guest's name: `[a-z0-9-]`, 1 to 63 characters ([`rules::guest_name`]). It can be a
/// folder's and a socket's name wherever one is made of it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(Box<str>);

impl Name {
    /// Checks a text. The error says what is wrong with it.
    pub fn new(text: &str) -> Result<Name, BadName> {
        match rules::guest_name(text) {
            Ok(()) => Ok(Name(text.into())),
            Err(why) => Err(BadName { why }),
        }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Why a text is no guest's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no name of a guest: {why}")]
pub struct BadName {
    /// What is wrong with it.
    pub why: &'static str,
}

impl TryFrom<String> for Name {
    type Error = BadName;
    fn try_from(text: String) -> Result<Name, BadName> {
        Name::new(&text)
    }
}

impl From<Name> for String {
    fn from(name: Name) -> String {
        name.0.into()
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The hash of an image, 64 hexadecimal digits in lower case: its name below `/images`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ImageHash(Box<str>);

impl ImageHash {
    /// Checks a text.
    pub fn new(text: &str) -> Result<ImageHash, BadHash> {
        let digits = text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if text.len() == 64 && digits { Ok(ImageHash(text.into())) } else { Err(BadHash) }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A text is no hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no hash of an image: that is 64 digits of 0 to 9 and a to f")]
pub struct BadHash;

impl TryFrom<String> for ImageHash {
    type Error = BadHash;
    fn try_from(text: String) -> Result<ImageHash, BadHash> {
        ImageHash::new(&text)
    }
}

impl From<ImageHash> for String {
    fn from(hash: ImageHash) -> String {
        hash.0.into()
    }
}

impl fmt::Display for ImageHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ImageHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_hashes_are_checked_wherever_they_come_from() {
        for good in ["a", "web-2", &"x".repeat(63)] {
            let name = Name::new(good).unwrap();
            let json = serde_json::to_string(&name).unwrap();
            assert_eq!(serde_json::from_str::<Name>(&json).unwrap(), name);
        }
        for bad in ["", "A", "a/b", "..", "a.sock", &"x".repeat(64)] {
            assert!(Name::new(bad).is_err(), "{bad}");
            assert!(serde_json::from_value::<Name>(bad.into()).is_err(), "{bad}");
        }
        let hash = "0123456789abcdef".repeat(4);
        assert_eq!(ImageHash::new(&hash).unwrap().as_str(), hash);
        for bad in [&hash[1..], &hash.to_uppercase(), ""] {
            assert!(ImageHash::new(bad).is_err(), "{bad}");
        }
    }
}
