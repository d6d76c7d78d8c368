//! The numbers, as the callers of runc parse them.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::linux::intel_rdt::IntelRdtStats;

/// What a container uses right now.
///
/// Serializes as the `data` of a `stats` event of runc. Numbers that the machine does not provide are 0 or absent.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Stats {
    /// Processor time.
    pub cpu: CpuStats,
    /// The processors and memory nodes that may be used.
    pub cpuset: CpusetStats,
    /// Memory.
    pub memory: MemoryStats,
    /// Tasks, that is processes and their threads.
    pub pids: PidsStats,
    /// Block devices.
    pub blkio: BlkioStats,
    /// Huge pages, by size (`2MB`).
    pub hugetlb: BTreeMap<String, HugetlbStats>,
    /// Intel RDT: empty unless the configuration has `linux.intelRdt`.
    pub intel_rdt: IntelRdtStats,
    /// Network interfaces: always `null`, as with runc for containers whose network the caller set up.
    pub network_interfaces: Option<Vec<()>>,
    /// Whether the machine has version 2 only. This field, and others that `events --stats` does not print, are for
    /// callers whose own messages differ between the versions.
    #[serde(skip)]
    pub unified: bool,
    /// RDMA resources in use, by device.
    #[serde(skip)]
    pub rdma_current: BTreeMap<String, RdmaStats>,
    /// The limits of RDMA resources, by device; the largest possible number means none.
    #[serde(skip)]
    pub rdma_limit: BTreeMap<String, RdmaStats>,
}

/// RDMA resources of one device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RdmaStats {
    /// Handles.
    pub hca_handles: u32,
    /// Objects.
    pub hca_objects: u32,
}

/// Processor time.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct CpuStats {
    /// Time used.
    pub usage: CpuUsage,
    /// Throttling by the quota.
    pub throttling: Throttling,
    /// Time lost waiting for a processor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub psi: Option<Pressure>,
}

/// Used processor time, in nanoseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct CpuUsage {
    /// In total.
    #[serde(skip_serializing_if = "is_zero")]
    pub total: u64,
    /// By processor (cgroup v1 only).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub percpu: Vec<u64>,
    /// In the kernel, by processor (cgroup v1 only).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub percpu_kernel: Vec<u64>,
    /// In programs, by processor (cgroup v1 only).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub percpu_user: Vec<u64>,
    /// In the kernel.
    pub kernel: u64,
    /// In programs.
    pub user: u64,
}

/// Throttling by the CPU quota.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
#[serde(rename_all = "camelCase")]
pub struct Throttling {
    /// Periods in which the container ran.
    #[serde(skip_serializing_if = "is_zero")]
    pub periods: u64,
    /// Periods in which it used up its quota.
    #[serde(skip_serializing_if = "is_zero")]
    pub throttled_periods: u64,
    /// Nanoseconds for which it was stopped.
    #[serde(skip_serializing_if = "is_zero")]
    pub throttled_time: u64,
    /// Periods in which it used time that it had saved (cgroup v2 only).
    #[serde(skip)]
    pub bursts: u64,
    /// Nanoseconds of saved time that it used (cgroup v2 only).
    #[serde(skip)]
    pub burst_time: u64,
}

/// The processors and memory nodes that may be used.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct CpusetStats {
    /// Numbers of processors.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cpus: Vec<u16>,
    /// Flag `cpuset.cpu_exclusive`.
    pub cpu_exclusive: u64,
    /// Numbers of memory nodes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mems: Vec<u16>,
    /// Flag `cpuset.mem_hardwall`.
    pub mem_hardwall: u64,
    /// Flag `cpuset.mem_exclusive`.
    pub mem_exclusive: u64,
    /// Flag `cpuset.memory_migrate`.
    pub memory_migrate: u64,
    /// Flag `cpuset.memory_spread_page`.
    pub memory_spread_page: u64,
    /// Flag `cpuset.memory_spread_slab`.
    pub memory_spread_slab: u64,
    /// Reclaim operations per second, times 1000.
    pub memory_pressure: u64,
    /// Flag `cpuset.sched_load_balance`.
    pub sched_load_balance: u64,
    /// Level `cpuset.sched_relax_domain_level`, -1 for the system's.
    pub sched_relax_domain_level: i64,
}

