//! The features document (features.md of the runtime specification): what this build recognises.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::cgroup::{ANNOTATION_PREFIX, SUB_GROUP_ANNOTATION};
use crate::check::schema::CAPABILITY_NAMES;
use crate::linux::mount::options::WORDS as MOUNT_OPTIONS;
use crate::linux::seccomp::{ACTIONS, ARCHITECTURES, FLAGS, OPERATORS};

/// What this build of wharf recognises, as the features document of the runtime specification defines it.
///
/// It says nothing about the host: a feature is listed if it is compiled in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Features {
    oci_version_min: &'static str,
    oci_version_max: &'static str,
    hooks: Vec<&'static str>,
    mount_options: Vec<&'static str>,
    linux: Linux,
    annotations: BTreeMap<&'static str, &'static str>,
    potentially_unsafe_config_annotations: Vec<&'static str>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Linux {
    namespaces: Vec<&'static str>,
    capabilities: Vec<&'static str>,
    cgroup: CgroupFeatures,
    seccomp: Seccomp,
    apparmor: Enabled,
    selinux: Enabled,
    intel_rdt: IntelRdt,
    memory_policy: MemoryPolicy,
    mount_extensions: MountExtensions,
    net_devices: Enabled,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct CgroupFeatures {
    v1: bool,
    v2: bool,
    systemd: bool,
    systemd_user: bool,
    rdma: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Seccomp {
    enabled: bool,
    actions: Vec<&'static str>,
    operators: Vec<&'static str>,
    archs: Vec<&'static str>,
    known_flags: Vec<&'static str>,
    supported_flags: Vec<&'static str>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Enabled {
    enabled: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct IntelRdt {
    enabled: bool,
    schemata: bool,
    monitoring: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct MemoryPolicy {
    modes: Vec<&'static str>,
    flags: Vec<&'static str>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct MountExtensions {
    idmap: Enabled,
}

/// Lists that other modules own: the module that implements a word lists it.
struct KnownWords<'a> {
    mount_options: &'a [&'static str],
    capabilities: &'a [&'static str],
    seccomp_actions: Vec<&'static str>,
    seccomp_operators: Vec<&'static str>,
    seccomp_archs: Vec<&'static str>,
    seccomp_flags: Vec<&'static str>,
    memory_policy_modes: &'a [&'static str],
    memory_policy_flags: &'a [&'static str],
    cgroup: CgroupFeatures,
    apparmor: bool,
    selinux: bool,
    intel_rdt: bool,
    net_devices: bool,
    idmap: bool,
    checkpoint: bool,
}

/// What this build of wharf recognises.
pub fn features() -> Features {
    describe(wired())
}

/// The one place where the lists of the other modules come together.
fn wired() -> KnownWords<'static> {
    KnownWords {
        mount_options: &MOUNT_OPTIONS,
        capabilities: CAPABILITY_NAMES,
        seccomp_actions: ACTIONS.map(|(name, _)| name).to_vec(),
        seccomp_operators: OPERATORS.to_vec(),
        seccomp_archs: ARCHITECTURES.to_vec(),
        seccomp_flags: FLAGS.map(|(name, _)| name).to_vec(),
        memory_policy_modes: MEMORY_POLICY_MODES,
        memory_policy_flags: MEMORY_POLICY_FLAGS,
        cgroup: CgroupFeatures {
            v1: true,
            v2: true,
            systemd: cfg!(feature = "systemd"),
            systemd_user: cfg!(feature = "systemd"),
            rdma: true,
        },
        apparmor: true,
        selinux: true,
        intel_rdt: true,
        net_devices: true,
        idmap: true,
        checkpoint: cfg!(feature = "criu"),
    }
}

