//! `pause`: suspends a container.

use wharf::Status;

use crate::args::Call;
use crate::context::Context;
use crate::failure::Failure;
use crate::texts;
use crate::verb::refused;

/// Returns when all processes are suspended.
pub(crate) fn run(context: &Context, call: &Call) -> Result<u8, Failure> {
    let container = context.runtime()?.open(&call.id()?)?;
    container.pause().map_err(|error| {
        refused(&container, error, |status| {
            let alive = matches!(status, Status::Running | Status::Created);
            (!alive).then(|| texts::NOT_RUNNING_OR_CREATED.to_owned())
        })
    })?;
    Ok(0)
}
