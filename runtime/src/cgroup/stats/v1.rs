//! The numbers of cgroup version 1, one hierarchy after the other.

use super::super::file::field;
use super::super::handle::Cgroup;
use super::{BlkioEntry, BlkioStats, Files, HugetlbStats, MemoryEntry, Stats, number, numbers, rdma, table};
use crate::error::Result;

/// Nanoseconds of one tick: the kernel shows times to user space in hundredths of a second, on every architecture.
const TICK: u64 = 10_000_000;

pub(super) fn collect(cgroup: &Cgroup, stats: &mut Stats) -> Result<()> {
    let open = |controller: &str| cgroup.v1_dir(controller).map(|dir| Files::open(&dir)).transpose();
    if let Some(files) = open("cpuacct")? {
        cpuacct(&files, stats)?;
    }
    if let Some(files) = open("cpu")? {
        let text = files.text("cpu.stat")?.unwrap_or_default();
        let throttling = &mut stats.cpu.throttling;
        throttling.periods = field(&text, "nr_periods").unwrap_or(0);
        throttling.throttled_periods = field(&text, "nr_throttled").unwrap_or(0);
        throttling.throttled_time = field(&text, "throttled_time").unwrap_or(0);
    }
    if let Some(files) = open("cpuset")? {
        cpuset(&files, stats)?;
    }
    if let Some(files) = open("memory")? {
        memory(&files, stats)?;
    }
    if let Some(files) = open("pids")? {
        stats.pids.current = files.number("pids.current")?;
        stats.pids.limit = Some(files.number("pids.max")?).filter(|&max| max != u64::MAX).unwrap_or(0);
    }
    if let Some(files) = open("rdma")? {
        stats.rdma_current = rdma(&files.text("rdma.current")?.unwrap_or_default());
        stats.rdma_limit = rdma(&files.text("rdma.max")?.unwrap_or_default());
    }
    if let Some(files) = open("blkio")? {
        blkio(&files, &mut stats.blkio)?;
    }
    if let Some(files) = open("hugetlb")? {
        for size in files.page_sizes("limit_in_bytes")? {
            let reserved = files.text(&format!("hugetlb.{size}.rsvd.usage_in_bytes"))?;
            let prefix =
                if reserved.is_some() { format!("hugetlb.{size}.rsvd") } else { format!("hugetlb.{size}") };
            let entry = HugetlbStats {
                usage: files.number(&format!("{prefix}.usage_in_bytes"))?,
                max: files.number(&format!("{prefix}.max_usage_in_bytes"))?,
                failcnt: files.number(&format!("{prefix}.failcnt"))?,
                ..HugetlbStats::default()
            };
            stats.hugetlb.insert(size, entry);
        }
    }
    Ok(())
}

fn cpuacct(files: &Files, stats: &mut Stats) -> Result<()> {
    let usage = &mut stats.cpu.usage;
    usage.total = files.number("cpuacct.usage")?;
    let list =
        |text: Option<String>| text.iter().flat_map(|t| t.split_whitespace()).map(number).collect::<Vec<_>>();
    usage.percpu = list(files.text("cpuacct.usage_percpu")?);
    usage.percpu_kernel = list(files.text("cpuacct.usage_percpu_sys")?);
    usage.percpu_user = list(files.text("cpuacct.usage_percpu_user")?);
    let text = files.text("cpuacct.stat")?.unwrap_or_default();
    usage.user = field(&text, "user").unwrap_or(0) * TICK;
    usage.kernel = field(&text, "system").unwrap_or(0) * TICK;
    Ok(())
}

