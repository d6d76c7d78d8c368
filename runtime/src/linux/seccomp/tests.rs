//! The compiler as a whole: against the reference on random profiles, and the promises of the module's documentation.

use std::time::{Duration, Instant};

use oci_spec::runtime::{Arch, LinuxSeccomp};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::arch::{Abi, Target, X32_BIT, lookup};
use super::features::{ALLOW, ERRNO, KILL_THREAD};
use super::interpreter::{Data, check, run};
use super::reference::evaluate;
use super::table::TABLE;
use super::{Filter, compile, compile_with};
use crate::finding::Finding;

const X86_64: Arch = Arch::ScmpArchX86_64;

/// The machines that a random profile is compiled for, each with the architectures that the profile lists.
pub(super) const MACHINES: [(Arch, &[Arch]); 12] = [
    (X86_64, &[Arch::ScmpArchX86, Arch::ScmpArchX32]),
    (X86_64, &[Arch::ScmpArchX86_64]),
    (X86_64, &[Arch::ScmpArchX86]),
    (Arch::ScmpArchAarch64, &[Arch::ScmpArchArm]),
    (Arch::ScmpArchAarch64, &[Arch::ScmpArchX32]),
    (Arch::ScmpArchRiscv64, &[]),
    (Arch::ScmpArchLoongarch64, &[]),
    (Arch::ScmpArchS390x, &[Arch::ScmpArchS390]),
    (Arch::ScmpArchPpc64le, &[]),
    (Arch::ScmpArchPpc, &[Arch::ScmpArchPpc64, Arch::ScmpArchM68k, Arch::ScmpArchSheb]),
    (Arch::ScmpArchMipsel64, &[Arch::ScmpArchMipsel, Arch::ScmpArchMipsel64n32]),
    (Arch::ScmpArchParisc, &[Arch::ScmpArchParisc64, Arch::ScmpArchMips, Arch::ScmpArchMips64n32]),
];

pub(super) fn profile(value: Value) -> LinuxSeccomp {
    serde_json::from_value(value).unwrap()
}

pub(super) fn docker_default() -> LinuxSeccomp {
    serde_json::from_str(include_str!("testdata/docker-default.json")).unwrap()
}

/// The tokens of the sections and one that has none.
pub(super) fn tokens(seccomp: &LinuxSeccomp, native: Arch) -> Vec<u32> {
    let listed = seccomp.architectures().iter().flatten().copied();
    let mut tokens: Vec<u32> =
        listed.chain([native]).map(|arch| Abi::of(arch, native).token).chain([0x1234]).collect();
    tokens.sort_unstable();
    tokens.dedup();
    tokens
}

/// All numbers near the assigned ones, and the ends of every range that a filter can tell apart.
pub(super) fn numbers(token: u32) -> Vec<u32> {
    let mut numbers: Vec<u32> = (0..600).collect();
    for start in [3990, 4990, 5990] {
        if token & 0xffff == 8 {
            numbers.extend(start..start + 600);
        }
    }
    if token == Abi::of(X86_64, X86_64).token {
        numbers.extend(X32_BIT - 2..X32_BIT + 600);
    }
    if token == Abi::of(Arch::ScmpArchArm, X86_64).token {
        numbers.extend(0xe_ffff..0xf_0010);
    }
    numbers.extend([0x7fff_ffff, 0x8000_0000, 0xbfff_ffff, 0xc000_0000, u32::MAX - 1, u32::MAX]);
    numbers
}

/// Arguments around the values that the profile's conditions use.
pub(super) fn arguments(seccomp: &LinuxSeccomp) -> Vec<[u64; 6]> {
    let mut values = vec![0, 1, 5, 11, 21, u64::MAX, 1 << 32, 0xffff_ffff];
    let mut all = vec![[0; 6], [u64::MAX; 6]];
    for arg in seccomp.syscalls().iter().flatten().filter_map(|entry| entry.args().as_ref()).flatten() {
        let value = if arg.value_two().is_some() { arg.value_two().unwrap() } else { arg.value() };
        for near in [value, value.wrapping_add(1), value.wrapping_sub(1), value ^ (1 << 32), value | 1 << 63]
        {
            values.push(near);
        }
    }
    values.sort_unstable();
    values.dedup();
    for (turn, value) in values.iter().enumerate() {
        for index in [turn % 6, (turn / 6) % 6] {
            let mut args = [values[(turn * 7 + 3) % values.len()]; 6];
            args[index] = *value;
            all.push(args);
        }
        // Preceded by a multiplexer's call.
        all.push([1 + turn as u64 % 24, *value, *value, *value, 0, 0]);
    }
    all
}

