//! The configuration of a pod, as the CRI has it.
//!
//! Only the fields that the sandbox needs are here, with the numbers of `runtime/v1/api.proto` of the CRI.

use std::collections::HashMap;

use containerd_shim_protos::protobuf::well_known_types::any::Any;
use prost::Message;

use crate::refusal::Refusal;

const TYPE: &str = "runtime.v1.PodSandboxConfig";

/// `PodSandboxConfig`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct PodConfig {
    #[prost(string, tag = "2")]
    pub(crate) hostname: String,
    #[prost(message, optional, tag = "4")]
    pub(crate) dns: Option<DnsConfig>,
    #[prost(message, optional, tag = "8")]
    pub(crate) linux: Option<LinuxConfig>,
}

/// `DNSConfig`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct DnsConfig {
    #[prost(string, repeated, tag = "1")]
    pub(crate) servers: Vec<String>,
    #[prost(string, repeated, tag = "2")]
    pub(crate) searches: Vec<String>,
    #[prost(string, repeated, tag = "3")]
    pub(crate) options: Vec<String>,
}

/// `LinuxPodSandboxConfig`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct LinuxConfig {
    #[prost(string, tag = "1")]
    pub(crate) cgroup_parent: String,
    #[prost(message, optional, tag = "2")]
    pub(crate) security: Option<SecurityContext>,
    #[prost(map = "string, string", tag = "3")]
    pub(crate) sysctls: HashMap<String, String>,
}

/// `LinuxSandboxSecurityContext`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct SecurityContext {
    #[prost(message, optional, tag = "1")]
    pub(crate) namespaces: Option<NamespaceOption>,
}

/// `NamespaceOption`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct NamespaceOption {
    #[prost(enumeration = "NamespaceMode", tag = "1")]
    pub(crate) network: i32,
    #[prost(enumeration = "NamespaceMode", tag = "2")]
    pub(crate) pid: i32,
    #[prost(enumeration = "NamespaceMode", tag = "3")]
    pub(crate) ipc: i32,
    #[prost(message, optional, tag = "5")]
    pub(crate) users: Option<UserNamespace>,
}

/// `UserNamespace`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct UserNamespace {
    #[prost(enumeration = "NamespaceMode", tag = "1")]
    pub(crate) mode: i32,
    #[prost(message, repeated, tag = "2")]
    pub(crate) uids: Vec<IdMapping>,
    #[prost(message, repeated, tag = "3")]
    pub(crate) gids: Vec<IdMapping>,
}

/// `IDMapping`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct IdMapping {
    #[prost(uint32, tag = "1")]
    pub(crate) host_id: u32,
    #[prost(uint32, tag = "2")]
    pub(crate) container_id: u32,
    #[prost(uint32, tag = "3")]
    pub(crate) length: u32,
}

/// Whose namespace a container is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, prost::Enumeration)]
#[repr(i32)]
pub(crate) enum NamespaceMode {
    /// One that all containers of the pod share.
    Pod = 0,
    /// One of its own.
    Container = 1,
    /// The host's.
    Node = 2,
    /// That of another container.
    Target = 3,
}

/// What the pod shares, and with whom.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Sharing {
    pub(crate) host_network: bool,
    pub(crate) host_ipc: bool,
    pub(crate) host_pid: bool,
    /// Whether the containers share a pid namespace of the pod.
    pub(crate) pid: bool,
    pub(crate) users: Option<UserNamespace>,
}

impl PodConfig {
    /// Parses the options of `CreateSandbox`.
    pub(crate) fn decode(any: &Any) -> Result<Self, Refusal> {
        let typ = any.type_url.rsplit('/').next().unwrap_or_default();
        if typ != TYPE {
            return Err(Refusal::invalid(format!(
                "the configuration of the pod is of type {typ:?}, not {TYPE}"
            )));
        }
        Self::decode_bytes(&any.value)
    }

