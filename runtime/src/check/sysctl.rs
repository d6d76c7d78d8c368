//! `linux.sysctl`: only parameters of the container's own namespaces.

use oci_spec::runtime::{Linux, Spec};

use super::mappings;
use crate::finding::{Report, escape, sorted};
use crate::linux::namespace::Namespaces;
use crate::linux::sysctl::{self, Scope};

pub(super) fn check(spec: &Spec, linux: &Linux, namespaces: &Namespaces, report: &mut Report) {
    let Some(keys) = linux.sysctl() else { return };
    let mut paths = Vec::new();
    for (key, value) in sorted(keys) {
        let at = format!("/linux/sysctl/{}", escape(key));
        let Some(path) = sysctl::path(key) else {
            report.error(at, format!("{key:?} is not the name of a sysctl"));
            continue;
        };
        let Some(scope) = sysctl::scope(&path) else {
            report.error(at, format!("sysctl {key:?} is not in a separate kernel namespace"));
            continue;
        };
        // The same wording as runc's, which differs for each kind.
        let (origin, refused) = match scope {
            Scope::Ipc => (&namespaces.ipc, "is not allowed in the hosts ipc namespace"),
            Scope::Net => (&namespaces.network, "not allowed in host network namespace"),
            Scope::User => (&namespaces.user, "is not allowed in the host's user namespace"),
            Scope::Uts => (&namespaces.uts, "is not allowed in the host's uts namespace"),
        };
        if !origin.is_own() {
            let message = format!("sysctl {key:?} {refused}");
            report.error(at, message);
        } else if let Some((property, name)) =
            of_uts(spec, &path).filter(|(_, name)| value.trim_end() != *name)
        {
            report.error(at, format!("contradicts {property}, which is {name:?}; use one of them"));
        } else if let Some(gid) = unmapped(linux, namespaces, &path, value) {
            report.error(
                at,
                format!(
                    "group {gid} has no mapping in the user namespace; both ends of the range must have one"
                ),
            );
        } else if paths.contains(&path) {
            report.error(at, format!("/proc/sys/{path} is set by two keys"));
        }
        paths.push(path);
    }
}

/// A group at an end of the range that may open ping sockets and is not mapped: the kernel would fail with EINVAL
/// (`net/ipv4/sysctl_net_ipv4.c`, `ipv4_ping_group_range`).
fn unmapped(linux: &Linux, namespaces: &Namespaces, path: &str, value: &str) -> Option<u32> {
    if path != "net/ipv4/ping_group_range" || !namespaces.user.is_new() {
        return None;
    }
    let gids = linux.gid_mappings().as_deref().filter(|gids| !gids.is_empty())?;
    value.split_whitespace().filter_map(|end| end.parse().ok()).find(|gid| !mappings::contain(gids, *gid))
}

/// The property that sets the same name as this parameter, with its value.
fn of_uts<'s>(spec: &'s Spec, path: &str) -> Option<(&'static str, &'s str)> {
    let (property, name) = match path {
        "kernel/hostname" => ("/hostname", spec.hostname()),
        "kernel/domainname" => ("/domainname", spec.domainname()),
        _ => return None,
    };
    Some((property, name.as_deref()?))
}
