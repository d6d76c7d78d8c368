//! A container's device rules on their way into the kernel: version 1 lines, or a version 2 program.

use std::os::fd::{AsFd as _, OwnedFd};

use nix::errno::Errno;
use oci_spec::runtime::LinuxResources;

use super::bpf::device_program;
use super::create::Denial;
use super::devices::{DeviceWrite, Whitelist, rules};
use super::file;
use super::layout::{CgroupLayout, Hierarchy};
use super::write::Dirs;
use crate::error::{Error, Result};
use crate::sys::bpf;

/// How the device rules get into the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum DevicePlan {
    /// Lines for the devices controller of version 1.
    V1 {
        /// Its hierarchy.
        place: Hierarchy,
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
    /// This machine cannot filter devices, and the configuration does not ask for it.
    Unavailable,
}

impl DevicePlan {
    pub(super) fn new(resources: Option<&LinuxResources>, layout: &CgroupLayout) -> Result<Self> {
        let configured = resources.and_then(|r| r.devices().as_deref()).unwrap_or_default();
        let asked = !configured.is_empty();
        let list = rules(configured)?;
        Ok(match (layout.v1_place("devices"), &layout.v2) {
            (Some(place), _) => Self::V1 { place, writes: Whitelist::new(&list)?.writes(), asked },
            (None, Some(_)) => Self::V2 { program: device_program(&list), asked },
            (None, None) if asked => {
                return Err(Error::unsupported(
                    "/linux/resources/devices",
                    "the devices controller of cgroup v1 is not available on this machine",
                ));
            }
            (None, None) => Self::Unavailable,
        })
    }

    /// If a denial is expected, rules that the kernel does not accept are left out. A user namespace cannot make the
    /// nodes that they are about, and a node that the configuration binds opens only for users that can open it
    /// outside.
    pub(super) fn apply(&self, dirs: &mut Dirs, used_before: bool, denial: Denial) -> Result<()> {
        let rootless = denial == Denial::Expected;
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
            Self::V2 { program, asked } => match dirs.open(Hierarchy::V2) {
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

/// Writes the lines, opening each of the two files once.
pub(super) fn write_devices<'a>(
    dir: &OwnedFd,
    writes: &'a [DeviceWrite],
) -> Result<(), (Errno, &'a DeviceWrite)> {
    let mut files: [Option<OwnedFd>; 2] = [None, None];
    for write in writes {
        let (slot, name) = if write.deny { (0, "devices.deny") } else { (1, "devices.allow") };
        if files[slot].is_none() {
            files[slot] = Some(file::open_write(dir, name).map_err(|errno| (errno, write))?);
        }
        let Some(file) = &files[slot] else { continue };
        match file::put(file, &write.line) {
            Ok(()) => {}
            // A parent that denies a default device has the last word; the configuration does not ask for that device.
            Err(Errno::EPERM) if write.index.is_none() && write.line != "a" => {
                log::debug!("device {} is not allowed by the parent cgroup", write.line);
            }
            Err(errno) => return Err((errno, write)),
        }
    }
    Ok(())
}

/// Replaces the programs that an earlier container left on the cgroup.
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
