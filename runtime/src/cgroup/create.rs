//! Planning and making the cgroup of a container.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use oci_spec::runtime::{Linux, LinuxResources, Spec};

use super::bpf::device_program;
use super::controller;
use super::devices::{DeviceWrite, Whitelist, rules};
use super::file;
use super::handle::{Cgroup, CgroupRecord, DirRecord};
use super::layout::{CgroupLayout, Mode, Place};
use super::path::CgroupPath;
use super::settings::{Current, Problem, Setting, translate};
use super::systemd::{self, Instance, ScopeName, ScopePlan};
use super::tree;
use super::write::{Dirs, write_all};
use crate::error::{Error, Kind, Result};
use crate::sys::bpf;

/// Everything that will be done to make the cgroup of a container, decided without a system call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CgroupPlan {
    /// The version of cgroups of the machine.
    pub(crate) mode: Mode,
    /// One directory per hierarchy.
    pub(crate) dirs: Vec<PlannedDir>,
    /// The controllers of version 2 to enable on the way down.
    pub(crate) enable: Vec<String>,
    /// The files to write, in order.
    pub(crate) settings: Vec<Setting>,
    /// How the device rules get into the kernel.
    pub(crate) devices: DevicePlan,
    /// Whether the caller has no rights over the machine's cgroups but those that were delegated to him.
    rootless: bool,
    /// The scope that systemd makes of it.
    pub(crate) scope: Option<ScopePlan>,
}

/// One cgroup directory to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PlannedDir {
    /// Its hierarchy.
    pub(crate) place: Place,
    /// What is attached to the hierarchy; empty for the unified one.
    pub(crate) controllers: Vec<String>,
    /// The root of the hierarchy.
    pub(crate) mount: PathBuf,
    /// The cgroup, relative to the root.
    pub(crate) inner: PathBuf,
}

/// How the device rules get into the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum DevicePlan {
    /// Lines for the devices controller of version 1.
    V1 {
        /// Its hierarchy.
        place: Place,
        /// The lines, in order.
        writes: Vec<DeviceWrite>,
        /// Whether the configuration has device rules.
        asked: bool,
    },
    /// A program for version 2; none if everything is allowed.
    V2 {
        /// The instructions.
        program: Option<Vec<bpf::Insn>>,
        /// Whether the configuration has device rules.
        asked: bool,
    },
    /// This machine has no way to filter devices, and nobody asked for one.
    Unavailable,
}

impl CgroupPlan {
    /// Plans the cgroup of the container `id`, to be made by writing to cgroupfs.
    ///
    /// `rootless`: the cgroups are somebody else's. Where the configuration names no place, it is below the caller's own
    /// cgroup, which may be delegated to him; and that there can be none is expected.
    pub(crate) fn new(
        linux: Option<&Linux>,
        id: &str,
        layout: &CgroupLayout,
        rootless: bool,
    ) -> Result<Self> {
        let path = CgroupPath::parse(linux.and_then(|linux| linux.cgroups_path().as_deref()), id, rootless)?;
        let mut plan = Self::at(linux, layout, &|place| path.inside(layout, place), rootless)?;
        // Statistics need all controllers, so a v2 cgroup gets all. The unified tree of a hybrid machine is not ours
        // to rearrange beyond what the configuration needs.
        if let (Some(v2), Mode::V2) = (&layout.v2, layout.mode) {
            let missing = v2.controllers.iter().filter(|name| !plan.enable.contains(name));
            plan.enable = missing.cloned().chain(plan.enable.iter().cloned()).collect();
        }
        Ok(plan)
    }

    /// Plans it as a scope that systemd makes; `trusted` says whether any property may come from annotations.
    pub(crate) fn in_scope(
        spec: &Spec,
        id: &str,
        layout: &CgroupLayout,
        instance: &Instance,
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
        let rootless = *instance != Instance::System;
        let mut plan = Self::at(linux, layout, &|_| inner.clone(), rootless)?;
        let resources = linux.and_then(|linux| linux.resources().as_ref());
        let rules = rules(resources.and_then(|r| r.devices().as_deref()).unwrap_or_default())?;
        let annotations = systemd::annotated(spec.annotations().as_ref(), trusted)?;
        plan.scope = Some(ScopePlan::new(&name, id, instance.clone(), &plan.settings, &rules, annotations));
        Ok(plan)
    }

