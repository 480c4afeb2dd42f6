//! What an image says about itself: its needs and its abilities.
//!
//! A manifest follows wholly from the payload, the native code, the kernel's hash and
//! the list of platforms; it is there so that a host (or a person, with any ELF tool) need
//! not decode a payload, and so that a guest that is none of ours can be managed
//! by what it can do. A reader recomputes it and refuses one that differs.

use serde::{Deserialize, Serialize};

use super::BadImage;
use crate::atom;
use crate::code::Code;
use crate::payload::{self, Hash, Payload};

/// The version of the manifest that this crate reads and writes.
pub const VERSION: u32 = 2;

/// What a guest can whose state between two events is data, in [`Manifest::can`]: be
/// written down as a checkpoint, and go on from one.
const CHECKPOINT: &str = "checkpoint";

/// The largest manifest that is read, in bytes.
const MAX_JSON: usize = 4 << 20;

/// Where a guest may run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Platform {
    /// A virtual machine of QEMU's.
    Qemu,
    /// A domain of Xen's, with PVH.
    Xen,
    /// A sandboxed Linux process.
    Process,
}

impl Platform {
    /// All there are.
    pub const ALL: [Platform; 3] = [Platform::Qemu, Platform::Xen, Platform::Process];

    /// Its name in configurations and commands.
    pub fn name(self) -> &'static str {
        match self {
            Platform::Qemu => "qemu",
            Platform::Xen => "xen",
            Platform::Process => "process",
        }
    }
}

/// A component kind that the guest is made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kind {
    /// Its name.
    pub kind: String,
    /// The version of what it saves.
    pub state_version: u16,
}

/// A Wasm module that the guest's atoms are made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Module {
    /// What people call it.
    pub name: String,
    /// BLAKE3 of the canonical binary.
    #[serde(with = "hex")]
    pub hash: Hash,
    /// Bytes of the canonical binary.
    pub wasm: u64,
    /// Bytes of its native code.
    pub code: u64,
}

/// What the modules' native code is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Native {
    /// The compiler and its version.
    pub compiler: String,
    /// The level of processor that it needs.
    pub cpu: String,
    /// BLAKE3 of the code segment behind its header.
    #[serde(with = "hex")]
    pub hash: Hash,
}

/// A tree that the guest wants mounted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Import {
    /// The name that the host binds at launch.
    pub name: String,
    /// Where the guest sees it.
    pub at: String,
}

/// The versions of what kernel, payload and host agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Abi {
    /// [`crate::payload::FORMAT`].
    pub payload: u32,
    /// [`super::FORMAT`].
    pub image: u32,
    /// [`crate::atom::ABI`], where there are atoms.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub atom: Option<u16>,
}

/// What an image says about itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// [`VERSION`].
    pub manifest: u32,
    /// The guest's name.
    pub name: String,
    /// The guest's version.
    pub version: String,
    /// Where it may run.
    pub platforms: Vec<Platform>,
    /// Memory of its machine, in bytes.
    pub memory: u64,
    /// The devices that the host must bind, by name.
    pub devices: Vec<String>,
    /// The trees that the host must bind.
    pub imports: Vec<Import>,
    /// The names below `export/`.
    pub exports: Vec<String>,
    /// The kinds of its components.
    pub components: Vec<Kind>,
    /// The modules of its atoms; not in the JSON when there are none.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub modules: Vec<Module>,
    /// Their native code; not in the JSON when there is none.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub native: Option<Native>,
    /// The versions it was made for.
    pub abi: Abi,
    /// BLAKE3 over the kernel's segments.
    #[serde(with = "hex")]
    pub kernel_hash: Hash,
    /// BLAKE3 of the payload: the guest's identity.
    #[serde(with = "hex")]
    pub payload_hash: Hash,
    /// What the guest can do when its host asks.
    pub can: Vec<String>,
}