fn action() -> impl Strategy<Value = (&'static str, Option<u32>)> {
    prop_oneof![
        Just(("SCMP_ACT_ALLOW", None)),
        Just(("SCMP_ACT_ERRNO", None)),
        (0..4096_u32).prop_map(|errno| ("SCMP_ACT_ERRNO", Some(errno))),
        Just(("SCMP_ACT_KILL", None)),
        Just(("SCMP_ACT_KILL_PROCESS", None)),
        Just(("SCMP_ACT_KILL_THREAD", None)),
        Just(("SCMP_ACT_LOG", None)),
        Just(("SCMP_ACT_TRAP", None)),
        (0..0x1_0000_u32).prop_map(|data| ("SCMP_ACT_TRACE", Some(data))),
    ]
}

fn value() -> impl Strategy<Value = u64> {
    prop_oneof![
        0..8_u64,
        Just(u64::MAX),
        Just(0xffff_ffff),
        (0..4_u64).prop_map(|high| (high << 32) | 5),
        (0..64_u32).prop_map(|bit| 1 << bit),
    ]
}

fn condition() -> impl Strategy<Value = Value> {
    let operator = prop::sample::select(&super::OPERATORS[..]);
    (0..6_u64, value(), value(), operator).prop_map(|(index, value, two, op)| {
        if op == "SCMP_CMP_MASKED_EQ" {
            json!({"index": index, "value": value, "valueTwo": two, "op": op})
        } else {
            json!({"index": index, "value": value, "op": op})
        }
    })
}

/// Only a few names, so that entries overlap; the rest of the table, so that every ABI has some.
fn name() -> impl Strategy<Value = &'static str> {
    prop_oneof![
        3 => prop::sample::select(&["read", "socket", "socketcall", "ipc", "semop", "bind", "accept4", "no_such"][..]),
        5 => (0..TABLE.len()).prop_map(|row| TABLE[row].0),
    ]
}

pub(super) fn random_profile() -> impl Strategy<Value = (LinuxSeccomp, Arch)> {
    let names = prop::collection::vec(name(), 1..12);
    let args = prop_oneof![2 => Just(Vec::new()), 3 => prop::collection::vec(condition(), 1..4)];
    let entry = (names, action(), args).prop_map(|(names, (action, errno), args)| {
        let mut entry = json!({"names": names, "action": action, "args": args});
        if let Some(errno) = errno {
            entry["errnoRet"] = errno.into();
        }
        entry
    });
    let entries = prop::collection::vec(entry, 0..14);
    (action(), entries, prop::sample::select(&MACHINES[..])).prop_map(
        |((default, errno), entries, machine)| {
            let listed: Vec<String> = machine.1.iter().map(ToString::to_string).collect();
            let mut whole = json!({"defaultAction": default, "architectures": listed, "syscalls": entries});
            if let Some(errno) = errno {
                whole["defaultErrnoRet"] = errno.into();
            }
            (profile(whole), machine.0)
        },
    )
}

fn agrees_with_reference(seccomp: &LinuxSeccomp, native: Arch, stub: bool) -> Result<u64, Finding> {
    let filter = compile_with(seccomp, native, stub)?;
    check(&filter.instructions);
    let mut calls = 0;
    let arguments = arguments(seccomp);
    for token in tokens(seccomp, native) {
        for number in numbers(token) {
            // Arguments matter if the verdict depends on them.
            let sets = if matters(seccomp, native, number) { &arguments[..] } else { &arguments[..2] };
            for args in sets {
                let data = Data { number, token, args: *args };
                let verdict = run(&filter.instructions, &data, Abi::of(native, native).big_endian());
                let allowed = evaluate(seccomp, native, stub, &data);
                assert!(
                    allowed.contains(&verdict),
                    "{data:x?}: {verdict:#x}, allowed {allowed:x?}\n{seccomp:?}"
                );
                calls += 1;
            }
        }
    }
    Ok(calls)
}

