//! Payloads for tests, and guests made of them.
#![allow(dead_code, unreachable_pub, missing_docs)] // each test file uses its own part

pub mod acts;
pub mod checkpoint;
pub mod script;

use atoll_config::atom::AtomLimits;
use atoll_config::kinds;
use atoll_config::payload::{Budget, Component, File, Hash, Import, OnFault, Payload, Value};
use atoll_runtime::component::Entry;
use atoll_runtime::fake::{Fake, World};
use atoll_runtime::{GuestId, Runtime, native};

pub const MS: u64 = 1_000_000;
pub const SECOND: u64 = 1000 * MS;
pub const HASH: Hash = Hash([7; 32]);
pub const ONE: GuestId = GuestId(0);

/// A guest without components.
pub fn empty(name: &'static str) -> Payload<'static> {
    Payload {
        name,
        version: "1",
        memory: 4 << 20,
        on_fault: OnFault::Restart,
        budget: Budget { memory: 512 << 10, messages: 256, sessions: 16, fids: 256 },
        files: Vec::new(),
        components: Vec::new(),
        imports: Vec::new(),
        writable: vec![""],
        modules: Vec::new(),
    }
}

/// A component of a built-in kind with these parameters, or with its defaults.
pub fn component(
    name: &'static str,
    kind: &'static str,
    params: &[Value<'static>],
) -> Component<'static> {
    let known = kinds::find(kind).expect("a kind");
    let defaults = known.params.iter().map(|p| p.default().expect("a default"));
    let params = if params.is_empty() { defaults.collect() } else { params.to_vec() };
    Component {
        name,
        kind: known.name,
        state_version: known.state_version,
        params,
        module: None,
        limits: AtomLimits::default(),
    }
}

/// `images/hello`, as the builder checks it.
pub fn hello() -> Payload<'static> {
    Payload {
        files: vec![
            File { path: "motd", data: b"Everything here is a file.\n" },
            File { path: "about/license", data: b"MIT OR Apache-2.0\n" },
        ],
        components: vec![component("greeter", "greeter", &[]), component("clock", "clock", &[])],
        writable: vec!["greeter"],
        ..empty("hello")
    }
}

/// A guest that reads through an import.
pub fn reader(path: &'static str) -> Payload<'static> {
    Payload {
        components: vec![component("reader", "reader", &[Value::Text(path)])],
        imports: vec![Import { name: "data", at: "/data" }],
        ..empty("reader")
    }
}

/// A world of one guest.
pub fn world(payload: Payload<'static>) -> World<'static> {
    world_of(payload, native::BUILT_IN, Fake::new(1))
}

pub fn world_of(
    payload: Payload<'static>,
    registry: &'static [Entry],
    mut fake: Fake,
) -> World<'static> {
    let mut rt = Runtime::new(registry, None);
    rt.add(payload, HASH, 0, &mut fake).expect("a sound payload");
    World { rt, fake }
}
