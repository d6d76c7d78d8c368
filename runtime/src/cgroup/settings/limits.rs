//! CPU time, CPUs, memory and tasks.

use oci_spec::runtime::{LinuxCpu, LinuxMemory, LinuxResources};

use super::super::layout::Hierarchy;
use super::{Current, Output, set_size, v1, v2};

impl Output<'_> {
    pub(super) fn cpu(&mut self, cpu: &LinuxCpu, current: &Current) {
        let quota = cpu.quota().filter(|&quota| quota != 0);
        if let (Some(burst), Some(quota)) = (cpu.burst(), quota.filter(|&q| q > 0))
            && burst > quota as u64
        {
            self.invalid("/cpu/burst", format!("cpu burst {burst} is larger than the quota {quota}"));
        }
        if let Some(idle) = cpu.idle().filter(|idle| !(0..=1).contains(idle)) {
            self.invalid("/cpu/idle", format!("cpu idle must be 0 or 1, not {idle}"));
        }
        let first = [
            ("/cpu/shares", cpu.shares().is_some_and(|v| v != 0)),
            ("/cpu/quota", quota.is_some()),
            ("/cpu/period", cpu.period().is_some_and(|v| v != 0)),
            ("/cpu/burst", cpu.burst().is_some()),
            ("/cpu/idle", cpu.idle().is_some()),
            ("/cpu/realtimeRuntime", cpu.realtime_runtime().is_some_and(|v| v != 0)),
            ("/cpu/realtimePeriod", cpu.realtime_period().is_some_and(|v| v != 0)),
        ];
        let Some((property, _)) = first.into_iter().find(|&(_, asked)| asked) else { return };
        match self.place("cpu", "cpu", property) {
            Some(place @ Hierarchy::V1(_)) => v1::cpu(self, place, cpu),
            Some(Hierarchy::V2) => v2::cpu(self, cpu, current),
            None => {}
        }
    }

    pub(super) fn cpuset(&mut self, cpu: &LinuxCpu) {
        for (list, property, file) in
            [(cpu.cpus(), "/cpu/cpus", "cpuset.cpus"), (cpu.mems(), "/cpu/mems", "cpuset.mems")]
        {
            let Some(list) = list.as_ref().filter(|list| !list.is_empty()) else { continue };
            if !is_list(list) {
                self.invalid(property, format!("{list:?} is not a list such as 0-3,7"));
            } else if let Some(place) = self.place("cpuset", "cpuset", property) {
                self.set(place, "cpuset", file, list, property);
            }
        }
    }

    pub(super) fn memory(&mut self, memory: &LinuxMemory, current: &Current) {
        let kernel = memory.kernel();
        if kernel.is_some_and(|kernel| kernel > 0) {
            let message = "Linux no longer limits kernel memory on its own: memory.limit includes it";
            self.unsupported("/memory/kernel", message);
        }
        for (value, property) in [
            (memory.limit(), "/memory/limit"),
            (memory.reservation(), "/memory/reservation"),
            (memory.swap(), "/memory/swap"),
            (kernel, "/memory/kernel"),
            (memory.kernel_tcp(), "/memory/kernelTCP"),
        ] {
            if let Some(value) = value.filter(|&value| value < -1) {
                self.invalid(property, format!("{value} is not a size; -1 means no limit"));
                return;
            }
        }
        let swappiness = swappiness(memory);
        let first = [
            ("/memory/limit", set_size(memory.limit()).is_some()),
            ("/memory/reservation", set_size(memory.reservation()).is_some()),
            ("/memory/swap", set_size(memory.swap()).is_some()),
            ("/memory/kernelTCP", set_size(memory.kernel_tcp()).is_some_and(|v| v > 0)),
            ("/memory/swappiness", swappiness.is_some()),
            ("/memory/disableOOMKiller", memory.disable_oom_killer() == Some(true)),
            ("/memory/useHierarchy", memory.use_hierarchy() == Some(true)),
        ];
        let Some((property, _)) = first.into_iter().find(|&(_, asked)| asked) else { return };
        if let Some(value) = swappiness.filter(|&value| value > 100) {
            self.invalid("/memory/swappiness", format!("swappiness must be 0 to 100, not {value}"));
        }
        match self.place("memory", "memory", property) {
            Some(place @ Hierarchy::V1(_)) => v1::memory(self, place, memory, current),
            Some(Hierarchy::V2) => v2::memory(self, memory, current),
            None => {}
        }
    }

    pub(super) fn pids(&mut self, resources: &LinuxResources, current: &Current) {
        let Some(limit) = resources.pids().map(|pids| pids.limit()) else { return };
        if limit < -1 {
            self.invalid("/pids/limit", format!("{limit} is not a number of tasks; -1 means no limit"));
            return;
        }
        // Callers of `update` fill a structure in which 0 means "leave it"; only config.json can ask for no task at
        // all.
        if current.update && limit == 0 {
            return;
        }
        if let Some(place) = self.place("pids", "pids", "/pids/limit") {
            self.set(place, "pids", "pids.max", super::super::convert::or_max(limit), "/pids/limit");
        }
    }
}

/// The swappiness, unless it is an engine's -1 squeezed into an unsigned number.
pub(super) fn swappiness(memory: &LinuxMemory) -> Option<u64> {
    memory.swappiness().filter(|&value| value != u64::MAX)
}

/// The list format of cpuset(7): numbers and ranges, no spaces.
fn is_list(list: &str) -> bool {
    let number = |text: &str| {
        (!text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()))
            .then(|| text.parse::<u32>().ok())
            .flatten()
    };
    list.split(',').all(|part| match part.split_once('-') {
        Some((from, to)) => matches!((number(from), number(to)), (Some(from), Some(to)) if from <= to),
        None => number(part).is_some(),
    })
}
