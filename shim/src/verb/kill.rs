//! `kill`: a signal for a container.

use wharf::Status;

use crate::args::Call;
use crate::context::Context;
use crate::failure::Failure;
use crate::signal;
use crate::texts;
use crate::verb::refused;

/// TERM, where none is named.
pub(crate) fn run(context: &Context, call: &Call) -> Result<u8, Failure> {
    let signal = signal::parse(call.operand(1)?.unwrap_or("TERM"))?;
    let container = context.runtime()?.open(&call.id()?)?;
    let sent = if call.options.flag("all") { container.kill_all(signal) } else { container.kill(signal) };
    sent.map_err(|error| {
        refused(&container, error, |status| {
            (status == Status::Stopped).then(|| texts::NOT_RUNNING.to_owned())
        })
    })?;
    Ok(0)
}
