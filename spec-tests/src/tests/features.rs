//! The features document: rows A223 to A236.

use crate::observe::strings;
use crate::outcome::{Outcome, check, fail, skip};
use crate::{Bed, Test, anyone};
use serde_json::Value;

pub(super) const TESTS: &[Test] = &[
    anyone("A223", "features tells the range of versions", |bed| {
        let features = features(bed)?;
        for key in ["ociVersionMin", "ociVersionMax"] {
            let version = features[key].as_str().unwrap_or_default();
            check(version.split('.').count() >= 3, || format!("{key}: {version:?}"))?;
        }
        Ok(())
    }),
    anyone("A224", "features lists the six kinds of hooks", |bed| {
        lists(
            bed,
            "/hooks",
            &["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"],
        )
    }),
    anyone("A225", "features lists the mount options that must be supported", |bed| {
        lists(
            bed,
            "/mountOptions",
            &[
                "async",
                "atime",
                "bind",
                "defaults",
                "dev",
                "diratime",
                "dirsync",
                "exec",
                "iversion",
                "lazytime",
                "loud",
                "noatime",
                "nodev",
                "nodiratime",
                "noexec",
                "noiversion",
                "nolazytime",
                "norelatime",
                "nostrictatime",
                "nosuid",
                "private",
                "rbind",
                "relatime",
                "remount",
                "ro",
                "rprivate",
                "rshared",
                "rslave",
                "runbindable",
                "rw",
                "shared",
                "silent",
                "slave",
                "strictatime",
                "suid",
                "sync",
                "unbindable",
            ],
        )
    }),
    anyone("A225", "features lists the recursive and the other recommended mount options", |bed| {
        lists(
            bed,
            "/mountOptions",
            &[
                "idmap",
                "ridmap",
                "nosymfollow",
                "symfollow",
                "rnosymfollow",
                "rsymfollow",
                "ratime",
                "rdev",
                "rdiratime",
                "rexec",
                "rnoatime",
                "rnodiratime",
                "rnodev",
                "rnoexec",
                "rnorelatime",
                "rnostrictatime",
                "rnosuid",
                "rrelatime",
                "rro",
                "rrw",
                "rstrictatime",
                "rsuid",
                "tmpcopyup",
            ],
        )
    }),
    anyone("A226", "features lists the eight kinds of namespaces", |bed| {
        lists(bed, "/linux/namespaces", &["cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts"])
    }),
    anyone("A227", "features lists the capabilities", |bed| {
        lists(
            bed,
            "/linux/capabilities",
            &["CAP_CHOWN", "CAP_SYS_ADMIN", "CAP_BPF", "CAP_CHECKPOINT_RESTORE"],
        )
    }),
    anyone("A228", "features tells what is known of cgroups", |bed| {
        let features = features(bed)?;
        for key in ["v1", "v2", "systemd", "systemdUser", "rdma"] {
            let value = &features["linux"]["cgroup"][key];
            check(value.is_boolean(), || format!("cgroup.{key}: {value}"))?;
        }
        Ok(())
    }),
    anyone("A229", "features tells what is known of seccomp", |bed| {
        lists(
            bed,
            "/linux/seccomp/actions",
            &[
                "SCMP_ACT_ALLOW",
                "SCMP_ACT_ERRNO",
                "SCMP_ACT_KILL",
                "SCMP_ACT_KILL_PROCESS",
                "SCMP_ACT_KILL_THREAD",
                "SCMP_ACT_LOG",
                "SCMP_ACT_NOTIFY",
                "SCMP_ACT_TRACE",
                "SCMP_ACT_TRAP",
            ],
        )?;
        lists(
            bed,
            "/linux/seccomp/operators",
            &[
                "SCMP_CMP_EQ",
                "SCMP_CMP_GE",
                "SCMP_CMP_GT",
                "SCMP_CMP_LE",
                "SCMP_CMP_LT",
                "SCMP_CMP_MASKED_EQ",
                "SCMP_CMP_NE",
            ],
        )?;
        lists(
            bed,
            "/linux/seccomp/archs",
            &["SCMP_ARCH_X86_64", "SCMP_ARCH_AARCH64", "SCMP_ARCH_RISCV64", "SCMP_ARCH_LOONGARCH64"],
        )?;
        lists(
            bed,
            "/linux/seccomp/knownFlags",
            &[
                "SECCOMP_FILTER_FLAG_TSYNC",
                "SECCOMP_FILTER_FLAG_LOG",
                "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
                "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV",
            ],
        )?;
        lists(bed, "/linux/seccomp/supportedFlags", &[])
    }),
    anyone("A230", "features tells whether AppArmor and SELinux are known", |bed| {
        let features = features(bed)?;
        for key in ["apparmor", "selinux"] {
            check(features["linux"][key]["enabled"].is_boolean(), || {
                format!("{key}: {}", features["linux"][key])
            })?;
        }
        Ok(())
    }),
    anyone("A231", "features tells what is known of Intel RDT", |bed| {
        let features = features(bed)?;
        for key in ["enabled", "schemata", "monitoring"] {
            let value = &features["linux"]["intelRdt"][key];
            check(value.is_boolean(), || format!("intelRdt.{key}: {value}"))?;
        }
        Ok(())
    }),
    anyone("A232", "features lists the modes and flags of the memory policy", |bed| {
        lists(
            bed,
            "/linux/memoryPolicy/modes",
            &[
                "MPOL_DEFAULT",
                "MPOL_BIND",
                "MPOL_INTERLEAVE",
                "MPOL_WEIGHTED_INTERLEAVE",
                "MPOL_PREFERRED",
                "MPOL_PREFERRED_MANY",
                "MPOL_LOCAL",
            ],
        )?;
        lists(
            bed,
            "/linux/memoryPolicy/flags",
            &["MPOL_F_NUMA_BALANCING", "MPOL_F_RELATIVE_NODES", "MPOL_F_STATIC_NODES"],
        )
    }),
    anyone("A233", "features tells whether id-mapped mounts are supported", |bed| {
        let value = &features(bed)?["linux"]["mountExtensions"]["idmap"]["enabled"];
        check(value.is_boolean(), || format!("{value}"))
    }),
    anyone("A234", "features tells whether network devices are supported", |bed| {
        let value = &features(bed)?["linux"]["netDevices"]["enabled"];
        check(value.is_boolean(), || format!("{value}"))
    }),
    anyone("A235", "features lists annotations that can weaken a container", |bed| {
        lists(bed, "/potentiallyUnsafeConfigAnnotations", &[])
    }),
    anyone("A236", "features has no property that its ociVersionMax does not know", |bed| {
        let features = features(bed)?;
        let newest = features["ociVersionMax"].as_str().unwrap_or_default();
        let minor: u32 = newest.split('.').nth(1).and_then(|n| n.parse().ok()).unwrap_or(0);
        for (pointer, since) in [
            ("/linux/mountExtensions", 2),
            ("/potentiallyUnsafeConfigAnnotations", 2),
            ("/linux/netDevices", 3),
            ("/linux/memoryPolicy", 3),
            ("/linux/intelRdt/schemata", 3),
            ("/linux/intelRdt/monitoring", 3),
        ] {
            check(features.pointer(pointer).is_none() || minor >= since, || {
                format!("{pointer} with ociVersionMax {newest}")
            })?;
        }
        Ok(())
    }),
];

fn features(bed: &Bed<'_>) -> Outcome<Value> {
    let called = bed.call(["features"])?;
    if called.status.success() {
        return called.json();
    }
    fail("there is no `features` command")
}

fn lists(bed: &Bed<'_>, pointer: &str, wanted: &[&str]) -> Outcome {
    let features = features(bed)?;
    let Some(list) = features.pointer(pointer).filter(|list| list.is_array()) else {
        return fail(format!("no list {pointer}"));
    };
    let missing: Vec<_> = wanted.iter().filter(|word| !strings(list).contains(word)).copied().collect();
    check(missing.is_empty(), || format!("{pointer} lacks {}", missing.join(" ")))
}

/// Skips unless the runtime says that it honours an annotation.
pub(super) fn lists_annotation(bed: &Bed<'_>, wanted: &str) -> Outcome {
    let listed = bed.call(["features"])?.json().is_ok_and(|features| {
        let names = strings(&features["potentiallyUnsafeConfigAnnotations"]);
        names.into_iter().any(|name| name == wanted || name.ends_with('.') && wanted.starts_with(name))
    });
    if listed { Ok(()) } else { skip("the runtime does not list the annotation") }
}
