//! The command line: the words that it consists of, and what they mean.
//!
//! A verb describes itself by a line of the [`table`]; [`parse`] reads the words by it, and [`help`] and [`man_page`]
//! print it. The result is a [`call`] of the verb in a [`context`].

pub(crate) mod call;
pub(crate) mod context;
pub(crate) mod help;
pub(crate) mod inherited;
pub(crate) mod man_page;
pub(crate) mod options;
pub(crate) mod parse;
pub(crate) mod table;
pub(crate) mod version;
