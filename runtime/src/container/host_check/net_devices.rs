//! Network devices for a joined namespace: names that are already taken there, and whether it is the runtime's own.

use std::os::fd::AsFd as _;
use std::path::Path;

use oci_spec::runtime::Spec;

use super::namespaces::{is_own, open};
use crate::error::Error;
use crate::linux::namespace::Namespaces;
use crate::linux::net_device;

/// An error for each device whose name is taken.
pub(super) fn clashes(spec: &Spec) -> Vec<Error> {
    let linux = spec.linux().as_ref();
    let (requests, namespaces) = (net_device::requests(linux), Namespaces::of(linux));
    let Some(path) = namespaces.network.joined().filter(|_| !requests.is_empty()) else { return Vec::new() };
    if is_own(path, "/proc/self/ns/net") {
        return vec![net_device::shared(&path.display().to_string())];
    }
    let names = names_in(path).unwrap_or_default();
    let taken = |request: &&net_device::DeviceRequest| {
        !request.is_template() && names.iter().any(|name| name == request.name_inside())
    };
    requests.iter().filter(taken).map(net_device::clash).collect()
}

/// Names of the devices in a namespace, as far as the caller may look into it.
fn names_in(path: &Path) -> Option<Vec<String>> {
    let entered = open(path).and_then(|namespace| net_device::names_in(namespace.as_fd()).ok());
    entered.or_else(|| {
        // Entering takes privileges, but any user may read what the processes there see (proc_pid_net(5)).
        let process = path.to_str()?.strip_suffix("/ns/net")?;
        Some(names_of(&std::fs::read_to_string(Path::new(process).join("net/dev")).ok()?))
    })
}

/// The names in a table of /proc/PID/net/dev, which has two header lines.
fn names_of(table: &str) -> Vec<String> {
    let lines = table.lines().skip(2).filter_map(|line| line.split_once(':'));
    lines.map(|(name, _)| name.trim().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_are_read_from_the_table() {
        let table = "Inter-|   Receive\n face |bytes\n    lo: 1 2\n  eth0:12345 0\n";
        assert_eq!(names_of(table), ["lo", "eth0"]);
        assert_eq!(names_of(""), [""; 0]);
        assert!(names_in(Path::new("/proc/self/ns/net")).unwrap().contains(&"lo".to_owned()));
        assert_eq!(names_in(Path::new("/none/ns/net")), None);
    }

    #[test]
    fn the_own_namespace_is_told_and_others_are_not_asked_without_a_wish() {
        let joins = |devices: serde_json::Value| {
            let namespaces = json!([{"type": "network", "path": "/proc/self/ns/net"}]);
            let linux = json!({"namespaces": namespaces, "netDevices": devices});
            clashes(&serde_json::from_value(json!({"ociVersion": "1.3.0", "linux": linux})).unwrap())
        };
        assert_eq!(joins(json!({})).len(), 0);
        let told = joins(json!({"eth0": {}}));
        assert!(told.len() == 1 && told[0].to_string().contains("the runtime's own"), "{told:?}");
    }
}
