//! What needs `unsafe` in the program `wharf`.

pub(crate) mod allocator;
