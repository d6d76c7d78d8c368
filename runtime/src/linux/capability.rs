//! Capabilities: the five sets of a process (capabilities(7)).

use oci_spec::runtime::{Capabilities, Capability, LinuxCapabilities};

use crate::program::blame::{Blame, Place};
use crate::program::{Op, Program};

/// The kernel's number of a capability (include/uapi/linux/capability.h).
pub(crate) const fn number(capability: Capability) -> u32 {
    match capability {
        Capability::Chown => 0,
        Capability::DacOverride => 1,
        Capability::DacReadSearch => 2,
        Capability::Fowner => 3,
        Capability::Fsetid => 4,
        Capability::Kill => 5,
        Capability::Setgid => 6,
        Capability::Setuid => 7,
        Capability::Setpcap => 8,
        Capability::LinuxImmutable => 9,
        Capability::NetBindService => 10,
        Capability::NetBroadcast => 11,
        Capability::NetAdmin => 12,
        Capability::NetRaw => 13,
        Capability::IpcLock => 14,
        Capability::IpcOwner => 15,
        Capability::SysModule => 16,
        Capability::SysRawio => 17,
        Capability::SysChroot => 18,
        Capability::SysPtrace => 19,
        Capability::SysPacct => 20,
        Capability::SysAdmin => 21,
        Capability::SysBoot => 22,
        Capability::SysNice => 23,
        Capability::SysResource => 24,
        Capability::SysTime => 25,
        Capability::SysTtyConfig => 26,
        Capability::Mknod => 27,
        Capability::Lease => 28,
        Capability::AuditWrite => 29,
        Capability::AuditControl => 30,
        Capability::Setfcap => 31,
        Capability::MacOverride => 32,
        Capability::MacAdmin => 33,
        Capability::Syslog => 34,
        Capability::WakeAlarm => 35,
        Capability::BlockSuspend => 36,
        Capability::AuditRead => 37,
        Capability::Perfmon => 38,
        Capability::Bpf => 39,
        Capability::CheckpointRestore => 40,
    }
}

/// The mask of `CAP_SYS_ADMIN`.
pub(crate) const SYS_ADMIN: u64 = 1 << number(Capability::SysAdmin);

/// The mask of `CAP_SYS_NICE`.
pub(crate) const SYS_NICE: u64 = 1 << number(Capability::SysNice);

/// The mask of `CAP_SYS_RESOURCE`.
pub(crate) const SYS_RESOURCE: u64 = 1 << number(Capability::SysResource);

/// The mask of `CAP_SYS_PTRACE`.
pub(crate) const SYS_PTRACE: u64 = 1 << number(Capability::SysPtrace);

/// A set as a bit mask; an absent set is empty.
pub(crate) fn mask(set: Option<&Capabilities>) -> u64 {
    set.into_iter().flatten().fold(0, |mask, capability| mask | 1 << number(*capability))
}

/// The sets of a configuration as masks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Masks {
    pub(crate) bounding: u64,
    pub(crate) effective: u64,
    pub(crate) inheritable: u64,
    pub(crate) permitted: u64,
    pub(crate) ambient: u64,
}

impl Masks {
    /// The sets that `config.json` asks for; without the object, none.
    pub(crate) fn of(capabilities: Option<&LinuxCapabilities>) -> Self {
        capabilities.map_or_else(Self::default, |sets| Self {
            bounding: mask(sets.bounding().as_ref()),
            effective: mask(sets.effective().as_ref()),
            inheritable: mask(sets.inheritable().as_ref()),
            permitted: mask(sets.permitted().as_ref()),
            ambient: mask(sets.ambient().as_ref()),
        })
    }

    /// Leaves out what the runtime itself does not hold: the spec asks for a warning, not a failure (config.md,
    /// capabilities). Returns what was left out.
    pub(crate) fn limit(&mut self, grantable: u64) -> u64 {
        let asked = self.bounding | self.effective | self.inheritable | self.permitted | self.ambient;
        for set in [
            &mut self.bounding,
            &mut self.effective,
            &mut self.inheritable,
            &mut self.permitted,
            &mut self.ambient,
        ] {
            *set &= grantable;
        }
        asked & !grantable
    }

    /// The step that shrinks the bounding set, which needs `CAP_SETPCAP` and comes before the ids change.
    pub(crate) fn plan_bounding(&self, program: &mut Program) {
        program.push(
            Op::BoundingSet(self.bounding),
            Blame::new("limit the bounding set of capabilities", Place::of("/process/capabilities/bounding")),
        );
    }

    /// The step that finally drops `kept`, unless the final sets include it.
    pub(crate) fn keep_only(&self, kept: u64) -> Option<Op> {
        let Self { effective, permitted, inheritable, .. } = *self;
        (effective & permitted & kept != kept).then_some(Op::KeepCapabilities {
            effective,
            permitted,
            inheritable,
        })
    }

    /// The steps that set the other sets, after the ids changed; `keep` is held in addition until it is shed.
    pub(crate) fn plan_sets(&self, program: &mut Program, keep: u64) {
        let place = Place::of("/process/capabilities");
        let Self { effective, permitted, inheritable, .. } = *self;
        program.push(
            Op::Capabilities { effective: effective | keep, permitted: permitted | keep, inheritable },
            Blame::new("set the capabilities", place),
        );
        // The kernel raises only what is both permitted and inheritable; the check has warned about the rest.
        program.push(
            Op::Ambient(self.ambient & permitted & inheritable),
            Blame::new("raise an ambient capability", Place::of("/process/capabilities/ambient")),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_the_kernel() {
        for capability in caps::all() {
            let name = capability.to_string();
            let ours: Capability =
                name.trim_start_matches("CAP_").parse().expect("a name that oci-spec knows");
            assert_eq!(number(ours), u32::from(capability.index()), "{name}");
        }
    }

    #[test]
    fn what_cannot_be_granted_is_left_out_and_told() {
        let mut masks = Masks { bounding: 0b111, effective: 0b101, ..Masks::default() };
        assert_eq!(masks.limit(0b011), 0b100);
        assert_eq!(masks, Masks { bounding: 0b011, effective: 0b001, ..Masks::default() });
    }
}
