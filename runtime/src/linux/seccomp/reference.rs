//! What a profile means for one call, evaluated entry by entry: slow, and written independently of the compiler.

use oci_spec::runtime::{Arch, LinuxSeccomp, LinuxSeccompArg, LinuxSeccompOperator, LinuxSyscall};

use super::action_word;
use super::arch::{Abi, Target, X32_BIT, X86_64, lookup};
use super::features::{ERRNO, KILL_THREAD};
use super::interpreter::Data;

/// `AUDIT_ARCH_ARM`.
const ARM: u32 = 0x4000_0028;

/// The actions that the profile allows for the call; more than one if entries with different actions match it.
pub(super) fn evaluate(seccomp: &LinuxSeccomp, native: Arch, stub: bool, data: &Data) -> Vec<u32> {
    let default = action_word(seccomp.default_action(), seccomp.default_errno_ret());
    let mut abis = vec![Abi::of(native, native)];
    abis.extend(seccomp.architectures().iter().flatten().map(|arch| Abi::of(*arch, native)));
    abis.retain(|abi| abi.token == data.token);
    if abis.is_empty() {
        return vec![KILL_THREAD];
    }
    let Some(abi) = abis.iter().find(|abi| data.token != X86_64 || abi.is_x32() == (data.number >= X32_BIT))
    else {
        return vec![if data.number == u32::MAX { default } else { KILL_THREAD }];
    };
    let entries = || seccomp.syscalls().iter().flatten();
    let named = |entry: &LinuxSyscall| {
        let names = entry.names().iter();
        names.filter_map(|name| lookup(name)).flat_map(|row| abi.targets(row)).flatten().collect::<Vec<_>>()
    };
    let mut matched = Vec::new();
    let mut always = None;
    for entry in entries() {
        let action = action_word(entry.action(), entry.errno_ret());
        if action == default {
            continue;
        }
        for target in named(entry) {
            let args = entry.args().as_deref().unwrap_or_default();
            match target {
                Target::Direct(number) if number == data.number => match holds(args, data, abi.wide, false) {
                    Some(Match::Always) => always = always.or(Some(action)),
                    Some(Match::Here) => matched.push(action),
                    None => {}
                },
                Target::Multiplexed(number, call) if number == data.number => {
                    let first = if abi.wide { data.args[0] } else { data.args[0] & 0xffff_ffff };
                    if first == u64::from(call) && holds(args, data, abi.wide, true).is_some() {
                        matched.push(action);
                    }
                }
                _ => {}
            }
        }
    }
    if let Some(action) = always {
        return vec![action];
    }
    if !matched.is_empty() {
        return matched;
    }
    let numbers = entries().flat_map(named).map(|target| match target {
        Target::Direct(number) | Target::Multiplexed(number, _) => number,
    });
    let private = |number: u32| data.token == ARM && number >= 0xf_0000;
    let largest = numbers.filter(|number| !private(*number)).max();
    let enosys = ERRNO
        | match data.token & 0x0fff_ffff {
            0x8 => 89,
            0xf => 251,
            _ => 38,
        };
    match largest {
        Some(largest)
            if stub
                && !private(data.number)
                && (data.number > largest || (abi.unknown_is_zero() && data.number == 0)) =>
        {
            vec![enosys]
        }
        _ => vec![default],
    }
}

enum Match {
    /// For all arguments.
    Always,
    /// For these.
    Here,
}

fn holds(args: &[LinuxSeccompArg], data: &Data, wide: bool, multiplexed: bool) -> Option<Match> {
    let one = |arg: &LinuxSeccompArg| {
        let cut = |value: u64| if wide { value } else { value & 0xffff_ffff };
        let (value, given) = (cut(arg.value()), cut(data.args[arg.index()]));
        match arg.op() {
            LinuxSeccompOperator::ScmpCmpNe => given != value,
            LinuxSeccompOperator::ScmpCmpLt => given < value,
            LinuxSeccompOperator::ScmpCmpLe => given <= value,
            LinuxSeccompOperator::ScmpCmpEq => given == value,
            LinuxSeccompOperator::ScmpCmpGe => given >= value,
            LinuxSeccompOperator::ScmpCmpGt => given > value,
            LinuxSeccompOperator::ScmpCmpMaskedEq => {
                given & value == cut(arg.value_two().unwrap_or(0)) & value
            }
        }
    };
    let void = |arg: &LinuxSeccompArg| {
        arg.op() == LinuxSeccompOperator::ScmpCmpMaskedEq
            && (if wide { arg.value() == 0 } else { arg.value() as u32 == 0 })
    };
    let hidden = |arg: &LinuxSeccompArg| multiplexed && arg.index() == 0;
    let repeated = (0..6).any(|index| args.iter().filter(|arg| arg.index() == index).count() > 1);
    if args.is_empty() || (repeated && args.iter().any(void)) || (!repeated && args.iter().all(void)) {
        return Some(Match::Always);
    }
    let fits = |arg: &LinuxSeccompArg| hidden(arg) || one(arg);
    let holds = if repeated { args.iter().any(fits) } else { args.iter().all(fits) };
    holds.then_some(Match::Here)
}
