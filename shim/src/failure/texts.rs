//! The messages that callers and test suites of runc match, each in one place.
//!
//! They are part of the interface, which is why some mention runc: go-runc, containerd, Docker, Podman and conmon
//! search for these words in standard error or in the log.

/// An operation on an id without a container.
pub(crate) const DOES_NOT_EXIST: &str = "container does not exist";
/// create or run with an id that is taken.
pub(crate) const EXISTS: &str = "container with given ID already exists";
/// kill on a stopped container.
pub(crate) const NOT_RUNNING: &str = "container not running";
/// pause on a container that has no processes.
pub(crate) const NOT_RUNNING_OR_CREATED: &str = "container not running or created";
/// resume of a container that is not paused.
pub(crate) const NOT_PAUSED: &str = "container not paused";
/// start of a container that is already started.
pub(crate) const START_RUNNING: &str = "cannot start an already running container";
/// start of a container whose first process is gone.
pub(crate) const START_STOPPED: &str = "cannot start a container that has stopped";
/// exec in a container whose first process is gone.
pub(crate) const EXEC_STOPPED: &str = "cannot exec in a stopped container";
/// exec in a paused container.
pub(crate) const EXEC_PAUSED: &str = "cannot exec in a paused container (use --ignore-paused to override)";
/// A terminal is wanted, but nothing would hold its other end.
pub(crate) const TTY_NEEDS_SOCKET: &str =
    "cannot allocate tty if runc will detach without setting console socket";
/// A console socket is given, but no terminal would be sent to it.
pub(crate) const SOCKET_NEEDS_TTY: &str = "cannot use console socket if runc will not detach or allocate tty";
/// ps(1) printed something other than a table of processes.
pub(crate) const NO_PID_COLUMN: &str = "couldn't find PID field in ps output";
/// Prefix of every failure of `exec`, which also has its own exit code.
pub(crate) const EXEC_FAILED: &str = "exec failed";
/// The exit code of `exec` when the process could not be started.
pub(crate) const EXEC_FAILED_CODE: u8 = 255;
/// The exit code of a verb that does not exist.
pub(crate) const UNKNOWN_VERB_CODE: u8 = 3;

/// delete of a container that still has processes.
pub(crate) fn delete_not_stopped(id: &str, status: impl std::fmt::Display) -> String {
    format!("cannot delete container {id} that is not stopped: {status}")
}

/// start of a container that is neither created nor running nor stopped.
pub(crate) fn start_wrong_state(status: impl std::fmt::Display) -> String {
    format!("cannot start a container in the {status} state")
}

/// checkpoint of a container that is not running.
pub(crate) fn checkpoint_wrong_state(status: impl std::fmt::Display) -> String {
    format!("Container cannot be checkpointed in {status} state")
}

/// A preserved descriptor that the caller did not pass.
pub(crate) fn preserved_fd_missing(fd: u32, count: u32) -> String {
    format!("please check that preserved-fd {fd} (of {count}) is present")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Repeated here, so that an edit above fails a test: it would break callers.
    #[test]
    fn the_words_are_those_of_runc() {
        assert_eq!(DOES_NOT_EXIST, "container does not exist");
        assert_eq!(EXISTS, "container with given ID already exists");
        assert_eq!(NOT_RUNNING, "container not running");
        assert_eq!(NOT_RUNNING_OR_CREATED, "container not running or created");
        assert_eq!(NOT_PAUSED, "container not paused");
        assert_eq!(START_RUNNING, "cannot start an already running container");
        assert_eq!(START_STOPPED, "cannot start a container that has stopped");
        assert_eq!(EXEC_STOPPED, "cannot exec in a stopped container");
        assert_eq!(EXEC_PAUSED, "cannot exec in a paused container (use --ignore-paused to override)");
        assert_eq!(
            TTY_NEEDS_SOCKET,
            "cannot allocate tty if runc will detach without setting console socket"
        );
        assert_eq!(SOCKET_NEEDS_TTY, "cannot use console socket if runc will not detach or allocate tty");
        assert_eq!(NO_PID_COLUMN, "couldn't find PID field in ps output");
        assert_eq!(EXEC_FAILED, "exec failed");
        assert_eq!((EXEC_FAILED_CODE, UNKNOWN_VERB_CODE), (255, 3));
        assert_eq!(
            delete_not_stopped("web", "running"),
            "cannot delete container web that is not stopped: running"
        );
        assert_eq!(start_wrong_state("paused"), "cannot start a container in the paused state");
        assert_eq!(checkpoint_wrong_state("created"), "Container cannot be checkpointed in created state");
        assert_eq!(preserved_fd_missing(5, 3), "please check that preserved-fd 5 (of 3) is present");
    }
}
