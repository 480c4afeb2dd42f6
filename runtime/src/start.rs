//! Why a guest cannot start.

use alloc::string::String;
use core::fmt;

use atoll_9p::fault::Fault;

/// Why a guest cannot start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StartError {
    /// No component kind of that name is linked here.
    Kind(String),
    /// An atom, and what is here cannot run any.
    Atom(String),
    /// A kind's state version is not the one that the payload was built against.
    StateVersion(String),
    /// A component cannot be made from its parameters.
    Component(String, Fault),
    /// The budget does not even cover what the components' event files may keep.
    Budget,
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::Kind(k) => {
                write!(f, "no component kind {k} here: build the image again for this flavour")
            }
            StartError::Atom(name) => {
                write!(f, "{name} is an atom, and there is no engine here that runs one")
            }
            StartError::StateVersion(k) => {
                write!(f, "kind {k} has another state version than the image: build it again")
            }
            StartError::Component(name, fault) => write!(f, "component {name}: {fault}"),
            StartError::Budget => {
                f.write_str("[sponsor] memory is too small for the components' event files")
            }
        }
    }
}

impl core::error::Error for StartError {}
