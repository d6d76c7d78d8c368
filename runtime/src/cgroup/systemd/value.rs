//! The values of unit properties: the D-Bus types that systemd uses for them.

/// A property of a unit, as `org.freedesktop.systemd1(5)` names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Property {
    pub(crate) name: String,
    pub(crate) value: PropertyValue,
}

impl Property {
    /// Combines name and value.
    pub(crate) fn new(name: impl Into<String>, value: PropertyValue) -> Self {
        Self { name: name.into(), value }
    }
}

/// A value with its D-Bus type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PropertyValue {
    Bool(bool),
    Byte(u8),
    I16(i16),
    U16(u16),
    I32(i32),
    U32(u32),
    I64(i64),
    U64(u64),
    Str(String),
    /// The signature of the elements, which an empty array needs, and the elements.
    Array(&'static str, Vec<Self>),
    Tuple(Vec<Self>),
}

impl PropertyValue {
    /// A string.
    pub(crate) fn text(text: impl Into<String>) -> Self {
        Self::Str(text.into())
    }
}
