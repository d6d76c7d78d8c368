//! Signals for the processes of a container, always through verified pidfds.

use std::os::fd::AsFd as _;

use nix::errno::Errno;

use super::handle::Container;
use super::processes::leads_pid_namespace;
use super::state::Status;
use crate::error::{Error, ErrorKind, Result};
use crate::linux::namespace::Namespaces;
use crate::sys::pidfd;

impl Container {
    /// Sends a signal to the init process.
    ///
    /// SIGKILL also ends the other processes of a container that shares its pid namespace (nothing else would), even if
    /// init is already gone, and wakes a frozen container so that it can die.
    ///
    /// It takes no lock, so a signal gets through whatever else is in progress and waits for the container.
    ///
    /// # Errors
    ///
    /// `ErrorKind::WrongState` if the container is stopped.
    pub fn kill(&self, signal: i32) -> Result<()> {
        let Some(init) = self.init()? else { return self.kill_rest(signal) };
        let shared = self.record.namespaces & libc::CLONE_NEWPID == 0
            || (signal == libc::SIGKILL && !leads_pid_namespace(self.pid().unwrap_or(0)));
        match pidfd::send_signal(init.as_fd(), signal) {
            Ok(()) => {}
            Err(Errno::ESRCH) => return self.kill_rest(signal),
            Err(errno) => {
                return Err(Error::os(
                    errno,
                    format!("send signal {signal} to container {:?}", self.id().as_str()),
                ));
            }
        }
        if signal == libc::SIGKILL {
            let cgroup = self.cgroup();
            if shared {
                cgroup.kill(signal)?;
            }
            if cgroup.frozen().unwrap_or(false)
                && let Err(error) = cgroup.thaw()
            {
                // It has the signal, and ends as soon as it can.
                log::warn!("{error}");
            }
        }
        Ok(())
    }

    /// Ends what is left of a container whose init is gone, in a shared pid namespace.
    fn kill_rest(&self, signal: i32) -> Result<()> {
        if signal != libc::SIGKILL || self.leads_own_pid_namespace()? {
            return Err(self.not_running());
        }
        let cgroup = self.cgroup();
        // If this container was deleted, the cgroup may belong to another container by now.
        if cgroup.processes(true)?.is_empty() || !self.directory.is_still(&self.record) {
            return Err(self.not_running());
        }
        cgroup.kill(signal)
    }

    /// Whether all its processes end with its init.
    fn leads_own_pid_namespace(&self) -> Result<bool> {
        Ok(self.record.namespaces & libc::CLONE_NEWPID != 0
            && Namespaces::of(self.bundle()?.spec().linux().as_ref()).pid.is_new())
    }

    /// Freezes every process of the container.
    ///
    /// # Errors
    ///
    /// `ErrorKind::WrongState` unless it is created or running.
    pub fn pause(&self) -> Result<()> {
        let _lock = self.lock()?;
        match self.status()? {
            Status::Created | Status::Running => self.cgroup().freeze(),
            Status::Paused => Err(Error::new(ErrorKind::WrongState, "container already paused")),
            Status::Creating | Status::Stopped => {
                Err(Error::new(ErrorKind::WrongState, "container not running"))
            }
        }
    }

    /// Resumes a paused container.
    ///
    /// # Errors
    ///
    /// `ErrorKind::WrongState` unless it is paused.
    pub fn resume(&self) -> Result<()> {
        let _lock = self.lock()?;
        match self.status()? {
            Status::Paused => self.cgroup().thaw(),
            _ => Err(Error::new(ErrorKind::WrongState, "container not paused")),
        }
    }
}
