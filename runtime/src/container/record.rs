//! What is written down about a container, small enough that no operation but exec reads `config.json` again.

use std::collections::BTreeMap;
use std::path::PathBuf;

use oci_spec::runtime::{LinuxDeviceCgroup, Spec};
use serde::{Deserialize, Serialize};

use super::identity::ProcessIdentity;
use crate::cgroup::CgroupRecord;
use crate::hook::HookKind;
use crate::linux::intel_rdt::Membership;

/// The form of the document; another number is another version of wharf.
const FORMAT: u32 = 1;

/// A container as its creation left it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Record {
    format: u32,
    pub(crate) id: String,
    pub(crate) oci_version: String,
    pub(crate) bundle: PathBuf,
    pub(crate) rootfs: PathBuf,
    pub(crate) created: String,
    pub(crate) owner: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) annotations: Option<BTreeMap<String, String>>,
    /// None while the creation is under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) init: Option<ProcessIdentity>,
    /// In the record of the intent, what would be made.
    pub(crate) cgroup: CgroupRecord,
    /// `CLONE_NEW*` flags of the namespaces that are not the runtime's.
    pub(crate) namespaces: i32,
    /// The resctrl groups that it is in; in the record of the intent, those that would be made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) rdt: Option<Membership>,
    /// The device rules that an update has put in the place of the configured ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) devices: Option<Vec<LinuxDeviceCgroup>>,
    /// Whether its mounts are in the runtime's mount namespace, below `rootfs`.
    #[serde(default)]
    pub(crate) host_mounts: bool,
    #[serde(default)]
    pub(crate) new_keyring: bool,
    /// How many descriptors were passed on besides the standard streams.
    #[serde(default)]
    pub(crate) preserved: u32,
    /// Kinds of hooks that later operations have to run.
    #[serde(default)]
    pub(crate) poststart: bool,
    #[serde(default)]
    pub(crate) poststop: bool,
}

impl Record {
    /// The record of an intent.
    pub(crate) fn intent(
        id: &str,
        spec: &Spec,
        bundle: PathBuf,
        rootfs: PathBuf,
        cgroup: CgroupRecord,
        namespaces: i32,
    ) -> Self {
        let has = |kind: HookKind| spec.hooks().as_ref().is_some_and(|hooks| !kind.of(hooks).is_empty());
        Self {
            format: FORMAT,
            id: id.to_owned(),
            oci_version: spec.version().clone(),
            bundle,
            rootfs,
            created: jiff::Timestamp::now().to_string(),
            owner: nix::unistd::geteuid().as_raw(),
            annotations: spec
                .annotations()
                .as_ref()
                .map(|all| all.iter().map(|(key, value)| (key.clone(), value.clone())).collect()),
            init: None,
            cgroup,
            namespaces,
            rdt: None,
            devices: None,
            host_mounts: namespaces & libc::CLONE_NEWNS == 0,
            new_keyring: false,
            preserved: 0,
            poststart: has(HookKind::Poststart),
            poststop: has(HookKind::Poststop),
        }
    }

    /// Reads a document; none if it is empty, cut or of another format.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok().filter(|record: &Self| record.format == FORMAT)
    }

    /// The document.
    pub(crate) fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }
}