/// Whether an entry with conditions names the number in some ABI.
pub(super) fn matters(seccomp: &LinuxSeccomp, native: Arch, number: u32) -> bool {
    let listed = seccomp.architectures().iter().flatten().copied();
    let abis: Vec<Abi> = listed.chain([native]).map(|arch| Abi::of(arch, native)).collect();
    let conditional =
        seccomp.syscalls().iter().flatten().filter(|entry| entry.args().iter().any(|args| !args.is_empty()));
    conditional.flat_map(oci_spec::runtime::LinuxSyscall::names).filter_map(|name| lookup(name)).any(|row| {
        abis.iter().flat_map(|abi| abi.targets(row)).flatten().any(|target| match target {
            Target::Direct(direct) => direct == number,
            Target::Multiplexed(multiplexer, _) => multiplexer == number,
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_profiles_agree_with_the_reference((seccomp, native) in random_profile(), stub: bool) {
        // A contradiction is the only reason to refuse what the strategy generates.
        if let Err(error) = agrees_with_reference(&seccomp, native, stub) {
            prop_assert!(error.message.starts_with("contradicts "), "{error:?}");
        }
    }
}

#[test]
fn docker_default_agrees_with_the_reference() {
    let seccomp = docker_default();
    for (native, stub) in [(X86_64, true), (X86_64, false), (Arch::ScmpArchAarch64, true)] {
        let calls = agrees_with_reference(&seccomp, native, stub).unwrap();
        assert!(calls > 2000, "{calls}");
    }
}

#[test]
fn docker_default_is_small() {
    let filter = compile(&docker_default(), X86_64).unwrap();
    assert!(filter.instructions.len() <= 600, "{} instructions", filter.instructions.len());
    assert_eq!((filter.flags, filter.notify), (super::features::FLAG_SPEC_ALLOW, false));
    assert_eq!(filter.notes, []);
}

/// Prints the figures; the time depends on the machine and is only compared with a bound that every debug build meets.
#[test]
fn docker_default_is_fast() {
    let seccomp = docker_default();
    let best = (0..200)
        .map(|_| {
            let start = Instant::now();
            let filter = compile(&seccomp, X86_64).unwrap();
            assert!(!filter.instructions.is_empty());
            start.elapsed()
        })
        .min()
        .unwrap();
    let length = compile(&seccomp, X86_64).unwrap().instructions.len();
    println!("Docker's default profile, 3 architectures: {length} instructions, best of 200: {best:?}");
    assert!(best < Duration::from_millis(20), "{best:?}");
}

fn verdict(filter: &Filter, arch: Arch, number: u32, args: [u64; 6]) -> u32 {
    run(&filter.instructions, &Data { number, token: Abi::of(arch, arch).token, args }, false)
}

fn errno(number: u32) -> u32 {
    ERRNO + number
}

fn call(arch: Arch, name: &str) -> u32 {
    match Abi::of(arch, arch).targets(lookup(name).unwrap())[0] {
        Some(Target::Direct(number)) => number,
        other => panic!("{name}: {other:?}"),
    }
}

#[test]
fn all_conditions_of_an_entry_must_hold() {
    // CVE-2017-18367
    let seccomp = profile(json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "syscalls": [{"names": ["read"], "action": "SCMP_ACT_ALLOW", "args": [
            {"index": 0, "value": 5, "op": "SCMP_CMP_EQ"},
            {"index": 1, "value": 0, "op": "SCMP_CMP_EQ"},
        ]}],
    }));
    let filter = compile(&seccomp, X86_64).unwrap();
    assert_eq!(verdict(&filter, X86_64, 0, [5, 0, 0, 0, 0, 0]), ALLOW);
    assert_eq!(verdict(&filter, X86_64, 0, [5, 1, 0, 0, 0, 0]), errno(1));
    assert_eq!(verdict(&filter, X86_64, 0, [4, 0, 0, 0, 0, 0]), errno(1));
}

#[test]
fn conditions_on_one_argument_are_alternatives() {
    let seccomp = profile(json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "syscalls": [{"names": ["read"], "action": "SCMP_ACT_ALLOW", "args": [
            {"index": 0, "value": 5, "op": "SCMP_CMP_EQ"},
            {"index": 0, "value": 6, "op": "SCMP_CMP_EQ"},
            {"index": 1, "value": 9, "op": "SCMP_CMP_EQ"},
        ]}],
    }));
    let filter = compile(&seccomp, X86_64).unwrap();
    for args in [[5, 0], [6, 0], [0, 9]] {
        assert_eq!(verdict(&filter, X86_64, 0, [args[0], args[1], 0, 0, 0, 0]), ALLOW);
    }
    assert_eq!(verdict(&filter, X86_64, 0, [7, 8, 0, 0, 0, 0]), errno(1));
}

