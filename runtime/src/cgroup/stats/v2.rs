//! The numbers of cgroup version 2; on a hybrid machine, those of the controllers in the unified hierarchy.

use std::path::Path;

use super::super::file::field;
use super::{
    BlkioEntry, BlkioStats, Files, HugetlbStats, MemoryEntry, Stats, numbers, pressure, rdma, table,
};
use crate::error::Result;

/// Nanoseconds of the microseconds that version 2 counts in.
const MICRO: u64 = 1000;

/// Reads the files of a cgroup. Hitting a memory limit is counted where the charge is refused: in the surrounding
/// scope, if there is one.
pub(super) fn collect(dir: &Path, scope: Option<&Path>, stats: &mut Stats) -> Result<()> {
    let files = Files::open(dir)?;
    let controllers = files.text("cgroup.controllers")?.unwrap_or_default();
    let has = |name: &str| controllers.split_whitespace().any(|c| c == name);
    // Time is counted without the cpu controller too: on a hybrid machine version 1 has already reported it.
    if stats.cpu.usage.total == 0 {
        let text = files.text("cpu.stat")?.unwrap_or_default();
        let value = |key: &str| field(&text, key).unwrap_or(0);
        stats.cpu.usage.total = value("usage_usec") * MICRO;
        stats.cpu.usage.user = value("user_usec") * MICRO;
        stats.cpu.usage.kernel = value("system_usec") * MICRO;
        if has("cpu") {
            stats.cpu.throttling.periods = value("nr_periods");
            stats.cpu.throttling.throttled_periods = value("nr_throttled");
            stats.cpu.throttling.throttled_time = value("throttled_usec") * MICRO;
            stats.cpu.throttling.bursts = value("nr_bursts");
            stats.cpu.throttling.burst_time = value("burst_usec") * MICRO;
        }
    }
    stats.cpu.psi = files.text("cpu.pressure")?.as_deref().map(pressure);
    stats.memory.psi = files.text("memory.pressure")?.as_deref().map(pressure);
    stats.blkio.psi = files.text("io.pressure")?.as_deref().map(pressure);
    if has("cpuset") {
        stats.cpuset.cpus = numbers(&files.text("cpuset.cpus.effective")?.unwrap_or_default());
        stats.cpuset.mems = numbers(&files.text("cpuset.mems.effective")?.unwrap_or_default());
    }
    if has("memory") {
        let around = scope.map(Files::open).transpose()?;
        memory(&files, around.as_ref().unwrap_or(&files), stats)?;
    }
    if has("pids") {
        stats.pids.current = files.number("pids.current")?;
        stats.pids.limit = Some(files.number("pids.max")?).filter(|&max| max != u64::MAX).unwrap_or(0);
    }
    if has("io") {
        io(&files.text("io.stat")?.unwrap_or_default(), &mut stats.blkio);
    }
    if has("rdma") {
        stats.rdma_current = rdma(&files.text("rdma.current")?.unwrap_or_default());
        stats.rdma_limit = rdma(&files.text("rdma.max")?.unwrap_or_default());
    }
    if has("hugetlb") {
        for size in files.page_sizes("max")? {
            let reserved = files.text(&format!("hugetlb.{size}.rsvd.current"))?;
            let prefix =
                if reserved.is_some() { format!("hugetlb.{size}.rsvd") } else { format!("hugetlb.{size}") };
            let events = files.text(&format!("hugetlb.{size}.events"))?.unwrap_or_default();
            let entry = HugetlbStats {
                usage: files.number(&format!("{prefix}.current"))?,
                limit: files.number(&format!("{prefix}.max"))?,
                max: 0,
                failcnt: field(&events, "max").unwrap_or(0),
            };
            stats.hugetlb.insert(size, entry);
        }
    }
    Ok(())
}

fn memory(files: &Files, limited: &Files, stats: &mut Stats) -> Result<()> {
    let memory = &mut stats.memory;
    memory.raw = table(&files.text("memory.stat")?.unwrap_or_default());
    memory.cache = memory.raw.get("file").copied().unwrap_or(0);
    memory.events = table(&limited.text("memory.events")?.unwrap_or_default());
    memory.usage.limit = files.number("memory.max")?;
    memory.usage.usage = files.number("memory.current")?;
    memory.usage.max = files.number("memory.peak")?;
    memory.usage.failcnt = memory.events.get("max").copied().unwrap_or(0);
    memory.swap_only = MemoryEntry {
        limit: files.number("memory.swap.max")?,
        usage: files.number("memory.swap.current")?,
        max: files.number("memory.swap.peak")?,
        failcnt: limited.text("memory.swap.events")?.and_then(|text| field(&text, "max")).unwrap_or(0),
    };
    // Callers expect version 1's sum.
    memory.swap.limit = memory.swap_only.limit.saturating_add(memory.usage.limit);
    memory.swap.usage = memory.swap_only.usage.saturating_add(memory.usage.usage);
    memory.swap.failcnt = memory.swap_only.failcnt;
    Ok(())
}

/// `8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6`.
pub(super) fn io(text: &str, blkio: &mut BlkioStats) {
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let Some((major, minor)) = words.next().and_then(|device| device.split_once(':')) else { continue };
        let (Ok(major), Ok(minor)) = (major.parse(), minor.parse()) else { continue };
        for (key, value) in words.filter_map(|word| word.split_once('=')) {
            let (list, op) = match key {
                "rbytes" => (&mut blkio.io_service_bytes_recursive, "Read"),
                "wbytes" => (&mut blkio.io_service_bytes_recursive, "Write"),
                "dbytes" => (&mut blkio.io_service_bytes_recursive, "Discard"),
                "rios" => (&mut blkio.io_serviced_recursive, "Read"),
                "wios" => (&mut blkio.io_serviced_recursive, "Write"),
                "dios" => (&mut blkio.io_serviced_recursive, "Discard"),
                _ => continue,
            };
            let value = value.parse().unwrap_or(0);
            list.push(BlkioEntry { major, minor, op: op.to_owned(), value });
        }
    }
}
