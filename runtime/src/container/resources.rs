//! The container's cgroup in use: its statistics, its limits.

use oci_spec::runtime::{LinuxDeviceCgroup, LinuxIntelRdt, LinuxResources};

use super::handle::Container;
use super::state::Status;
use crate::cgroup::{Stats, no_cgroup, same_rules};
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
    /// Device rules that differ from those in force take their place, all at once. The same ones are left alone: engines
    /// send all resources of a container with each update, and to apply its rules again would take away what a device
    /// plug-in has allowed since.
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
        self.cgroup().update(resources)?;
        match resources.devices().as_deref() {
            Some(devices) if !devices.is_empty() => self.update_devices(devices),
            _ => Ok(()),
        }
    }

    fn update_devices(&self, wanted: &[LinuxDeviceCgroup]) -> Result<()> {
        let bundle = self.bundle()?;
        let resources = bundle.spec().linux().as_ref().and_then(|linux| linux.resources().as_ref());
        let configured =
            || resources.and_then(|resources| resources.devices().as_deref()).unwrap_or_default();
        let in_force = self.record.devices.as_deref().unwrap_or_else(configured);
        if same_rules(in_force, wanted)? {
            return Ok(());
        }
        self.cgroup().replace_devices(in_force, wanted)?;
        let mut record = self.record.clone();
        record.devices = Some(wanted.to_vec());
        self.directory.replace(&record)
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
