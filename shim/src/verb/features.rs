//! `features`: what this build supports.

use crate::cli::call::Call;
use crate::cli::context::Context;
use crate::cli::table::{Count, Verb};
use crate::failure::Failure;
use crate::output;

/// Its line in the table.
pub(crate) const VERB: Verb = Verb {
    name: "features",
    operands: "",
    count: Count::Exactly(0),
    trailing: false,
    about: "print what this build supports, as the features document of the specification",
    details: "",
    options: &[],
    enters_containers: false,
    run,
};

/// Prints the features document.
fn run(_context: &Context, _call: &Call) -> Result<u8, Failure> {
    output::json_pretty(&wharf::features(), "    ")
}
