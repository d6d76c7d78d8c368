//! The mounts of restored processes: every configured one exists with its restrictions, and there are no others.

use std::collections::BTreeSet;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use super::super::super::checkpoint::{HostMount, MountView, masked_paths};
use super::{Policy, SYS_ADMIN, refuse};
use crate::error::{Error, Result};
use crate::linux::mount::attributes::attr;
use crate::linux::mountinfo::MountInfo;
use crate::plan::mount::entry::Entry;
use crate::plan::mounts_of;
use crate::program::blame::Place;
use crate::spawn::among;
use crate::sys::mount::{HOST_NODE, MountAttr, set_attributes};
use crate::sys::path;

/// The restrictions of a mount that the mount table shows.
const RESTRICTIONS: u64 = attr::RDONLY | attr::NOSUID | attr::NODEV | attr::NOEXEC | attr::NOSYMFOLLOW;

/// File systems that show the container itself and nothing of the host.
const OWN: [&str; 7] = ["proc", "sysfs", "tmpfs", "devpts", "mqueue", "cgroup", "cgroup2"];

/// Makes the mounts of host nodes read-only, as they are after a creation: those on masked files, and devices that a
/// user namespace cannot make. criu mounts them as the images say.
pub(super) fn protect(init: i32, view: &MountView, policy: &Policy<'_>) -> Result<()> {
    let devices = policy.host_mounts.iter().filter(|mount| mount.entry.is_none());
    let masks = masked_paths(policy.spec).iter().map(Path::new);
    let mut mounts = Vec::new();
    for path in masks.chain(devices.map(|mount| mount.destination.as_path())) {
        let (Some(fd), Some(mount)) = (view.find(path)?, view.mounted_on(path)?) else { continue };
        let is_device = path::fstat(fd.as_raw_fd())
            .is_ok_and(|stat| matches!(stat.st_mode & libc::S_IFMT, libc::S_IFCHR | libc::S_IFBLK));
        if is_device && mount.attributes & HOST_NODE != HOST_NODE {
            mounts.push(fd);
        }
    }
    if mounts.is_empty() {
        return Ok(());
    }
    let file = format!("/proc/{init}/ns/mnt");
    let namespace = std::fs::File::open(&file).map_err(|error| Error::io(&error, format!("open {file}")))?;
    let attr = MountAttr { set: HOST_NODE, ..MountAttr::default() };
    among(namespace.as_fd(), libc::CLONE_NEWNS, || {
        mounts.iter().try_for_each(|fd| {
            set_attributes(fd.as_raw_fd(), &attr, false)
                .map_err(|errno| Error::os(errno, "make the mount of a node of the host read-only"))
        })
    })
}

/// Compares the mounts of the first process.
pub(super) fn verify(view: &MountView, policy: &Policy<'_>) -> Result<()> {
    let mut known = BTreeSet::new();
    verify_root(view, policy, &mut known)?;
    let mounts = mounts_of(policy.spec);
    let entries: Vec<Entry<'_>> = mounts
        .iter()
        .enumerate()
        .filter_map(|(index, mount)| Entry::new(mount, Place::item("/mounts", index)).ok())
        .collect();
    for (at, entry) in entries.iter().enumerate() {
        let later = entries.get(at + 1..).unwrap_or_default();
        // What a later entry covers cannot be checked either way.
        if later.iter().any(|other| other.destination == entry.destination && !other.options.remount) {
            continue;
        }
        verify_entry(view, policy, entry, later, &mut known)?;
    }
    for mount in policy.host_mounts.iter().filter(|mount| mount.entry.is_none()) {
        let pointer = &mount.pointer;
        match view.mounted_on(&mount.destination)? {
            Some(found) if is_same(view, mount)? => known.insert(found.id),
            _ => return Err(missing(&mount.destination, pointer)),
        };
    }
    verify_paths(view, policy, &mut known)?;
    for mount in &view.table {
        verify_other(mount, view, policy, &known)?;
    }
    Ok(())
}

/// Compares another process' mounts, if they differ: none may be of the host.
pub(super) fn verify_process(init: i32, pid: i32, view: &MountView, policy: &Policy<'_>) -> Result<()> {
    let namespace = |pid: i32| std::fs::read_link(format!("/proc/{pid}/ns/mnt")).ok();
    if pid == init || namespace(pid) == namespace(init) {
        return Ok(());
    }
    let nothing = BTreeSet::new();
    MountView::of(&pid.to_string())?
        .table
        .iter()
        .try_for_each(|mount| verify_other(mount, view, policy, &nothing))
}