    fn at(
        linux: Option<&Linux>,
        layout: &CgroupLayout,
        inside: &dyn Fn(Place) -> PathBuf,
        rootless: bool,
    ) -> Result<Self> {
        let resources = linux.and_then(|linux| linux.resources().as_ref());
        let (settings, problems) = match resources {
            Some(resources) => translate(resources, layout, &Current::fresh()),
            None => (Vec::new(), Vec::new()),
        };
        if let Some(problem) = problems.into_iter().next() {
            return Err(problem.into());
        }
        let dirs: Vec<PlannedDir> = layout
            .places()
            .filter_map(|place| {
                let controllers = match place {
                    Place::V1(index) => layout.v1.get(index)?.controllers.clone(),
                    Place::V2 => Vec::new(),
                };
                let mount = layout.mount(place)?.to_owned();
                Some(PlannedDir { place, controllers, mount, inner: inside(place) })
            })
            .collect();
        let mut enable: Vec<String> = Vec::new();
        for setting in settings.iter().filter(|s| s.place == Place::V2 && s.controller != "cgroup") {
            if !enable.iter().any(|name| *name == setting.controller) {
                enable.push(setting.controller.clone().into_owned());
            }
        }
        let devices = DevicePlan::new(resources, layout)?;
        Ok(Self { mode: layout.mode, dirs, enable, settings, devices, rootless, scope: None })
    }

    /// What [`CgroupPlan::apply`] is going to make, to be written down before it begins: so that a crash in the middle
    /// leaves enough to clean up. Directories that exist already are not listed as ours.
    pub(crate) fn intent(&self) -> CgroupRecord {
        if self.scope.is_some() {
            // Somebody else's scope of that name, which will be refused, must not be stopped for ours.
            let free = self.dirs.iter().all(|dir| !dir.mount.join(&dir.inner).exists());
            return if free {
                self.claimed_record()
            } else {
                CgroupRecord { scope: None, ..self.planned_record() }
            };
        }
        let made =
            self.dirs.iter().map(|dir| dir.mount.join(&dir.inner)).filter(|path| !path.exists()).collect();
        self.record(|_| true, made)
    }

    /// The directories of the plan, without a claim to any of them.
    pub(crate) fn planned_record(&self) -> CgroupRecord {
        self.record(|_| true, Vec::new())
    }

    /// The directories of the plan, all claimed: for the removal of a container of which no record is left.
    pub(crate) fn claimed_record(&self) -> CgroupRecord {
        self.record(|_| true, self.dirs.iter().map(|dir| dir.mount.join(&dir.inner)).collect())
    }

    /// Takes the settings out that no process could be born under, for [`Cgroup::set`] to apply after the birth.
    ///
    /// Nothing can be born into a cgroup of version 2 that allows no task; a move into one is allowed, as is being there.
    pub(crate) fn defer_birth_control(&mut self) -> Vec<Setting> {
        let is_late = |setting: &Setting| {
            setting.place == Place::V2 && setting.file == "pids.max" && setting.value == "0"
        };
        if self.scope.is_some() {
            return Vec::new();
        }
        let late = self.settings.iter().filter(|setting| is_late(setting)).cloned().collect();
        self.settings.retain(|setting| !is_late(setting));
        late
    }

    /// Makes the cgroup; on failure removes exactly what it made.
    pub(crate) fn apply(&self) -> Result<Cgroup> {
        let mut made = Vec::new();
        self.make(&mut made).inspect_err(|_| tree::unmake(&made))
    }

    /// Refuses a scope whose cgroup somebody uses already.
    pub(crate) fn check_free(&self) -> Result<()> {
        let existing: Vec<PathBuf> =
            self.dirs.iter().map(|dir| dir.mount.join(&dir.inner)).filter(|path| path.exists()).collect();
        if existing.is_empty() {
            Ok(())
        } else {
            refuse_used(&Cgroup::open(self.planned_record()), &existing)
        }
    }

    /// Completes the cgroup of a scope that systemd has made with the container's process in it: the hierarchies that
    /// systemd does not manage, and the files.
    pub(crate) fn complete_scope(&self, pid: i32) -> Result<()> {
        if let Some(dir) = self.dirs.iter().find(|dir| dir.place == Place::V2) {
            let text = file::read(Path::new(&format!("/proc/{pid}/cgroup")))?;
            let found = super::path::unified_membership(&text).unwrap_or_default();
            if Path::new(found).strip_prefix("/").ok() != Some(&dir.inner) {
                let message = format!(
                    "systemd has put the container's process into {found}, not /{}",
                    dir.inner.display()
                );
                return Err(Error::new(Kind::System, message).at("/linux/cgroupsPath"));
            }
        }
        self.make(&mut Vec::new()).map(drop)
    }

