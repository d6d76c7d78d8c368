//! `linux.personality`, `linux.memoryPolicy`, `linux.mountLabel` and `linux.rootfsPropagation`.

use oci_spec::runtime::{
    Linux, LinuxMemoryPolicy, MemoryPolicyFlagType as Flag, MemoryPolicyModeType as Mode,
};

use super::list;
use crate::finding::Report;
use crate::linux::lsm;

pub(super) fn check(linux: &Linux, report: &mut Report) {
    if let Some(personality) = linux.personality()
        && personality.flags().as_ref().is_some_and(|flags| !flags.is_empty())
    {
        // config-linux.md: "Currently no flag values are supported."
        report.error("/linux/personality/flags", "the spec has no flags");
    }
    if let Some(policy) = linux.memory_policy() {
        check_memory_policy(policy, report);
    }
    if lsm::mount_label(Some(linux)).is_some_and(|label| !lsm::is_context(label)) {
        report.error("/linux/mountLabel", lsm::NO_CONTEXT);
    }
    if let Some(word) = linux.rootfs_propagation()
        && !matches!(
            word.as_str(),
            "shared" | "slave" | "private" | "unbindable" | "rshared" | "rslave" | "rprivate" | "runbindable"
        )
    {
        report.error(
            "/linux/rootfsPropagation",
            format!("rootfsPropagation={word} is not supported: use shared, slave, private or unbindable, or one of these with an r in front"),
        );
    }
}

/// The rules of `set_mempolicy(2)`.
fn check_memory_policy(policy: &LinuxMemoryPolicy, report: &mut Report) {
    let at = "/linux/memoryPolicy";
    let mode = policy.mode();
    let has = |flag| policy.flags().iter().flatten().any(|other| *other == flag);
    let nodes = policy.nodes().as_deref().unwrap_or_default();
    match list::parse(nodes) {
        // The first clauses are runc's.
        Err(message) => {
            report.error(format!("{at}/nodes"), format!("invalid memory policy nodes {nodes:?}: {message}"));
        }
        Ok(nodes) => {
            let none = nodes.is_empty();
            match mode {
                Mode::MpolDefault | Mode::MpolLocal if !none => {
                    let count = list::count(nodes);
                    report.error(
                        format!("{at}/nodes"),
                        format!("memory policy mode requires 0 nodes but got {count}: {mode} takes none"),
                    );
                }
                Mode::MpolBind
                | Mode::MpolInterleave
                | Mode::MpolWeightedInterleave
                | Mode::MpolPreferredMany
                    if none =>
                {
                    report.error(
                        format!("{at}/nodes"),
                        format!(
                            "memory policy mode requires at least one node but got 0: the mode is {mode}"
                        ),
                    );
                }
                _ => {}
            }
            let placed = has(Flag::MpolFRelativeNodes) || has(Flag::MpolFStaticNodes);
            if placed && none && matches!(mode, Mode::MpolPreferred | Mode::MpolLocal) {
                report
                    .error(format!("{at}/flags"), format!("{mode} without nodes takes no flags about nodes"));
            }
        }
    }
    if has(Flag::MpolFRelativeNodes) && has(Flag::MpolFStaticNodes) {
        report
            .error(format!("{at}/flags"), "MPOL_F_RELATIVE_NODES and MPOL_F_STATIC_NODES exclude each other");
    }
    if has(Flag::MpolFNumaBalancing) && !matches!(mode, Mode::MpolBind | Mode::MpolPreferredMany) {
        report.error(format!("{at}/flags"), format!("MPOL_F_NUMA_BALANCING cannot be combined with {mode}"));
    }
}
