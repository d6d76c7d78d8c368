//! Starting a created container: its process becomes the program, or reports why it cannot.

use std::os::fd::{AsFd as _, OwnedFd};

use super::delete;
use super::gate::{self, Started};
use super::handle::Container;
use super::hooks::run_poststart;
use super::identity::wait_end;
use super::state::Status;
use super::store::Directory;
use crate::error::{Error, ErrorKind, Result};
use crate::hook::Watch;
use crate::spawn::{LAST_WORDS, describe_late, ended_by};
use crate::sys::pidfd;

impl Container {
    /// Starts the program of a created container. When this returns, the program runs: `execve` has succeeded, and the
    /// poststart hooks have run.
    ///
    /// # Errors
    ///
    /// `ErrorKind::WrongState` unless the container is in the state `created`; `ErrorKind::Exec` if the program cannot be
    /// executed, after which the container is stopped; `ErrorKind::Hook` if a startContainer or poststart hook failed, after
    /// which the container is destroyed (runtime.md, Lifecycle, steps 7 to 11).
    pub fn start(&self) -> Result<()> {
        // No longer than this: the container's hooks, and anything that stops its process, decide how long the rest
        // takes.
        let lock = self.lock()?;
        let init = self.init()?;
        // The directory itself, not its name: the container may be deleted in the meantime, and its id used again.
        let holder = self.directory.open()?;
        if init.is_some() && self.cgroup().frozen().unwrap_or(false) {
            return Err(Error::new(ErrorKind::WrongState, "cannot start a container in the paused state")
                .with_hint("its process could not go on before it is resumed"));
        }
        drop(lock);
        let pid = self.pid().unwrap_or(0);
        let connection = init.as_ref().map_or(Ok(None), |init| gate::reach(&holder, init, pid))?;
        let (Some(init), Some(connection)) = (init, connection) else { return Err(self.cannot_start()) };
        match gate::release(connection, &init, pid)? {
            Started::Running => {}
            Started::Elsewhere => return Err(self.cannot_start()),
            Started::Gone(signal) => {
                end(&init);
                let error = Error::new(ErrorKind::WrongState, "cannot start a container that has stopped");
                return Err(error.with_hint(ended_by(signal)));
            }
            Started::Failed(message, output) => {
                let error = match self.bundle() {
                    Ok(bundle) => describe_late(bundle.spec(), message, output),
                    Err(error) => error.during("start the container's process"),
                };
                // The process now ends by itself; callers that react to the error must find it ended.
                end(&init);
                if error.kind() == ErrorKind::Hook {
                    self.destroy();
                }
                return Err(error);
            }
        }
        // The socket is done: any later connection is refused anyway.
        std::fs::remove_file(Directory::short_socket(&holder)).ok();
        if self.record.poststart {
            let bundle = self.bundle()?;
            if let Err(error) = run_poststart(&self.record, bundle.spec(), Watch::default()) {
                self.destroy();
                return Err(error);
            }
        }
        Ok(())
    }

    /// Why no process waits for the start.
    fn cannot_start(&self) -> Error {
        let what = match self.status() {
            Ok(Status::Stopped) => "cannot start a container that has stopped",
            Err(error) => return error,
            Ok(_) => "cannot start an already running container",
        };
        Error::new(ErrorKind::WrongState, what)
    }

    /// Ends and deletes the container after a failed hook; failures here are only warnings.
    fn destroy(&self) {
        if let Err(error) = delete::delete_own(&self.directory, &self.record, super::options::Delete::Force) {
            log::warn!("{error}");
        }
    }
}

/// Waits for a process that is about to end, and kills it if that takes too long.
fn end(init: &OwnedFd) {
    if !wait_end(init.as_fd(), LAST_WORDS) {
        let _ = pidfd::send_signal(init.as_fd(), libc::SIGKILL);
    }
}
