//! `linux.sysctl`: only what one of the container's own namespaces holds.

use oci_spec::runtime::{Linux, LinuxNamespaceType as Type, Spec};

use super::finding::{Report, escape, sorted};
use super::namespaces::Namespaces;
use crate::linux::sysctl::{self, Scope};

pub(super) fn check(spec: &Spec, linux: &Linux, namespaces: &Namespaces, report: &mut Report) {
    let Some(keys) = linux.sysctl() else { return };
    let mut paths = Vec::new();
    for (key, _) in sorted(keys) {
        let at = format!("/linux/sysctl/{}", escape(key));
        let Some(path) = sysctl::path(key) else {
            report.error(at, format!("{key:?} is not the name of a sysctl"));
            continue;
        };
        let Some(scope) = sysctl::scope(&path) else {
            report.error(at, format!("sysctl {key:?} is not in a separate kernel namespace"));
            continue;
        };
        let (typ, name) = match scope {
            Scope::Ipc => (Type::Ipc, "ipc"),
            Scope::Net => (Type::Network, "network"),
            Scope::User => (Type::User, "user"),
            Scope::Uts => (Type::Uts, "uts"),
        };
        if !namespaces.has(typ) {
            report.error(at, format!("sysctl {key:?} is not allowed in the host's {name} namespace"));
        } else if path == "kernel/hostname" && spec.hostname().is_some() {
            report.error(at, "contradicts /hostname; use one of them");
        } else if path == "kernel/domainname" && spec.domainname().is_some() {
            report.error(at, "contradicts /domainname; use one of them");
        } else if paths.contains(&path) {
            report.error(at, format!("/proc/sys/{path} is set by two keys"));
        }
        paths.push(path);
    }
}
