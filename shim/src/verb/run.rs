//! `run`: creates, starts and deletes a container.

use wharf::Delete;

use crate::cli::options::{
    BUNDLE, CONFIG, CONSOLE_SOCKET, DETACH, ID, NO_NEW_KEYRING, NO_PIVOT, NO_SUBREAPER, PID_FILE,
    PIDFD_SOCKET, PRESERVE_FDS,
};
use crate::cli::{Call, Context, Count, Opt, Verb};
use crate::failure::Failure;
use crate::foreground::{self, Signals};
use crate::launch::{Launch, Launched};

/// Its line in the table.
pub(crate) const VERB: Verb = Verb::new(
    "run",
    ID,
    Count::Exactly(1),
    "create and start a container, wait for it, and delete it",
    run,
)
.details(
    "The exit code is that of the container's first process, or 128+N if signal N ended it. Signals are\n\
     forwarded to it. $LISTEN_FDS and $NOTIFY_SOCKET work as for create and start.",
)
.options(&[
    BUNDLE,
    CONFIG,
    CONSOLE_SOCKET,
    PIDFD_SOCKET,
    PID_FILE,
    DETACH,
    Opt::switch("keep", "keep the container when it exits"),
    NO_SUBREAPER,
    NO_PIVOT,
    NO_NEW_KEYRING,
    PRESERVE_FDS,
])
.enters_containers();

/// The exit code is that of the container's first process.
fn run(context: &Context, call: &Call) -> Result<u8, Failure> {
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
        // The exit code of the process matters more than the remains of its container.
        if let Err(error) = runtime.delete(container.id(), Delete::Force) {
            log::error!("delete the container: {error}");
        }
    }
    code
}