    fn make(&self, made: &mut Vec<PathBuf>) -> Result<Cgroup> {
        let mut present = Vec::new();
        let mut existing = Vec::new();
        for dir in &self.dirs {
            match tree::make(&dir.mount, &dir.inner, made) {
                Ok(true) => present.push(dir),
                Ok(false) => {
                    existing.push(dir.mount.join(&dir.inner));
                    present.push(dir);
                }
                Err(errno) => {
                    let path = dir.mount.join(&dir.inner);
                    let error = Error::os(errno, format!("mkdir cgroup {}", path.display()));
                    self.do_without(dir, errno, error)?;
                }
            }
        }
        let record = self.record(|dir| present.iter().any(|p| p.place == dir.place), std::mem::take(made));
        made.clone_from(&record.made);
        let cgroup = Cgroup::open(record);
        // In a scope the process is the container's own, and the device programs are systemd's to keep.
        let used_before = !existing.is_empty() && self.scope.is_none();
        if used_before {
            refuse_used(&cgroup, &existing)?;
        }
        let mut dirs = Dirs::new(present.iter().map(|dir| (dir.place, dir.mount.join(&dir.inner))));
        for dir in &present {
            if dir.place == Place::V2 && !self.enable.is_empty() {
                let needed: Vec<&Setting> = self.settings.iter().filter(|s| s.place == Place::V2).collect();
                controller::enable(&dir.mount, &dir.inner, dirs.open(Place::V2)?.1, &self.enable, &needed)?;
            }
            if dir.controllers.iter().any(|name| name == "cpuset") {
                controller::fill_cpuset(&dir.mount, &dir.inner)?;
            }
        }
        write_all(&mut dirs, &self.settings, None)?;
        self.devices.apply(&mut dirs, used_before, self.rootless)?;
        Ok(cgroup)
    }

    /// Writes the settings into the cgroup once more, whatever somebody else made of them since; the device rules too if
    /// that is wished.
    #[cfg(feature = "criu")]
    pub(crate) fn apply_again(&self, cgroup: &Cgroup, devices: bool) -> Result<()> {
        let present = |dir: &&PlannedDir| {
            cgroup.record().dirs.iter().any(|made| made.mount == dir.mount && made.inner == dir.inner)
        };
        let present = self.dirs.iter().filter(present);
        let mut dirs = Dirs::new(present.map(|dir| (dir.place, dir.mount.join(&dir.inner))));
        write_all(&mut dirs, &self.settings, None)?;
        if devices { self.devices.apply(&mut dirs, true, self.rootless) } else { Ok(()) }
    }

    /// Goes on without a hierarchy that may not be written (a read-only mount, a nested or unprivileged runtime), as
    /// long as the configuration needs nothing from it.
    fn do_without(&self, dir: &PlannedDir, errno: Errno, error: Error) -> Result<()> {
        let refused = matches!(errno, Errno::EROFS | Errno::EACCES | Errno::EPERM);
        let needed = self.settings.iter().find(|s| s.place == dir.place).map(|s| s.pointer.clone());
        let devices = match &self.devices {
            DevicePlan::V1 { place, asked, .. } => *asked && *place == dir.place,
            DevicePlan::V2 { program, asked } => *asked && dir.place == Place::V2 && program.is_some(),
            DevicePlan::Unavailable => false,
        };
        // A user has no devices to hand on but those that he may open himself, and can make no nodes of others.
        let devices = devices && !(self.rootless && refused);
        let needed = needed.or_else(|| devices.then(|| "/linux/resources/devices".to_owned()));
        match needed {
            Some(pointer) if refused && self.rootless => Err(error.at(pointer).hint(
                "without privileges limits need a cgroup that is delegated to the caller: below his own cgroup on \
                 cgroup v2, or by the user's systemd",
            )),
            Some(pointer) => Err(error.at(pointer)),
            None if refused && self.rootless => {
                log::debug!("{error}; going on without it, as nothing is configured there");
                Ok(())
            }
            None if refused => {
                log::warn!("{error}; going on without it, as nothing is configured there");
                Ok(())
            }
            None => Err(error),
        }
    }

    fn record(&self, present: impl Fn(&PlannedDir) -> bool, made: Vec<PathBuf>) -> CgroupRecord {
        let dirs = self.dirs.iter().filter(|dir| present(dir)).map(|dir| DirRecord {
            controllers: dir.controllers.clone(),
            mount: dir.mount.clone(),
            inner: dir.inner.clone(),
        });
        let scope = self.scope.as_ref().map(|scope| scope.record.clone());
        CgroupRecord { mode: self.mode, dirs: dirs.collect(), made, scope }
    }
}

/// A cgroup in which somebody else's processes live would be limited, and killed, with the container; in a frozen one
/// the container would never run.
fn refuse_used(cgroup: &Cgroup, existing: &[PathBuf]) -> Result<()> {
    for path in existing {
        let count = super::process::list(path, true)?.len();
        if count > 0 {
            let message = format!("container's cgroup is not empty: {count} process(es) found");
            return Err(Error::new(Kind::WrongState, message)
                .at("/linux/cgroupsPath")
                .hint(format!("they are in {}", path.display())));
        }
    }
    if cgroup.frozen()? {
        return Err(
            Error::new(Kind::WrongState, "container's cgroup unexpectedly frozen").at("/linux/cgroupsPath")
        );
    }
    Ok(())
}