#[test]
fn unlisted_abis_are_killed_and_the_native_one_is_always_listed() {
    let seccomp = profile(json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "architectures": ["SCMP_ARCH_X86"],
        "syscalls": [{"names": ["read"], "action": "SCMP_ACT_ALLOW"}],
    }));
    let filter = compile(&seccomp, X86_64).unwrap();
    assert_eq!(verdict(&filter, X86_64, 0, [0; 6]), ALLOW);
    assert_eq!(verdict(&filter, Arch::ScmpArchX86, 3, [0; 6]), ALLOW);
    assert_eq!(verdict(&filter, Arch::ScmpArchAarch64, 63, [0; 6]), KILL_THREAD);
    assert_eq!(verdict(&filter, X86_64, X32_BIT, [0; 6]), KILL_THREAD);
    assert_eq!(verdict(&filter, X86_64, u32::MAX, [0; 6]), errno(1));
}

#[test]
fn new_calls_get_enosys() {
    let compile_default = |default: &str, errno: Option<u32>, names: &[&str]| {
        let mut seccomp = json!({
            "defaultAction": default,
            "architectures": ["SCMP_ARCH_ARM"],
            "syscalls": [{"names": names, "action": "SCMP_ACT_ALLOW"}, {"names": ["chdir"], "action": "SCMP_ACT_TRAP"}],
        });
        if let Some(errno) = errno {
            seccomp["defaultErrnoRet"] = errno.into();
        }
        compile(&profile(seccomp), Arch::ScmpArchAarch64).unwrap()
    };
    let arm = Arch::ScmpArchArm;
    let names = ["read", "clone3", "set_tls"];
    let filter = compile_default("SCMP_ACT_ERRNO", Some(5), &names);
    assert_eq!(verdict(&filter, arm, call(arm, "openat2"), [0; 6]), errno(38));
    assert_eq!(verdict(&filter, arm, call(arm, "set_tls"), [0; 6]), ALLOW);
    assert_eq!(verdict(&filter, arm, call(arm, "openat"), [0; 6]), errno(5));
    assert_eq!(verdict(&filter, Arch::ScmpArchAarch64, 436, [0; 6]), errno(38));
    assert_eq!(verdict(&filter, Arch::ScmpArchAarch64, 434, [0; 6]), errno(5));
    let filter = compile_default("SCMP_ACT_KILL_PROCESS", None, &names);
    assert_eq!(verdict(&filter, arm, 436, [0; 6]), errno(38));
    let filter = compile_default("SCMP_ACT_LOG", None, &names);
    assert_eq!(verdict(&filter, arm, 436, [0; 6]), super::features::LOG);
    let filter = compile(&profile(json!({"defaultAction": "SCMP_ACT_ERRNO"})), X86_64).unwrap();
    assert_eq!(verdict(&filter, X86_64, 436, [0; 6]), errno(1));
}

#[test]
fn multiplexed_calls_are_covered() {
    let seccomp = profile(json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "architectures": ["SCMP_ARCH_X86"],
        "syscalls": [
            {"names": ["socket"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "value": 40, "op": "SCMP_CMP_NE"}]},
            {"names": ["shmat"], "action": "SCMP_ACT_ALLOW"},
        ],
    }));
    let x86 = Arch::ScmpArchX86;
    let filter = compile(&seccomp, X86_64).unwrap();
    assert_eq!(verdict(&filter, x86, 359, [1, 0, 0, 0, 0, 0]), ALLOW);
    assert_eq!(verdict(&filter, x86, 359, [40, 0, 0, 0, 0, 0]), errno(1));
    assert_eq!(verdict(&filter, x86, 102, [1, 0, 0, 0, 0, 0]), ALLOW);
    assert_eq!(verdict(&filter, x86, 102, [2, 0, 0, 0, 0, 0]), errno(1));
    assert_eq!(verdict(&filter, x86, 117, [21, 0, 0, 0, 0, 0]), ALLOW);
    let pointers: Vec<&str> = filter.notes.iter().map(|note| note.pointer.as_str()).collect();
    assert_eq!(pointers, ["/linux/seccomp/syscalls/0/args"]);
}

#[test]
fn contradictory_conditions_on_a_multiplexed_call_take_the_stricter_action() {
    let seccomp = profile(json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "architectures": ["SCMP_ARCH_X86"],
        "syscalls": [
            {"names": ["socket"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "value": 2, "op": "SCMP_CMP_EQ"}]},
            {"names": ["socket"], "action": "SCMP_ACT_TRAP", "args": [{"index": 0, "value": 40, "op": "SCMP_CMP_EQ"}]},
        ],
    }));
    let filter = compile(&seccomp, X86_64).unwrap();
    assert_eq!(verdict(&filter, Arch::ScmpArchX86, 102, [1, 0, 0, 0, 0, 0]), super::features::TRAP);
    assert_eq!(verdict(&filter, Arch::ScmpArchX86, 359, [2, 0, 0, 0, 0, 0]), ALLOW);
}

