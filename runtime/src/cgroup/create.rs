//! Plans the cgroup of a container: what `make` and `device_plan` do is decided here.

use std::path::{Path, PathBuf};

use oci_spec::runtime::{Linux, Spec};

use super::device_plan::DevicePlan;
use super::devices::rules;
use super::handle::{CgroupRecord, DirRecord};
use super::layout::{Attached, CgroupLayout, Hierarchy, Mode};
use super::path::CgroupPath;
use super::settings::{Current, Setting, settings_for};
use super::systemd::{self, Instance, ScopeName, ScopePlan, sub_group};
use crate::error::Result;

/// Everything that will be done to make a container's cgroup, decided without a system call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CgroupPlan {
    /// The machine's version of cgroups.
    pub(crate) mode: Mode,
    /// One directory per hierarchy.
    pub(crate) dirs: Vec<PlannedDir>,
    /// The version 2 controllers to enable on the way down.
    pub(crate) enable: Vec<String>,
    /// The files to write, in order.
    pub(crate) settings: Vec<Setting>,
    /// How the device rules get into the kernel.
    pub(crate) devices: DevicePlan,
    /// What it means if the kernel denies the caller a cgroup.
    pub(super) denial: Denial,
    /// The scope that systemd makes from it.
    pub(crate) scope: Option<ScopePlan>,
}

/// What it means if the kernel denies the caller a cgroup in which nothing is to be limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Denial {
    /// It is normal: the caller has no rights over the machine's cgroups except those that were delegated to it. The
    /// container then has none, and device rules are left out.
    Expected,
    /// It is odd, and deserves a warning: the cgroups are mounted read-only, for example.
    Odd,
    /// It is an error, as the caller asked.
    Fatal,
}

/// A cgroup directory that will be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PlannedDir {
    /// Its hierarchy.
    pub(crate) place: Hierarchy,
    /// What is attached to the hierarchy.
    pub(crate) attached: Attached,
    /// The root of the hierarchy.
    pub(crate) mount: PathBuf,
    /// The cgroup, relative to the root.
    pub(crate) inner: PathBuf,
    /// The cgroup that systemd makes, if the container's own is a sub-group of it.
    pub(crate) scope: Option<PathBuf>,
}

impl PlannedDir {
    /// The directory.
    pub(super) fn path(&self) -> PathBuf {
        self.mount.join(&self.inner)
    }

    /// The outermost directory that is made for the container alone: that of the surrounding scope, if there is one.
    pub(super) fn top(&self) -> PathBuf {
        self.mount.join(self.scope.as_ref().unwrap_or(&self.inner))
    }

    /// Makes the container's cgroup a sub-group of the planned one, which becomes that of the scope.
    fn put_below(&mut self, name: &str) {
        let inner = self.inner.join(name);
        self.scope = Some(std::mem::replace(&mut self.inner, inner));
    }
}

impl CgroupPlan {
    /// Plans the cgroup of the container `id`, to be made by writing to cgroupfs.
    ///
    /// If the configuration names no path, and a denied cgroup is expected, it is below the caller's own, which may be
    /// delegated to the caller.
    pub(crate) fn new(
        linux: Option<&Linux>,
        id: &str,
        layout: &CgroupLayout,
        denial: Denial,
    ) -> Result<Self> {
        let own = denial == Denial::Expected;
        let path = CgroupPath::parse(linux.and_then(|linux| linux.cgroups_path().as_deref()), id, own)?;
        let mut plan = Self::at(linux, layout, &|place| path.inside(layout, place), denial)?;
        // Statistics need all controllers, so a v2 cgroup gets all. The unified tree of a hybrid machine is not ours to
        // rearrange beyond what the configuration needs.
        if let (Some(v2), Mode::V2) = (&layout.v2, layout.mode) {
            let missing = v2.controllers.iter().filter(|name| !plan.enable.contains(name));
            plan.enable = missing.cloned().chain(plan.enable.iter().cloned()).collect();
        }
        Ok(plan)
    }

    /// Plans it as a scope that systemd makes; `trusted` says whether annotations may set any property.
    pub(crate) fn in_scope(
        spec: &Spec,
        id: &str,
        layout: &CgroupLayout,
        instance: &Instance,
        denial: Denial,
        trusted: bool,
    ) -> Result<Self> {
        let linux = spec.linux().as_ref();
        let name = ScopeName::parse(linux.and_then(|l| l.cgroups_path().as_deref()), id, instance)?;
        if layout.mode != Mode::V2 {
            systemd::refuse_on_v1(instance)?;
        }
        let own = layout.v2.as_ref().map_or(Path::new("/"), |v2| v2.own.as_path());
        let root = instance.root(own);
        let inner = root.strip_prefix("/").unwrap_or(&root).join(name.inside());
        let mut plan = Self::at(linux, layout, &|_| inner.clone(), denial)?;
        let resources = linux.and_then(|linux| linux.resources().as_ref());
        let rules = rules(resources.and_then(|r| r.devices().as_deref()).unwrap_or_default())?;
        if let Some(sub_group) = sub_group::name(spec.annotations().as_ref())?
            && layout.mode == Mode::V2
        {
            plan.dirs.iter_mut().for_each(|dir| dir.put_below(sub_group));
        }
        let annotations = systemd::annotated(spec.annotations().as_ref(), trusted)?;
        plan.scope = Some(ScopePlan::new(&name, id, instance.clone(), &plan.settings, &rules, annotations));
        Ok(plan)
    }

