//! Makes a container's cgroup as planned, or undoes what was made.

use std::path::{Path, PathBuf};

use nix::errno::Errno;

use super::controller;
use super::create::{CgroupPlan, Denial, PlannedDir};
use super::device_plan::DevicePlan;
use super::file;
use super::handle::Cgroup;
use super::layout::Hierarchy;
use super::settings::Setting;
use super::tree;
use super::write::Levels;
use crate::error::{Error, ErrorKind, Result};

impl CgroupPlan {
    /// Makes the cgroup; on failure removes exactly what it made.
    pub(crate) fn apply(&self) -> Result<Cgroup> {
        let mut made = Vec::new();
        self.make(&mut made).inspect_err(|_| tree::unmake(&made))
    }

    /// Refuses a scope whose cgroup is already in use.
    pub(crate) fn check_free(&self) -> Result<()> {
        let existing: Vec<PathBuf> =
            self.dirs.iter().map(PlannedDir::top).filter(|path| path.exists()).collect();
        if existing.is_empty() {
            return Ok(());
        }
        let mut record = self.planned_record();
        for dir in &mut record.dirs {
            if let Some(scope) = dir.scope.take() {
                dir.inner = scope;
            }
        }
        refuse_used(&Cgroup::open(record), &existing)
    }

    /// Completes the cgroup of a scope that systemd has made with the container's process in it: the hierarchies that
    /// systemd does not manage, and the files.
    pub(crate) fn complete_scope(&self, pid: i32) -> Result<()> {
        if let Some(dir) = self.dirs.iter().find(|dir| dir.place == Hierarchy::V2) {
            let text = file::read(Path::new(&format!("/proc/{pid}/cgroup")))?;
            let found = super::path::unified_membership(&text).unwrap_or_default();
            let wanted = dir.scope.as_ref().unwrap_or(&dir.inner);
            if Path::new(found).strip_prefix("/").ok() != Some(wanted) {
                let message = format!(
                    "systemd has put the container's process into {found}, not /{}",
                    wanted.display()
                );
                return Err(Error::new(ErrorKind::System, message).at("/linux/cgroupsPath"));
            }
            if dir.scope.is_some() {
                make_sub_group(dir, pid)?;
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
                    existing.push(dir.path());
                    present.push(dir);
                }
                Err(errno) => {
                    let error = Error::os(errno, format!("mkdir cgroup {}", dir.path().display()));
                    self.do_without(dir, errno, error)?;
                }
            }
        }
        let record = self.record(|dir| present.iter().any(|p| p.place == dir.place), std::mem::take(made));
        made.clone_from(&record.made);
        let cgroup = Cgroup::open(record);
        // In a scope the process is the container's own, and systemd keeps the device programs.
        let used_before = !existing.is_empty() && self.scope.is_none();
        if used_before {
            refuse_used(&cgroup, &existing)?;
        }
        let mut levels = levels(present.iter().copied());
        let dirs = levels.own();
        for dir in &present {
            if dir.place == Hierarchy::V2 && !self.enable.is_empty() {
                let needed: Vec<&Setting> =
                    self.settings.iter().filter(|s| s.place == Hierarchy::V2).collect();
                controller::enable(
                    &dir.mount,
                    &dir.inner,
                    dirs.open(Hierarchy::V2)?.1,
                    &self.enable,
                    &needed,
                )?;
            }
            if dir.attached.has_v1("cpuset") {
                controller::fill_cpuset(&dir.mount, &dir.inner)?;
            }
        }
        levels.write(&self.settings)?;
        self.devices.apply(levels.own(), used_before, self.denial)?;
        Ok(cgroup)
    }

    /// Writes the settings into the cgroup once more, whatever has changed them since; and the device rules, if asked.
    #[cfg(feature = "criu")]
    pub(crate) fn apply_again(&self, cgroup: &Cgroup, devices: bool) -> Result<()> {
        let present = |dir: &&PlannedDir| {
            cgroup.record().dirs.iter().any(|made| made.mount == dir.mount && made.inner == dir.inner)
        };
        let mut levels = levels(self.dirs.iter().filter(present));
        levels.write(&self.settings)?;
        if devices { self.devices.apply(levels.own(), true, self.denial) } else { Ok(()) }
    }

    /// Goes on without a hierarchy that is not writable (a read-only mount, a nested or unprivileged runtime), as long
    /// as the configuration needs nothing from it.
    fn do_without(&self, dir: &PlannedDir, errno: Errno, error: Error) -> Result<()> {
        let refused = matches!(errno, Errno::EROFS | Errno::EACCES | Errno::EPERM);
        let needed = self.settings.iter().find(|s| s.place == dir.place).map(|s| s.pointer.clone());
        let devices = match &self.devices {
            DevicePlan::V1 { place, asked, .. } => *asked && *place == dir.place,
            DevicePlan::V2 { program, asked } => *asked && dir.place == Hierarchy::V2 && program.is_some(),
            DevicePlan::Unavailable => false,
        };
        // A user can only pass on devices that the user may open, and cannot make nodes of others.
        let expected = self.denial == Denial::Expected;
        let devices = devices && !(expected && refused);
        let needed = needed.or_else(|| devices.then(|| "/linux/resources/devices".to_owned()));
        match needed {
            Some(pointer) if refused && expected => Err(error.at(pointer).with_hint(
                "without privileges, limits need a delegated cgroup: one below the caller's own cgroup on \
                 cgroup v2, or one from the user's systemd",
            )),
            Some(pointer) => Err(error.at(pointer)),
            None if refused && self.denial != Denial::Fatal => {
                let level = if expected { log::Level::Debug } else { log::Level::Warn };
                log::log!(level, "{error}; continuing without it, since nothing is configured there");
                Ok(())
            }
            None => Err(error),
        }
    }
}

fn levels<'a>(dirs: impl Iterator<Item = &'a PlannedDir> + Clone) -> Levels {
    let scope = dirs.clone().find(|dir| dir.scope.is_some()).map(|dir| (dir.place, dir.top()));
    Levels::new(dirs.map(|dir| (dir.place, dir.path())), scope)
}

/// Makes the sub-group of a scope, moves the container's process there and enables every controller of the scope for
/// it: a cgroup with processes of its own could not.
fn make_sub_group(dir: &PlannedDir, pid: i32) -> Result<()> {
    let path = dir.path();
    let fail = |errno: Errno, what: &str| {
        Error::os(errno, format!("{what} cgroup {}", path.display())).at("/linux/cgroupsPath")
    };
    tree::make(&dir.mount, &dir.inner, &mut Vec::new()).map_err(|errno| fail(errno, "mkdir"))?;
    file::open_dir(&path)
        .and_then(|own| file::write_at(&own, "cgroup.procs", &pid.to_string()))
        .map_err(|errno| fail(errno, &format!("move process {pid} into")))?;
    controller::hand_down(&dir.top())
}

/// A cgroup in which other processes live would limit and kill them with the container; in a frozen one the container
/// would never run.
fn refuse_used(cgroup: &Cgroup, existing: &[PathBuf]) -> Result<()> {
    for path in existing {
        let count = super::process::list(path, true)?.len();
        if count > 0 {
            let message = format!("container's cgroup is not empty: {count} process(es) found");
            return Err(Error::new(ErrorKind::WrongState, message)
                .at("/linux/cgroupsPath")
                .with_hint(format!("they are in {}", path.display())));
        }
    }
    if cgroup.frozen()? {
        return Err(Error::new(ErrorKind::WrongState, "container's cgroup unexpectedly frozen")
            .at("/linux/cgroupsPath"));
    }
    Ok(())
}
