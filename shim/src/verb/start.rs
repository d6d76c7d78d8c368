//! `start`: runs the program of a created container.

use std::os::fd::AsFd as _;

use wharf::Status;

use crate::announce::notify::Manager;
use crate::cli::options::ID;
use crate::cli::{Call, Context, Count, Verb};
use crate::failure::{Failure, refused, texts};

/// Its line in the table.
pub(crate) const VERB: Verb = Verb::new(
    "start",
    ID,
    Count::Exactly(1),
    "start the process of a created container",
    run,
)
.details(
    "If $NOTIFY_SOCKET is set, as it was for create, this waits until the process sends READY=1 to its own\n\
     socket or exits, and forwards the readiness with MAINPID and BARRIER=1.",
);

/// Returns once the program runs, or with the reason why it cannot. Under a service manager it also waits until the
/// program reports that it is ready.
fn run(context: &Context, call: &Call) -> Result<u8, Failure> {
    let container = context.open(&call.id()?)?;
    let readiness = match Manager::from_environment()? {
        Some(manager) if container.state()?.status == Status::Created => manager.listen(&container)?,
        _ => None,
    };
    // Opened first: a quick program may have ended by the time it is needed.
    let init = container.open_init()?;
    container.start().map_err(|error| refused(&container, error, words))?;
    if let (Some(readiness), Some(init)) = (readiness, init) {
        readiness.wait(init.as_fd(), container.pid().unwrap_or(0).unsigned_abs())?;
    }
    Ok(0)
}

fn words(status: Status) -> Option<String> {
    match status {
        Status::Created => None,
        Status::Running => Some(texts::START_RUNNING.to_owned()),
        Status::Stopped => Some(texts::START_STOPPED.to_owned()),
        other => Some(texts::start_wrong_state(other)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_state_has_its_words() {
        assert_eq!(words(Status::Created), None);
        assert_eq!(words(Status::Running).unwrap(), "cannot start an already running container");
        assert_eq!(words(Status::Stopped).unwrap(), "cannot start a container that has stopped");
        assert_eq!(words(Status::Paused).unwrap(), "cannot start a container in the paused state");
    }
}
