//! NUMA memory policy (`set_mempolicy(2)`).

use oci_spec::runtime::{LinuxMemoryPolicy, MemoryPolicyFlagType, MemoryPolicyModeType};

use crate::error::{Error, ErrorKind};

/// The mode with its flags, as the kernel takes it (include/uapi/linux/mempolicy.h).
pub(crate) fn mode(policy: &LinuxMemoryPolicy) -> i32 {
    let mode = match policy.mode() {
        MemoryPolicyModeType::MpolDefault => 0,
        MemoryPolicyModeType::MpolPreferred => 1,
        MemoryPolicyModeType::MpolBind => 2,
        MemoryPolicyModeType::MpolInterleave => 3,
        MemoryPolicyModeType::MpolLocal => 4,
        MemoryPolicyModeType::MpolPreferredMany => 5,
        MemoryPolicyModeType::MpolWeightedInterleave => 6,
    };
    policy.flags().iter().flatten().fold(mode, |all, flag| {
        all | match flag {
            MemoryPolicyFlagType::MpolFStaticNodes => 1 << 15,
            MemoryPolicyFlagType::MpolFRelativeNodes => 1 << 14,
            MemoryPolicyFlagType::MpolFNumaBalancing => 1 << 13,
        }
    })
}

/// The error for a list of nodes without a mask.
pub(crate) fn malformed() -> Error {
    Error::new(ErrorKind::InvalidSpec, "the memory nodes are not a list of numbers and ranges")
        .at("/linux/memoryPolicy/nodes")
}

/// The node mask; empty if no nodes are named. `None` if the list is malformed.
pub(crate) fn nodes(policy: &LinuxMemoryPolicy) -> Option<Vec<u8>> {
    match policy.nodes().as_deref() {
        None | Some("") => Some(Vec::new()),
        Some(list) => super::affinity::mask(list),
    }
}
