//! What a document may look like: the vocabulary of the tables in `schema.rs`.
//!
//! The tables exist because the Rust types of the spec cannot say it all: they stop at the first wrong value, replace
//! a missing number by 0, and accept words that the spec does not have.

/// What one JSON value must be.
#[derive(Debug)]
pub(crate) enum Shape {
    /// Anything: the value belongs to somebody else.
    Any,
    Bool,
    /// A string without a NUL byte.
    Text,
    /// The same, where the empty string is as good as none: what a program writes that leaves nothing out.
    TextOrNone,
    /// A list of CPUs, which the Rust type would refuse without saying where.
    CpuList,
    /// One of these words; where a word may be missing, the empty one is as good as none.
    Word(&'static [&'static str]),
    /// The same, which runc calls by this name where it is wrong or missing.
    NamedWord(&'static str, &'static [&'static str]),
    /// The name of a capability. An unknown one is a warning, because the spec wants it so.
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

/// Whether a property must be there.
#[derive(Debug)]
pub(crate) enum Need {
    Optional,
    Required,
    /// Required unless the property `type` of the same object is this word.
    UnlessType(&'static str),
    /// Optional, but the Rust type turns absent into 0: without it the whole object goes.
    ElseDrop,
    /// Optional, but the Rust type wants it: what to read where it is missing.
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
