//! The seccomp filter of a container: `linux.seccomp` compiled to classic BPF.
//!
//! Container managers pass profiles that they tested with libseccomp and runc, so the filter must give the same verdict
//! on every call; the tests compare it with libseccomp (cargo feature `libseccomp`). Only the structure is our own: per
//! architecture a binary search over *ranges* of numbers with one verdict, and every argument check emitted once. That
//! halves the number of instructions, and needs no cache, since compiling costs less than reading one.
//!
//! # What the filter decides
//!
//! 1. `seccomp_data.arch` selects a section. The machine's own architecture always has one, listed or not; the kernel
//!    kills the thread that uses an architecture without one (`SECCOMP_RET_KILL_THREAD`, libseccomp's default, which
//!    runc keeps). x32 shares the token of `x86_64`: if only one of the two is listed, the numbers of the other are
//!    treated like a foreign architecture. The number -1 is exempt, since a tracer uses it to skip a call.
//! 2. The number selects a verdict. A name is looked up for each architecture; one that no architecture knows is
//!    skipped with a warning.
//! 3. An entry whose action equals the default action changes nothing and is skipped, as in runc.
//! 4. If several entries name one call, the first *unconditional* one decides, wherever it is. Otherwise the
//!    conditional ones are tried in the order that [`order`] explains, and if none fires, the default action applies.
//! 5. All conditions of an entry must hold. But if two of them test the same argument, all of the entry's conditions
//!    are alternatives: profiles written for the first Docker versions rely on that, and runc kept it.
//! 6. On 32-bit ABIs (x32 and MIPS n32 included) only the lower 32 bits of arguments and values are compared: the upper
//!    half of the register is not part of the argument. Everywhere else all 64 bits are.
//! 7. Where `socketcall` and `ipc` exist, a rule for `socket` also covers `socketcall` with `SYS_SOCKET` as its first
//!    argument. The rule's own condition on the first argument is lost there, because the real arguments are in memory,
//!    which no filter can read; libseccomp does the same. Denying `socketcall` is the only safe answer to that.
//!
//! # Calls that the profile's author could not know
//!
//! glibc tries new system calls and falls back on ENOSYS, but not on EPERM. So unless the default action lets calls
//! pass (ALLOW, LOG, TRACE), every number above the largest one that the profile mentions for the ABI gets ENOSYS, as
//! in runc. On s390 the kernel shows unknown calls as number 0, which is answered in the same way. We differ in two
//! points: a call that a rule names is never hidden this way, and ARM's private numbers (0xf0000 and up) are left out:
//! if the largest were one of them, as in Docker's profile, the whole mechanism would have no effect.

mod arch;
mod args;
mod assembler;
mod features;
mod notify;
mod order;
mod rules;
mod table;
mod tree;
mod validate;

#[cfg(test)]
mod interpreter;
#[cfg(all(test, feature = "libseccomp"))]
mod oracle;
#[cfg(test)]
mod reference;
#[cfg(test)]
mod tests;

use oci_spec::runtime::{Arch, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompFilterFlag};

use arch::Abi;
use assembler::Assembler;
use rules::Rules;
use tree::{Section, sections};

pub(crate) use features::{ACTIONS, ARCHITECTURES, FLAGS, OPERATORS};
pub(crate) use notify::Listener;
pub(crate) use validate::validate;

use crate::error::Error;
use crate::finding::Finding;

/// The kernel accepts no longer program (`BPF_MAXINSNS` of `linux/bpf_common.h`).
const MAX_INSTRUCTIONS: usize = 4096;

/// One instruction, laid out like `struct sock_filter` of linux/filter.h.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SockFilter {
    /// Operation.
    pub(crate) code: u16,
    /// How many instructions to skip if the comparison holds.
    pub(crate) jt: u8,
    /// How many to skip if it does not.
    pub(crate) jf: u8,
    /// Operand.
    pub(crate) k: u32,
}

/// A program for `seccomp(SECCOMP_SET_MODE_FILTER, flags, program)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Filter {
    /// At most 4096 instructions, never empty.
    pub(crate) instructions: Vec<SockFilter>,
    /// `SECCOMP_FILTER_FLAG_*`, `NEW_LISTENER` included when `notify` is set.
    pub(crate) flags: u32,
    /// Whether seccomp(2) will return a listener, which must go to `listenerPath`.
    pub(crate) notify: bool,
    /// Notes on what was skipped, has no effect, or cannot be checked everywhere.
    pub(crate) notes: Vec<Finding>,
}

impl Filter {
    /// The program in the form that the kernel takes and returns: 8 bytes for each instruction.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.instructions.len() * 8);
        for SockFilter { code, jt, jf, k } in &self.instructions {
            let ([c0, c1], [k0, k1, k2, k3]) = (code.to_ne_bytes(), k.to_ne_bytes());
            bytes.extend_from_slice(&[c0, c1, *jt, *jf, k0, k1, k2, k3]);
        }
        bytes
    }
}

/// Whether any architecture has a system call with this name.
pub(crate) fn knows(name: &str) -> bool {
    arch::lookup(name).is_some()
}

/// Compiles a profile for a machine whose own architecture is `native`.
///
/// Pure: no system call, no clock, no environment, and no panic on any input.
pub(crate) fn compile(seccomp: &LinuxSeccomp, native: Arch) -> crate::Result<Filter> {
    compile_with(seccomp, native, !passes(seccomp.default_action())).map_err(Error::from)
}