#[test]
fn flags_and_notify() {
    let seccomp = profile(json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "listenerPath": "/run/agent.sock",
        "flags": ["SECCOMP_FILTER_FLAG_TSYNC", "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV", "SECCOMP_FILTER_FLAG_LOG"],
        "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}],
    }));
    let filter = compile(&seccomp, X86_64).unwrap();
    assert!(filter.notify);
    assert_eq!(filter.flags, 0b10_1010, "TSYNC means nothing to a process of one thread");
    let none =
        |flags: Value| compile(&profile(json!({"defaultAction": "SCMP_ACT_LOG", "flags": flags})), X86_64);
    assert_eq!(none(Value::Null).unwrap().flags, super::features::FLAG_SPEC_ALLOW, "as runc");
    assert_eq!(none(json!([])).unwrap().flags, 0);
    assert_eq!(verdict(&filter, X86_64, call(X86_64, "mkdir"), [0; 6]), super::features::USER_NOTIF);
}

fn mistake(value: Value) -> String {
    compile(&profile(value), X86_64).unwrap_err().pointer().unwrap().to_owned()
}

#[test]
fn unusable_profiles_are_refused() {
    let equal = |value: u64| json!([{"index": 0, "value": value, "op": "SCMP_CMP_EQ"}]);
    assert_eq!(
        mistake(json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
            {"names": ["read"], "action": "SCMP_ACT_TRAP", "args": equal(1)},
            {"names": ["write", "read"], "action": "SCMP_ACT_ERRNO", "args": equal(1)},
        ]})),
        "/linux/seccomp/syscalls/1"
    );
    let many: Vec<Value> =
        (0..1200_u64).map(|value| json!({"index": 0, "value": value << 33, "op": "SCMP_CMP_EQ"})).collect();
    assert_eq!(
        mistake(json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
            {"names": ["read"], "action": "SCMP_ACT_TRAP", "args": many},
        ]})),
        "/linux/seccomp"
    );
    let most: Vec<Value> =
        (0..9000_u64).map(|value| json!({"index": 0, "value": value, "op": "SCMP_CMP_EQ"})).collect();
    assert_eq!(
        mistake(json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
            {"names": ["read"], "action": "SCMP_ACT_TRAP", "args": most},
        ]})),
        "/linux/seccomp"
    );
    assert!(compile(&LinuxSeccomp::default(), Arch::ScmpArchNative).is_err());
}

#[test]
fn an_architecture_of_the_other_byte_order_is_left_out() {
    let filter = |archs: Value| {
        compile(&profile(json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": archs})), X86_64).unwrap()
    };
    let with = filter(json!(["SCMP_ARCH_X86", "SCMP_ARCH_S390X"]));
    assert_eq!(with.instructions, filter(json!(["SCMP_ARCH_X86"])).instructions);
    assert_eq!(with.notes.len(), 1);
    assert_eq!(with.notes[0].pointer, "/linux/seccomp/architectures/1");
}

#[test]
fn parts_without_effect_are_named() {
    let seccomp = profile(json!({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [
        {"names": ["read", "raed"], "action": "SCMP_ACT_ALLOW"},
        {"names": ["read"], "action": "SCMP_ACT_KILL"},
        {"names": ["read"], "action": "SCMP_ACT_ERRNO", "args": [{"index": 0, "value": 3, "op": "SCMP_CMP_EQ"}]},
        {"names": ["write"], "action": "SCMP_ACT_ALLOW", "args": [
            {"index": 0, "value": 1, "valueTwo": 3, "op": "SCMP_CMP_MASKED_EQ"},
        ]},
        {"names": ["write"], "action": "SCMP_ACT_TRAP", "args": [
            {"index": 0, "value": 1, "valueTwo": 1, "op": "SCMP_CMP_MASKED_EQ"},
            {"index": 1, "value": 1, "op": "SCMP_CMP_EQ"},
        ]},
    ]}));
    let filter = compile(&seccomp, X86_64).unwrap();
    let mut pointers: Vec<&str> = filter.notes.iter().map(|note| note.pointer.as_str()).collect();
    pointers.sort_unstable();
    assert_eq!(
        pointers,
        [
            "/linux/seccomp/syscalls/0/names/1",
            "/linux/seccomp/syscalls/1",
            "/linux/seccomp/syscalls/2",
            "/linux/seccomp/syscalls/3/args/0/valueTwo",
            "/linux/seccomp/syscalls/4",
        ]
    );
}
