//! Typed records: one Rust type, seen as text by people and as bytes by programs.
//!
//! A status file is a type first. [`record!`](crate::record!) declares it once, and
//! from the declaration come its text (`key value`, a field a line), its bytes
//! (postcard's format, behind the version of the type) and its schema. All of it
//! is driven by a table of fields, so that one more record costs a guest a table and
//! not a parser.
//!
//! ```
//! use atoll_9p::record::{Record, Of};
//!
//! atoll_9p::record! {
//!     /// What a pump does.
//!     pub enum State { Idle = "idle", Running = "running" }
//! }
//! atoll_9p::record! {
//!     /// A pump.
//!     #[derive(Clone, Debug, PartialEq)]
//!     pub struct Pump = "pump", 1 {
//!         /// What it does.
//!         pub state: State,
//!         /// Litres in its tank, of as many as fit.
//!         pub tank: Of,
//!         /// Who looks after it.
//!         pub keeper: Option<String>,
//!     }
//! }
//!
//! let pump = Pump { state: State::Idle, tank: Of { used: 3, limit: 9 }, keeper: None };
//! assert_eq!(pump.to_text(), "state idle\ntank 3 of 9\n");
//! assert_eq!(pump.to_wire(), [1, 0, 3, 9, 0]);
//! assert_eq!(Pump::from_wire(&[1, 0, 3, 9, 0])?, pump);
//! assert_eq!(Pump::from_text("state idle\ntank 3 of 9\n")?, pump);
//! let wrong = Pump::from_text("state idle\ntank full\n").unwrap_err();
//! assert_eq!(wrong.text(), "line 2: tank: \"full\" is not a number `of` another, as in 3 of 9");
//! # Ok::<(), atoll_9p::fault::Fault>(())
//! ```
//!
//! # The text
//!
//! A field is a line: its name, a space, its value. A field that may be missing and is
//! has no line; a list has a line for each of its values. The fields of a record
//! inside another are `outer.inner`, and those of records in a list `outer.0.inner`.
//! In a text a line end is `\n` and a backslash `\\`.

use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

use crate::fault::{Errno, Fault};

mod kinds;
pub(crate) mod schema;
pub(crate) mod text;
pub(crate) mod wire;

pub use kinds::{Kind, Numbers, Of};

