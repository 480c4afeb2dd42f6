//! Other components: messages, asks, signals, new instances.

use alloc::vec::Vec;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::abi;
use crate::error::{Result, check};
use crate::future::{Call, Typed};

/// A component of the guest, an atom or not.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
pub struct Component(pub i32);

impl Component {
    /// This atom.
    pub fn me() -> Component {
        Component(abi::me())
    }

    /// Who sent the message, the ask or the signal that is handled. ENOENT where nobody
    /// did.
    pub fn sender() -> Result<Component> {
        check(abi::sender()).map(Component)
    }

    /// The component of that name, or the one that took it in `/srv`. ENOENT.
    pub fn find(name: &str) -> Result<Component> {
        check(abi::find(name.as_bytes())).map(Component)
    }

    /// A new instance of this atom's own module: its parameters are lines
    /// `key value`. It starts when this dispatch is done.
    pub fn spawn(name: &str, params: &str) -> Result<Component> {
        check(abi::spawn(name.as_bytes(), params.as_bytes())).map(Component)
    }

    /// Ends an atom that this one spawned, or this one, when the dispatch is done.
    pub fn kill(self) -> Result<()> {
        check(abi::kill(self.0)).map(drop)
    }

    /// Sends a message.
    pub fn send(self, message: &impl Serialize) -> Result<()> {
        self.send_bytes(&encode(message)?)
    }

    /// Sends a message of bytes.
    pub fn send_bytes(self, body: &[u8]) -> Result<()> {
        check(abi::send(self.0, body)).map(drop)
    }

    /// Asks. `component.ask::<Answer>(&question).await`
    pub fn ask<R: DeserializeOwned>(self, question: &impl Serialize) -> Result<Typed<R>> {
        Ok(Typed::postcard(self.ask_bytes(&encode(question)?)))
    }

    /// Asks in bytes.
    pub fn ask_bytes(self, body: &[u8]) -> Call {
        Call::new(abi::call(self.0, body))
    }

    /// Interrupts it. A code below 63.
    pub fn signal(self, code: u32, arg: i64) -> Result<()> {
        check(abi::signal(self.0, code, arg)).map(drop)
    }
}

/// Takes a name in `/srv`, where others find this atom, as long as it lives.
pub fn register(name: &str) -> Result<()> {
    check(abi::register(name.as_bytes())).map(drop)
}

/// Lets interrupts of these codes wait (bit *c* for code *c*) until what it gives is
/// dropped. Those that were masked before stay so.
pub fn mask(bits: u64) -> Masked {
    let before = abi::mask(bits);
    Masked { bits: bits & !before }
}

/// Interrupts that wait; see [`mask`].
#[derive(Debug)]
#[must_use = "they come again when this is dropped"]
pub struct Masked {
    bits: u64,
}

impl Drop for Masked {
    fn drop(&mut self) {
        abi::unmask(self.bits);
    }
}

/// A message as bytes.
pub fn encode(message: &impl Serialize) -> Result<Vec<u8>> {
    Ok(postcard::to_allocvec(message)?)
}

/// Bytes as a message.
pub fn decode<'m, M: serde::Deserialize<'m>>(body: &'m [u8]) -> Result<M> {
    Ok(postcard::from_bytes(body)?)
}
