//! `mounts`: everything that can be checked without the file system.

use std::ffi::OsStr;
use std::path::{Component, Path};

use oci_spec::runtime::{LinuxIdMapping, Mount, Spec};

use super::mappings;
use crate::finding::Report;
use crate::linux::mount::attributes::Flags;
use crate::linux::mount::options;
use crate::linux::namespace::Namespaces;
use crate::plan::mount::entry::Entry;
use crate::program::blame::Place;

/// Files in /proc that may be mounted over: they only inform, and lxcfs and others replace them. Any other mount below
/// /proc could replace files to which programs, and other runtimes, write their labels (CVE-2019-16884).
const PROC_FILES: [&str; 11] = [
    "cpuinfo",
    "diskstats",
    "loadavg",
    "meminfo",
    "net/dev",
    "slabinfo",
    "stat",
    "swaps",
    "sys/crypto/fips_enabled",
    "sys/kernel/ns_last_pid",
    "uptime",
];

/// The names of a path without its `.` and `..`.
fn names_of(path: &Path) -> Vec<&OsStr> {
    let mut names = Vec::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => names.push(name),
            Component::ParentDir => drop(names.pop()),
            _ => {}
        }
    }
    names
}

/// The part of a destination below /proc, if it is there.
fn below_proc(destination: &Path) -> Option<String> {
    let names = names_of(destination).into_iter().map(OsStr::to_str).collect::<Option<Vec<_>>>()?;
    let (first, inside) = names.split_first()?;
    (*first == "proc" && !inside.is_empty()).then(|| inside.join("/"))
}

pub(super) fn check(spec: &Spec, namespaces: &Namespaces, report: &mut Report) {
    for (index, mount) in spec.mounts().iter().flatten().enumerate() {
        check_mount(mount, &format!("/mounts/{index}"), namespaces, report);
    }
}

/// The owners that a new file system is to have must exist in the new user namespace that mounts it.
pub(super) fn check_mapped(
    spec: &Spec,
    uids: &[LinuxIdMapping],
    gids: &[LinuxIdMapping],
    report: &mut Report,
) {
    for (index, mount) in spec.mounts().iter().flatten().enumerate() {
        let options = mount.options().as_deref().unwrap_or_default();
        let bound = mount.typ().as_deref() == Some("bind")
            || options.iter().any(|o| matches!(o.as_str(), "bind" | "rbind"));
        for (position, option) in options.iter().enumerate().filter(|_| !bound) {
            let Some((key, value)) = option.split_once('=') else { continue };
            let list = match key {
                "uid" => uids,
                "gid" => gids,
                _ => continue,
            };
            if let Ok(id) = value.parse()
                && !list.is_empty()
                && !mappings::contain(list, id)
            {
                report.error(
                    format!("/mounts/{index}/options/{position}"),
                    format!(
                        "{key} {id} has no mapping in the user namespace; leave the option out, or map the id"
                    ),
                );
            }
        }
    }
}

/// Mounts to be added to a running container.
pub(super) fn check_added(mounts: &[Mount], namespaces: &Namespaces, report: &mut Report) {
    for (index, mount) in mounts.iter().enumerate() {
        let at = format!("/mounts/{index}");
        check_mount(mount, &at, namespaces, report);
        check_below_root(mount, &at, report);
        if options::parse(mount.options().as_deref().unwrap_or_default()).is_ok_and(|parsed| parsed.remount) {
            report.error(
                format!("{at}/options"),
                "the option `remount` changes a mount, which could not be undone; only new mounts can be added",
            );
        }
    }
}

/// Destinations in a running container whose mounts are to be removed.
pub(super) fn check_removed(mounts: &[Mount], report: &mut Report) {
    for (index, mount) in mounts.iter().enumerate() {
        let at = format!("/mounts/{index}");
        if mount.destination().as_os_str().is_empty() {
            report.error(format!("{at}/destination"), "the path is empty");
        }
        check_below_root(mount, &at, report);
        let same = |other: &Mount| names_of(other.destination()) == names_of(mount.destination());
        if let Some(earlier) = mounts.iter().take(index).position(same) {
            report.error(format!("{at}/destination"), format!("this destination is already entry {earlier}"));
        }
    }
}

fn check_below_root(mount: &Mount, at: &str, report: &mut Report) {
    if !mount.destination().as_os_str().is_empty() && names_of(mount.destination()).is_empty() {
        report.error(
            format!("{at}/destination"),
            "this is the root of the container, which cannot be replaced",
        );
    }
}

