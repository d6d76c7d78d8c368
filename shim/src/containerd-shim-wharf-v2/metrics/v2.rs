//! `io.containerd.cgroups.v2.Metrics`.

use std::collections::BTreeMap;

use containerd_shim_protos::cgroups_v2::metrics::{
    CPUStat, HugeTlbStat, IOEntry, IOStat, MemoryEvents, MemoryStat, Metrics, PSIData, PSIStats, PidsStat,
    RdmaEntry, RdmaStat,
};
use containerd_shim_protos::protobuf::MessageField;
use wharf::Stats;
use wharf::stats::{BlkioStats, CpuStats, MemoryStats, Pressure, PressureLine};

use super::number;

/// Nanoseconds.
const MICROSECOND: u64 = 1000;

/// The message.
pub(super) fn metrics(stats: &Stats) -> Metrics {
    let mut metrics = Metrics::new();
    let mut pids = PidsStat::new();
    pids.current = stats.pids.current;
    // Here, unlike in version 1, the largest number means no limit.
    pids.limit = if stats.pids.limit == 0 { u64::MAX } else { stats.pids.limit };
    metrics.pids = MessageField::some(pids);
    metrics.cpu = MessageField::some(cpu(&stats.cpu));
    metrics.memory = MessageField::some(memory(&stats.memory));
    metrics.memory_events = MessageField::some(memory_events(&stats.memory.events));
    metrics.io = MessageField::some(io(&stats.blkio));
    metrics.rdma = rdma!(stats, RdmaStat, RdmaEntry);
    for (size, pages) in &stats.hugetlb {
        let mut entry = HugeTlbStat::new();
        entry.current = pages.usage;
        entry.max = pages.limit;
        entry.failcnt = pages.failcnt;
        entry.pagesize.clone_from(size);
        metrics.hugetlb.push(entry);
    }
    metrics
}

fn cpu(stats: &CpuStats) -> CPUStat {
    let mut cpu = CPUStat::new();
    cpu.usage_usec = stats.usage.total / MICROSECOND;
    cpu.user_usec = stats.usage.user / MICROSECOND;
    cpu.system_usec = stats.usage.kernel / MICROSECOND;
    cpu.nr_periods = stats.throttling.periods;
    cpu.nr_throttled = stats.throttling.throttled_periods;
    cpu.throttled_usec = stats.throttling.throttled_time / MICROSECOND;
    cpu.nr_bursts = stats.throttling.bursts;
    cpu.burst_usec = stats.throttling.burst_time / MICROSECOND;
    cpu.psi = pressure(stats.psi);
    cpu
}

fn memory(stats: &MemoryStats) -> MemoryStat {
    let raw = |name| number(&stats.raw, name);
    let mut memory = MemoryStat::new();
    by_name! { memory, &stats.raw,
        anon file kernel_stack slab sock shmem file_mapped file_dirty file_writeback anon_thp
        inactive_anon active_anon inactive_file active_file unevictable slab_reclaimable
        slab_unreclaimable pgfault pgmajfault workingset_nodereclaim pgrefill pgscan pgsteal
        pgactivate pgdeactivate pglazyfree pglazyfreed thp_fault_alloc thp_collapse_alloc
    }
    // Split by kind since Linux 5.9.
    memory.workingset_refault =
        raw("workingset_refault") + raw("workingset_refault_anon") + raw("workingset_refault_file");
    memory.workingset_activate =
        raw("workingset_activate") + raw("workingset_activate_anon") + raw("workingset_activate_file");
    memory.usage = stats.usage.usage;
    memory.usage_limit = stats.usage.limit;
    memory.max_usage = stats.usage.max;
    memory.swap_usage = stats.swap_only.usage;
    memory.swap_limit = stats.swap_only.limit;
    memory.swap_max_usage = stats.swap_only.max;
    memory.psi = pressure(stats.psi);
    memory
}

fn memory_events(events: &BTreeMap<String, u64>) -> MemoryEvents {
    let mut message = MemoryEvents::new();
    by_name! { message, events, low high max oom oom_kill oom_group_kill }
    message
}

/// One entry for each device, from a list of single numbers.
fn io(stats: &BlkioStats) -> IOStat {
    let mut devices: BTreeMap<(u64, u64), IOEntry> = BTreeMap::new();
    let lists = [(&stats.io_service_bytes_recursive, true), (&stats.io_serviced_recursive, false)];
    for (list, bytes) in lists {
        for number in list {
            let entry = devices.entry((number.major, number.minor)).or_default();
            match (number.op.as_str(), bytes) {
                ("Read", true) => entry.rbytes = number.value,
                ("Write", true) => entry.wbytes = number.value,
                ("Read", false) => entry.rios = number.value,
                ("Write", false) => entry.wios = number.value,
                _ => {}
            }
        }
    }
    let mut io = IOStat::new();
    io.psi = pressure(stats.psi);
    for ((major, minor), mut entry) in devices {
        entry.major = major;
        entry.minor = minor;
        io.usage.push(entry);
    }
    io
}

fn pressure(stats: Option<Pressure>) -> MessageField<PSIStats> {
    let data = |line: PressureLine| {
        let mut data = PSIData::new();
        data.avg10 = line.avg10;
        data.avg60 = line.avg60;
        data.avg300 = line.avg300;
        data.total = line.total;
        MessageField::some(data)
    };
    let message = stats.map(|stats| {
        let mut message = PSIStats::new();
        message.some = data(stats.some);
        message.full = data(stats.full);
        message
    });
    message.map_or_else(MessageField::none, MessageField::some)
}

#[cfg(test)]
mod tests {
    use wharf::stats::BlkioEntry;

    use super::*;

    fn entry(op: &str, value: u64) -> BlkioEntry {
        let mut entry = BlkioEntry::default();
        (entry.major, entry.minor, entry.value) = (8, 16, value);
        op.clone_into(&mut entry.op);
        entry
    }

    #[test]
    fn numbers_of_one_device_are_one_entry() {
        let mut stats = Stats::default();
        stats.blkio.io_service_bytes_recursive =
            vec![entry("Read", 1), entry("Write", 2), entry("Discard", 9)];
        stats.blkio.io_serviced_recursive = vec![entry("Read", 3), entry("Write", 4)];
        let io = metrics(&stats).io.unwrap();
        assert_eq!(io.usage.len(), 1);
        let entry = &io.usage[0];
        assert_eq!((entry.major, entry.minor), (8, 16));
        assert_eq!((entry.rbytes, entry.wbytes, entry.rios, entry.wios), (1, 2, 3, 4));
    }

    #[test]
    fn times_are_microseconds_and_no_limit_is_the_largest_number() {
        let mut stats = Stats::default();
        stats.cpu.usage.total = 5_000_000;
        stats.cpu.psi = Some(Pressure::default());
        stats.memory.events = [("oom_group_kill".to_owned(), 2)].into();
        let metrics = metrics(&stats);
        assert_eq!(metrics.cpu.usage_usec, 5000);
        assert!(metrics.cpu.psi.is_some() && metrics.memory.psi.is_none());
        assert_eq!((metrics.pids.limit, metrics.memory_events.oom_group_kill), (u64::MAX, 2));
    }
}