fn describe(known: KnownWords<'_>) -> Features {
    let sorted = |words: &[&'static str]| {
        let mut words = words.to_vec();
        words.sort_unstable();
        words
    };
    Features {
        oci_version_min: "1.0.0",
        oci_version_max: "1.3.0",
        // In the order in which they run.
        hooks: vec![
            "prestart",
            "createRuntime",
            "createContainer",
            "startContainer",
            "poststart",
            "poststop",
        ],
        mount_options: sorted(known.mount_options),
        linux: Linux {
            namespaces: vec!["cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts"],
            capabilities: sorted(known.capabilities),
            cgroup: known.cgroup,
            seccomp: Seccomp {
                enabled: !known.seccomp_actions.is_empty(),
                actions: sorted(&known.seccomp_actions),
                operators: sorted(&known.seccomp_operators),
                archs: sorted(&known.seccomp_archs),
                known_flags: sorted(&known.seccomp_flags),
                supported_flags: sorted(&known.seccomp_flags),
            },
            apparmor: Enabled { enabled: known.apparmor },
            selinux: Enabled { enabled: known.selinux },
            intel_rdt: IntelRdt {
                enabled: known.intel_rdt,
                schemata: known.intel_rdt,
                monitoring: known.intel_rdt,
            },
            memory_policy: MemoryPolicy {
                modes: sorted(known.memory_policy_modes),
                flags: sorted(known.memory_policy_flags),
            },
            mount_extensions: MountExtensions { idmap: Enabled { enabled: known.idmap } },
            net_devices: Enabled { enabled: known.net_devices },
        },
        annotations: BTreeMap::from([
            ("io.wharf.checkpoint.enabled", if known.checkpoint { "true" } else { "false" }),
            ("io.wharf.version", env!("CARGO_PKG_VERSION")),
        ]),
        // The file that the first one names can make criu run programs.
        potentially_unsafe_config_annotations: known
            .checkpoint
            .then_some("org.criu.config")
            .into_iter()
            .chain(
                known
                    .cgroup
                    .systemd
                    .then_some([ANNOTATION_PREFIX, SUB_GROUP_ANNOTATION])
                    .into_iter()
                    .flatten(),
            )
            .chain([
                crate::container::KEEP_GROUPS,
                "run.oci.pidfd_receiver",
                "run.oci.seccomp.receiver",
                "run.oci.seccomp_fail_unknown_syscall",
            ])
            .collect(),
    }
}

const MEMORY_POLICY_MODES: &[&str] = &[
    "MPOL_BIND",
    "MPOL_DEFAULT",
    "MPOL_INTERLEAVE",
    "MPOL_LOCAL",
    "MPOL_PREFERRED",
    "MPOL_PREFERRED_MANY",
    "MPOL_WEIGHTED_INTERLEAVE",
];

const MEMORY_POLICY_FLAGS: &[&str] =
    &["MPOL_F_NUMA_BALANCING", "MPOL_F_RELATIVE_NODES", "MPOL_F_STATIC_NODES"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_is_the_reviewed_one() {
        // Whatever features this test build has.
        let mut document = describe(KnownWords { checkpoint: true, ..wired() });
        assert_eq!(document.annotations.insert("io.wharf.version", "V"), Some(env!("CARGO_PKG_VERSION")));
        // The other feature that changes the document.
        let enabled = cfg!(feature = "systemd");
        let cgroup = &mut document.linux.cgroup;
        assert_eq!((cgroup.systemd, cgroup.systemd_user), (enabled, enabled));
        (cgroup.systemd, cgroup.systemd_user) = (true, true);
        let unsafe_annotations = &mut document.potentially_unsafe_config_annotations;
        let of_systemd = [ANNOTATION_PREFIX, SUB_GROUP_ANNOTATION];
        assert!(of_systemd.iter().all(|name| unsafe_annotations.contains(name) == enabled));
        unsafe_annotations.retain(|name| !of_systemd.contains(name));
        unsafe_annotations.splice(..0, of_systemd);
        insta::assert_json_snapshot!(document);
    }

    #[test]
    fn no_word_is_listed_twice() {
        let known = wired();
        for words in [known.mount_options, known.capabilities, &known.seccomp_archs, &known.seccomp_actions] {
            let unique: std::collections::BTreeSet<_> = words.iter().collect();
            assert_eq!(unique.len(), words.len());
        }
    }

    /// oci-spec parses the document the way managers written in Rust do.
    #[test]
    fn the_types_of_other_programs_understand_it() {
        let text = serde_json::to_string(&features()).unwrap();
        let parsed: oci_spec::runtime::Features = serde_json::from_str(&text).unwrap();
        assert_eq!(parsed.mount_options().as_ref().unwrap().len(), MOUNT_OPTIONS.len());
        assert_eq!(
            parsed.linux().as_ref().unwrap().capabilities().as_ref().unwrap().len(),
            CAPABILITY_NAMES.len()
        );
    }
}