    fn decode_bytes(bytes: &[u8]) -> Result<Self, Refusal> {
        <Self as Message>::decode(bytes)
            .map_err(|error| Refusal::invalid(format!("the configuration of the pod: {error}")))
    }

    /// What its containers share.
    pub(crate) fn sharing(&self) -> Result<Sharing, Refusal> {
        let options = self.namespaces();
        let host = |what: &str, mode: i32| match NamespaceMode::try_from(mode) {
            Ok(NamespaceMode::Pod | NamespaceMode::Container) => Ok(false),
            Ok(NamespaceMode::Node) => Ok(true),
            _ => Err(Refusal::invalid(format!("a pod has no {what} namespace of mode {mode}"))),
        };
        let users = options.users.filter(|users| users.mode != NamespaceMode::Node as i32);
        if let Some(users) = &users {
            if users.mode != NamespaceMode::Pod as i32 {
                return Err(Refusal::invalid(format!("a pod has no user namespace of mode {}", users.mode)));
            }
            if users.uids.is_empty() || users.gids.is_empty() {
                return Err(Refusal::invalid("the user namespace of the pod maps no users or no groups"));
            }
        }
        Ok(Sharing {
            host_network: host("network", options.network)?,
            host_ipc: host("ipc", options.ipc)?,
            host_pid: host("pid", options.pid)?,
            pid: options.pid == NamespaceMode::Pod as i32,
            users,
        })
    }

    fn namespaces(&self) -> NamespaceOption {
        let linux = self.linux.as_ref();
        linux
            .and_then(|linux| linux.security.as_ref())
            .and_then(|security| security.namespaces.clone())
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(namespaces: NamespaceOption) -> PodConfig {
        let security = Some(SecurityContext { namespaces: Some(namespaces) });
        PodConfig { linux: Some(LinuxConfig { security, ..LinuxConfig::default() }), ..PodConfig::default() }
    }

    fn any(value: Vec<u8>) -> Any {
        let mut any = Any::new();
        any.type_url = format!("type.googleapis.com/{TYPE}");
        any.value = value;
        any
    }

    #[test]
    fn what_is_shared_is_told_by_modes() {
        let pod = NamespaceOption { pid: NamespaceMode::Container as i32, ..NamespaceOption::default() };
        let sharing = with(pod.clone()).sharing().unwrap();
        assert_eq!((sharing.host_network, sharing.host_ipc, sharing.pid), (false, false, false));
        assert!(PodConfig::default().sharing().unwrap().pid, "the zero of the enumeration is POD");
        let node = NamespaceMode::Node as i32;
        let host = NamespaceOption { network: node, ipc: node, pid: node, users: None };
        let sharing = with(host).sharing().unwrap();
        assert_eq!((sharing.host_network, sharing.host_ipc, sharing.pid), (true, true, false));
        for wrong in [
            NamespaceOption { network: 3, ..pod.clone() },
            NamespaceOption { ipc: 9, ..pod.clone() },
            NamespaceOption { pid: -1, ..pod.clone() },
            NamespaceOption { users: Some(UserNamespace::default()), ..pod.clone() },
            NamespaceOption { users: Some(UserNamespace { mode: 1, ..UserNamespace::default() }), ..pod },
        ] {
            assert_eq!(with(wrong).sharing().unwrap_err().code, 3);
        }
    }

    #[test]
    fn other_types_and_cut_messages_are_refused() {
        let config = PodConfig { hostname: "blue".to_owned(), ..PodConfig::default() };
        let bytes = config.encode_to_vec();
        assert_eq!(PodConfig::decode(&any(bytes.clone())).unwrap(), config);
        assert_eq!(PodConfig::decode(&any(bytes[..3].to_vec())).unwrap_err().code, 3);
        let mut other = any(bytes);
        other.type_url = "runtime.v1.ContainerConfig".to_owned();
        assert_eq!(PodConfig::decode(&other).unwrap_err().code, 3);
        assert_eq!(PodConfig::decode(&Any::new()).unwrap_err().code, 3);
    }
}
