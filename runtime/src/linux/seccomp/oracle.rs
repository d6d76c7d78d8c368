//! Compares the compiler with libseccomp, driven as by runc (`cargo test --features libseccomp`, needs the library).

use std::io::{Read, Seek};
use std::sync::mpsc;
use std::time::Duration;

use libseccomp::{ScmpAction, ScmpArch, ScmpArgCompare, ScmpCompareOp, ScmpFilterContext, ScmpSyscall};
use oci_spec::runtime::{Arch, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompOperator};
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;

use super::arch::{Abi, Target, lookup};
use super::interpreter::{Data, check, run};
use super::reference::evaluate;
use super::table::TABLE;
use super::tests::{MACHINES, arguments, docker_default, matters, numbers, random_profile, tokens};
use super::{SockFilter, action_word, compile_with};

fn library_arch(arch: Arch) -> Option<ScmpArch> {
    // The library of Debian 12 (2.5.4) has no LoongArch, Motorola 68000 or SuperH.
    Some(match arch {
        Arch::ScmpArchX86 => ScmpArch::X86,
        Arch::ScmpArchX86_64 => ScmpArch::X8664,
        Arch::ScmpArchX32 => ScmpArch::X32,
        Arch::ScmpArchArm => ScmpArch::Arm,
        Arch::ScmpArchAarch64 => ScmpArch::Aarch64,
        Arch::ScmpArchMips => ScmpArch::Mips,
        Arch::ScmpArchMips64 => ScmpArch::Mips64,
        Arch::ScmpArchMips64n32 => ScmpArch::Mips64N32,
        Arch::ScmpArchMipsel => ScmpArch::Mipsel,
        Arch::ScmpArchMipsel64 => ScmpArch::Mipsel64,
        Arch::ScmpArchMipsel64n32 => ScmpArch::Mipsel64N32,
        Arch::ScmpArchPpc => ScmpArch::Ppc,
        Arch::ScmpArchPpc64 => ScmpArch::Ppc64,
        Arch::ScmpArchPpc64le => ScmpArch::Ppc64Le,
        Arch::ScmpArchS390 => ScmpArch::S390,
        Arch::ScmpArchS390x => ScmpArch::S390X,
        Arch::ScmpArchParisc => ScmpArch::Parisc,
        Arch::ScmpArchParisc64 => ScmpArch::Parisc64,
        Arch::ScmpArchRiscv64 => ScmpArch::Riscv64,
        _ => return None,
    })
}

/// The library's number for a name; none if it is older than the call.
fn library_number(name: &str, arch: Arch) -> Option<u32> {
    let number = i32::from(ScmpSyscall::from_name_by_arch(name, library_arch(arch)?).ok()?);
    u32::try_from(number).ok()
}

fn own_number(name: &str, arch: Arch) -> Option<u32> {
    match Abi::of(arch, arch).targets(lookup(name)?)[0] {
        Some(Target::Direct(number)) => Some(number),
        _ => None,
    }
}

fn library_action(action: LinuxSeccompAction, data: Option<u32>) -> ScmpAction {
    let data = data.unwrap_or(1);
    match action {
        LinuxSeccompAction::ScmpActKill | LinuxSeccompAction::ScmpActKillThread => ScmpAction::KillThread,
        LinuxSeccompAction::ScmpActKillProcess => ScmpAction::KillProcess,
        LinuxSeccompAction::ScmpActTrap => ScmpAction::Trap,
        LinuxSeccompAction::ScmpActErrno => ScmpAction::Errno(data as i32),
        LinuxSeccompAction::ScmpActNotify => ScmpAction::Notify,
        LinuxSeccompAction::ScmpActTrace => ScmpAction::Trace(data as u16),
        LinuxSeccompAction::ScmpActLog => ScmpAction::Log,
        LinuxSeccompAction::ScmpActAllow => ScmpAction::Allow,
    }
}

fn comparison(arg: &LinuxSeccompArg) -> ScmpArgCompare {
    let (op, datum) = match arg.op() {
        LinuxSeccompOperator::ScmpCmpNe => (ScmpCompareOp::NotEqual, arg.value()),
        LinuxSeccompOperator::ScmpCmpLt => (ScmpCompareOp::Less, arg.value()),
        LinuxSeccompOperator::ScmpCmpLe => (ScmpCompareOp::LessOrEqual, arg.value()),
        LinuxSeccompOperator::ScmpCmpEq => (ScmpCompareOp::Equal, arg.value()),
        LinuxSeccompOperator::ScmpCmpGe => (ScmpCompareOp::GreaterEqual, arg.value()),
        LinuxSeccompOperator::ScmpCmpGt => (ScmpCompareOp::Greater, arg.value()),
        LinuxSeccompOperator::ScmpCmpMaskedEq => {
            (ScmpCompareOp::MaskedEqual(arg.value()), arg.value_two().unwrap_or(0))
        }
    };
    ScmpArgCompare::new(arg.index() as u32, op, datum)
}

