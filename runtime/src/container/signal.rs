//! Signals for the processes of a container, always through verified pidfds.

use std::os::fd::AsFd as _;

use nix::errno::Errno;

use super::handle::Container;
use super::state::Status;
use crate::error::{Error, Kind, Result};
use crate::sys::pidfd;

impl Container {
    /// Sends a signal to the init process.
    ///
    /// SIGKILL also ends the other processes of a container that shares its pid namespace (nothing else would), and wakes
    /// a container that is frozen, so that it can die.
    ///
    /// It takes no lock: whatever else is under way, and waits for the container, a signal reaches it.
    ///
    /// # Errors
    ///
    /// `Kind::WrongState` if the container is stopped.
    pub fn kill(&self, signal: i32) -> Result<()> {
        let Some(init) = self.init()? else { return Err(self.not_running()) };
        match pidfd::send_signal(init.as_fd(), signal) {
            Ok(()) => {}
            Err(Errno::ESRCH) => return Err(self.not_running()),
            Err(errno) => {
                return Err(Error::os(
                    errno,
                    format!("send signal {signal} to container {:?}", self.id().as_str()),
                ));
            }
        }
        if signal == libc::SIGKILL {
            let cgroup = self.cgroup();
            if self.record.namespaces & libc::CLONE_NEWPID == 0 {
                cgroup.kill(signal)?;
            }
            if cgroup.frozen().unwrap_or(false) {
                cgroup.thaw()?;
            }
        }
        Ok(())
    }

    /// Freezes every process of the container.
    ///
    /// # Errors
    ///
    /// `Kind::WrongState` unless it is created or running.
    pub fn pause(&self) -> Result<()> {
        let _lock = self.lock()?;
        match self.status()? {
            Status::Created | Status::Running => self.cgroup().freeze(),
            Status::Paused => Err(Error::new(Kind::WrongState, "container already paused")),
            Status::Creating | Status::Stopped => Err(Error::new(Kind::WrongState, "container not running")),
        }
    }

    /// Lets a paused container go on.
    ///
    /// # Errors
    ///
    /// `Kind::WrongState` unless it is paused.
    pub fn resume(&self) -> Result<()> {
        let _lock = self.lock()?;
        match self.status()? {
            Status::Paused => self.cgroup().thaw(),
            _ => Err(Error::new(Kind::WrongState, "container not paused")),
        }
    }
}
