//! The container's cgroup in use: its statistics, its limits.

use oci_spec::runtime::{LinuxIntelRdt, LinuxResources};

use super::handle::Container;
use super::state::Status;
use crate::cgroup::{Stats, no_cgroup};
use crate::check::finding::into_result;
use crate::error::{Error, Kind, Result};
use crate::linux::intel_rdt::Schemata;

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
        let mut stats = self.cgroup().stats()?;
        if let Some(rdt) = &self.record.rdt {
            stats.intel_rdt = rdt.stats()?;
        }
        Ok(stats)
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
    /// Changes what the container's class of service gives, and with it what every other container in that class gets:
    /// the schemata of `rdt`, in the order in which a creation writes them. Its other properties do not matter.
    ///
    /// # Errors
    ///
    /// `Kind::InvalidSpec` for a malformed schema and for a container that was created without `linux.intelRdt`,
    /// `Kind::Unsupported` for a resource that the machine cannot share, `Kind::WrongState` if it is stopped.
    pub fn update_intel_rdt(&self, rdt: &LinuxIntelRdt) -> Result<()> {
        for warning in into_result(crate::check::check_intel_rdt(rdt))? {
            log::warn!("{warning}");
        }
        let Some(membership) = &self.record.rdt else {
            return Err(Error::new(
                Kind::InvalidSpec,
                "updating a non-existent Intel RDT configuration is not supported",
            )
            .hint("the container was created without linux.intelRdt"));
        };
        let _lock = self.lock()?;
        if self.status()? == Status::Stopped {
            return Err(self.not_running());
        }
        membership.update(&Schemata::of(rdt))
    }
}
