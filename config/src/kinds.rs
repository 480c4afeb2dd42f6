//! The built-in component kinds, as the builder and the runtime both see them.
//!
//! The builder checks a guest's `[[component]]` tables against this list and
//! links the kinds that a plan names; the runtime's registry holds the code, and
//! a test there compares the two.

use crate::payload::Value;

/// A kind of native component.
#[derive(Debug)]
pub struct Kind {
    /// Its name in a configuration, and the runtime's cargo feature for it.
    pub name: &'static str,
    /// Raised whenever what `save` writes changes its meaning.
    pub state_version: u16,
    /// One line for people.
    pub about: &'static str,
    /// What may be configured.
    pub params: &'static [Param],
    /// Whether it is for tests of the system itself, and never for a product.
    pub test_only: bool,
}

/// A parameter of a kind. One without a default must be given.
#[derive(Debug)]
pub struct Param {
    /// Its key in the component's table.
    pub name: &'static str,
    /// Its type, and what it is when it is not given.
    pub ty: Type,
    /// One line for people.
    pub about: &'static str,
}

/// The type of a parameter and its limits.
#[derive(Debug)]
pub enum Type {
    /// A whole number between two others, both included.
    Int {
        /// The value when none is given.
        default: Option<i64>,
        /// The least.
        min: i64,
        /// The greatest.
        max: i64,
    },
    /// One line of text.
    Text {
        /// The value when none is given.
        default: Option<&'static str>,
        /// The most bytes.
        max: usize,
    },
    /// A duration, such as `"250ms"`; nanoseconds here.
    Span {
        /// The value when none is given.
        default: Option<u64>,
        /// The least.
        min: u64,
        /// The greatest.
        max: u64,
    },
}

impl Param {
    /// The value when none is given.
    pub fn default(&self) -> Option<Value<'static>> {
        match self.ty {
            Type::Int { default, .. } => default.map(Value::Int),
            Type::Text { default, .. } => default.map(Value::Text),
            Type::Span { default, .. } => default.map(Value::Span),
        }
    }
}

const MS: u64 = 1_000_000;
const HOUR: u64 = 3_600_000 * MS;

/// Every built-in kind, by name.
pub const KINDS: &[Kind] = &[
    Kind {
        name: "clock",
        state_version: 1,
        about: "the time: `now` (wall clock), `uptime`, and `tick`, an event each period",
        params: &[Param {
            name: "period",
            ty: Type::Span { default: Some(1000 * MS), min: MS, max: HOUR },
            about: "time between two ticks; none are made while nobody reads them",
        }],
        test_only: false,
    },
    Kind {
        name: "crash",
        state_version: 1,
        about: "dies in a chosen way when told to",
        params: &[],
        test_only: true,
    },
    Kind {
        name: "greeter",
        state_version: 1,
        about: "a greeting that a ctl file changes, a count, and an event for every change",
        params: &[
            Param {
                name: "greeting",
                ty: Type::Text { default: Some("Hello"), max: 64 },
                about: "the first word",
            },
            Param {
                name: "name",
                ty: Type::Text { default: Some("world"), max: 64 },
                about: "who is greeted at first",
            },
        ],
        test_only: false,
    },
    Kind {
        name: "reader",
        state_version: 1,
        about: "reads a file of the guest's namespace when told to, and shows what it read",
        params: &[Param {
            name: "path",
            ty: Type::Text { default: Some(""), max: 1024 },
            about: "what is read at the start; nothing when it is empty",
        }],
        test_only: false,
    },
    Kind {
        name: "sensor",
        state_version: 1,
        about: "a value that changes over time; `next` blocks until the next sample",
        params: &[
            Param {
                name: "period",
                ty: Type::Span { default: Some(1000 * MS), min: MS, max: HOUR },
                about: "time between two samples",
            },
            Param {
                name: "base",
                ty: Type::Int { default: Some(20_000), min: -1_000_000, max: 1_000_000 },
                about: "the middle value, in thousandths of the unit",
            },
            Param {
                name: "swing",
                ty: Type::Int { default: Some(2_000), min: 0, max: 1_000_000 },
                about: "the most that a value differs from it, in thousandths",
            },
            Param {
                name: "unit",
                ty: Type::Text { default: Some("celsius"), max: 16 },
                about: "printed behind each value",
            },
        ],
        test_only: false,
    },
];

/// The kind of that name.
pub fn find(name: &str) -> Option<&'static Kind> {
    KINDS.iter().find(|k| k.name == name)
}
