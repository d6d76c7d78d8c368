//! Announces a new process: in a pid file, to a pidfd socket, to the service manager.

pub(crate) mod notify;
pub(crate) mod pid_file;
pub(crate) mod pidfd_socket;