fn missing(destination: &Path, pointer: &str) -> Error {
    refuse(format_args!("on {} is not what is configured", destination.display()), pointer)
}

fn verify_root(view: &MountView, policy: &Policy<'_>, known: &mut BTreeSet<u64>) -> Result<()> {
    let (Some(fd), Some(mount)) = (view.find(Path::new("/"))?, view.mounted_on(Path::new("/"))?) else {
        return Err(missing(Path::new("/"), "/root/path"));
    };
    known.insert(mount.id);
    let found = path::fstat(fd.as_raw_fd()).map_err(|errno| Error::os(errno, "look at the root"))?;
    let wanted = std::fs::metadata(policy.rootfs)
        .map_err(|error| Error::io(&error, format!("look at {}", policy.rootfs.display())))?;
    if (found.st_dev, found.st_ino) != (wanted.dev(), wanted.ino()) {
        return Err(refuse("its root is another file system", "/root/path"));
    }
    let read_only = policy.spec.root().as_ref().is_some_and(|root| root.readonly().unwrap_or(false));
    if read_only && mount.attributes & attr::RDONLY == 0 {
        return Err(refuse("its root is writable", "/root/readonly"));
    }
    Ok(())
}

fn verify_entry(
    view: &MountView,
    policy: &Policy<'_>,
    entry: &Entry<'_>,
    later: &[Entry<'_>],
    known: &mut BTreeSet<u64>,
) -> Result<()> {
    let pointer = entry.place().pointer().unwrap_or_default();
    let Some(mount) = view.mounted_on(&entry.destination)? else {
        // Processes that may unmount can have done so.
        if policy.capabilities.bounding & SYS_ADMIN != 0 {
            return Ok(());
        }
        return Err(missing(&entry.destination, &pointer));
    };
    known.insert(mount.id);
    let mut wanted = entry.options.mount.to_set() | entry.options.recursive.to_set();
    for other in later.iter().filter(|other| other.options.remount && other.destination == entry.destination)
    {
        wanted = wanted & !other.options.mount.to_clear() | other.options.mount.to_set();
    }
    let is_cgroup = entry.is_cgroup();
    if entry.is_bind() || is_cgroup {
        let own = |host: &&HostMount| host.entry == Some(entry.place());
        for host in policy.host_mounts.iter().filter(own) {
            let Some(found) = view.mounted_on(&host.destination)? else {
                return Err(missing(&host.destination, &pointer));
            };
            if !is_same(view, host)? {
                return Err(missing(&host.destination, &pointer));
            }
            known.insert(found.id);
            verify_restrictions(found, wanted, &pointer)?;
        }
        if is_cgroup {
            // Its hierarchies are file systems of their own.
            known.extend(view.table.iter().filter(|m| m.point.starts_with(&mount.point)).map(|m| m.id));
        } else if entry.options.bind != Some(crate::linux::mount::propagation::Reach::One) {
            known.extend(came_along(view, &mount.point, entry, policy));
        }
    }
    let kind = entry.fs();
    if !entry.is_bind() && !is_cgroup && mount.fs != kind {
        return Err(missing(&entry.destination, &pointer));
    }
    verify_restrictions(mount, wanted, &pointer)
}

/// The mounts below the source of a recursive bind that are now below its destination.
fn came_along(view: &MountView, point: &Path, entry: &Entry<'_>, policy: &Policy<'_>) -> Vec<u64> {
    let host = policy.host_mounts.iter().find(|host| host.entry == Some(entry.place()));
    let Some(host) = host else { return Vec::new() };
    let below = view.table.iter().filter(|mount| mount.point != *point);
    below
        .filter_map(|mount| {
            let relative = mount.point.strip_prefix(point).ok()?;
            let source = std::fs::metadata(host.source.join(relative)).ok()?;
            let fd = view.find(&mount.point).ok()??;
            let found = path::fstat(fd.as_raw_fd()).ok()?;
            ((found.st_dev, found.st_ino) == (source.dev(), source.ino())).then_some(mount.id)
        })
        .collect()
}

/// Whether the destination shows what the host has at the source.
fn is_same(view: &MountView, host: &HostMount) -> Result<bool> {
    let Some(fd) = view.find(&host.destination)? else { return Ok(false) };
    let found = path::fstat(fd.as_raw_fd()).map_err(|errno| Error::os(errno, "look at a mount"))?;
    let source = std::fs::metadata(&host.source)
        .map_err(|error| Error::io(&error, format!("look at {}", host.source.display())).at(&host.pointer))?;
    Ok((found.st_dev, found.st_ino) == (source.dev(), source.ino()))
}

fn verify_restrictions(mount: &MountInfo, wanted: u64, pointer: &str) -> Result<()> {
    let lacking = wanted & RESTRICTIONS & !mount.attributes;
    if lacking == 0 {
        return Ok(());
    }
    let names = [
        (attr::RDONLY, "ro"),
        (attr::NOSUID, "nosuid"),
        (attr::NODEV, "nodev"),
        (attr::NOEXEC, "noexec"),
        (attr::NOSYMFOLLOW, "nosymfollow"),
    ];
    let names: Vec<&str> =
        names.iter().filter(|(flag, _)| lacking & flag != 0).map(|(_, name)| *name).collect();
    Err(refuse(format_args!("the mount on {} lacks {}", mount.point.display(), names.join(",")), pointer))
}

/// Masked and read-only paths.
fn verify_paths(view: &MountView, policy: &Policy<'_>, known: &mut BTreeSet<u64>) -> Result<()> {
    let linux = policy.spec.linux().as_ref();
    let read_only = linux.and_then(|linux| linux.readonly_paths().as_deref()).unwrap_or_default();
    for (index, path_text) in read_only.iter().enumerate() {
        let Some(fd) = view.find(Path::new(path_text))? else { continue };
        let mount = view.mount_of(&fd)?;
        if mount.is_none_or(|mount| mount.attributes & attr::RDONLY == 0) {
            let pointer = format!("/linux/readonlyPaths/{index}");
            return Err(refuse(format_args!("{path_text} is writable"), &pointer));
        }
        known.extend(mount.map(|mount| mount.id));
    }
    for (index, path_text) in masked_paths(policy.spec).iter().enumerate() {
        let Some(fd) = view.find(Path::new(path_text))? else { continue };
        let mount = view.mount_of(&fd)?;
        let stat =
            path::fstat(fd.as_raw_fd()).map_err(|errno| Error::os(errno, format!("look at {path_text}")))?;
        let masked = match stat.st_mode & libc::S_IFMT {
            libc::S_IFDIR => {
                view.mounted_on(Path::new(path_text))?.is_some()
                    && mount.is_some_and(|mount| mount.fs == "tmpfs" && mount.attributes & attr::RDONLY != 0)
            }
            libc::S_IFCHR => stat.st_rdev == libc::makedev(1, 3),
            _ => false,
        };
        if !masked {
            let pointer = format!("/linux/maskedPaths/{index}");
            return Err(refuse(format_args!("{path_text} is not masked"), &pointer));
        }
        known.extend(mount.map(|mount| mount.id));
    }
    Ok(())
}

/// A mount that is not in the configuration.
fn verify_other(
    mount: &MountInfo,
    view: &MountView,
    policy: &Policy<'_>,
    known: &BTreeSet<u64>,
) -> Result<()> {
    if known.contains(&mount.id) {
        return Ok(());
    }
    let is_covered = view
        .table
        .iter()
        .any(|other| known.contains(&other.id) && other.point == mount.point && other.id != mount.id);
    let is_console = mount.point == Path::new("/dev/console") && mount.fs == "devpts";
    // A process that may mount can have mounted file systems of the container's own, or parts of what it has anyway.
    let may_mount = policy.capabilities.bounding & SYS_ADMIN != 0;
    let is_its_own = OWN.contains(&mount.fs.as_str())
        || view.table.iter().any(|other| known.contains(&other.id) && other.device == mount.device);
    if is_covered && OWN.contains(&mount.fs.as_str()) || is_console || may_mount && is_its_own {
        return Ok(());
    }
    let what =
        format!("there is a mount of type {} on {} that is not configured", mount.fs, mount.point.display());
    Err(refuse(what, "/mounts"))
}
