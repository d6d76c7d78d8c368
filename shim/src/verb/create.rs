//! `create`: creates a container that waits for `start`.

use crate::cli::options::{
    BUNDLE, CONFIG, CONSOLE_SOCKET, ID, NO_NEW_KEYRING, NO_PIVOT, PID_FILE, PIDFD_SOCKET, PRESERVE_FDS,
};
use crate::cli::{Call, Context, Count, Verb};
use crate::failure::Failure;
use crate::launch::Launch;

/// Its line in the table.
pub(crate) const VERB: Verb = Verb::new(
    "create",
    ID,
    Count::Exactly(1),
    "create a container from a bundle",
    run,
)
.details(
    "This sets the container up completely; it then waits for start. If $LISTEN_PID is the id of this\n\
     process, the $LISTEN_FDS descriptors from 3 up are passed to the container, with LISTEN_PID=1.\n\
     If $NOTIFY_SOCKET is set, the container gets its own socket for sd_notify(3); see start.",
)
.options(&[BUNDLE, CONFIG, CONSOLE_SOCKET, PIDFD_SOCKET, PID_FILE, NO_PIVOT, NO_NEW_KEYRING, PRESERVE_FDS])
.enters_containers();

/// Leaves the container in the state `created`.
fn run(context: &Context, call: &Call) -> Result<u8, Failure> {
    Launch::prepare(context, call, true)?.create()?;
    Ok(0)
}
