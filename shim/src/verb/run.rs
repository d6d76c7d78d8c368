//! `run`: a container from beginning to end.

use wharf::Delete;

use crate::args::Call;
use crate::context::Context;
use crate::failure::Failure;
use crate::foreground::{self, Signals};
use crate::launch::{Launch, Launched};

/// The exit code is that of the container's first process.
pub(crate) fn run(context: &Context, call: &Call) -> Result<u8, Failure> {
    let detach = call.options.flag("detach");
    let launch = Launch::prepare(context, call, detach)?;
    if detach {
        let launched = launch.run()?;
        if let (Some(readiness), Some(init)) = (&launched.readiness, launched.container.pidfd()) {
            readiness.wait(init, launched.container.pid().unwrap_or(0).unsigned_abs())?;
        }
        return Ok(0);
    }
    let signals = Signals::hold()?;
    if !call.options.flag("no-subreaper") {
        foreground::adopt_orphans()?;
    }
    let Launched { runtime, mut container, readiness } = launch.run()?;
    let code = foreground::supervise_container(&signals, &mut container, readiness);
    if !call.options.flag("keep") || code.is_err() {
        // The exit code of the process is worth more than the rest of its container.
        if let Err(error) = runtime.delete(container.id(), Delete::Force) {
            log::error!("delete the container: {error}");
        }
    }
    code
}
