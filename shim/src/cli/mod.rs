//! The command line: the words that it consists of, and what they mean.
//!
//! A verb describes itself by a line of the [`table`]; [`parse`] reads the words by it, and [`help`] and [`man_page`]
//! print it. The result is a [`call`] of the verb in a [`context`].

mod call;
mod context;
pub(crate) mod help;
pub(crate) mod inherited;
pub(crate) mod man_page;
pub(crate) mod options;
mod parse;
pub(crate) mod table;
pub(crate) mod version;

pub(crate) use call::{Call, Given};
pub(crate) use context::Context;
pub(crate) use options::Opt;
pub(crate) use parse::{Parsed, Request, parse};
pub(crate) use table::{Count, Verb};
