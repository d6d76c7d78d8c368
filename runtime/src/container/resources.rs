//! The container's cgroup in use: its statistics, its limits.

use oci_spec::runtime::LinuxResources;

use super::handle::Container;
use super::state::Status;
use crate::cgroup::{Stats, no_cgroup};
use crate::check::finding::into_result;
use crate::error::Result;

impl Container {
    /// What the container uses, and has used.
    ///
    /// # Errors
    ///
    /// `Kind::WrongState` if it is stopped, or the failure to read a file of the cgroup.
    pub fn stats(&self) -> Result<Stats> {
        if self.status()? == Status::Stopped {
            return Err(self.not_running());
        }
        if self.cgroup().is_none() {
            return Err(no_cgroup());
        }
        self.cgroup().stats()
    }

    /// Changes the limits; what is absent stays as it is.
    ///
    /// # Errors
    ///
    /// `Kind::WrongState` if it is stopped, `Kind::InvalidSpec` for contradictory limits.
    pub fn update(&self, resources: &LinuxResources) -> Result<()> {
        for warning in into_result(crate::check::check_resources(resources))? {
            log::warn!("{warning}");
        }
        let _lock = self.lock()?;
        if self.status()? == Status::Stopped {
            return Err(self.not_running());
        }
        if self.cgroup().is_none() {
            return Err(no_cgroup());
        }
        self.cgroup().update(resources)
    }
}
