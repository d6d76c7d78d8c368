//! `features`: what this build supports.

use crate::cli::{Call, Context, Count, Verb};
use crate::failure::Failure;
use crate::output;

/// Its line in the table.
pub(crate) const VERB: Verb = Verb::new(
    "features",
    "",
    Count::Exactly(0),
    "print what this build supports, as the features document of the specification",
    run,
);

/// Prints the features document.
fn run(_context: &Context, _call: &Call) -> Result<u8, Failure> {
    output::json_pretty(&wharf::features(), "    ")
}
