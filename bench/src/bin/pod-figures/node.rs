//! What the node has and uses: processes, memory, mounts and processor time.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use crate::pod;

/// The roots of all hierarchies of groups; of version 2 alone, there is one.
pub(crate) fn hierarchies() -> Vec<PathBuf> {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let is_group = |line: &&str| line.contains(" - cgroup ") || line.contains(" - cgroup2 ");
    let point = |line: &str| line.split(' ').nth(4).map(PathBuf::from);
    table.lines().filter(is_group).filter_map(point).collect()
}

/// A moment of the node.
#[derive(Debug, Clone, Default)]
pub(crate) struct Moment {
    processes: BTreeSet<u32>,
    mounts: usize,
    /// Of /proc/meminfo, kB.
    memory: BTreeMap<String, u64>,
}

impl Moment {
    /// Looks.
    pub(crate) fn now() -> Self {
        let info = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let field = |line: &str| {
            let (name, value) = line.split_once(':')?;
            Some((name.to_owned(), value.trim().split(' ').next()?.parse().ok()?))
        };
        Self {
            processes: processes(),
            mounts: fs::read_to_string("/proc/self/mountinfo").unwrap_or_default().lines().count(),
            memory: info.lines().filter_map(field).collect(),
        }
    }

    fn memory(&self, name: &str) -> f64 {
        float(self.memory.get(name).copied().unwrap_or_default())
    }
}

fn processes() -> BTreeSet<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// What idle pods use, each.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Use {
    /// Of the processes but the payload: proportional set size, kB.
    pub(crate) pss: f64,
    /// The same of what belongs to one process alone.
    pub(crate) private: f64,
    /// The part of it that is the shim's.
    pub(crate) shim: f64,
    /// The memory that the group of the pod is charged with, kB; the payload's is in it.
    pub(crate) charged: f64,
    /// By how much less memory the node has, kB; containerd's own growth is in it.
    pub(crate) available: f64,
    /// Memory of the kernel: slab, page tables, stacks and data of each processor, kB.
    pub(crate) kernel: f64,
    /// Processes but the payload.
    pub(crate) processes: f64,
    /// Mounts of the node.
    pub(crate) mounts: f64,
}

impl Use {
    /// What has come since the moment, for so many pods with these names.
    pub(crate) fn since(before: &Moment, pods: &[String]) -> Result<Self, String> {
        let after = Moment::now();
        let mut sum = Self::default();
        for pid in after.processes.difference(&before.processes) {
            let Some(command) = command(*pid) else { continue };
            if command == pod::program() {
                continue;
            }
            let (pss, private) = memory_of(*pid)?;
            sum.processes += 1.0;
            sum.pss += pss;
            sum.private += private;
            if Path::new(&command).file_name().is_some_and(|name| name.to_string_lossy().contains("-shim-")) {
                sum.shim += pss;
            }
        }
        for pod in pods {
            sum.charged += charged(pod)?;
        }
        let count = float(pods.len() as u64).max(1.0);
        let kernel = |moment: &Moment| {
            ["Slab", "PageTables", "KernelStack", "Percpu"]
                .iter()
                .map(|name| moment.memory(name))
                .sum::<f64>()
        };
        sum.available = before.memory("MemAvailable") - after.memory("MemAvailable");
        sum.kernel = kernel(&after) - kernel(before);
        sum.mounts = float(after.mounts as u64) - float(before.mounts as u64);
        let all = [
            &mut sum.pss,
            &mut sum.private,
            &mut sum.shim,
            &mut sum.charged,
            &mut sum.available,
            &mut sum.kernel,
            &mut sum.processes,
            &mut sum.mounts,
        ];
        for value in all {
            *value /= count;
        }
        Ok(sum)
    }
}

/// The first word of a process's command line; none of one that has ended.
fn command(pid: u32) -> Option<String> {
    let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let word = line.split(|byte| *byte == 0).next()?;
    (!word.is_empty()).then(|| String::from_utf8_lossy(word).into_owned())
}

/// Proportional set size, and private pages, kB.
fn memory_of(pid: u32) -> Result<(f64, f64), String> {
    let path = format!("/proc/{pid}/smaps_rollup");
    let text = fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
    let field = |key: &str| {
        let value =
            text.lines().find_map(|line| line.strip_prefix(key)?.trim().split(' ').next()?.parse().ok());
        value.map(float).ok_or_else(|| format!("{path}: no {key}"))
    };
    Ok((field("Pss:")?, field("Private_Clean:")? + field("Private_Dirty:")?))
}

/// What the group of a pod is charged with, kB.
fn charged(pod: &str) -> Result<f64, String> {
    let group = Path::new(pod::GROUP).join(pod);
    let files = ["memory.current", "memory.usage_in_bytes"];
    let paths = hierarchies().into_iter().flat_map(|root| files.map(|file| root.join(&group).join(file)));
    let value =
        paths.filter_map(|path| fs::read_to_string(path).ok()).find_map(|text| text.trim().parse().ok());
    value
        .map(|bytes: u64| float(bytes) / 1024.0)
        .ok_or_else(|| format!("no memory of the group {}", group.display()))
}

/// Processor time in milliseconds: of everything in these groups, and of one process.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Work {
    /// Everything but this program.
    pub(crate) all: f64,
    /// The daemon alone.
    pub(crate) daemon: f64,
}

impl Work {
    /// Until now.
    pub(crate) fn now(daemon: u32) -> Self {
        let own = ticks("/proc/self/stat");
        Self { all: group_work() - own, daemon: ticks(&format!("/proc/{daemon}/stat")) }
    }

    /// Since an earlier moment.
    pub(crate) fn since(self, before: Self) -> Self {
        Self { all: self.all - before.all, daemon: self.daemon - before.daemon }
    }
}

/// The time of a process's threads, children not among them.
fn ticks(path: &str) -> f64 {
    let text = fs::read_to_string(path).unwrap_or_default();
    // The name may have spaces; the fields after it begin with the third.
    let fields: Vec<&str> = text.rsplit_once(") ").map_or("", |(_, rest)| rest).split(' ').collect();
    let of = |at: usize| fields.get(at - 3).and_then(|word| word.parse::<u64>().ok()).unwrap_or_default();
    // The kernel tells programs hundredths of a second, whatever its own clock is.
    float(of(14) + of(15)) * 10.0
}

/// The time of everything in the group that this machine, or box, begins with.
fn group_work() -> f64 {
    for root in hierarchies() {
        if let Ok(text) = fs::read_to_string(root.join("cpuacct.usage")) {
            return float(text.trim().parse().unwrap_or_default()) / 1e6;
        }
        if let Ok(text) = fs::read_to_string(root.join("cpu.stat"))
            && let Some(time) = text.lines().find_map(|line| line.strip_prefix("usage_usec ")?.parse().ok())
        {
            return float(time) / 1e3;
        }
    }
    0.0
}

#[allow(clippy::cast_precision_loss, reason = "these counts have less than 53 bits")]
fn float(number: u64) -> f64 {
    number as f64
}