impl DevicePlan {
    fn new(resources: Option<&LinuxResources>, layout: &CgroupLayout) -> Result<Self, Problem> {
        let configured = resources.and_then(|r| r.devices().as_deref()).unwrap_or_default();
        let asked = !configured.is_empty();
        let list = rules(configured)?;
        let v1 = layout.v1.iter().position(|h| h.controllers.iter().any(|c| c == "devices"));
        Ok(match (v1, &layout.v2) {
            (Some(index), _) => {
                Self::V1 { place: Place::V1(index), writes: Whitelist::new(&list)?.writes(), asked }
            }
            (None, Some(_)) => Self::V2 { program: device_program(&list), asked },
            (None, None) if asked => {
                return Err(Problem::unsupported(
                    "/linux/resources/devices",
                    "the devices controller of cgroup v1 is not available on this machine",
                ));
            }
            (None, None) => Self::Unavailable,
        })
    }

    /// `rootless`: rules that the kernel does not take are left out. What they are about cannot be made in a user
    /// namespace, and a node that the configuration binds opens only for whom it opens outside.
    fn apply(&self, dirs: &mut Dirs, used_before: bool, rootless: bool) -> Result<()> {
        match self {
            Self::Unavailable => Ok(()),
            Self::V1 { place, writes, asked } => match dirs.open(*place) {
                Ok((path, dir)) => {
                    let path = path.to_owned();
                    write_devices(dir, writes).or_else(|(errno, write)| {
                        let file = if write.deny { "devices.deny" } else { "devices.allow" };
                        let error =
                            Error::os(errno, format!("write {:?} to {}/{file}", write.line, path.display()));
                        if rootless && matches!(errno, Errno::EPERM | Errno::EACCES) {
                            log::debug!("{error}; device rules are not applied");
                            return Ok(());
                        }
                        match write.index {
                            Some(index) => Err(error.at(format!("/linux/resources/devices/{index}"))),
                            None if *asked || errno != Errno::EPERM => {
                                Err(error.at("/linux/resources/devices"))
                            }
                            None => Ok(()),
                        }
                    })
                }
                // The directory could not be made, and no rule needs it.
                Err(_) if !asked || rootless => Ok(()),
                Err(error) => Err(error.at("/linux/resources/devices")),
            },
            Self::V2 { program, asked } => match dirs.open(Place::V2) {
                Ok((path, dir)) => {
                    let path = path.to_owned();
                    filter_devices(dir, program.as_deref(), used_before).or_else(|errno| {
                        if (!asked || rootless) && errno == Errno::EPERM {
                            log::debug!("no device filter: bpf(2) is not permitted here");
                            return Ok(());
                        }
                        let what = format!("attach the device filter to cgroup {}", path.display());
                        Err(Error::os(errno, what).at("/linux/resources/devices"))
                    })
                }
                Err(_) if !asked || rootless || program.is_none() => Ok(()),
                Err(error) => Err(error.at("/linux/resources/devices")),
            },
        }
    }
}

/// Writes the lines, with each of the two files open once.
fn write_devices<'a>(dir: &OwnedFd, writes: &'a [DeviceWrite]) -> Result<(), (Errno, &'a DeviceWrite)> {
    let mut files: [Option<OwnedFd>; 2] = [None, None];
    for write in writes {
        let (slot, name) = if write.deny { (0, "devices.deny") } else { (1, "devices.allow") };
        if files[slot].is_none() {
            files[slot] = Some(file::open_write(dir, name).map_err(|errno| (errno, write))?);
        }
        let Some(file) = &files[slot] else { continue };
        match file::put(file, &write.line) {
            Ok(()) => {}
            // A parent that denies a default device has the last word on it; nobody asked for that device.
            Err(Errno::EPERM) if write.index.is_none() && write.line != "a" => {
                log::debug!("device {} is not allowed by the parent cgroup", write.line);
            }
            Err(errno) => return Err((errno, write)),
        }
    }
    Ok(())
}

/// Puts the program in the place of those that an earlier container left on the cgroup.
fn filter_devices(dir: &OwnedFd, program: Option<&[bpf::Insn]>, used_before: bool) -> nix::Result<()> {
    let old = if used_before { bpf::device_programs(dir.as_fd())? } else { Vec::new() };
    if let Some(program) = program {
        let program = bpf::load_device_program(program)?;
        if let [only] = &old[..] {
            return bpf::attach_device_program(dir.as_fd(), program.as_fd(), Some(only.as_fd()));
        }
        bpf::attach_device_program(dir.as_fd(), program.as_fd(), None)?;
    }
    for program in &old {
        bpf::detach_device_program(dir.as_fd(), program.as_fd())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
