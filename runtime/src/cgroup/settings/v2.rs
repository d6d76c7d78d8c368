//! The files of cgroup version 2 (the kernel's Documentation/admin-guide/cgroup-v2.rst), from values meant for version
//! 1.

use oci_spec::runtime::{LinuxBlockIo, LinuxCpu, LinuxMemory};

use super::super::convert::{cpu_weight, io_weight, or_max, swap_only};
use super::super::layout::Hierarchy;
use super::{Absent, Current, Group, Output, ROOT, Setting, Throttle, set_size, swappiness};

const PLACE: Hierarchy = Hierarchy::V2;

pub(super) fn cpu(out: &mut Output<'_>, cpu: &LinuxCpu, current: &Current) {
    for (property, asked) in [
        ("/cpu/realtimeRuntime", cpu.realtime_runtime().is_some_and(|value| value > 0)),
        ("/cpu/realtimePeriod", cpu.realtime_period().is_some_and(|value| value > 0)),
    ] {
        if asked {
            out.unsupported(property, "cgroup v2 has no limits for realtime processes");
        }
    }
    if cpu.idle() == Some(0) {
        out.set(PLACE, "cpu", "cpu.idle", 0, "/cpu/idle").absent = Absent::Skip;
    }
    if let Some(shares) = cpu.shares().filter(|&shares| shares != 0) {
        out.set(PLACE, "cpu", "cpu.weight", cpu_weight(shares), "/cpu/shares");
    }
    if cpu.idle() == Some(1) {
        out.set(PLACE, "cpu", "cpu.idle", 1, "/cpu/idle");
    }
    let quota = cpu.quota().filter(|&quota| quota != 0);
    let period = cpu.period().filter(|&period| period != 0);
    // The kernel keeps the period if only the quota is written; for a new period the quota has to be repeated.
    let value = match (quota, period) {
        (Some(quota), Some(period)) => Some((format!("{} {period}", or_max(quota)), "/cpu/quota")),
        (Some(quota), None) => Some((or_max(quota), "/cpu/quota")),
        (None, Some(period)) => {
            Some((format!("{} {period}", or_max(current.cpu_quota.unwrap_or(-1))), "/cpu/period"))
        }
        (None, None) => None,
    };
    if let Some((value, property)) = value {
        out.set(PLACE, "cpu", "cpu.max", value, property).group = Group::CpuBandwidth;
    }
    if let Some(burst) = cpu.burst() {
        let setting = out.set(PLACE, "cpu", "cpu.max.burst", burst, "/cpu/burst");
        setting.group = Group::CpuBandwidth;
        setting.absent = if burst == 0 { Absent::Skip } else { Absent::Fail };
    }
}

pub(super) fn memory(out: &mut Output<'_>, memory: &LinuxMemory, current: &Current) {
    for (property, asked, what) in [
        ("/memory/swappiness", swappiness(memory).is_some(), "no swappiness per cgroup"),
        ("/memory/kernelTCP", memory.kernel_tcp().is_some_and(|tcp| tcp > 0), "no limit of TCP buffers"),
        (
            "/memory/disableOOMKiller",
            memory.disable_oom_killer() == Some(true),
            "no way to switch the OOM killer off",
        ),
        (
            "/memory/useHierarchy",
            memory.use_hierarchy() == Some(true),
            "no such switch, accounting is always hierarchical",
        ),
    ] {
        if asked {
            out.unsupported(property, format!("cgroup v2 has {what}"));
        }
    }
    let limit = set_size(memory.limit());
    let mut swap = set_size(memory.swap());
    if current.update && limit == Some(-1) && swap.is_none() {
        swap = Some(-1);
    }
    // A new memory limit must leave the sum with swap as it was, as the caller has said nothing about it.
    if let (Some(1..), None, Some(memory_max @ 0..), Some(swap_max @ 0..)) =
        (limit, swap, current.memory_max, current.swap_max)
    {
        swap = Some(memory_max.saturating_add(swap_max));
    }
    let swap_max = match swap {
        None => None,
        Some(swap) => match (limit.or(current.memory_max), swap) {
            (None, 0..) => {
                out.invalid("/memory/swap", "a limit of memory and swap needs one of memory");
                return;
            }
            (memory, swap) => {
                let memory = memory.unwrap_or(-1);
                let Some(only) = swap_only(swap, memory) else {
                    let message =
                        format!("memory and swap ({swap}) cannot be less than memory ({})", or_max(memory));
                    out.invalid("/memory/swap", message);
                    return;
                };
                Some(only)
            }
        },
    };
    if let Some(limit) = limit {
        out.set(PLACE, "memory", "memory.max", or_max(limit), "/memory/limit").group = Group::Memory;
    }
    if let Some(only) = swap_max {
        let setting = out.set(PLACE, "memory", "memory.swap.max", or_max(only), "/memory/swap");
        setting.group = Group::Memory;
        // Without swap in the kernel there is nothing to forbid or allow.
        setting.absent = if only <= 0 { Absent::Skip } else { Absent::Fail };
    }
    if let Some(reservation) = set_size(memory.reservation()) {
        out.set(PLACE, "memory", "memory.low", or_max(reservation), "/memory/reservation");
    }
}

pub(super) fn block_io(out: &mut Output<'_>, block_io: &LinuxBlockIo, throttles: &[Throttle]) {
    // With BFQ in the kernel, its file has version 1's range; otherwise iocost's io.weight has its own.
    let weight = |out: &mut Output<'_>, device: Option<&str>, value: u16, property: &str| {
        let line = |value: u64| device.map_or(value.to_string(), |device| format!("{device} {value}"));
        let cost = Setting {
            place: PLACE,
            controller: "io".into(),
            file: "io.weight".into(),
            value: line(io_weight(value)),
            pointer: format!("{ROOT}{property}"),
            absent: Absent::Fail,
            group: Group::Single,
        };
        let bfq = out.set(PLACE, "io", "io.bfq.weight", line(u64::from(value)), property);
        bfq.absent = Absent::Instead(Box::new(cost));
    };
    if let Some(value) = block_io.weight().filter(|&weight| weight != 0) {
        weight(out, None, value, "/blockIO/weight");
    }
    if block_io.leaf_weight().is_some_and(|weight| weight != 0) {
        out.unsupported("/blockIO/leafWeight", "cgroup v2 has no leaf weights");
    }
    for (index, device) in block_io.weight_device().iter().flatten().enumerate() {
        if let Some(value) = device.weight().filter(|&weight| weight != 0) {
            let number = format!("{}:{}", device.major(), device.minor());
            weight(out, Some(&number), value, &format!("/blockIO/weightDevice/{index}/weight"));
        }
        if device.leaf_weight().is_some_and(|weight| weight != 0) {
            let property = format!("/blockIO/weightDevice/{index}/leafWeight");
            out.unsupported(&property, "cgroup v2 has no leaf weights");
        }
    }
    for throttle in throttles {
        let rate = if throttle.rate == 0 { "max".to_owned() } else { throttle.rate.to_string() };
        let value = format!("{}:{} {}={rate}", throttle.major, throttle.minor, throttle.v2_key);
        out.set(PLACE, "io", "io.max", value, &throttle.property);
    }
}
