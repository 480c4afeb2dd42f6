//! A guest's `config`: launch policy as people write it, made a [`Definition`].
//!
//! The file is TOML. What is wrong with it is said with line and caret, and with what
//! would be right; a key that nobody knows is wrong too.
//!
//! ```toml
//! image = "3f8a…"            # the image's hash, as below /images
//! on = "auto"                # auto, qemu or process
//! memory = "8MiB"            # if not what the image says
//! stop = "10s"               # how long it may take to stop before it is killed
//! listen = ["127.0.0.1:5640"]
//! resume = true              # go on from the newest checkpoint
//! keep = 8                   # so many checkpoints
//! shells = 1                 # on xen: domains made ahead of need
//!
//! [imports]
//! data = "/srv/data"         # a folder of this host
//!
//! [restart]
//! policy = "on-failure"      # never, on-failure or always
//!
//! [expect]                   # while it has work
//! dispatch_p99 = "2ms"       # 99 of 100 dispatches take no longer
//! then = "restart"           # tell or restart
//! ```

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZeroU32;

use serde::{Deserialize, Deserializer};

use crate::backend::qemu::Accel;
use crate::core::define::{Bind, Definition, Expect, Policy, Restart, STOP, Then};
use crate::core::name::ImageHash;
use crate::run::On;

/// The longest text that is read, in bytes.
pub const MAX_TEXT: usize = 64 << 10;

/// What a file says, with the units that people write.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    image: ImageHash,
    #[serde(default)]
    on: On,
    accel: Option<Accel>,
    #[serde(default, deserialize_with = "size")]
    memory: Option<u64>,
    #[serde(default)]
    imports: BTreeMap<String, Bind>,
    #[serde(default)]
    listen: Vec<Loopback>,
    #[serde(default)]
    restart: RawRestart,
    #[serde(default, deserialize_with = "span")]
    stop: Option<u64>,
    #[serde(default)]
    resume: bool,
    keep: Option<NonZeroU32>,
    expect: Option<RawExpect>,
    #[serde(default, deserialize_with = "shells")]
    shells: u32,
}

/// The most shells that one guest can have held ready.
const MAX_SHELLS: u32 = 16;

