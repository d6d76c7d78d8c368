//! The container's cgroup in use: its statistics and limits.

use std::time::Duration;

use oci_spec::runtime::{LinuxDeviceCgroup, LinuxIntelRdt, LinuxResources};

use super::handle::Container;
use super::record::Record;
use super::state::Status;
use crate::cgroup::{Stats, no_cgroup, same_rules};
use crate::error::{Error, ErrorKind, Result};
use crate::finding::into_result;
use crate::linux::intel_rdt::Schemata;

impl Container {
    /// What the container uses now, and has used in total.
    ///
    /// # Errors
    ///
    /// `ErrorKind::WrongState` if it is stopped, or stops in the meantime and its cgroup is gone; or the failure to read a
    /// file of the cgroup.
    pub fn stats(&self) -> Result<Stats> {
        if self.status()? == Status::Stopped {
            return Err(self.not_running());
        }
        if self.cgroup().is_none() {
            return Err(no_cgroup());
        }
        let collected = self.cgroup().stats().and_then(|mut stats| {
            if let Some(rdt) = &self.record.rdt {
                stats.intel_rdt = rdt.stats()?;
            }
            Ok(stats)
        });
        // A missing file counts as one that the kernel does not have, so a cgroup that is going away may report zeros.
        if self.cgroup().is_whole() { collected } else { Err(self.not_running()) }
    }

    /// Changes the limits; what is absent stays as it is.
    ///
    /// Device rules that differ from those in force replace them, all at once. Identical ones are left alone: engines
    /// send all of a container's resources with each update, and applying its rules again would take away what a device
    /// plug-in has allowed since.
    ///
    /// A memory limit below the usage makes the kernel kill processes of the container if it cannot reclaim enough
    /// memory. `memory.checkBeforeUpdate` refuses such a limit, and [`Container::update_within`] gives the kernel time.
    ///
    /// # Errors
    ///
    /// `ErrorKind::WrongState` if it is stopped, or if `memory.checkBeforeUpdate` is set and more memory than the limit is
    /// in use; `ErrorKind::InvalidSpec` for contradictory limits.
    pub fn update(&self, resources: &LinuxResources) -> Result<()> {
        self.update_limits(resources, None)
    }

    /// As [`Container::update`], for a memory limit that may be below the usage: memory is reclaimed first, with
    /// `memory.high` on version 2 cgroups, and the limit is set once the usage is below it. Nothing is killed for it.
    /// The container may be slow in the meantime, and its lock is held for at most that time.
    ///
    /// # Errors
    ///
    /// As [`Container::update`], and `ErrorKind::Timeout` if the usage did not get below the limit in time: then all limits
    /// are as they were.
    pub fn update_within(&self, resources: &LinuxResources, patience: Duration) -> Result<()> {
        self.update_limits(resources, Some(patience))
    }

    fn update_limits(&self, resources: &LinuxResources, patience: Option<Duration>) -> Result<()> {
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
        let record = self.current_record()?;
        match patience {
            Some(patience) => self.cgroup().update_within(resources, patience)?,
            None => self.cgroup().update(resources)?,
        }
        match resources.devices().as_deref() {
            Some(devices) if !devices.is_empty() => self.update_devices(record, devices),
            _ => Ok(()),
        }
    }

    /// The current record: another handle may have changed it, or another container may have the id by now. For a
    /// caller that has the lock.
    fn current_record(&self) -> Result<Record> {
        let now = self.directory.record()?;
        if now.init == self.record.init { Ok(now) } else { Err(self.directory.unknown()) }
    }

    fn update_devices(&self, mut record: Record, wanted: &[LinuxDeviceCgroup]) -> Result<()> {
        let bundle = self.bundle()?;
        let resources = bundle.spec().linux().as_ref().and_then(|linux| linux.resources().as_ref());
        let configured =
            || resources.and_then(|resources| resources.devices().as_deref()).unwrap_or_default();
        let in_force = record.devices.as_deref().unwrap_or_else(configured);
        if same_rules(in_force, wanted)? {
            return Ok(());
        }
        self.cgroup().replace_devices(in_force, wanted)?;
        record.devices = Some(wanted.to_vec());
        self.directory.replace(&record)
    }

    /// Changes what the container's class of service gives, and thus what every other container in that class gets:
    /// writes the schemata of `rdt`, in the order in which a creation writes them. Its other properties are ignored.
    ///
    /// # Errors
    ///
    /// `ErrorKind::InvalidSpec` for a malformed schema, or a container that was created without `linux.intelRdt`;
    /// `ErrorKind::Unsupported` for a resource that the machine cannot share; `ErrorKind::WrongState` if it is stopped.
    pub fn update_intel_rdt(&self, rdt: &LinuxIntelRdt) -> Result<()> {
        for warning in into_result(crate::check::check_intel_rdt(rdt))? {
            log::warn!("{warning}");
        }
        let Some(membership) = &self.record.rdt else {
            return Err(Error::new(
                ErrorKind::InvalidSpec,
                "updating a non-existent Intel RDT configuration is not supported",
            )
            .with_hint("the container was created without linux.intelRdt"));
        };
        let _lock = self.lock()?;
        if self.status()? == Status::Stopped {
            return Err(self.not_running());
        }
        membership.update(&Schemata::of(rdt))
    }
}