/// As [`compile`]; `stub` says whether unknown new calls get ENOSYS.
fn compile_with(seccomp: &LinuxSeccomp, native: Arch, stub: bool) -> Result<Filter, Finding> {
    if let Some(error) = validate(seccomp).into_iter().next() {
        return Err(error);
    }
    let mut notes = Vec::new();
    let abis = abis(seccomp, native, &mut notes)?;
    let default = action_word(seccomp.default_action(), seccomp.default_errno_ret());
    let mut rules = Rules::expand(seccomp, default)?;
    let sections: Vec<Section> = sections(&mut rules, &abis, default, stub);
    if let Some(error) = rules.contradiction {
        return Err(error);
    }
    // A clause takes at least one instruction: do not write what cannot fit.
    let clauses: usize = rules.chains.iter().map(|chain| chain.clauses.len()).sum();
    if clauses > MAX_INSTRUCTIONS {
        return Err(too_long(clauses));
    }
    let big_endian = abis.iter().any(|abi| abi.big_endian());
    let instructions = tree::emit(Assembler::new(big_endian), &sections, &rules.chains, default);
    if instructions.len() > MAX_INSTRUCTIONS {
        return Err(too_long(instructions.len()));
    }
    let notify = uses_notify(seccomp);
    notes.append(&mut rules.notes);
    Ok(Filter { instructions, flags: flags(seccomp, notify), notify, notes })
}

/// Something wrong with the profile; `at` is a pointer below `/linux/seccomp`, or empty.
fn mistake(at: impl AsRef<str>, message: impl Into<String>) -> Finding {
    Finding::error(format!("/linux/seccomp{}", at.as_ref()), message)
}

/// Something to know about the profile. It is no warning: every engine's default profile has parts without effect, and a
/// warning at each start would drown what matters.
fn note(at: impl AsRef<str>, message: impl Into<String>) -> Finding {
    Finding::note(format!("/linux/seccomp{}", at.as_ref()), message)
}

fn too_long(least: usize) -> Finding {
    let message = format!(
        "the filter needs at least {least} instructions, the kernel takes {MAX_INSTRUCTIONS}: use fewer conditions or architectures"
    );
    mistake("", message)
}

/// The ABIs that need sections, each once, the machine's own first.
fn abis(seccomp: &LinuxSeccomp, native: Arch, notes: &mut Vec<Finding>) -> Result<Vec<Abi>, Finding> {
    if native == Arch::ScmpArchNative {
        return Err(mistake("", "the architecture of this machine is not known"));
    }
    let own = Abi::of(native, native);
    let mut abis = vec![own];
    for (index, arch) in seccomp.architectures().iter().flatten().enumerate() {
        let abi = Abi::of(*arch, native);
        if abi.big_endian() != own.big_endian() {
            // No process of this machine can make calls of that ABI, so there is nothing to filter.
            let message =
                format!("{arch} has another byte order than this machine ({native}) and is left out");
            notes.push(note(format!("/architectures/{index}"), message));
        } else if !abis.contains(&abi) {
            abis.push(abi);
        }
    }
    Ok(abis)
}

/// The `SECCOMP_RET_*` value of an action.
fn action_word(action: LinuxSeccompAction, data: Option<u32>) -> u32 {
    // runc and crun use EPERM for both actions that carry a number.
    let data = data.unwrap_or(1) & 0xffff;
    match action {
        LinuxSeccompAction::ScmpActKill | LinuxSeccompAction::ScmpActKillThread => features::KILL_THREAD,
        LinuxSeccompAction::ScmpActKillProcess => features::KILL_PROCESS,
        LinuxSeccompAction::ScmpActTrap => features::TRAP,
        LinuxSeccompAction::ScmpActErrno => features::ERRNO | data,
        LinuxSeccompAction::ScmpActNotify => features::USER_NOTIF,
        LinuxSeccompAction::ScmpActTrace => features::TRACE | data,
        LinuxSeccompAction::ScmpActLog => features::LOG,
        LinuxSeccompAction::ScmpActAllow => features::ALLOW,
    }
}

/// Whether an unforeseen call goes through, or to a tracer that must know what to do with it.
fn passes(action: LinuxSeccompAction) -> bool {
    matches!(
        action,
        LinuxSeccompAction::ScmpActAllow | LinuxSeccompAction::ScmpActLog | LinuxSeccompAction::ScmpActTrace
    )
}

fn uses_notify(seccomp: &LinuxSeccomp) -> bool {
    let is_notify = |action| action == LinuxSeccompAction::ScmpActNotify;
    is_notify(seccomp.default_action())
        || seccomp.syscalls().iter().flatten().any(|entry| is_notify(entry.action()))
}

fn flags(seccomp: &LinuxSeccomp, notify: bool) -> u32 {
    // As in runc: a profile without flags should not slow the program down, and an empty list means that there are
    // none.
    let mut flags = if seccomp.flags().is_none() { features::FLAG_SPEC_ALLOW } else { 0 };
    for flag in seccomp.flags().iter().flatten() {
        flags |= match flag {
            // The process that loads the filter has no other threads, so there is nothing to synchronise.
            LinuxSeccompFilterFlag::SeccompFilterFlagTsync => 0,
            LinuxSeccompFilterFlag::SeccompFilterFlagLog => features::FLAG_LOG,
            LinuxSeccompFilterFlag::SeccompFilterFlagSpecAllow => features::FLAG_SPEC_ALLOW,
            LinuxSeccompFilterFlag::SeccompFilterFlagWaitKillableRecv => features::FLAG_WAIT_KILLABLE_RECV,
        };
    }
    if notify {
        flags |= features::FLAG_NEW_LISTENER;
    }
    flags
}