fn shells<'de, D: Deserializer<'de>>(from: D) -> Result<u32, D::Error> {
    match u32::deserialize(from) {
        Ok(count @ 0..=MAX_SHELLS) => Ok(count),
        _ => Err(serde::de::Error::custom(format!("a number from 0 to {MAX_SHELLS}"))),
    }
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRestart {
    #[serde(default)]
    policy: Policy,
    #[serde(default, deserialize_with = "span")]
    delay: Option<u64>,
    #[serde(default, deserialize_with = "span")]
    limit: Option<u64>,
    tries: Option<u32>,
    #[serde(default, deserialize_with = "span")]
    healthy: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawExpect {
    #[serde(default, deserialize_with = "micros")]
    dispatch_p99: Option<u64>,
    #[serde(default, deserialize_with = "rate")]
    progress: Option<f64>,
    #[serde(default = "yes")]
    learn: bool,
    #[serde(default)]
    then: Then,
}

fn yes() -> bool {
    true
}

/// An address of this machine's own.
struct Loopback(SocketAddr);

impl<'de> Deserialize<'de> for Loopback {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Loopback, D::Error> {
        let text = String::deserialize(from)?;
        let full = if text.starts_with("tcp:") { text } else { format!("tcp:{text}") };
        crate::address::loopback(&full).map(Loopback).map_err(serde::de::Error::custom)
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Quantity {
    Number(u64),
    Text(String),
}

fn size<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
    let bytes = match Quantity::deserialize(from) {
        Ok(Quantity::Number(n)) => super::units::memory(&n.to_string()),
        Ok(Quantity::Text(text)) => super::units::memory(&text),
        Err(_) => Err("a size is a text such as \"8MiB\"".into()),
    };
    bytes.map(Some).map_err(serde::de::Error::custom)
}

fn span<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
    let ms = match Quantity::deserialize(from) {
        Ok(Quantity::Number(n)) => Ok(n),
        Ok(Quantity::Text(text)) => super::units::span(&text),
        Err(_) => Err("a span of time is a text such as \"10s\", or milliseconds".into()),
    };
    ms.map(Some).map_err(serde::de::Error::custom)
}

/// A span of time in microseconds, which has a unit.
fn micros<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
    let us = match Quantity::deserialize(from) {
        Ok(Quantity::Text(text)) => super::units::micros(&text),
        _ => Err("a span of time is a text such as \"2ms\" or \"500us\"".into()),
    };
    us.map(Some).map_err(serde::de::Error::custom)
}

/// Dispatches a second.
fn rate<'de, D: Deserializer<'de>>(from: D) -> Result<Option<f64>, D::Error> {
    match f64::deserialize(from) {
        Ok(rate) if (0.001..=1e9).contains(&rate) => Ok(Some(rate)),
        _ => Err(serde::de::Error::custom("dispatches a second are a number, such as 50 or 0.5")),
    }
}

/// Reads a text. The error shows the line, with a caret.
pub fn parse(text: &str) -> Result<Definition, String> {
    if text.len() > MAX_TEXT {
        return Err(format!("config has {} bytes: {MAX_TEXT} are the most", text.len()));
    }
    let raw: Raw = toml::from_str(text).map_err(|e| complaint(&e.to_string()))?;
    if raw.shells > 0 && raw.on != On::Xen {
        return Err("config: shells are for guests that are on = \"xen\"".into());
    }
    if raw.shells > 0 && raw.resume {
        return Err("config: a start from a checkpoint takes no shell: shells or resume".into());
    }
    let usual = Restart::default();
    Ok(Definition {
        on: raw.on,
        accel: raw.accel,
        memory: raw.memory,
        imports: raw.imports,
        listen: raw.listen.into_iter().map(|l| l.0).collect(),
        restart: Restart {
            policy: raw.restart.policy,
            delay: raw.restart.delay.unwrap_or(usual.delay),
            limit: raw.restart.limit.unwrap_or(usual.limit),
            tries: raw.restart.tries.unwrap_or(usual.tries),
            healthy: raw.restart.healthy.unwrap_or(usual.healthy),
        },
        stop: raw.stop.unwrap_or(STOP),
        resume: raw.resume,
        keep: raw.keep,
        expect: raw.expect.map(|e| Expect {
            dispatch_p99: e.dispatch_p99,
            progress: e.progress,
            learn: e.learn,
            then: e.then,
        }),
        shells: raw.shells,
        ..Definition::new(raw.image)
    })
}

/// The parser's words, with the file's name in the place of its own.
fn complaint(text: &str) -> String {
    text.replace("TOML parse error at", "config,").trim_end().to_owned()
}

/// What a guest is that was defined with nothing but an image, as text: a beginning for
/// whoever wants to change it.
pub fn template(image: &ImageHash) -> String {
    format!("image = \"{image}\"\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash() -> String {
        "ab".repeat(32)
    }

    #[test]
    fn a_config_is_read_with_the_units_that_people_write() {
        let text = format!(
            "image = \"{}\"\non = \"process\"\nmemory = \"8MiB\"\nstop = \"3s\"\n\
             listen = [\"127.0.0.1:0\", \"tcp:[::1]:5\"]\nresume = true\nkeep = 3\n\
             [imports]\ndata = \"/srv/data\"\nkv = \"db/export/kv\"\n\
             [restart]\npolicy = \"on-failure\"\ndelay = 250\nlimit = \"1min\"\n",
            hash()
        );
        let def = parse(&text).unwrap();
        assert_eq!(
            (def.on, def.memory, def.stop, def.resume),
            (On::Process, Some(8 << 20), 3000, true)
        );
        assert_eq!(def.keep, NonZeroU32::new(3));
        assert_eq!(def.listen.len(), 2);
        assert_eq!(def.imports.len(), 2);
        assert_eq!(def.restart.policy, Policy::OnFailure);
        assert_eq!((def.restart.delay, def.restart.limit), (250, 60_000));
        assert_eq!(def.expect, None);
        let expects = |text: &str| {
            let text = format!("image = \"{}\"\n[expect]\n{text}", hash());
            parse(&text).unwrap().expect.unwrap()
        };
        assert_eq!(expects(""), Expect::default());
        let all = "dispatch_p99 = \"1500us\"\nprogress = 50\nlearn = false\nthen = \"restart\"\n";
        let want = Expect {
            dispatch_p99: Some(1500),
            progress: Some(50.0),
            learn: false,
            then: Then::Restart,
        };
        assert_eq!(expects(all), want);
        assert_eq!(expects("progress = 0.5\n").progress, Some(0.5));
        let ready = format!("image = \"{}\"\non = \"xen\"\nshells = 2\n", hash());
        assert_eq!((parse(&ready).unwrap().shells, def.shells), (2, 0));
        let image = ImageHash::new(&hash()).unwrap();
        assert_eq!(parse(&template(&image)).unwrap(), Definition::new(image));
    }

    #[test]
    fn what_is_wrong_is_shown_with_a_caret_and_what_would_be_right() {
        let good = format!("image = \"{}\"\n", hash());
        for (text, wants) in [
            ("", &["missing field `image`"][..]),
            ("image = 5\n", &["line 1", "^"]),
            ("image = \"abc\"\n", &["line 1", "image = \"abc\"", "^", "64 digits"]),
            (
                &format!("{good}colour = 1\n"),
                &["line 2", "^^^^^^", "unknown field `colour`", "`memory`"],
            ),
            (&format!("{good}on = \"moon\"\n"), &["line 2", "^", "`process`"]),
            (&format!("{good}memory = \"8MB\"\n"), &["line 2", "^", "KiB, MiB and GiB"]),
            (&format!("{good}memory = \"1KiB\"\n"), &["from 2MiB to 3GiB"]),
            (&format!("{good}stop = \"soon\"\n"), &["line 2", "ms, s, min and h"]),
            (&format!("{good}listen = [\"0.0.0.0:1\"]\n"), &["no authentication"]),
            (&format!("{good}[imports]\na = \"./x\"\n"), &["line 3", "^", "begins with /"]),
            (&format!("{good}[restart]\npolicy = \"maybe\"\n"), &["line 3", "on-failure"]),
            (&format!("{good}[expect]\nspeed = 1\n"), &["line 3", "^^^^^", "`dispatch_p99`"]),
            (&format!("{good}[expect]\ndispatch_p99 = 5\n"), &["line 3", "^", "\"2ms\""]),
            (&format!("{good}[expect]\ndispatch_p99 = \"0ms\"\n"), &["line 3", "^", "from 1us"]),
            (&format!("{good}[expect]\nprogress = -1\n"), &["line 3", "^", "a second"]),
            (&format!("{good}[expect]\nprogress = \"x\"\n"), &["line 3", "^", "a second"]),
            (&format!("{good}[expect]\nthen = \"run\"\n"), &["line 3", "^", "`restart`"]),
            (&format!("{good}shells = 1\n"), &["on = \"xen\""]),
            (&format!("{good}on = \"xen\"\nresume = true\nshells = 1\n"), &["or resume"]),
            (&format!("{good}on = \"xen\"\nshells = 17\n"), &["line 3", "^", "0 to 16"]),
            (&format!("{good}expect = 1\n"), &["line 2", "^"]),
            (&format!("{good}image = 1\n"), &["line 2", "duplicate key"]),
            ("image = \"\u{1b}[2J", &["line 1"]),
        ] {
            let why = parse(text).unwrap_err();
            for want in wants {
                assert!(why.contains(want), "{text:?}: {want:?} is not in: {why}");
            }
        }
        assert!(parse(&"#".repeat(MAX_TEXT + 1)).unwrap_err().contains("are the most"));
    }
}
