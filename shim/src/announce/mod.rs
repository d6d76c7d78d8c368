//! Announces a new process: in a pid file, to a pidfd socket, to the service manager.

pub(crate) mod notify;
mod pid_file;
mod pidfd_socket;

use std::path::{Path, PathBuf};

use wharf::{Container, ExecProcess};

use crate::cli::Given;
use crate::failure::Failure;
use pidfd_socket::Sender;

/// Where a new process is announced.
pub(crate) struct Announcement {
    pid_file: Option<PathBuf>,
    pidfd_socket: Option<PathBuf>,
}

impl Announcement {
    /// Reads `--pid-file` and, if the verb has it, `--pidfd-socket`.
    pub(crate) fn new(given: &Given) -> Result<Self, Failure> {
        let socket = if given.knows("pidfd-socket") { given.path("pidfd-socket")? } else { None };
        let owned = |path: Option<&Path>| path.map(Path::to_owned);
        Ok(Self { pid_file: owned(given.path("pid-file")?), pidfd_socket: owned(socket) })
    }

    /// Names a pidfd socket, if the options name none.
    pub(crate) fn or_socket(self, path: Option<PathBuf>) -> Self {
        Self { pidfd_socket: self.pidfd_socket.or(path), ..self }
    }

    /// Announces the first process of a container.
    pub(crate) fn container(&self, container: &Container) -> Result<(), Failure> {
        let gone = || Failure::new("the process of the container is gone");
        if let Some(socket) = &self.pidfd_socket {
            pidfd_socket::send(socket, container.pidfd().ok_or_else(gone)?, Sender::Init)?;
        }
        if let Some(file) = &self.pid_file {
            pid_file::write(file, container.pid().ok_or_else(gone)?)?;
        }
        Ok(())
    }

    /// Announces a process that joined a container.
    pub(crate) fn exec(&self, process: &ExecProcess) -> Result<(), Failure> {
        if let Some(socket) = &self.pidfd_socket {
            pidfd_socket::send(socket, process.pidfd(), Sender::Exec)?;
        }
        if let Some(file) = &self.pid_file {
            pid_file::write(file, process.pid())?;
        }
        Ok(())
    }
}