/// Memory, in bytes.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct MemoryStats {
    /// Page cache.
    #[serde(skip_serializing_if = "is_zero")]
    pub cache: u64,
    /// Memory.
    pub usage: MemoryEntry,
    /// Memory and swap together, on both versions of cgroups.
    pub swap: MemoryEntry,
    /// Kernel memory (cgroup v1 only).
    pub kernel: MemoryEntry,
    /// TCP buffers (cgroup v1 only).
    #[serde(rename = "kernelTCP")]
    pub kernel_tcp: MemoryEntry,
    /// `memory.stat` as the kernel has it: sizes in bytes, events as counts.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub raw: BTreeMap<String, u64>,
    /// Time lost waiting for memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub psi: Option<Pressure>,
    /// Swap alone (cgroup v2 only).
    #[serde(skip)]
    pub swap_only: MemoryEntry,
    /// `memory.events` (cgroup v2), or `memory.oom_control` (cgroup v1), as the kernel has it.
    #[serde(skip)]
    pub events: BTreeMap<String, u64>,
}

/// One kind of memory, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct MemoryEntry {
    /// The limit; the largest possible number means none.
    pub limit: u64,
    /// What is in use.
    #[serde(skip_serializing_if = "is_zero")]
    pub usage: u64,
    /// The most that was ever in use.
    #[serde(skip_serializing_if = "is_zero")]
    pub max: u64,
    /// How often the limit was reached.
    pub failcnt: u64,
}

/// Tasks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct PidsStats {
    /// How many there are.
    #[serde(skip_serializing_if = "is_zero")]
    pub current: u64,
    /// How many there may be; 0 for no limit.
    #[serde(skip_serializing_if = "is_zero")]
    pub limit: u64,
}

/// Block devices; each number includes the cgroups nested in the container's.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
#[serde(rename_all = "camelCase")]
pub struct BlkioStats {
    /// Bytes moved.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_service_bytes_recursive: Vec<BlkioEntry>,
    /// Operations done.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_serviced_recursive: Vec<BlkioEntry>,
    /// Operations waiting.
    #[serde(rename = "ioQueueRecursive", skip_serializing_if = "Vec::is_empty")]
    pub io_queued_recursive: Vec<BlkioEntry>,
    /// Nanoseconds between dispatch and completion.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_service_time_recursive: Vec<BlkioEntry>,
    /// Nanoseconds in queues.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_wait_time_recursive: Vec<BlkioEntry>,
    /// Operations merged into others.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_merged_recursive: Vec<BlkioEntry>,
    /// Milliseconds of device time.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_time_recursive: Vec<BlkioEntry>,
    /// Sectors of 512 bytes moved.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sectors_recursive: Vec<BlkioEntry>,
    /// Time lost waiting for block devices.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub psi: Option<Pressure>,
}

/// One number about one device.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct BlkioEntry {
    /// The major number of the device.
    #[serde(skip_serializing_if = "is_zero")]
    pub major: u64,
    /// The minor number of the device.
    #[serde(skip_serializing_if = "is_zero")]
    pub minor: u64,
    /// `Read`, `Write`, `Discard`, and on cgroup v1 `Sync`, `Async` and `Total`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub op: String,
    /// The number.
    #[serde(skip_serializing_if = "is_zero")]
    pub value: u64,
}

/// Huge pages of one size, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct HugetlbStats {
    /// The limit (cgroup v2 only); the largest possible number means none.
    #[serde(skip)]
    pub limit: u64,
    /// What is in use.
    #[serde(skip_serializing_if = "is_zero")]
    pub usage: u64,
    /// The most that was ever in use (cgroup v1 only).
    #[serde(skip_serializing_if = "is_zero")]
    pub max: u64,
    /// How often the limit was reached.
    pub failcnt: u64,
}

/// Time lost waiting for a resource (Documentation/accounting/psi.rst of the kernel).
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Pressure {
    /// Some tasks waited.
    pub some: PressureLine,
    /// All tasks waited.
    pub full: PressureLine,
}

/// One line of a pressure file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct PressureLine {
    /// Percent of the last 10 seconds.
    pub avg10: f64,
    /// Percent of the last 60 seconds.
    pub avg60: f64,
    /// Percent of the last 300 seconds.
    pub avg300: f64,
    /// Microseconds since the container began.
    pub total: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(value: &u64) -> bool {
    *value == 0
}