fn cpuset(files: &Files, stats: &mut Stats) -> Result<()> {
    let set = &mut stats.cpuset;
    set.cpus = numbers(&files.text("cpuset.cpus")?.unwrap_or_default());
    set.mems = numbers(&files.text("cpuset.mems")?.unwrap_or_default());
    set.cpu_exclusive = files.number("cpuset.cpu_exclusive")?;
    set.mem_hardwall = files.number("cpuset.mem_hardwall")?;
    set.mem_exclusive = files.number("cpuset.mem_exclusive")?;
    set.memory_migrate = files.number("cpuset.memory_migrate")?;
    set.memory_spread_page = files.number("cpuset.memory_spread_page")?;
    set.memory_spread_slab = files.number("cpuset.memory_spread_slab")?;
    set.memory_pressure = files.number("cpuset.memory_pressure")?;
    set.sched_load_balance = files.number("cpuset.sched_load_balance")?;
    let level = files.text("cpuset.sched_relax_domain_level")?;
    set.sched_relax_domain_level = level.and_then(|text| text.trim().parse().ok()).unwrap_or(0);
    Ok(())
}

fn memory(files: &Files, stats: &mut Stats) -> Result<()> {
    let entry = |prefix: &str| -> Result<MemoryEntry> {
        Ok(MemoryEntry {
            limit: files.number(&format!("{prefix}.limit_in_bytes"))?,
            usage: files.number(&format!("{prefix}.usage_in_bytes"))?,
            max: files.number(&format!("{prefix}.max_usage_in_bytes"))?,
            failcnt: files.number(&format!("{prefix}.failcnt"))?,
        })
    };
    let memory = &mut stats.memory;
    memory.raw = table(&files.text("memory.stat")?.unwrap_or_default());
    memory.events = table(&files.text("memory.oom_control")?.unwrap_or_default());
    memory.cache = memory.raw.get("cache").copied().unwrap_or(0);
    memory.usage = entry("memory")?;
    memory.swap = entry("memory.memsw")?;
    memory.kernel = entry("memory.kmem")?;
    memory.kernel_tcp = entry("memory.kmem.tcp")?;
    Ok(())
}

/// BFQ counts only the devices that it schedules; if it has nothing, the throttling layer has seen everything.
fn blkio(files: &Files, blkio: &mut BlkioStats) -> Result<()> {
    let entries = |name: &str| -> Result<Vec<BlkioEntry>> {
        Ok(files.text(name)?.iter().flat_map(|text| text.lines()).filter_map(blkio_line).collect())
    };
    blkio.io_serviced_recursive = entries("blkio.bfq.io_serviced_recursive")?;
    if blkio.io_serviced_recursive.is_empty() {
        blkio.io_service_bytes_recursive = entries("blkio.throttle.io_service_bytes_recursive")?;
        blkio.io_serviced_recursive = entries("blkio.throttle.io_serviced_recursive")?;
        return Ok(());
    }
    blkio.io_service_bytes_recursive = entries("blkio.bfq.io_service_bytes_recursive")?;
    blkio.io_queued_recursive = entries("blkio.bfq.io_queued_recursive")?;
    blkio.io_service_time_recursive = entries("blkio.bfq.io_service_time_recursive")?;
    blkio.io_wait_time_recursive = entries("blkio.bfq.io_wait_time_recursive")?;
    blkio.io_merged_recursive = entries("blkio.bfq.io_merged_recursive")?;
    blkio.io_time_recursive = entries("blkio.bfq.time_recursive")?;
    blkio.sectors_recursive = entries("blkio.bfq.sectors_recursive")?;
    Ok(())
}

/// `8:0 Read 4096` or `8:0 17`; the sum over all devices (`Total 4096`) is neither.
pub(super) fn blkio_line(line: &str) -> Option<BlkioEntry> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let (device, op, value) = match words[..] {
        [device, op, value] => (device, op, value),
        [device, value] => (device, "", value),
        _ => return None,
    };
    let (major, minor) = device.split_once(':')?;
    let (major, minor) = (major.parse().ok()?, minor.parse().ok()?);
    Some(BlkioEntry { major, minor, op: op.to_owned(), value: value.parse().ok()? })
}
