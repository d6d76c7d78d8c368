//! The `unsafe` code of the program `wharf`.

pub(crate) mod allocator;
pub(crate) mod signals;
