//! Changing the limits of a running container.

use oci_spec::runtime::LinuxResources;

use super::controller;
use super::file;
use super::handle::{Cgroup, DirRecord};
use super::layout::Hierarchy;
use super::settings::{Current, Setting, settings_for};
use super::systemd;
use super::write::{Dirs, Levels};
use crate::error::{Error, ErrorKind, Result};

/// The usage, if the kernel itself refuses a limit below it.
const USAGE_V1: &str = "memory.usage_in_bytes";

impl Cgroup {
    /// Applies what the resources name and leaves the rest alone; after a failure the old values are in force again.
    ///
    /// Device rules are not touched, see [`Cgroup::replace_devices`].
    pub(crate) fn update(&self, resources: &LinuxResources) -> Result<()> {
        let layout = self.layout()?;
        let current = self.current(resources)?;
        let settings = settings_for(resources, &layout, &current)?;
        self.check_usage(resources)?;
        let around = self.v2().and_then(DirRecord::scope_path);
        let mut levels = Levels::new(self.places(), around.map(|path| (Hierarchy::V2, path)));
        let old = levels.remember(&settings);
        let period = self.v2_dir().and_then(|dir| file::read(&dir.join("cpu.max")).ok());
        let period = period.as_deref().map_or(systemd::DEFAULT_PERIOD, systemd::in_force);
        // First, since systemd enables the controllers that its properties need.
        if let Some(scope) = &self.record.scope {
            scope.update(&settings, period)?;
        }
        let changed = self.enable_for(&settings, levels.own()).and_then(|()| levels.write(&settings));
        changed.inspect_err(|_| {
            if let Some(scope) = &self.record.scope
                && let Err(error) = scope.update(old.outermost(), period)
            {
                log::warn!("restore the limits of the scope: {error}");
            }
            levels.restore(&old);
        })
    }

    /// Enables missing version 2 controllers that the settings need.
    fn enable_for(&self, settings: &[Setting], dirs: &mut Dirs) -> Result<()> {
        let needed: Vec<&Setting> =
            settings.iter().filter(|s| s.place == Hierarchy::V2 && s.controller != "cgroup").collect();
        let Some(dir) = self.v2().filter(|_| !needed.is_empty()) else {
            return Ok(());
        };
        let wanted: Vec<String> =
            needed.iter().map(|setting| setting.controller.clone().into_owned()).collect();
        controller::enable(&dir.mount, &dir.inner, dirs.open(Hierarchy::V2)?.1, &wanted, &needed)
    }

    /// Writes settings of a plan.
    pub(crate) fn set(&self, settings: &[Setting]) -> Result<()> {
        Levels::new(self.places(), None).write(settings)
    }

    /// Reads what the translation needs to know: version 2 has two files for what the configuration gives as a sum.
    pub(super) fn current(&self, resources: &LinuxResources) -> Result<Current> {
        let mut current = Current { update: true, ..Current::default() };
        let Some(dir) = self.v2_dir() else { return Ok(current) };
        let value = |name: &str| -> Result<Option<i64>> {
            let path = dir.join(name);
            if !path.exists() {
                return Ok(None);
            }
            let text = file::read(&path)?;
            let word = text.split_whitespace().next().unwrap_or_default();
            Ok(if word == "max" { Some(-1) } else { word.parse().ok() })
        };
        if resources.memory().is_some() {
            current.memory_max = value("memory.max")?;
            current.swap_max = value("memory.swap.max")?;
        }
        if resources.cpu().as_ref().is_some_and(|cpu| cpu.period().is_some()) {
            current.cpu_quota = value("cpu.max")?;
        }
        Ok(current)
    }

    /// `memory.checkBeforeUpdate`: a limit below the usage would make the kernel kill processes of the container.
    /// Without it, such a limit deserves a warning if the kernel accepts any limit.
    fn check_usage(&self, resources: &LinuxResources) -> Result<()> {
        let Some(memory) = resources.memory() else { return Ok(()) };
        let Some(limit) = memory.limit().filter(|&limit| limit > 0) else { return Ok(()) };
        let (dir, name) = match (self.v1_dir("memory"), self.v2_dir()) {
            (Some(dir), _) => (dir, USAGE_V1),
            (None, Some(dir)) => (dir, "memory.current"),
            (None, None) => return Ok(()),
        };
        let checks = memory.check_before_update() == Some(true);
        if !checks && name == USAGE_V1 {
            return Ok(());
        }
        let usage = match file::read(&dir.join(name)) {
            Err(_) if !checks => return Ok(()),
            other => other?,
        };
        match usage.trim().parse::<i64>() {
            Ok(usage) if usage > limit && !checks => {
                log::warn!(
                    "the memory limit of {limit} is lower than the current usage of {usage}: the kernel ends processes of \
                     the container if it cannot take back enough"
                );
                Ok(())
            }
            Ok(usage) if usage > limit => Err(Error::new(
                ErrorKind::WrongState,
                format!("rejecting memory limit of {limit} (lower than current usage of {usage})"),
            )
            .at("/linux/resources/memory/limit")),
            _ => Ok(()),
        }
    }
}
