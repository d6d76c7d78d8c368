//! What needs `unsafe` in the program `wharf`.

pub(crate) mod allocator;
pub(crate) mod signals;
