//! The files of cgroup version 1 (Documentation/admin-guide/cgroup-v1 of the kernel).

use oci_spec::runtime::{LinuxBlockIo, LinuxCpu, LinuxMemory};

use super::super::layout::Hierarchy;
use super::{Absent, Current, Group, Output, ROOT, Setting, Throttle, set_size, swappiness};

const NO_LEAF_WEIGHT: &str =
    "a leaf weight was a property of the CFQ scheduler, which Linux has not had since 5.0; use weight";

pub(super) fn cpu(out: &mut Output<'_>, place: Hierarchy, cpu: &LinuxCpu) {
    // Shares cannot be set while the group is idle: leave that state first, enter it last.
    if cpu.idle() == Some(0) {
        out.set(place, "cpu", "cpu.idle", 0, "/cpu/idle").absent = Absent::Skip;
    }
    if let Some(shares) = cpu.shares().filter(|&shares| shares != 0) {
        // The kernel would silently clamp.
        if (2..=262_144).contains(&shares) {
            out.set(place, "cpu", "cpu.shares", shares, "/cpu/shares");
        } else {
            out.invalid("/cpu/shares", format!("cpu shares are 2 to 262144 on cgroup v1, not {shares}"));
        }
    }
    if cpu.idle() == Some(1) {
        out.set(place, "cpu", "cpu.idle", 1, "/cpu/idle");
    }
    if let Some(period) = cpu.period().filter(|&period| period != 0) {
        out.set(place, "cpu", "cpu.cfs_period_us", period, "/cpu/period").group = Group::CpuBandwidth;
    }
    if let Some(quota) = cpu.quota().filter(|&quota| quota != 0) {
        out.set(place, "cpu", "cpu.cfs_quota_us", quota.max(-1), "/cpu/quota").group = Group::CpuBandwidth;
    }
    if let Some(burst) = cpu.burst() {
        let setting = out.set(place, "cpu", "cpu.cfs_burst_us", burst, "/cpu/burst");
        setting.group = Group::CpuBandwidth;
        setting.absent = if burst == 0 { Absent::Skip } else { Absent::Fail };
    }
    if let Some(period) = cpu.realtime_period().filter(|&period| period != 0) {
        out.set(place, "cpu", "cpu.rt_period_us", period, "/cpu/realtimePeriod").group = Group::CpuRealtime;
    }
    if let Some(runtime) = cpu.realtime_runtime().filter(|&runtime| runtime != 0) {
        out.set(place, "cpu", "cpu.rt_runtime_us", runtime, "/cpu/realtimeRuntime").group =
            Group::CpuRealtime;
    }
}

pub(super) fn memory(out: &mut Output<'_>, place: Hierarchy, memory: &LinuxMemory, current: &Current) {
    let limit = set_size(memory.limit());
    let mut swap = set_size(memory.swap());
    // Lifting the memory limit of a running container implies swap as well: the sum would hold it down.
    if current.update && limit == Some(-1) && swap.is_none() {
        swap = Some(-1);
    }
    match (limit, swap) {
        (Some(limit), Some(swap @ 0..)) if limit < 0 || swap < limit => {
            out.invalid(
                "/memory/swap",
                format!("memory and swap ({swap}) cannot be less than memory ({limit})"),
            );
            return;
        }
        (None, Some(0..)) if !current.update => {
            out.invalid("/memory/swap", "a limit of memory and swap needs one of memory");
            return;
        }
        _ => {}
    }
    if let Some(limit) = limit {
        out.set(place, "memory", "memory.limit_in_bytes", limit, "/memory/limit").group = Group::Memory;
    }
    if let Some(swap) = swap {
        let setting = out.set(place, "memory", "memory.memsw.limit_in_bytes", swap, "/memory/swap");
        setting.group = Group::Memory;
        setting.absent = if swap < 0 { Absent::Skip } else { Absent::Fail };
    }
    if let Some(reservation) = set_size(memory.reservation()) {
        out.set(place, "memory", "memory.soft_limit_in_bytes", reservation, "/memory/reservation");
    }
    if let Some(tcp) = set_size(memory.kernel_tcp()).filter(|&tcp| tcp > 0) {
        out.set(place, "memory", "memory.kmem.tcp.limit_in_bytes", tcp, "/memory/kernelTCP");
    }
    if let Some(value) = swappiness(memory).filter(|&value| value <= 100) {
        out.set(place, "memory", "memory.swappiness", value, "/memory/swappiness");
    }
    match memory.disable_oom_killer() {
        Some(true) => {
            out.set(place, "memory", "memory.oom_control", 1, "/memory/disableOOMKiller");
        }
        Some(false) if current.update => {
            out.set(place, "memory", "memory.oom_control", 0, "/memory/disableOOMKiller");
        }
        _ => {}
    }
    // useHierarchy: every kernel since 5.11 behaves as if it were true, and false is the callers' "not set".
}

pub(super) fn block_io(
    out: &mut Output<'_>,
    place: Hierarchy,
    block_io: &LinuxBlockIo,
    throttles: &[Throttle],
) {
    // BFQ is the only proportional scheduler since Linux 5.0; the bare names are those of CFQ before it.
    let weight = |out: &mut Output<'_>, file: [&'static str; 2], value: String, property: &str| {
        let cfq = Setting {
            place,
            controller: "blkio".into(),
            file: file[1].into(),
            value: value.clone(),
            pointer: format!("{ROOT}{property}"),
            absent: Absent::Fail,
            group: Group::Single,
        };
        out.set(place, "blkio", file[0], value, property).absent = Absent::Instead(Box::new(cfq));
    };
    if let Some(value) = block_io.weight().filter(|&weight| weight != 0) {
        weight(out, ["blkio.bfq.weight", "blkio.weight"], value.to_string(), "/blockIO/weight");
    }
    if block_io.leaf_weight().is_some_and(|weight| weight != 0) {
        out.unsupported("/blockIO/leafWeight", NO_LEAF_WEIGHT);
    }
    for (index, device) in block_io.weight_device().iter().flatten().enumerate() {
        let number = format!("{}:{}", device.major(), device.minor());
        if let Some(value) = device.weight().filter(|&weight| weight != 0) {
            let property = format!("/blockIO/weightDevice/{index}/weight");
            weight(
                out,
                ["blkio.bfq.weight_device", "blkio.weight_device"],
                format!("{number} {value}"),
                &property,
            );
        }
        if device.leaf_weight().is_some_and(|weight| weight != 0) {
            out.unsupported(&format!("/blockIO/weightDevice/{index}/leafWeight"), NO_LEAF_WEIGHT);
        }
    }
    for throttle in throttles {
        let value = format!("{}:{} {}", throttle.major, throttle.minor, throttle.rate);
        out.set(place, "blkio", throttle.v1_file, value, &throttle.property);
    }
}