/// The library's program, or its error.
fn library_filter(seccomp: &LinuxSeccomp, native: Arch) -> Result<Vec<SockFilter>, String> {
    let default = library_action(seccomp.default_action(), seccomp.default_errno_ret());
    let mut context = ScmpFilterContext::new(default).map_err(|error| error.to_string())?;
    let built = ScmpArch::native();
    let arch = library_arch(native).unwrap();
    if arch != built {
        context.remove_arch(built).unwrap();
        context.add_arch(arch).unwrap();
    }
    for arch in seccomp.architectures().iter().flatten() {
        context.add_arch(library_arch(*arch).unwrap()).unwrap();
    }
    let default = action_word(seccomp.default_action(), seccomp.default_errno_ret());
    for entry in seccomp.syscalls().iter().flatten() {
        if action_word(entry.action(), entry.errno_ret()) == default {
            continue;
        }
        let action = library_action(entry.action(), entry.errno_ret());
        let args: Vec<ScmpArgCompare> = entry.args().iter().flatten().map(comparison).collect();
        let indices: Vec<usize> = entry.args().iter().flatten().map(LinuxSeccompArg::index).collect();
        let repeated = (0..6).any(|index| indices.iter().filter(|other| **other == index).count() > 1);
        for name in entry.names() {
            let Ok(number) = ScmpSyscall::from_name(name) else { continue };
            let added = if repeated {
                args.iter()
                    .try_for_each(|arg| context.add_rule_conditional(action, number, &[*arg]).map(|_| ()))
            } else {
                context.add_rule_conditional(action, number, &args).map(|_| ())
            };
            added.map_err(|error| format!("{name}: {error}"))?;
        }
    }
    let mut file = tempfile::tempfile().unwrap();
    context.export_bpf(&file).unwrap();
    let mut bytes = Vec::new();
    file.rewind().unwrap();
    file.read_to_end(&mut bytes).unwrap();
    let big_endian = Abi::of(native, native).big_endian();
    Ok(bytes
        .chunks_exact(8)
        .map(|bytes| {
            let (code, k) = ([bytes[0], bytes[1]], [bytes[4], bytes[5], bytes[6], bytes[7]]);
            let (code, k) = if big_endian {
                (u16::from_be_bytes(code), u32::from_be_bytes(k))
            } else {
                (u16::from_le_bytes(code), u32::from_le_bytes(k))
            };
            SockFilter { code, jt: bytes[2], jf: bytes[3], k }
        })
        .collect())
}

/// The library's program, unless its merging of entries takes for ever (seen with 2.5.4, at profile 337).
fn patient_library_filter(seccomp: &LinuxSeccomp, native: Arch) -> Result<Vec<SockFilter>, String> {
    let (sender, receiver) = mpsc::channel();
    let seccomp = seccomp.clone();
    std::thread::spawn(move || sender.send(library_filter(&seccomp, native)));
    let limit = Duration::from_secs(20);
    receiver.recv_timeout(limit).map_err(|error| format!("the library's answer: {error}"))?
}

/// Leaves only names to which the library, which may be older than our table, gives the same numbers everywhere.
fn common_names(seccomp: &LinuxSeccomp) -> LinuxSeccomp {
    let mut common = seccomp.clone();
    let known = |name: &String| {
        let arches = MACHINES.iter().flat_map(|machine| machine.1.iter().copied().chain([machine.0]));
        ScmpSyscall::from_name(name).is_ok()
            && arches
                .filter(|arch| library_arch(*arch).is_some())
                .all(|arch| library_number(name, arch) == own_number(name, arch) || multiplexed(name, arch))
    };
    let entries = seccomp.syscalls().iter().flatten().filter_map(|entry| {
        let mut entry = entry.clone();
        let names: Vec<String> = entry.names().iter().filter(|name| known(name)).cloned().collect();
        let some = !names.is_empty();
        entry.set_names(names);
        some.then_some(entry)
    });
    common.set_syscalls(Some(entries.collect()));
    common
}

/// The library gives such names a pseudo number.
fn multiplexed(name: &str, arch: Arch) -> bool {
    lookup(name).is_some_and(|row| Abi::of(arch, arch).targets(row)[1].is_some())
}

/// The result of a comparison.
#[derive(Debug, Default)]
struct Tally {
    calls: u64,
    /// Calls that match entries with different actions, on which both programs still agree.
    overlaps: u64,
    /// Calls on which the library contradicts the profile itself, as the reference interprets it.
    faults: u64,
    /// Calls on which both verdicts are defensible, or ours is not.
    differences: Vec<String>,
}

