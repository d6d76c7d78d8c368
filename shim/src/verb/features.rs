//! `features`: what this build supports.

use crate::args::Call;
use crate::context::Context;
use crate::failure::Failure;
use crate::output;

/// Prints the features document.
pub(crate) fn run(_context: &Context, _call: &Call) -> Result<u8, Failure> {
    output::json_pretty(&wharf::features(), "    ")
}
