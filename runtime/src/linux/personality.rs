//! Execution domain (personality(2)).

use oci_spec::runtime::{LinuxPersonality, LinuxPersonalityDomain};

/// The persona of a domain.
pub(crate) fn persona(personality: &LinuxPersonality) -> u64 {
    match personality.domain() {
        LinuxPersonalityDomain::PerLinux => 0,
        LinuxPersonalityDomain::PerLinux32 => 8,
    }
}
