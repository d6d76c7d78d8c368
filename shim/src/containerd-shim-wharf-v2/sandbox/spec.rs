//! What `StartSandbox` tells about the namespaces of the pod: an OCI configuration that describes what the sandbox holds,
//! though no process has it.
//!
//! containerd up to 2.2 does not read it. 2.3 keeps it, and its plugins (NRI) find the pod's namespaces there, as with a
//! pause container. Later ones may join the containers to these paths; they lead to the same namespaces as the pid that
//! is told beside them, so it does not matter which of the two a daemon takes. An entry without a path says that each
//! container has a namespace of its own; a namespace of the host has no entry.
//!
//! The pod's files are not among it: a daemon would mount them with its own idea of who owns them in a user namespace.
//! They get into the containers by `super::containers` with every daemon.

use containerd_shim_protos::protobuf::well_known_types::any::Any;
use serde_json::{Value, json};

use super::config::{PodConfig, Sharing};

/// The type of an OCI configuration, in JSON.
const TYPE: &str = "types.containerd.io/opencontainers/runtime-spec/1/Spec";

/// The configuration of a sandbox whose namespaces `pid` is in, on the network that the call named.
pub(crate) fn describe(config: &PodConfig, sharing: &Sharing, network: &str, pid: u32) -> Any {
    let mut any = Any::new();
    TYPE.clone_into(&mut any.type_url);
    any.value = document(config, sharing, network, pid).to_string().into_bytes();
    any
}

fn document(config: &PodConfig, sharing: &Sharing, network: &str, pid: u32) -> Value {
    let of = |kind: &str, link: &str| json!({"type": kind, "path": format!("/proc/{pid}/ns/{link}")});
    let mut namespaces = Vec::new();
    if !sharing.host_network {
        namespaces.extend([json!({"type": "network", "path": network}), of("uts", "uts")]);
    }
    if !sharing.host_ipc {
        namespaces.push(of("ipc", "ipc"));
    }
    if sharing.pid {
        namespaces.push(of("pid", "pid"));
    } else if !sharing.host_pid {
        namespaces.push(json!({"type": "pid"}));
    }
    if sharing.users.is_some() {
        namespaces.push(of("user", "user"));
    }
    let mut document = json!({"ociVersion": "1.0.0", "linux": {"namespaces": namespaces}});
    if !sharing.host_network && !config.hostname.is_empty() {
        document["hostname"] = config.hostname.clone().into();
    }
    let sysctls = config.linux.as_ref().map(|linux| &linux.sysctls).filter(|sysctls| !sysctls.is_empty());
    if let Some(sysctls) = sysctls {
        document["linux"]["sysctl"] = json!(sysctls);
    }
    document
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sharing() -> Sharing {
        Sharing { host_network: false, host_ipc: false, host_pid: false, pid: false, users: None }
    }

    #[test]
    fn each_namespace_has_its_entry() {
        let config = PodConfig { hostname: "blue".into(), ..PodConfig::default() };
        let usual = document(&config, &sharing(), "/run/netns/a", 7);
        let namespaces = json!([
            {"type": "network", "path": "/run/netns/a"},
            {"type": "uts", "path": "/proc/7/ns/uts"},
            {"type": "ipc", "path": "/proc/7/ns/ipc"},
            {"type": "pid"},
        ]);
        assert_eq!(
            usual,
            json!({"ociVersion": "1.0.0", "hostname": "blue", "linux": {"namespaces": namespaces}})
        );
        let host = Sharing { host_network: true, host_ipc: true, host_pid: true, ..sharing() };
        let host = document(&config, &host, "", 7);
        assert_eq!(host, json!({"ociVersion": "1.0.0", "linux": {"namespaces": []}}));
    }

    #[test]
    fn a_shared_pid_namespace_has_a_path() {
        let shared = document(&PodConfig::default(), &Sharing { pid: true, ..sharing() }, "/n", 9);
        assert_eq!(shared["linux"]["namespaces"][3], json!({"type": "pid", "path": "/proc/9/ns/pid"}));
    }
}
