//! `run`: a container from beginning to end.

use wharf::Delete;

use crate::args::Call;
use crate::context::Context;
use crate::failure::Failure;
use crate::foreground::{self, Job, Signals};
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
    let console = container.take_console();
    let code = match (container.pidfd(), foreground::pid(container.pid())) {
        (Some(pidfd), Ok(pid)) => foreground::supervise(
            &signals,
            Job {
                pid: pid.as_raw(),
                pidfd,
                kill: &|signal| container.kill(signal),
                wait: &|| container.wait(),
                console,
                readiness,
            },
        ),
        (_, Err(failure)) => Err(failure),
        (None, Ok(_)) => Err(Failure::new("the container has no pidfd to wait on")),
    };
    if !call.options.flag("keep") || code.is_err() {
        // The exit code of the process is worth more than the rest of its container.
        if let Err(error) = runtime.delete(container.id(), Delete::Force) {
            log::error!("delete the container: {error}");
        }
    }
    code
}
