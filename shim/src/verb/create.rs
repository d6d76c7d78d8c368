//! `create`: a container that waits for `start`.

use crate::args::Call;
use crate::context::Context;
use crate::failure::Failure;
use crate::launch::Launch;

/// Leaves the container in the state `created`.
pub(crate) fn run(context: &Context, call: &Call) -> Result<u8, Failure> {
    Launch::prepare(context, call, true)?.create()?;
    Ok(0)
}