impl Manifest {
    /// The manifest of an image with this payload, native code and kernel.
    pub fn of(
        p: &Payload<'_>,
        payload: Hash,
        code: Option<&Code<'_>>,
        kernel: Hash,
        platforms: Vec<Platform>,
    ) -> Manifest {
        let mut components: Vec<Kind> = p
            .components
            .iter()
            .map(|c| Kind { kind: c.kind.into(), state_version: c.state_version })
            .collect();
        components.sort_by(|a, b| a.kind.cmp(&b.kind));
        components.dedup();
        let files = p.files.iter().filter_map(|f| f.path.split('/').next());
        let mut exports: Vec<String> =
            files.chain(p.components.iter().map(|c| c.name)).map(str::to_owned).collect();
        let module = |m: &payload::Module<'_>| Module {
            name: m.name.into(),
            hash: m.hash,
            wasm: m.wasm.len() as u64,
            code: code.and_then(|c| c.find(&m.hash)).map_or(0, |c| c.len() as u64),
        };
        exports.sort();
        exports.dedup();
        Manifest {
            manifest: VERSION,
            name: p.name.into(),
            version: p.version.into(),
            platforms,
            memory: p.memory,
            devices: Vec::new(),
            imports: p
                .imports
                .iter()
                .map(|i| Import { name: i.name.into(), at: i.at.into() })
                .collect(),
            exports,
            components,
            modules: p.modules.iter().map(module).collect(),
            native: code.map(|c| Native {
                compiler: c.compiler().into(),
                cpu: c.level().into(),
                hash: c.hash,
            }),
            abi: Abi {
                payload: payload::FORMAT,
                image: super::FORMAT,
                atom: (!p.modules.is_empty()).then_some(atom::ABI),
            },
            kernel_hash: kernel,
            payload_hash: payload,
            can: match p.modules.is_empty() {
                true => vec!["stop".into()],
                false => vec!["stop".into(), CHECKPOINT.into()],
            },
        }
    }

    /// Whether the guest can be written down as a checkpoint, and go on from one.
    pub fn can_checkpoint(&self) -> bool {
        self.can.iter().any(|what| what == CHECKPOINT)
    }

    /// The manifest as it stands in an image: JSON of one line.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a manifest has no unencodable part")
    }

    /// Reads it.
    pub(super) fn from_json(json: &[u8]) -> Result<Manifest, String> {
        if json.len() > MAX_JSON {
            return Err(format!("{} bytes are too many", json.len()));
        }
        // The version first: another version may well have other keys.
        #[derive(Deserialize)]
        struct Version {
            manifest: u32,
        }
        let version: Version = serde_json::from_slice(json).map_err(|e| e.to_string())?;
        if version.manifest != VERSION {
            return Err(format!("version {}, but only {VERSION} is read", version.manifest));
        }
        serde_json::from_slice(json).map_err(|e| e.to_string())
    }

    /// Compares a manifest that was found with the one that must be there.
    pub(super) fn check_against(&self, expected: &Manifest) -> Result<(), BadImage> {
        let wrong = |what: &str| Err(BadImage::Manifest(format!("{what} is not the image's own")));
        if self.platforms.is_empty() || !self.platforms.is_sorted_by(|a, b| a < b) {
            return wrong("the list of platforms");
        }
        if self.payload_hash != expected.payload_hash {
            return wrong("the payload's hash");
        }
        if self.native != expected.native {
            return wrong("what it says of the native code");
        }
        if self.kernel_hash != expected.kernel_hash {
            return wrong("the kernel's hash");
        }
        if self != expected {
            return wrong("what it says of the guest");
        }
        Ok(())
    }
}

mod hex {
    //! A hash as 64 hexadecimal digits.
    use crate::payload::Hash;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};
    use std::borrow::Cow;

    pub(super) fn serialize<S: Serializer>(hash: &Hash, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(hash)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Hash, D::Error> {
        let text = Cow::<str>::deserialize(d)?;
        let mut out = [0; 32];
        let pairs = text.as_bytes().chunks_exact(2);
        if text.len() != 64 || !text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(D::Error::custom("a hash has 64 hexadecimal digits"));
        }
        for (byte, pair) in out.iter_mut().zip(pairs) {
            let digit = |c: u8| (c as char).to_digit(16).unwrap_or(0) as u8;
            *byte = digit(pair[0]) << 4 | digit(pair[1]);
        }
        Ok(Hash(out))
    }
}
