//! Who is told about a new process: the reader of a pid file, the listener of a pidfd socket, the service manager.

pub(crate) mod notify;
pub(crate) mod pid_file;
pub(crate) mod pidfd_socket;