    fn at(
        linux: Option<&Linux>,
        layout: &CgroupLayout,
        inside: &dyn Fn(Hierarchy) -> PathBuf,
        denial: Denial,
    ) -> Result<Self> {
        let resources = linux.and_then(|linux| linux.resources().as_ref());
        let settings = match resources {
            Some(resources) => settings_for(resources, layout, &Current::fresh())?,
            None => Vec::new(),
        };
        let dirs: Vec<PlannedDir> = layout
            .places()
            .filter_map(|place| {
                let attached = match place {
                    Hierarchy::V1(index) => Attached::V1(layout.v1.get(index)?.controllers.clone()),
                    Hierarchy::V2 => Attached::Unified,
                };
                let mount = layout.mount(place)?.to_owned();
                Some(PlannedDir { place, attached, mount, inner: inside(place), scope: None })
            })
            .collect();
        let mut enable: Vec<String> = Vec::new();
        for setting in settings.iter().filter(|s| s.place == Hierarchy::V2 && s.controller != "cgroup") {
            if !enable.iter().any(|name| *name == setting.controller) {
                enable.push(setting.controller.clone().into_owned());
            }
        }
        let devices = DevicePlan::new(resources, layout)?;
        Ok(Self { mode: layout.mode, dirs, enable, settings, devices, denial, scope: None })
    }

    /// What [`CgroupPlan::apply`] is going to make, recorded before it begins, so that a crash halfway leaves enough to
    /// clean up. Directories that already exist are not listed as ours.
    pub(crate) fn intent(&self) -> CgroupRecord {
        if self.scope.is_some() {
            // Another container's scope with that name, which will be refused, must not be stopped as if it were ours.
            let free = self.dirs.iter().all(|dir| !dir.top().exists());
            return if free {
                self.claimed_record()
            } else {
                CgroupRecord { scope: None, ..self.planned_record() }
            };
        }
        let mut made = Vec::new();
        for dir in &self.dirs {
            let path = dir.path();
            let missing = path.ancestors().take_while(|path| **path != dir.mount && !path.exists());
            let missing: Vec<_> = missing.map(Path::to_owned).collect();
            made.extend(missing.into_iter().rev());
        }
        self.record(|_| true, made)
    }

    /// The plan's directories, none of them claimed.
    pub(crate) fn planned_record(&self) -> CgroupRecord {
        self.record(|_| true, Vec::new())
    }

    /// The plan's directories, all claimed: for removing a container that has no record left.
    pub(crate) fn claimed_record(&self) -> CgroupRecord {
        let made = self.dirs.iter().flat_map(|dir| {
            let scope = dir.scope.is_some().then(|| dir.top());
            scope.into_iter().chain([dir.path()])
        });
        self.record(|_| true, made.collect())
    }

    /// Takes out the settings that no process could be born under, for [`Cgroup::set`] to apply after the birth.
    ///
    /// No process can be born into a version 2 cgroup that allows no task; but it can be moved there, and stay.
    pub(crate) fn defer_birth_control(&mut self) -> Vec<Setting> {
        let is_late = |setting: &Setting| {
            setting.place == Hierarchy::V2 && setting.file == "pids.max" && setting.value == "0"
        };
        if self.scope.is_some() {
            return Vec::new();
        }
        let late = self.settings.iter().filter(|setting| is_late(setting)).cloned().collect();
        self.settings.retain(|setting| !is_late(setting));
        late
    }

    pub(super) fn record(&self, present: impl Fn(&PlannedDir) -> bool, made: Vec<PathBuf>) -> CgroupRecord {
        let dirs = self.dirs.iter().filter(|dir| present(dir)).map(|dir| DirRecord {
            attached: dir.attached.clone(),
            mount: dir.mount.clone(),
            inner: dir.inner.clone(),
            scope: dir.scope.clone(),
        });
        let scope = self.scope.as_ref().map(|scope| scope.record.clone());
        CgroupRecord { mode: self.mode, dirs: dirs.collect(), made, scope }
    }
}

#[cfg(test)]
mod tests;
