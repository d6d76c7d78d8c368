//! `linux.resources`: what is wrong on every host. `cgroup` reports what a cgroup layout cannot do.

use oci_spec::runtime::{LinuxBlockIo, LinuxCpu, LinuxMemory, LinuxNetwork, LinuxResources};

use super::list;
use crate::finding::{Report, escape, sorted};

pub(super) fn check(resources: &LinuxResources, at: &str, report: &mut Report) {
    devices(resources, at, report);
    if let Some(memory) = resources.memory() {
        check_memory(memory, &format!("{at}/memory"), report);
    }
    if let Some(cpu) = resources.cpu() {
        check_cpu(cpu, &format!("{at}/cpu"), report);
    }
    if resources.pids().is_some_and(|pids| pids.limit() < -1) {
        report.error(format!("{at}/pids/limit"), "must be -1 (no limit) or a number of processes");
    }
    if let Some(block_io) = resources.block_io() {
        check_block_io(block_io, &format!("{at}/blockIO"), report);
    }
    hugepages(resources, at, report);
    if let Some(network) = resources.network() {
        check_network(network, &format!("{at}/network"), report);
    }
    for (device, limits) in resources.rdma().iter().flat_map(sorted) {
        let at = format!("{at}/rdma/{}", escape(device));
        if device.is_empty() || device.contains(char::is_whitespace) {
            report.error(at.as_str(), "not the name of a device");
        }
        if limits.hca_handles().is_none() && limits.hca_objects().is_none() {
            report.error(at, "needs hcaHandles, hcaObjects, or both");
        }
    }
    for (file, _) in resources.unified().iter().flat_map(sorted) {
        // The key becomes the name of a file in the container's cgroup, and must not lead out of it.
        if file.is_empty() || file.contains('/') || file == "." || file == ".." {
            report.error(
                format!("{at}/unified/{}", escape(file)),
                format!("{file:?} is not the name of a cgroup file"),
            );
        }
    }
}

fn devices(resources: &LinuxResources, at: &str, report: &mut Report) {
    for (index, rule) in resources.devices().iter().flatten().enumerate() {
        let at = format!("{at}/devices/{index}");
        for (name, number) in [("major", rule.major()), ("minor", rule.minor())] {
            if number.is_some_and(|number| number < -1 || number > i64::from(u32::MAX)) {
                report.error(format!("{at}/{name}"), "must be -1 (any) or the number of a device");
            }
        }
        if let Some(access) = rule.access()
            && access.chars().any(|letter| !"rwm".contains(letter))
        {
            if access.contains(['r', 'w', 'm']) {
                let message = format!("{access:?} has letters other than r, w and m, which are ignored");
                report.warning(format!("{at}/access"), message);
            } else {
                report.error(format!("{at}/access"), format!("{access:?} has none of r, w and m"));
            }
        }
    }
}

fn check_memory(memory: &LinuxMemory, at: &str, report: &mut Report) {
    for (name, bytes) in [
        ("limit", memory.limit()),
        ("reservation", memory.reservation()),
        ("swap", memory.swap()),
        ("kernel", memory.kernel()),
        ("kernelTCP", memory.kernel_tcp()),
    ] {
        if bytes.is_some_and(|bytes| bytes < -1) {
            report.error(format!("{at}/{name}"), "must be -1 (no limit) or a number of bytes");
        }
    }
    if let (Some(limit), Some(swap)) = (memory.limit(), memory.swap())
        && 0 < swap
        && swap < limit
    {
        report.error(
            format!("{at}/swap"),
            "is the limit of memory and swap together, so it cannot be below the limit",
        );
    }
    if memory.swap().is_some_and(|swap| swap > 0) && memory.limit() == Some(-1) {
        report.error(format!("{at}/swap"), "memory and swap together cannot be limited while memory is not");
    }
    // Some engines write 2^64-1 for "unset"; any other large value is out of range.
    if memory.swappiness().is_some_and(|value| value > 100 && value != u64::MAX) {
        report.error(format!("{at}/swappiness"), "must be from 0 to 100");
    }
}

