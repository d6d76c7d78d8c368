//! `state`: the state document of the specification, with what runc adds.

use crate::args::Call;
use crate::context::Context;
use crate::failure::Failure;
use crate::output;

/// Prints the document.
pub(crate) fn run(context: &Context, call: &Call) -> Result<u8, Failure> {
    let state = context.runtime()?.open(&call.id()?)?.state()?;
    output::json_pretty(&state, "  ")
}
