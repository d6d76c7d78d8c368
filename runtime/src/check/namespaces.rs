//! `linux.namespaces`, and the properties that need one: id mappings, time offsets, host and domain name.

use std::collections::BTreeMap;
use std::path::Path;

use oci_spec::runtime::{Linux, LinuxNamespaceType, Spec};

use super::mappings;
use crate::finding::{Report, escape, sorted};
use crate::linux::namespace::{Namespaces, Origin};

pub(super) fn check(spec: &Spec, namespaces: &Namespaces, report: &mut Report) {
    names(spec, namespaces, report);
    let Some(linux) = spec.linux() else { return };
    let mut first = BTreeMap::new();
    for (index, namespace) in linux.namespaces().iter().flatten().enumerate() {
        let at = format!("/linux/namespaces/{index}");
        if let Some(path) = namespace.path()
            && !path.is_absolute()
        {
            report.error(format!("{at}/path"), format!("the path {} is not absolute", path.display()));
        }
        if let Some(path) = namespace.path()
            && kind_by_name(path).is_some_and(|kind| kind != namespace.typ())
        {
            report.error(
                format!("{at}/path"),
                format!("{} is not a {} namespace", path.display(), namespace.typ()),
            );
        }
        let earlier = *first.entry(namespace.typ() as u32).or_insert(index);
        if earlier != index {
            report.error(
                format!("{at}/type"),
                format!("duplicated ns: this namespace is already entry {earlier}"),
            );
        }
    }
    id_mappings(linux, namespaces, report);
    time_offsets(linux, namespaces, report);
    masks(linux, namespaces, report);
}

/// The kind according to the name of a process's namespace: `/proc/PID/ns/net` and `/proc/PID/task/TID/ns/net`
/// (namespaces(7)). Without privileges, those of other users' processes cannot be opened.
fn kind_by_name(path: &Path) -> Option<LinuxNamespaceType> {
    let mut names = path.to_str()?.strip_prefix("/proc/")?.split('/');
    let process = |name: &str| {
        matches!(name, "self" | "thread-self")
            || (!name.is_empty() && name.bytes().all(|byte| byte.is_ascii_digit()))
    };
    names.next().filter(|name| process(name))?;
    let mut next = names.next()?;
    if next == "task" {
        names.next().filter(|name| process(name))?;
        next = names.next()?;
    }
    let name = names.next().filter(|_| next == "ns")?;
    if names.next().is_some() {
        return None;
    }
    Some(match name {
        "cgroup" => LinuxNamespaceType::Cgroup,
        "ipc" => LinuxNamespaceType::Ipc,
        "mnt" => LinuxNamespaceType::Mount,
        "net" => LinuxNamespaceType::Network,
        "pid" | "pid_for_children" => LinuxNamespaceType::Pid,
        "time" | "time_for_children" => LinuxNamespaceType::Time,
        "user" => LinuxNamespaceType::User,
        "uts" => LinuxNamespaceType::Uts,
        _ => return None,
    })
}

fn names(spec: &Spec, namespaces: &Namespaces, report: &mut Report) {
    for (property, name) in [("hostname", spec.hostname()), ("domainname", spec.domainname())] {
        let Some(name) = name else { continue };
        let at = format!("/{property}");
        if name.len() > 64 {
            // uname(2), __NEW_UTS_LEN
            report.error(at.as_str(), format!("{} bytes; the kernel takes at most 64", name.len()));
        }
        if !namespaces.uts.is_own() {
            report.error(
                at,
                format!(
                    "unable to set {property} without a private UTS namespace: that would change the host's"
                ),
            );
        }
    }
}

fn id_mappings(linux: &Linux, namespaces: &Namespaces, report: &mut Report) {
    let uids = linux.uid_mappings().as_deref().unwrap_or_default();
    let gids = linux.gid_mappings().as_deref().unwrap_or_default();
    for (property, list) in [("uidMappings", uids), ("gidMappings", gids)] {
        let at = format!("/linux/{property}");
        mappings::check(Some(list), &at, report);
        match &namespaces.user {
            Origin::Inherited if !list.is_empty() => {
                report.error(at, "cannot be applied: /linux/namespaces has no user namespace");
            }
            Origin::New if list.is_empty() => {
                let kind = property.trim_end_matches("Mappings");
                report.error(
                    at,
                    format!("user namespaces enabled, but no {kind} mappings found: without them the namespace has no ids"),
                );
            }
            // For a joined namespace the list must equal the namespace's own, which only the kernel knows.
            _ => {}
        }
    }
}

fn time_offsets(linux: &Linux, namespaces: &Namespaces, report: &mut Report) {
    let Some(offsets) = linux.time_offsets().as_ref().filter(|offsets| !offsets.is_empty()) else { return };
    if !namespaces.time.is_new() {
        report.error(
            "/linux/timeOffsets",
            "time namespace offsets specified, but /linux/namespaces has no new time namespace",
        );
    }
    for (clock, offset) in sorted(offsets) {
        let at = format!("/linux/timeOffsets/{}", escape(clock));
        if !matches!(clock.as_str(), "monotonic" | "boottime") {
            report.error(at.as_str(), "this clock cannot have an offset; monotonic and boottime can");
        }
        if offset.nanosecs().is_some_and(|nanoseconds| nanoseconds >= 1_000_000_000) {
            report.error(format!("{at}/nanosecs"), "must be less than a second, 1000000000");
        }
    }
}

fn masks(linux: &Linux, namespaces: &Namespaces, report: &mut Report) {
    for (property, paths) in
        [("maskedPaths", linux.masked_paths()), ("readonlyPaths", linux.readonly_paths())]
    {
        let paths = paths.as_deref().unwrap_or_default();
        if !paths.is_empty() && !namespaces.mount.is_own() {
            report.error(
                format!("/linux/{property}"),
                "needs a mount namespace in /linux/namespaces: otherwise it would change the host's mounts",
            );
        }
        for (index, path) in paths.iter().enumerate() {
            if !Path::new(path).is_absolute() {
                report.error(
                    format!("/linux/{property}/{index}"),
                    format!("the path {path:?} is not absolute"),
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_below_proc_tell_the_kind() {
        use LinuxNamespaceType::{Mount, Network, Pid};
        for (path, kind) in [
            ("/proc/1/ns/net", Some(Network)),
            ("/proc/self/ns/mnt", Some(Mount)),
            ("/proc/12/task/13/ns/pid_for_children", Some(Pid)),
            ("/proc/1/ns/other", None),
            ("/proc/1/ns/net/x", None),
            ("/proc/x/ns/net", None),
            ("/proc/ns/net", None),
            ("/run/netns/uts", None),
            ("/run/proc/1/ns/net", None),
        ] {
            assert_eq!(kind_by_name(Path::new(path)), kind, "{path}");
        }
    }
}
