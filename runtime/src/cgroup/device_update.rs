//! Changing the device rules of a running container.

use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use oci_spec::runtime::LinuxDeviceCgroup;

use super::bpf::device_program;
use super::device_plan::write_devices;
use super::devices::{Rule, Whitelist, rules};
use super::handle::Cgroup;
use super::{DirRecord, file};
use crate::error::{Error, Result};
use crate::sys::bpf;

const POINTER: &str = "/linux/resources/devices";

/// Whether two lists of device rules mean the same.
pub(crate) fn same_rules(one: &[LinuxDeviceCgroup], other: &[LinuxDeviceCgroup]) -> Result<bool> {
    let meaning = |list: &[LinuxDeviceCgroup]| -> Result<Vec<Rule>> {
        Ok(rules(list)?.into_iter().map(|rule| Rule { index: None, ..rule }).collect())
    };
    Ok(meaning(one)? == meaning(other)?)
}

impl Cgroup {
    /// Replaces the device rules in force: on version 2 in one step, and on version 1 so that nothing that both allow
    /// is denied even for a moment. After a failure the old ones are in force again.
    pub(crate) fn replace_devices(&self, from: &[LinuxDeviceCgroup], to: &[LinuxDeviceCgroup]) -> Result<()> {
        let (from, to) = (rules(from)?, rules(to)?);
        self.put_devices(&from, &to)?;
        let Some(scope) = &self.record.scope else { return Ok(()) };
        scope.update_devices(&to).inspect_err(|_| {
            if let Err(error) = self.put_devices(&to, &from) {
                log::warn!("restore the device rules: {error}");
            }
        })
    }

    fn put_devices(&self, from: &[Rule], to: &[Rule]) -> Result<()> {
        let dirs = &self.record.dirs;
        let open = |dir: &DirRecord| {
            let path = dir.path();
            file::open_dir(&path)
                .map_err(|errno| Error::os(errno, format!("open cgroup {}", path.display())).at(POINTER))
                .map(|fd| (path, fd))
        };
        if let Some(dir) = dirs.iter().find(|dir| dir.attached.has_v1("devices")) {
            let lines = Whitelist::new(to)?.changes(&Whitelist::new(from)?);
            let (path, dir) = open(dir)?;
            return write_devices(&dir, &lines).map_err(|(errno, write)| {
                if let Ok(old) = Whitelist::new(from) {
                    // Report the failure that led here.
                    let _ = write_devices(&dir, &old.writes());
                }
                let name = if write.deny { "devices.deny" } else { "devices.allow" };
                Error::os(errno, format!("write {:?} to {}/{name}", write.line, path.display())).at(POINTER)
            });
        }
        match self.v2() {
            Some(dir) => {
                let (path, dir) = open(dir)?;
                exchange(&dir, device_program(to).as_deref()).map_err(|errno| fail(errno, &path))
            }
            None => Err(super::no_cgroup()),
        }
    }
}

fn fail(errno: Errno, path: &Path) -> Error {
    Error::os(errno, format!("exchange the device filter of cgroup {}", path.display())).at(POINTER)
}

/// Replaces our program; those of others (systemd's, a device plug-in's) stay.
fn exchange(dir: &OwnedFd, program: Option<&[bpf::Insn]>) -> nix::Result<()> {
    let mut ours = None;
    for found in bpf::device_programs(dir.as_fd())? {
        if bpf::is_own(found.as_fd())? {
            ours = Some(found);
            break;
        }
    }
    let new = program.map(bpf::load_device_program).transpose()?;
    match (new, ours) {
        (Some(new), old) => {
            bpf::attach_device_program(dir.as_fd(), new.as_fd(), old.as_ref().map(OwnedFd::as_fd))
        }
        (None, Some(old)) => bpf::detach_device_program(dir.as_fd(), old.as_fd()),
        (None, None) => Ok(()),
    }
}
