//! The Rust types that a field can have.

use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

use super::{Type, Value};

/// A Rust type that a field can have.
pub trait Kind: Sized {
    /// What it is in the table of fields.
    const TYPE: Type;

    /// As a value.
    fn value(&self) -> Value<'_>;

    /// From a value; nothing from one of another type.
    fn from_value(value: Value<'_>) -> Option<Self>;
}

macro_rules! uints {
    ($($ty:ident $bits:literal),*) => {$(
        impl Kind for $ty {
            const TYPE: Type = Type::Uint($bits);

            fn value(&self) -> Value<'_> {
                Value::Uint((*self).into())
            }

            fn from_value(value: Value<'_>) -> Option<$ty> {
                match value {
                    Value::Uint(n) => n.try_into().ok(),
                    _ => None,
                }
            }
        }
    )*};
}

uints!(u8 8, u16 16, u32 32, u64 64);

macro_rules! plain {
    ($($ty:ty = $variant:ident, $type:ident;)*) => {$(
        impl Kind for $ty {
            const TYPE: Type = Type::$type;

            fn value(&self) -> Value<'_> {
                Value::$variant(*self)
            }

            fn from_value(value: Value<'_>) -> Option<$ty> {
                match value {
                    Value::$variant(v) => Some(v),
                    _ => None,
                }
            }
        }
    )*};
}

plain! {
    i64 = Int, Int;
    bool = Bool, Bool;
    [u8; 32] = Hex, Hex;
}

impl Kind for String {
    const TYPE: Type = Type::Text;

    fn value(&self) -> Value<'_> {
        Value::Text(Cow::Borrowed(self))
    }

    fn from_value(value: Value<'_>) -> Option<String> {
        match value {
            Value::Text(text) => Some(text.into_owned()),
            _ => None,
        }
    }
}

impl Kind for Cow<'static, str> {
    const TYPE: Type = Type::Text;

    fn value(&self) -> Value<'_> {
        Value::Text(Cow::Borrowed(self))
    }

    fn from_value(value: Value<'_>) -> Option<Cow<'static, str>> {
        String::from_value(value).map(Cow::Owned)
    }
}

impl<T: Kind> Kind for Option<T> {
    const TYPE: Type = Type::Option(&T::TYPE);

    fn value(&self) -> Value<'_> {
        Value::Option(self.as_ref().map(|v| Box::new(v.value())))
    }

    fn from_value(value: Value<'_>) -> Option<Option<T>> {
        match value {
            Value::Option(None) => Some(None),
            Value::Option(Some(v)) => T::from_value(*v).map(Some),
            _ => None,
        }
    }
}

impl<T: Kind> Kind for Vec<T> {
    const TYPE: Type = Type::List(&T::TYPE);

    fn value(&self) -> Value<'_> {
        Value::List(self.iter().map(Kind::value).collect())
    }

    fn from_value(value: Value<'_>) -> Option<Vec<T>> {
        match value {
            Value::List(values) => values.into_iter().map(T::from_value).collect(),
            _ => None,
        }
    }
}

/// A number and the most that it can be: `3 of 9`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Of {
    /// The number.
    pub used: u64,
    /// The most that it can be.
    pub limit: u64,
}

impl Kind for Of {
    const TYPE: Type = Type::Of;

    fn value(&self) -> Value<'_> {
        Value::Of(self.used, self.limit)
    }

    fn from_value(value: Value<'_>) -> Option<Of> {
        match value {
            Value::Of(used, limit) => Some(Of { used, limit }),
            _ => None,
        }
    }
}

/// Numbers whose names are not known before, each a line of its own. A name holds
/// neither space nor line end, and none of the record's fields stands before its first
/// dot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Numbers(pub Vec<(Cow<'static, str>, u64)>);

impl Kind for Numbers {
    const TYPE: Type = Type::Numbers;

    fn value(&self) -> Value<'_> {
        Value::Numbers(self.0.iter().map(|(name, n)| (Cow::Borrowed(&**name), *n)).collect())
    }

    fn from_value(value: Value<'_>) -> Option<Numbers> {
        match value {
            Value::Numbers(list) => {
                let own = |(name, n): (Cow<'_, str>, u64)| (Cow::Owned(name.into_owned()), n);
                Some(Numbers(list.into_iter().map(own).collect()))
            }
            _ => None,
        }
    }
}