fn check_mount(mount: &Mount, at: &str, namespaces: &Namespaces, report: &mut Report) {
    let destination = mount.destination();
    if destination.as_os_str().is_empty() {
        report.error(format!("{at}/destination"), "the path is empty");
    } else if !destination.is_absolute() {
        report.warning(
            format!("{at}/destination"),
            "a relative destination is deprecated; it is taken as relative to /",
        );
    }
    if let Some(inside) = below_proc(destination)
        && mount.typ().as_deref() != Some("proc")
        && !PROC_FILES.contains(&inside.as_str())
    {
        report.error(
            format!("{at}/destination"),
            format!("\"/proc/{inside}\" cannot be mounted because it is inside /proc"),
        );
    }
    mappings::check(mount.uid_mappings().as_deref(), &format!("{at}/uidMappings"), report);
    mappings::check(mount.gid_mappings().as_deref(), &format!("{at}/gidMappings"), report);
    let mapped = |list: &Option<Vec<_>>| list.as_ref().is_some_and(|list| !list.is_empty());
    let (uids, gids) = (mapped(mount.uid_mappings()), mapped(mount.gid_mappings()));
    if uids != gids {
        let (there, missing) = if uids { ("uid", "gid") } else { ("gid", "uid") };
        report
            .error(format!("{at}/{missing}Mappings"), format!("must be given together with {there}Mappings"));
    }

    let options = mount.options().as_deref().unwrap_or_default();
    let parsed = match options::parse(options) {
        Ok(parsed) => parsed,
        Err((index, message)) => {
            report.error(format!("{at}/options/{index}"), message);
            return;
        }
    };
    if let Ok(entry) = Entry::new(mount, Place::NONE)
        && let Some(message) = entry.too_long()
    {
        report.error(format!("{at}/options"), message);
    }
    if parsed.idmap.is_some() && !uids && !gids && !namespaces.user.is_own() {
        // config.md, the table of mount options: this error is a MUST.
        report.error(
            format!("{at}/options"),
            "id-mapped mounts must have both uid and gid mappings specified, or a container with a user namespace",
        );
    }
    let typ = mount.typ().as_deref().filter(|typ| !typ.is_empty());
    if parsed.bind.is_some() {
        if mount.source().as_deref().is_none_or(|source| source == Path::new("")) {
            report.error(format!("{at}/source"), "a bind mount needs a source");
        }
    } else if typ == Some("bind") {
        report.error(
            format!("{at}/type"),
            "a bind mount is one with the option `bind` or `rbind`, which is missing",
        );
    } else if typ.is_none() && !parsed.remount && parsed.propagation.is_empty() {
        report.error(
            format!("{at}/type"),
            "neither a type of file system nor the option `bind` or `rbind` is given",
        );
    }
    if parsed.bind.is_none() && (parsed.copy_symlink || parsed.src_nofollow || parsed.dest_nofollow) {
        report.error(
            format!("{at}/options"),
            "the options `copy-symlink`, `src-nofollow` and `dest-nofollow` are only for bind mounts",
        );
    }
    if parsed.copy_symlink && (parsed.src_nofollow || parsed.dest_nofollow) {
        report.error(
            format!("{at}/options"),
            "the option `copy-symlink` contradicts `src-nofollow` and `dest-nofollow`: a copied link is not mounted",
        );
    }
    if parsed.bind.is_some() || matches!(typ, Some("cgroup" | "cgroup2")) {
        warn_of_unused(options, at, report);
    }
    if parsed.tmpcopyup && typ != Some("tmpfs") {
        report.error(format!("{at}/options"), "the option `tmpcopyup` is only for the type tmpfs");
    }
}

/// File system options on a mount that makes no file system. A misspelt flag would silently drop a protection.
fn warn_of_unused(options: &[String], at: &str, report: &mut Report) {
    for (index, option) in options.iter().enumerate() {
        let Ok(alone) = options::parse(std::slice::from_ref(option)) else { continue };
        let mut words: Vec<&str> = alone.data.iter().map(|(key, _)| key.as_str()).collect();
        if alone.superblock != Flags::default() && alone.mount.is_empty() {
            words.push(option);
        }
        for word in words {
            report.warning(
                format!("{at}/options/{index}"),
                format!(
                    "the option `{word}` has no effect: it is for new file systems, and this mount makes none"
                ),
            );
        }
    }
}
