//! `state`: the state document of the specification, with what runc adds.

use crate::cli::options::ID;
use crate::cli::{Call, Context, Count, Verb};
use crate::failure::Failure;
use crate::output;

/// Its line in the table.
pub(crate) const VERB: Verb =
    Verb::new("state", ID, Count::Exactly(1), "print the state of a container as JSON", run);

/// Prints the document.
fn run(context: &Context, call: &Call) -> Result<u8, Failure> {
    let state = context.open(&call.id()?)?.state()?;
    output::json_pretty(&state, "  ")
}
