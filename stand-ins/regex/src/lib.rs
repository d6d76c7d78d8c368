//! `regex-lite` in the place of `regex`, for the programs of this workspace.
//!
//! oci-spec checks one list of CPU numbers by a regular expression, and so every program that reads a `config.json` would
//! hold `regex` with its engines and the tables of Unicode: 1.1 of 3.9 MB, all of which the kernel may map when the
//! program starts. `regex-lite` is by the same authors, and has the same interface for patterns of text.
//!
//! The workspace's `Cargo.toml` puts this crate in place (`[patch.crates-io]`); whoever embeds the library is not
//! affected.

pub use regex_lite::*;
