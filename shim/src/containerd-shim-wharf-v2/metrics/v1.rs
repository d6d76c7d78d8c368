//! `io.containerd.cgroups.v1.Metrics`.

use std::collections::BTreeMap;
use std::fs;

use containerd_shim_protos::cgroups::metrics::{
    BlkIOEntry, BlkIOStat, CPUStat, CPUUsage, HugetlbStat, MemoryEntry, MemoryOomControl, MemoryStat,
    Metrics, PidsStat, RdmaEntry, RdmaStat, Throttle,
};
use containerd_shim_protos::protobuf::MessageField;
use wharf::Stats;
use wharf::stats::{BlkioEntry, CpuStats, MemoryStats};

use super::number;

/// The message.
pub(super) fn metrics(stats: &Stats) -> Metrics {
    let mut metrics = Metrics::new();
    for (size, pages) in &stats.hugetlb {
        let mut entry = HugetlbStat::new();
        entry.usage = pages.usage;
        entry.max = pages.max;
        entry.failcnt = pages.failcnt;
        entry.pagesize.clone_from(size);
        metrics.hugetlb.push(entry);
    }
    let mut pids = PidsStat::new();
    pids.current = stats.pids.current;
    pids.limit = stats.pids.limit;
    metrics.pids = MessageField::some(pids);
    metrics.cpu = MessageField::some(cpu(&stats.cpu));
    metrics.memory = MessageField::some(memory(&stats.memory));
    metrics.memory_oom_control = MessageField::some(oom_control(&stats.memory.events));
    metrics.blkio = MessageField::some(blkio(stats));
    metrics.rdma = rdma!(stats, RdmaStat, RdmaEntry);
    metrics
}

fn cpu(stats: &CpuStats) -> CPUStat {
    let mut usage = CPUUsage::new();
    usage.total = stats.usage.total;
    usage.kernel = stats.usage.kernel;
    usage.user = stats.usage.user;
    usage.per_cpu.clone_from(&stats.usage.percpu);
    let mut throttling = Throttle::new();
    throttling.periods = stats.throttling.periods;
    throttling.throttled_periods = stats.throttling.throttled_periods;
    throttling.throttled_time = stats.throttling.throttled_time;
    let mut cpu = CPUStat::new();
    cpu.usage = MessageField::some(usage);
    cpu.throttling = MessageField::some(throttling);
    cpu
}

fn memory(stats: &MemoryStats) -> MemoryStat {
    let raw = |name| number(&stats.raw, name);
    let mut memory = MemoryStat::new();
    by_name! { memory, &stats.raw,
        cache rss rss_huge mapped_file dirty writeback inactive_anon active_anon inactive_file
        active_file unevictable hierarchical_memory_limit total_cache total_rss total_rss_huge
        total_mapped_file total_dirty total_writeback total_inactive_anon total_active_anon
        total_inactive_file total_active_file total_unevictable
    }
    memory.pg_pg_in = raw("pgpgin");
    memory.pg_pg_out = raw("pgpgout");
    memory.pg_fault = raw("pgfault");
    memory.pg_maj_fault = raw("pgmajfault");
    memory.hierarchical_swap_limit = raw("hierarchical_memsw_limit");
    memory.total_pg_pg_in = raw("total_pgpgin");
    memory.total_pg_pg_out = raw("total_pgpgout");
    memory.total_pg_fault = raw("total_pgfault");
    memory.total_pg_maj_fault = raw("total_pgmajfault");
    memory.usage = memory_entry(stats.usage);
    memory.swap = memory_entry(stats.swap);
    memory.kernel = memory_entry(stats.kernel);
    memory.kernel_tcp = memory_entry(stats.kernel_tcp);
    memory
}

fn memory_entry(stats: wharf::stats::MemoryEntry) -> MessageField<MemoryEntry> {
    let mut entry = MemoryEntry::new();
    entry.limit = stats.limit;
    entry.usage = stats.usage;
    entry.max = stats.max;
    entry.failcnt = stats.failcnt;
    MessageField::some(entry)
}

fn oom_control(events: &BTreeMap<String, u64>) -> MemoryOomControl {
    let mut control = MemoryOomControl::new();
    by_name! { control, events, oom_kill_disable under_oom oom_kill }
    control
}

fn blkio(stats: &Stats) -> BlkIOStat {
    let stats = &stats.blkio;
    let entries = |list: &[BlkioEntry]| list.iter().map(blkio_entry).collect();
    let mut blkio = BlkIOStat::new();
    blkio.io_service_bytes_recursive = entries(&stats.io_service_bytes_recursive);
    blkio.io_serviced_recursive = entries(&stats.io_serviced_recursive);
    blkio.io_queued_recursive = entries(&stats.io_queued_recursive);
    blkio.io_service_time_recursive = entries(&stats.io_service_time_recursive);
    blkio.io_wait_time_recursive = entries(&stats.io_wait_time_recursive);
    blkio.io_merged_recursive = entries(&stats.io_merged_recursive);
    blkio.io_time_recursive = entries(&stats.io_time_recursive);
    blkio.sectors_recursive = entries(&stats.sectors_recursive);
    blkio
}

fn blkio_entry(stats: &BlkioEntry) -> BlkIOEntry {
    let mut entry = BlkIOEntry::new();
    entry.op.clone_from(&stats.op);
    entry.device = device_name(stats.major, stats.minor).unwrap_or_default();
    entry.major = stats.major;
    entry.minor = stats.minor;
    entry.value = stats.value;
    entry
}

/// The path of a block device.
fn device_name(major: u64, minor: u64) -> Option<String> {
    let link = fs::read_link(format!("/sys/dev/block/{major}:{minor}")).ok()?;
    Some(format!("/dev/{}", link.file_name()?.to_str()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_has_its_place() {
        let mut stats = Stats::default();
        stats.memory.raw = [("rss", 1), ("total_pgmajfault", 2), ("hierarchical_memsw_limit", 3)]
            .map(|(key, value)| (key.to_owned(), value))
            .into();
        stats.memory.events = [("oom_kill".to_owned(), 4)].into();
        stats.cpu.usage.percpu = vec![5, 6];
        stats.pids.limit = 7;
        stats.blkio.io_serviced_recursive.push(BlkioEntry::default());
        let metrics = metrics(&stats);
        assert_eq!((metrics.memory.rss, metrics.memory.total_pg_maj_fault), (1, 2));
        assert_eq!((metrics.memory.hierarchical_swap_limit, metrics.memory_oom_control.oom_kill), (3, 4));
        assert_eq!((metrics.cpu.usage.per_cpu.as_slice(), metrics.pids.limit), ([5, 6].as_slice(), 7));
        assert_eq!(metrics.blkio.io_serviced_recursive.len(), 1);
    }
}
