//! Sends a seccomp notification descriptor to the agent that will answer (config-linux.md, Seccomp, listenerPath).

use std::os::fd::{AsRawFd as _, OwnedFd};

use oci_spec::runtime::{ContainerState, LinuxSeccomp, State};

use super::record::Record;
use crate::error::{Error, ErrorKind, Result};
use crate::linux::seccomp::Listener;
use crate::sys::socket as raw;
use crate::sys::unix_path::connect_stream;

/// Connects, sends one message with the state of the process and the descriptor, and closes.
pub(super) fn send(
    seccomp: Option<&LinuxSeccomp>,
    fd: OwnedFd,
    pid: i32,
    record: &Record,
    status: ContainerState,
) -> Result<()> {
    let Some(listener) = seccomp.and_then(Listener::of) else { return Ok(()) };
    let context = |errno| {
        Error::os(errno, format!("failed to connect with seccomp agent {}", listener.path.display()))
            .at("/linux/seccomp/listenerPath")
    };
    let connection = connect_stream(&listener.path).map_err(context)?;
    let mut state = State::default();
    state.set_version(record.oci_version.clone());
    state.set_id(record.id.clone());
    state.set_status(status);
    state.set_pid(Some(record.init.map_or(pid, |init| init.pid)));
    state.set_bundle(record.bundle.clone());
    state.set_annotations(record.annotations.clone().map(|all| all.into_iter().collect()));
    let message = listener
        .message(&state, pid)
        .map_err(|error| Error::new(ErrorKind::System, format!("write the process state: {error}")))?;
    raw::send(connection.as_raw_fd(), &message, fd.as_raw_fd()).map_err(context)
}