/// What a field holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// A whole number of so many bits: 8, 16, 32 or 64.
    Uint(u8),
    /// A whole number of 64 bits that may be negative.
    Int,
    /// True or false.
    Bool,
    /// Any text.
    Text,
    /// 32 bytes, which people see as hexadecimal digits.
    Hex,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A number, and the most that it can be.
    Of,
    /// A value or none.
    Option(&'static Type),
    /// Any number of values.
    List(&'static Type),
    /// The fields of another record.
    Record(&'static [Field]),
    /// Numbers whose names are not known before.
    Numbers,
}

/// A field of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its name.
    pub name: &'static str,
    /// What it holds.
    pub ty: Type,
    /// What it means, for people.
    pub doc: &'static str,
}

/// What a field holds, as a value.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // as in `Type`
pub enum Value<'a> {
    Uint(u64),
    Int(i64),
    Bool(bool),
    Text(Cow<'a, str>),
    Hex([u8; 32]),
    Choice(u32),
    Of(u64, u64),
    Option(Option<Box<Value<'a>>>),
    List(Vec<Value<'a>>),
    Record(Values<'a>),
    Numbers(Vec<(Cow<'a, str>, u64)>),
}

/// The fields of a record, in order.
pub type Values<'a> = Vec<Value<'a>>;

/// What there is to know about a record type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct About {
    /// Its name.
    pub name: &'static str,
    /// Grows when the fields change.
    pub version: u32,
    /// Its fields, in the order in which they are shown and sent.
    pub fields: &'static [Field],
}

/// A type made by [`record!`](crate::record!).
pub trait Record: Sized {
    /// What there is to know about it.
    const ABOUT: About;

    /// Its fields' values, for as long as they are looked at.
    fn show(&self, sink: &mut dyn FnMut(&[Value<'_>]));

    /// Its fields' values.
    fn values(&self) -> Values<'_>;

    /// From its fields' values; nothing where those are not of its types.
    fn from_values(values: Values<'_>) -> Option<Self>;

    /// As text.
    fn to_text(&self) -> String {
        let mut out = String::new();
        text::put(Self::ABOUT.fields, &self.values(), &mut out);
        out
    }

    /// From text. EINVAL says which line is wrong, and what it should be.
    fn from_text(text: &str) -> Result<Self, Fault> {
        Self::from_values(text::take(Self::ABOUT.fields, text)?).ok_or_else(mismatch)
    }

    /// What its fields are, in words that programs can read too.
    fn to_schema() -> String {
        let mut out = String::new();
        schema::put(&Self::ABOUT, &mut out);
        out
    }

    /// As bytes: postcard's form of the pair of the version (`u32`) and the value.
    fn to_wire(&self) -> Vec<u8> {
        let mut out = Vec::new();
        wire::put(&Self::ABOUT, &self.values(), &mut out);
        out
    }

    /// From bytes. EINVAL for what is no such record, and for one of another version.
    fn from_wire(bytes: &[u8]) -> Result<Self, Fault> {
        Self::from_values(wire::take(&Self::ABOUT, bytes)?).ok_or_else(mismatch)
    }
}

/// Cannot happen between a table of fields and the values read by it.
fn mismatch() -> Fault {
    Fault::new(Errno::EINVAL, "the values are not those of the record")
}

/// Whether the text of a table of fields says all that its bytes say: `record!` asks
/// when it is compiled. What may be missing, and what there may be any number of, must
/// show itself in at least one line; and numbers without known names come last.
pub const fn is_sound(fields: &[Field]) -> bool {
    let mut i = 0;
    while i < fields.len() {
        #[allow(clippy::indexing_slicing)] // checked when it is compiled
        let sound = match &fields[i].ty {
            Type::Option(of) | Type::List(of) => shows(of) && inner_is_sound(of),
            Type::Numbers => i + 1 == fields.len(),
            ty => inner_is_sound(ty),
        };
        if !sound {
            return false;
        }
        i += 1;
    }
    !fields.is_empty()
}

/// The same of what lies inside another.
const fn inner_is_sound(ty: &Type) -> bool {
    match ty {
        Type::Record(fields) => {
            let mut i = 0;
            while i < fields.len() {
                #[allow(clippy::indexing_slicing)] // checked when it is compiled
                if matches!(fields[i].ty, Type::Numbers) {
                    return false;
                }
                i += 1;
            }
            is_sound(fields)
        }
        _ => true,
    }
}

/// Whether there is a line of it, whatever it holds.
const fn shows(ty: &Type) -> bool {
    match ty {
        Type::Option(_) | Type::List(_) | Type::Numbers => false,
        Type::Record(fields) => {
            let mut i = 0;
            while i < fields.len() {
                #[allow(clippy::indexing_slicing)] // checked when it is compiled
                if shows(&fields[i].ty) {
                    return true;
                }
                i += 1;
            }
            false
        }
        _ => true,
    }
}

/// Declares a record, or a choice of words for one of its fields.
///
/// A record has a name and a version: give it a new version whenever a field comes,
/// goes, moves or changes its type. Its fields are of types that are a [`Kind`]:
/// numbers, `bool`, texts, `[u8; 32]`, [`Of`], choices, other records, options and
/// lists of all these, and [`Numbers`] as the last.
#[macro_export]
macro_rules! record {
    (
        $(#[$meta:meta])*
        $vis:vis struct $Name:ident = $name:literal, $version:literal {
            $( $(#[doc = $doc:literal])* $fvis:vis $field:ident: $ty:ty ),* $(,)?
        }
    ) => {
        $(#[$meta])*
        $vis struct $Name {
            $( $(#[doc = $doc])* $fvis $field: $ty, )*
        }

        const _: () = assert!(
            $crate::record::is_sound(<$Name as $crate::record::Record>::ABOUT.fields),
            "an option or a list of what may show no line, or Numbers that are not last"
        );

        impl $crate::record::Record for $Name {
            const ABOUT: $crate::record::About = $crate::record::About {
                name: $name,
                version: $version,
                fields: &[$( $crate::record::Field {
                    name: stringify!($field),
                    ty: <$ty as $crate::record::Kind>::TYPE,
                    doc: concat!($($doc),*),
                } ),*],
            };

            fn show(&self, sink: &mut dyn FnMut(&[$crate::record::Value<'_>])) {
                sink(&[$( $crate::record::Kind::value(&self.$field) ),*]);
            }

            fn values(&self) -> $crate::record::Values<'_> {
                [$( $crate::record::Kind::value(&self.$field) ),*].into()
            }

            fn from_values(values: $crate::record::Values<'_>) -> Option<Self> {
                let mut values = values.into_iter();
                Some($Name {
                    $( $field: $crate::record::Kind::from_value(values.next()?)?, )*
                })
            }
        }

        impl $crate::record::Kind for $Name {
            const TYPE: $crate::record::Type =
                $crate::record::Type::Record(<$Name as $crate::record::Record>::ABOUT.fields);

            fn value(&self) -> $crate::record::Value<'_> {
                $crate::record::Value::Record($crate::record::Record::values(self))
            }

            fn from_value(value: $crate::record::Value<'_>) -> Option<Self> {
                match value {
                    $crate::record::Value::Record(values) => {
                        $crate::record::Record::from_values(values)
                    }
                    _ => None,
                }
            }
        }
    };
    (
        $(#[$meta:meta])*
        $vis:vis enum $Name:ident {
            $( $(#[doc = $doc:literal])* $Variant:ident = $word:literal ),* $(,)?
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        $vis enum $Name {
            $( #[doc = concat!("`", $word, "`.", $($doc),*)] $Variant, )*
        }

        impl $crate::record::Kind for $Name {
            const TYPE: $crate::record::Type = $crate::record::Type::Choice(&[$($word),*]);

            fn value(&self) -> $crate::record::Value<'_> {
                $crate::record::Value::Choice(*self as u32)
            }

            fn from_value(value: $crate::record::Value<'_>) -> Option<Self> {
                let $crate::record::Value::Choice(n) = value else { return None };
                [$($Name::$Variant),*].get(n as usize).copied()
            }
        }
    };
}
