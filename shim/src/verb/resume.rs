//! `resume`: continues a paused container.

use wharf::Status;

use crate::args::Call;
use crate::context::Context;
use crate::failure::Failure;
use crate::texts;
use crate::verb::refused;

/// Returns when the processes go on.
pub(crate) fn run(context: &Context, call: &Call) -> Result<u8, Failure> {
    let container = context.runtime()?.open(&call.id()?)?;
    container.resume().map_err(|error| {
        refused(&container, error, |status| (status != Status::Paused).then(|| texts::NOT_PAUSED.to_owned()))
    })?;
    Ok(0)
}
