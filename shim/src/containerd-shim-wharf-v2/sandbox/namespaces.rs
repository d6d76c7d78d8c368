//! The namespaces that a pod asks for.

use oci_spec::runtime::{LinuxIdMapping, LinuxIdMappingBuilder};
use wharf::pod::PodNamespaces;

use super::config::{IdMapping, PodConfig, Sharing};
use crate::refusal::Refusal;

/// The namespaces that a pod asks for.
pub(crate) fn wanted(config: &PodConfig, sharing: &Sharing, network: &str) -> Result<PodNamespaces, Refusal> {
    if sharing.host_network != network.is_empty() {
        let sentence = if network.is_empty() {
            "the pod has a network of its own, and the call names no network namespace"
        } else {
            "the pod is in the network of the host, and the call names a network namespace"
        };
        return Err(Refusal::invalid(sentence));
    }
    // As with a pause container: the host's name goes with its network.
    let mut namespaces =
        PodNamespaces::new().ipc(!sharing.host_ipc).uts(!sharing.host_network).pid(sharing.pid);
    if !network.is_empty() {
        namespaces = namespaces.network(network);
    }
    if !sharing.host_network && !config.hostname.is_empty() {
        namespaces = namespaces.hostname(&config.hostname);
    }
    if let Some(users) = &sharing.users {
        namespaces = namespaces.user(mappings(&users.uids)?, mappings(&users.gids)?);
    }
    let sysctls = config.linux.iter().flat_map(|linux| &linux.sysctls);
    let namespaces = sysctls.fold(namespaces, |all, (name, value)| all.sysctl(name, value));
    namespaces.check()?;
    Ok(namespaces)
}

fn mappings(maps: &[IdMapping]) -> Result<Vec<LinuxIdMapping>, Refusal> {
    let one = |map: &IdMapping| {
        LinuxIdMappingBuilder::default()
            .host_id(map.host_id)
            .container_id(map.container_id)
            .size(map.length)
            .build()
            .map_err(|error| Refusal::invalid(format!("the user namespace of the pod: {error}")))
    };
    maps.iter().map(one).collect()
}
