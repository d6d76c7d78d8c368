//! What a document may look like: the vocabulary of the tables in `schema.rs`.
//!
//! The tables exist because the spec's Rust types cannot express everything: they stop at the first wrong value,
//! replace a missing number with 0, and accept words that the spec does not have.

/// What one JSON value must be.
#[derive(Debug)]
pub(crate) enum Shape {
    /// Anything: the value is not interpreted here.
    Any,
    Bool,
    /// A string without a NUL byte.
    Text,
    /// The same, except that the empty string means none: written by programs that omit nothing.
    TextOrNone,
    /// A list of CPUs, which the Rust type would refuse without saying where.
    CpuList,
    /// One of these words; if a word may be missing, an empty one means none.
    Word(&'static [&'static str]),
    /// The same; runc uses this name for a wrong or missing one.
    NamedWord(&'static str, &'static [&'static str]),
    /// The name of a capability. An unknown one is a warning, as the spec asks.
    Capability,
    /// A whole number between the two, inclusive.
    Int(i128, i128),
    List(&'static Self),
    /// An object whose names are data.
    Map(&'static Self),
    Object(&'static Object),
}

/// A JSON object of the spec.
#[derive(Debug)]
pub(crate) struct Object {
    pub(crate) fields: &'static [Field],
}

/// A property of an [`Object`].
#[derive(Debug)]
pub(crate) struct Field {
    pub(crate) name: &'static str,
    pub(crate) shape: Shape,
    pub(crate) need: Need,
}

/// Whether a property is required.
#[derive(Debug)]
pub(crate) enum Need {
    Optional,
    Required,
    /// Required unless the property `type` of the same object is this word.
    UnlessType(&'static str),
    /// Optional, but the Rust type reads an absent one as 0: without it the whole object is dropped.
    ElseDrop,
    /// Optional, but the Rust type needs it: the value to assume if it is missing.
    ElseAssume(&'static str),
    /// Not a property of a Linux container; the text says what it is.
    Foreign(&'static str),
}

pub(crate) const U16: Shape = Shape::Int(0, u16::MAX as i128);
pub(crate) const U32: Shape = Shape::Int(0, u32::MAX as i128);
pub(crate) const U64: Shape = Shape::Int(0, u64::MAX as i128);
pub(crate) const I32: Shape = Shape::Int(i32::MIN as i128, i32::MAX as i128);
pub(crate) const I64: Shape = Shape::Int(i64::MIN as i128, i64::MAX as i128);
pub(crate) const TEXTS: Shape = Shape::List(&Shape::Text);

pub(crate) const fn optional(name: &'static str, shape: Shape) -> Field {
    Field { name, shape, need: Need::Optional }
}

pub(crate) const fn required(name: &'static str, shape: Shape) -> Field {
    Field { name, shape, need: Need::Required }
}

pub(crate) const fn assumed(name: &'static str, shape: Shape, json: &'static str) -> Field {
    Field { name, shape, need: Need::ElseAssume(json) }
}

pub(crate) const fn foreign(name: &'static str, what: &'static str) -> Field {
    Field { name, shape: Shape::Any, need: Need::Foreign(what) }
}