/// Runs both programs over the same calls.
///
/// The library (2.5.4 here, and 2.6 as well, judging by its source) has faults that the reference must tell from ours:
/// a section whose first entry has no number on that ABI compares the numbers with the token; entries that compare one
/// 64-bit argument with `<`, `<=`, `>` or `>=` are merged as if their upper words were equal; and after a condition on
/// a later argument fails, the next entry may test that argument instead of its own.
/// a later argument failed, the next entry may test that argument instead of its own.
fn compare(seccomp: &LinuxSeccomp, native: Arch) -> Result<Tally, String> {
    let own = compile_with(seccomp, native, false).map_err(|error| format!("{error:?}"))?;
    check(&own.instructions);
    let library = patient_library_filter(seccomp, native)?;
    let big_endian = Abi::of(native, native).big_endian();
    let arguments = arguments(seccomp);
    let mut tally = Tally::default();
    for token in tokens(seccomp, native) {
        for number in numbers(token) {
            let sets = if matters(seccomp, native, number) { &arguments[..] } else { &arguments[..2] };
            for args in sets {
                let data = Data { number, token, args: *args };
                let ours = run(&own.instructions, &data, big_endian);
                let mut theirs = run(&library, &data, big_endian);
                if big_endian && theirs != ours {
                    // On a machine with the other byte order the library writes some actions in the wrong byte order.
                    theirs = theirs.swap_bytes();
                }
                tally.calls += 1;
                let allowed = evaluate(seccomp, native, false, &data);
                if ours == theirs {
                    tally.overlaps += u64::from(allowed.iter().any(|action| *action != ours));
                } else if allowed.contains(&ours)
                    && (!allowed.contains(&theirs) || swayed(seccomp, native, &data, ours))
                {
                    tally.faults += 1;
                } else {
                    tally
                        .differences
                        .push(format!("{data:x?}: {ours:#x}, the library {theirs:#x}, of {allowed:x?}"));
                }
            }
        }
    }
    Ok(tally)
}

/// Whether the library agrees with our verdict once the conditions that do not match the call anyway are removed.
fn swayed(seccomp: &LinuxSeccomp, native: Arch, data: &Data, ours: u32) -> bool {
    let default = action_word(seccomp.default_action(), seccomp.default_errno_ret());
    let mut alone = seccomp.clone();
    let single = seccomp.syscalls().iter().flatten().flat_map(|entry| {
        let args = entry.args().clone().unwrap_or_default();
        let repeated = (0..6).any(|index| args.iter().filter(|arg| arg.index() == index).count() > 1);
        let lists = if repeated { args.chunks(1).map(<[_]>::to_vec).collect() } else { vec![args] };
        lists.into_iter().map(|args| entry.clone().set_args(Some(args)).clone()).collect::<Vec<_>>()
    });
    let matching = single
        .filter(|entry| {
            alone.set_syscalls(Some(vec![entry.clone()]));
            evaluate(&alone, native, false, data) != [default]
        })
        .collect();
    alone.set_syscalls(Some(matching));
    library_filter(&alone, native)
        .is_ok_and(|program| run(&program, data, Abi::of(native, native).big_endian()) == ours)
}

#[test]
fn numbers_agree() {
    let mut compared = 0;
    for machine in MACHINES {
        for arch in machine.1.iter().copied().chain([machine.0]) {
            for (name, _) in &TABLE {
                if let Some(theirs) = library_number(name, arch) {
                    let ours = own_number(name, arch);
                    assert_eq!(ours, Some(theirs), "{name} on {arch}");
                    compared += 1;
                }
            }
        }
    }
    assert!(compared > 5000, "{compared}");
    println!("{compared} numbers agree");
}

#[test]
fn docker_default_agrees() {
    let tally = compare(&docker_default(), Arch::ScmpArchX86_64).unwrap();
    assert!(tally.differences.is_empty() && tally.faults == 0, "{tally:?}");
    let theirs = library_filter(&docker_default(), Arch::ScmpArchX86_64).unwrap().len();
    println!("{} calls agree; the library's program has {theirs} instructions", tally.calls);
}

/// `ORACLE_ROUNDS` sets how many profiles are tried.
#[test]
fn random_profiles_agree() {
    let rounds = std::env::var("ORACLE_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(300);
    let mut runner = TestRunner::deterministic();
    let (mut compared, mut refused) = (0, 0);
    let mut sum = Tally::default();
    for _ in 0..rounds {
        let (seccomp, native) = random_profile().new_tree(&mut runner).unwrap().current();
        if seccomp.architectures().iter().flatten().chain([&native]).any(|arch| library_arch(*arch).is_none())
        {
            continue;
        }
        let seccomp = common_names(&seccomp);
        match compare(&seccomp, native) {
            Ok(tally) => {
                let text = serde_json::to_string(&seccomp).unwrap();
                assert!(tally.differences.is_empty(), "{native} {text}\n{:#?}", &tally.differences[..1]);
                compared += 1;
                sum.calls += tally.calls;
                sum.overlaps += tally.overlaps;
                sum.faults += tally.faults;
            }
            // Entries that contradict each other, of which the library finds more (see `order`); or no answer.
            Err(_) => refused += 1,
        }
    }
    println!("{compared} profiles compared, {refused} refused: {sum:?}");
    assert!(compared > rounds / 2 && sum.overlaps > sum.faults && sum.faults < sum.calls / 100);
}
