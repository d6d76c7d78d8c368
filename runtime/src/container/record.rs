//! The record of a container, small enough that no operation except exec reads `config.json` again.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use oci_spec::runtime::{LinuxDeviceCgroup, Spec};
use serde::{Deserialize, Serialize};

use super::boot;
use super::identity::ProcessIdentity;
use crate::cgroup::CgroupRecord;
use crate::error::{Error, ErrorKind, Result};
use crate::hook::HookKind;
use crate::linux::intel_rdt::RdtMembership;

/// How long to wait for killed processes to leave their cgroups.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// The format of the document; another number means another version of wharf.
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
    /// The boot in which it was created; older versions did not record it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    boot: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) annotations: Option<BTreeMap<String, String>>,
    /// None while the creation is in progress.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) init: Option<ProcessIdentity>,
    /// In the record of the intent, what would be made.
    pub(crate) cgroup: CgroupRecord,
    /// `CLONE_NEW*` flags of the namespaces that are not the runtime's.
    pub(crate) namespaces: i32,
    /// The resctrl groups that it is in; in the record of the intent, those that would be made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) rdt: Option<RdtMembership>,
    /// The device rules from an update, which replace the configured ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) devices: Option<Vec<LinuxDeviceCgroup>>,
    /// Whether its mounts are in the runtime's mount namespace, below `rootfs`.
    #[serde(default)]
    pub(crate) host_mounts: bool,
    /// If so, the mount that `rootfs` was on before: as long as it still is, nothing of ours is mounted on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) mount_before: Option<u64>,
    #[serde(default)]
    pub(crate) new_keyring: bool,
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
            boot: boot::current(),
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
            mount_before: None,
            new_keyring: false,
            poststart: has(HookKind::Poststart),
            poststop: has(HookKind::Poststop),
        }
    }

    /// Parses a document; none if it is empty, truncated or in another format.
    ///
    /// What a reboot has ended is left out: the pid, cgroup or mount with that name now belongs to something else.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let record: Self = serde_json::from_slice(bytes).ok()?;
        if record.format != FORMAT {
            return None;
        }
        Some(if record.is_of_another_boot() { record.after_reboot() } else { record })
    }

    /// Whether the machine has been booted since.
    pub(crate) fn is_of_another_boot(&self) -> bool {
        boot::is_over(self.boot.as_deref())
    }

    /// Whether the version that wrote it records when a creation enters its cgroup.
    pub(crate) fn notes_cgroup(&self) -> bool {
        self.boot.is_some()
    }

    fn after_reboot(self) -> Self {
        let cgroup = CgroupRecord { dirs: Vec::new(), made: Vec::new(), scope: None, ..self.cgroup };
        Self { init: None, cgroup, rdt: None, host_mounts: false, ..self }
    }

    /// The document.
    ///
    /// # Errors
    ///
    /// If it cannot be written as JSON: a path is not UTF-8.
    pub(crate) fn to_json(&self) -> Result<Vec<u8>> {
        serde_json::to_vec(self).map_err(|error| {
            Error::new(ErrorKind::Unsupported, format!("record container {:?}: {error}", self.id))
        })
    }
}