/// The limits of the kernel's CFS bandwidth control (Documentation/scheduler/sched-bwc.rst); engines write 0 for
/// "unset".
fn check_cpu(cpu: &LinuxCpu, at: &str, report: &mut Report) {
    if cpu.period().is_some_and(|period| period != 0 && !(1_000..=1_000_000).contains(&period)) {
        report.error(format!("{at}/period"), "must be from 1000 to 1000000 microseconds");
    }
    if cpu.quota().is_some_and(|quota| !(quota >= 1_000 || quota == 0 || quota == -1)) {
        report.error(format!("{at}/quota"), "must be -1 (no limit) or at least 1000 microseconds");
    }
    if let (Some(burst), Some(quota)) = (cpu.burst(), cpu.quota())
        && quota > 0
        && burst > quota.unsigned_abs()
    {
        report.error(format!("{at}/burst"), "cannot be above the quota");
    }
    if let (Some(runtime), Some(period)) = (cpu.realtime_runtime(), cpu.realtime_period())
        && period > 0
        && runtime > 0
        && runtime.unsigned_abs() > period
    {
        report.error(format!("{at}/realtimeRuntime"), "cannot be above realtimePeriod");
    }
    if cpu.idle().is_some_and(|idle| !matches!(idle, 0 | 1)) {
        report.error(format!("{at}/idle"), "must be 0 or 1");
    }
    for (name, numbers) in [("cpus", cpu.cpus()), ("mems", cpu.mems())] {
        if let Some(Err(message)) = numbers.as_deref().map(list::parse) {
            report.error(format!("{at}/{name}"), message);
        }
    }
}

fn check_block_io(block_io: &LinuxBlockIo, at: &str, report: &mut Report) {
    let mut weight = |at: String, weight: Option<u16>| {
        // Docker writes 0 for "unset".
        if weight.is_some_and(|weight| weight != 0 && !(10..=1000).contains(&weight)) {
            report.error(at, "must be from 10 to 1000");
        }
    };
    weight(format!("{at}/weight"), block_io.weight());
    weight(format!("{at}/leafWeight"), block_io.leaf_weight());
    for (index, device) in block_io.weight_device().iter().flatten().enumerate() {
        weight(format!("{at}/weightDevice/{index}/weight"), device.weight());
        weight(format!("{at}/weightDevice/{index}/leafWeight"), device.leaf_weight());
    }
    let mut numbers = |at: String, major: i64, minor: i64| {
        for (name, number) in [("major", major), ("minor", minor)] {
            if !(0..=i64::from(u32::MAX)).contains(&number) {
                report.error(format!("{at}/{name}"), "not the number of a device");
            }
        }
    };
    for (index, device) in block_io.weight_device().iter().flatten().enumerate() {
        numbers(format!("{at}/weightDevice/{index}"), device.major(), device.minor());
    }
    for (name, list) in [
        ("throttleReadBpsDevice", block_io.throttle_read_bps_device()),
        ("throttleWriteBpsDevice", block_io.throttle_write_bps_device()),
        ("throttleReadIOPSDevice", block_io.throttle_read_iops_device()),
        ("throttleWriteIOPSDevice", block_io.throttle_write_iops_device()),
    ] {
        for (index, device) in list.iter().flatten().enumerate() {
            numbers(format!("{at}/{name}/{index}"), device.major(), device.minor());
        }
    }
}

fn hugepages(resources: &LinuxResources, at: &str, report: &mut Report) {
    let limits = resources.hugepage_limits().as_deref().unwrap_or_default();
    for (index, limit) in limits.iter().enumerate() {
        let at = format!("{at}/hugepageLimits/{index}");
        let size = limit.page_size();
        // It becomes part of a file name: `hugetlb.2MB.max`.
        let digits = ["KB", "MB", "GB"].iter().find_map(|unit| size.strip_suffix(unit)).unwrap_or_default();
        let number = digits.bytes().all(|byte| byte.is_ascii_digit()) && !digits.starts_with('0');
        if digits.is_empty() || !number {
            report.error(format!("{at}/pageSize"), format!("{size:?} is not a size like 64KB, 2MB or 1GB"));
        }
        if limits[..index].iter().any(|earlier| earlier.page_size() == size) {
            report.error(format!("{at}/pageSize"), format!("{size:?} is limited twice"));
        }
        if limit.limit() < 0 {
            report.error(format!("{at}/limit"), "must not be negative");
        }
    }
}

fn check_network(network: &LinuxNetwork, at: &str, report: &mut Report) {
    for (index, priority) in network.priorities().iter().flatten().enumerate() {
        let name = priority.name();
        // netdevice(7), IFNAMSIZ; the file takes "name priority" lines.
        if name.is_empty() || name.len() > 15 || name.contains(|c: char| c == '/' || c.is_whitespace()) {
            report.error(
                format!("{at}/priorities/{index}/name"),
                format!("{name:?} is not the name of a network interface"),
            );
        }
    }
}
