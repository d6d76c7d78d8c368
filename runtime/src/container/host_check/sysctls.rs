//! Missing kernel parameters.
//!
//! The caller's /proc/sys stands for the container's: all namespaces of a kernel have the same parameters, except those
//! of network devices, and some that only the first namespace has.

use std::path::Path;

use oci_spec::runtime::Spec;

use crate::finding::{Finding, escape, sorted};
use crate::hook::HookKind;
use crate::linux::namespace::{Namespaces, Origin};
use crate::linux::net_device;
use crate::linux::sysctl;

/// Devices that kernel modules put into every new namespace (`net.core.fb_tunnels_only_for_init_net`).
const TUNNELS: [&str; 9] =
    ["tunl0", "gre0", "gretap0", "erspan0", "ip_vti0", "ip6_vti0", "sit0", "ip6tnl0", "ip6gre0"];

pub(super) fn check(spec: &Spec, findings: &mut Vec<Finding>) {
    let Some(keys) = spec.linux().as_ref().and_then(|linux| linux.sysctl().as_ref()) else { return };
    let root = Path::new("/proc/sys");
    if !root.join("kernel").exists() {
        return;
    }
    let network = Namespaces::of(spec.linux().as_ref()).network;
    for (key, _) in sorted(keys) {
        let Some(path) = sysctl::path(key).filter(|path| sysctl::scope(path).is_some()) else { continue };
        let at = format!("/linux/sysctl/{}", escape(key));
        let (example, device) = match DeviceParameter::of(&path) {
            Some(device) => (device.example, Some(device.name)),
            None => (path.clone(), None),
        };
        let joined = path.starts_with("net/") && matches!(network, Origin::Joined(..));
        match root.join(&example).metadata() {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let sentence =
                    format!("/proc/sys/{path} does not exist; a module that has it may not be loaded");
                findings.push(if joined {
                    Finding::warning(at, sentence)
                } else {
                    Finding::error(at, sentence)
                });
            }
            Ok(metadata) if std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()) & 0o222 == 0 => {
                findings.push(Finding::error(at, format!("/proc/sys/{path} is read-only")));
            }
            _ if device.is_some_and(|name| will_be_missing(name, spec, &network)) => {
                findings.push(Finding::error(
                    at,
                    format!(
                        "/proc/sys/{path} will not exist: a new network namespace has no device of that name"
                    ),
                ));
            }
            _ => {}
        }
    }
}

/// A parameter of one network device.
struct DeviceParameter<'p> {
    name: &'p str,
    /// The same parameter of a device that every namespace has.
    example: String,
}

impl<'p> DeviceParameter<'p> {
    fn of(path: &'p str) -> Option<Self> {
        let (family, rest) =
            ["net/ipv4/conf/", "net/ipv4/neigh/", "net/ipv6/conf/", "net/ipv6/neigh/", "net/mpls/conf/"]
                .into_iter()
                .find_map(|family| Some((family, path.strip_prefix(family)?)))?;
        let (name, parameter) = rest.split_once('/')?;
        // The table for new devices has all parameters except mpls', which lo's has.
        let example = if family.starts_with("net/mpls") { "lo" } else { "default" };
        Some(Self { name, example: format!("{family}{example}/{parameter}") })
    }
}

/// Whether a new network namespace certainly has no such device when the parameters are set.
fn will_be_missing(name: &str, spec: &Spec, network: &Origin) -> bool {
    let before = [HookKind::Prestart, HookKind::CreateRuntime, HookKind::CreateContainer];
    let hooks =
        spec.hooks().as_ref().is_some_and(|hooks| before.iter().any(|kind| !kind.of(hooks).is_empty()));
    network.is_new()
        && !hooks
        && !matches!(name, "all" | "default" | "lo")
        && !TUNNELS.contains(&name)
        && net_device::requests(spec.linux().as_ref()).is_empty()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn found(sysctl: serde_json::Value, more: serde_json::Value) -> Vec<String> {
        let mut spec =
            json!({"ociVersion": "1.2.0", "linux": {"sysctl": sysctl, "namespaces": [{"type": "network"}]}});
        spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let mut findings = Vec::new();
        check(&serde_json::from_value(spec).unwrap(), &mut findings);
        findings.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn parameters_are_looked_up_and_devices_left_to_hooks() {
        let forwarding = json!({"net.ipv4.conf.eth0.forwarding": "1"});
        assert_eq!(
            found(forwarding.clone(), json!({})),
            [
                "error: /linux/sysctl/net.ipv4.conf.eth0.forwarding: /proc/sys/net/ipv4/conf/eth0/forwarding will not \
              exist: a new network namespace has no device of that name"
            ]
        );
        assert_eq!(found(forwarding, json!({"hooks": {"createRuntime": [{"path": "/cni"}]}})), [""; 0]);
        let known =
            json!({"net/ipv4/conf/lo/forwarding": "1", "kernel.shmmni": "1", "net.ipv4.ip_forward": "1"});
        assert_eq!(found(known, json!({})), [""; 0]);
        let all = found(json!({"net.ipv4.nonsense": "1", "net.ipv4.conf.lo.nonsense": "1"}), json!({}));
        assert_eq!(all.len(), 2, "{all:?}");
        assert!(
            all.iter().all(|line| line.starts_with("error: ") && line.contains("does not exist")),
            "{all:?}"
        );
        // What only others of the host's have.
        assert_eq!(found(json!({"vm.swappiness": "1"}), json!({})), [""; 0]);
    }
}
