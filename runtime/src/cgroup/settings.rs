//! From `linux.resources` to an ordered list of files to write, without a system call.
//!
//! The controllers decide, not the machine as a whole: on a hybrid machine one controller can be in a hierarchy of
//! version 1 and the next in the unified one. A property that no hierarchy of this machine can honour is a [`Problem`];
//! a value by which the callers of runtimes mean "not set" (0 for sizes, `false`, -1 for swappiness) is not.

mod unified;
mod v1;
mod v2;

use std::borrow::Cow;

use oci_spec::runtime::{LinuxBlockIo, LinuxCpu, LinuxMemory, LinuxResources};

use super::layout::{CgroupLayout, Place};
use crate::error::{Error, Kind};

/// The pointer of `linux.resources`.
const ROOT: &str = "/linux/resources";

/// One file to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Setting {
    /// The hierarchy whose directory has the file.
    pub(crate) place: Place,
    /// The controller that must be enabled there, by the name it has in that hierarchy.
    pub(crate) controller: Cow<'static, str>,
    /// The name of the file.
    pub(crate) file: Cow<'static, str>,
    /// What to write. Several lines are several writes, as the kernel takes one line each.
    pub(crate) value: String,
    /// The property of `config.json` that asks for it.
    pub(crate) pointer: String,
    /// What to do where the kernel has no such file.
    pub(crate) absent: Absent,
    /// Settings next to each other with the same group limit each other: the kernel may refuse the first until the
    /// second is written, and which one that is depends on the values in force.
    pub(crate) group: Group,
}

/// What a missing file means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Absent {
    /// The property cannot be honoured.
    Fail,
    /// Nothing is lost: the value is what a kernel without the file does anyway.
    Skip,
    /// Another file does it on this kernel.
    Instead(Box<Setting>),
}

/// Which settings limit each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Group {
    /// It stands alone.
    Single,
    /// Bandwidth: a burst is at most the quota, the quota is checked against the period.
    CpuBandwidth,
    /// Realtime bandwidth: the runtime is at most the period.
    CpuRealtime,
    /// The limit of memory is at most that of memory and swap.
    Memory,
}

/// A finding about the resources: what is wrong, where, and whether another machine could do it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    /// The RFC 6901 pointer of the property.
    pub(crate) pointer: String,
    /// One sentence.
    pub(crate) message: String,
    /// What the operator can do.
    pub(crate) remedy: Option<&'static str>,
    /// The value makes sense, but not on this machine.
    pub(crate) unsupported: bool,
}

impl Problem {
    /// A value that no machine can honour.
    pub(crate) fn invalid(pointer: impl Into<String>, message: impl Into<String>) -> Self {
        Self { pointer: pointer.into(), message: message.into(), remedy: None, unsupported: false }
    }

    /// A value that this machine cannot honour.
    pub(crate) fn unsupported(pointer: impl Into<String>, message: impl Into<String>) -> Self {
        Self { unsupported: true, ..Self::invalid(pointer, message) }
    }

    /// Tells what the operator can do.
    #[must_use]
    pub(crate) fn hint(mut self, remedy: &'static str) -> Self {
        self.remedy = Some(remedy);
        self
    }
}

impl From<Problem> for Error {
    fn from(problem: Problem) -> Self {
        let kind = if problem.unsupported { Kind::Unsupported } else { Kind::InvalidSpec };
        let mut error = Self::new(kind, problem.message);
        if !problem.pointer.is_empty() {
            error = error.at(problem.pointer);
        }
        match problem.remedy {
            Some(remedy) => error.hint(remedy),
            None => error,
        }
    }
}

/// What is in force, for an update that names only a part of what belongs together.
///
/// A new cgroup has no limits, which is what [`Current::fresh`] says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Current {
    /// The cgroup exists and is in use.
    pub(crate) update: bool,
    /// `memory.max` of version 2, negative for unlimited.
    pub(crate) memory_max: Option<i64>,
    /// `memory.swap.max` of version 2, negative for unlimited.
    pub(crate) swap_max: Option<i64>,
    /// The quota in `cpu.max` of version 2, negative for unlimited.
    pub(crate) cpu_quota: Option<i64>,
}

impl Current {
    /// A cgroup that was just made.
    pub(crate) fn fresh() -> Self {
        Self::default()
    }
}

/// The settings that the resources ask for, in the order of writing, and everything that is wrong with them.
pub(crate) fn translate(
    resources: &LinuxResources,
    layout: &CgroupLayout,
    current: &Current,
) -> (Vec<Setting>, Vec<Problem>) {
    let mut out = Output { layout, settings: Vec::new(), problems: Vec::new() };
    if let Some(cpu) = resources.cpu() {
        out.cpu(cpu, current);
        out.cpuset(cpu);
    }
    if let Some(memory) = resources.memory() {
        out.memory(memory, current);
    }
    out.pids(resources, current);
    if let Some(block_io) = resources.block_io() {
        out.block_io(block_io);
    }
    out.hugepages(resources);
    out.rdma(resources);
    out.network(resources);
    unified::translate(resources, &mut out);
    (out.settings, out.problems)
}

/// Everything that is wrong with the resources on this machine.
pub(crate) fn check(resources: &LinuxResources, layout: &CgroupLayout) -> Vec<Problem> {
    let mut problems = translate(resources, layout, &Current::fresh()).1;
    problems.extend(super::devices::check(resources, layout));
    problems
}

/// Where the translation collects.
struct Output<'a> {
    layout: &'a CgroupLayout,
    settings: Vec<Setting>,
    problems: Vec<Problem>,
}

impl Output<'_> {
    fn invalid(&mut self, property: &str, message: impl Into<String>) {
        self.problems.push(Problem::invalid(format!("{ROOT}{property}"), message));
    }

    fn unsupported(&mut self, property: &str, message: impl Into<String>) {
        self.problems.push(Problem::unsupported(format!("{ROOT}{property}"), message));
    }

    /// Finds the controller, or reports that this machine has none for the first property that wants it.
    fn place(&mut self, v1: &str, v2: &str, property: &str) -> Option<Place> {
        let place = self.layout.place(v1, v2);
        if place.is_none() {
            let name = if self.layout.v1.is_empty() { v2 } else { v1 };
            let problem = Problem::unsupported(
                format!("{ROOT}{property}"),
                format!("the cgroup controller {name} is not available on this machine"),
            );
            self.problems.push(problem.hint("the kernel lacks it, or it is disabled or not mounted"));
        }
        place
    }

    fn set(
        &mut self,
        place: Place,
        controller: &'static str,
        file: impl Into<Cow<'static, str>>,
        value: impl ToString,
        property: &str,
    ) -> &mut Setting {
        self.settings.push(Setting {
            place,
            controller: Cow::Borrowed(controller),
            file: file.into(),
            value: value.to_string(),
            pointer: format!("{ROOT}{property}"),
            absent: Absent::Fail,
            group: Group::Single,
        });
        self.settings.last_mut().expect("just pushed")
    }

    fn cpu(&mut self, cpu: &LinuxCpu, current: &Current) {
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
            Some(place @ Place::V1(_)) => v1::cpu(self, place, cpu),
            Some(Place::V2) => v2::cpu(self, cpu, current),
            None => {}
        }
    }

    fn cpuset(&mut self, cpu: &LinuxCpu) {
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

    fn memory(&mut self, memory: &LinuxMemory, current: &Current) {
        let kernel = memory.kernel();
        if kernel.is_some_and(|kernel| kernel > 0) {
            let message = "kernel memory has no limit of its own: Linux dropped it, memory.limit includes it";
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
                self.invalid(property, format!("{value} is no size; -1 is unlimited"));
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
            Some(place @ Place::V1(_)) => v1::memory(self, place, memory, current),
            Some(Place::V2) => v2::memory(self, memory, current),
            None => {}
        }
    }

    fn pids(&mut self, resources: &LinuxResources, current: &Current) {
        let Some(limit) = resources.pids().map(|pids| pids.limit()) else { return };
        if limit < -1 {
            self.invalid("/pids/limit", format!("{limit} is no number of tasks; -1 is unlimited"));
            return;
        }
        // Callers of `update` fill a structure whose 0 means "leave it"; only config.json can ask for no task at all.
        if current.update && limit == 0 {
            return;
        }
        if let Some(place) = self.place("pids", "pids", "/pids/limit") {
            self.set(place, "pids", "pids.max", super::convert::or_max(limit), "/pids/limit");
        }
    }

    fn block_io(&mut self, block_io: &LinuxBlockIo) {
        let devices = block_io.weight_device().as_deref().unwrap_or_default();
        let weights = block_io.weight().map(|weight| (weight, "/blockIO/weight".to_owned())).into_iter();
        let leaf = block_io.leaf_weight().map(|weight| (weight, "/blockIO/leafWeight".to_owned()));
        let weights = weights.chain(leaf).chain(devices.iter().enumerate().flat_map(|(index, device)| {
            let at = move |name: &str| format!("/blockIO/weightDevice/{index}/{name}");
            let weight = device.weight().map(|weight| (weight, at("weight")));
            weight.into_iter().chain(device.leaf_weight().map(|weight| (weight, at("leafWeight"))))
        }));
        let weights: Vec<_> = weights.filter(|&(weight, _)| weight != 0).collect();
        for (weight, property) in &weights {
            if !(10..=1000).contains(weight) {
                self.invalid(property, format!("a block I/O weight is 10 to 1000, not {weight}"));
            }
        }
        let numbers = devices.iter().map(|device| (device.major(), device.minor()));
        let numbers: Vec<_> = numbers.enumerate().collect();
        for (index, (major, minor)) in numbers {
            self.device_number(&format!("/blockIO/weightDevice/{index}"), major, minor);
        }
        let throttles = throttles(block_io);
        for throttle in &throttles {
            self.device_number(&throttle.property, throttle.major, throttle.minor);
        }
        let first = weights.first().map(|(_, property)| property).or(throttles.first().map(|t| &t.property));
        let Some(first) = first.cloned() else { return };
        match self.place("blkio", "io", &first) {
            Some(place @ Place::V1(_)) => v1::block_io(self, place, block_io, &throttles),
            Some(Place::V2) => v2::block_io(self, block_io, &throttles),
            None => {}
        }
    }

    fn device_number(&mut self, property: &str, major: i64, minor: i64) {
        for (number, name) in [(major, "major"), (minor, "minor")] {
            if u32::try_from(number).is_err() {
                self.invalid(&format!("{property}/{name}"), format!("{number} is no device number"));
            }
        }
    }

    fn hugepages(&mut self, resources: &LinuxResources) {
        for (index, limit) in resources.hugepage_limits().iter().flatten().enumerate() {
            let property = format!("/hugepageLimits/{index}/pageSize");
            let size = limit.page_size();
            // The size becomes part of a file name: nothing but the kernel's own spelling may pass (GHSA-5g49-rx9x-qfc6).
            if !is_page_size(size) {
                self.invalid(&property, format!("{size:?} is not a page size such as 2MB or 1GB"));
                continue;
            }
            if let Some(known) = &self.layout.page_sizes
                && !known.contains(size)
            {
                let message =
                    format!("this kernel has no huge pages of {size}, only of {}", known.join(" and "));
                self.unsupported(&property, message);
                continue;
            }
            let property = format!("/hugepageLimits/{index}/limit");
            if limit.limit() < 0 {
                self.invalid(&property, format!("{} is no number of bytes", limit.limit()));
                continue;
            }
            let Some(place) = self.place("hugetlb", "hugetlb", &property) else { return };
            let suffix = if place == Place::V2 { "max" } else { "limit_in_bytes" };
            let usage = format!("hugetlb.{size}.{suffix}");
            self.set(place, "hugetlb", usage, limit.limit(), &property);
            // Limits at reservation time keep a program from SIGBUS at a page fault. Not every kernel has them.
            let reservation = format!("hugetlb.{size}.rsvd.{suffix}");
            self.set(place, "hugetlb", reservation, limit.limit(), &property).absent = Absent::Skip;
        }
    }

    fn rdma(&mut self, resources: &LinuxResources) {
        let mut devices: Vec<_> = resources.rdma().iter().flatten().collect();
        devices.sort_by(|a, b| a.0.cmp(b.0));
        for (name, limit) in devices {
            let property = format!("/rdma/{}", escape(name));
            if name.is_empty() || name.contains(|c: char| c.is_whitespace() || c == '\0') {
                self.invalid(&property, format!("{name:?} is not the name of a device"));
                continue;
            }
            let parts = [("hca_handle", limit.hca_handles()), ("hca_object", limit.hca_objects())];
            let parts: Vec<_> = parts.iter().filter_map(|(key, v)| v.map(|v| format!("{key}={v}"))).collect();
            if parts.is_empty() {
                self.invalid(&property, "at least one of hcaHandles and hcaObjects is required");
                continue;
            }
            let Some(place) = self.place("rdma", "rdma", &property) else { return };
            self.set(place, "rdma", "rdma.max", format!("{name} {}", parts.join(" ")), &property);
        }
    }

    fn network(&mut self, resources: &LinuxResources) {
        let Some(network) = resources.network() else { return };
        if let Some(class) = network.class_id().filter(|&class| class != 0)
            && let Some(place) = self.v1_only("net_cls", "/network/classID")
        {
            self.set(place, "net_cls", "net_cls.classid", class, "/network/classID");
        }
        for (index, entry) in network.priorities().iter().flatten().enumerate() {
            let property = format!("/network/priorities/{index}");
            let name = entry.name();
            if name.is_empty()
                || name.len() > 15
                || name.contains(|c: char| c.is_whitespace() || c == '/' || c == '\0')
            {
                self.invalid(
                    &format!("{property}/name"),
                    format!("{name:?} is not the name of a network interface"),
                );
            } else if let Some(place) = self.v1_only("net_prio", &property) {
                let value = format!("{name} {}", entry.priority());
                self.set(place, "net_prio", "net_prio.ifpriomap", value, &property);
            }
        }
    }

    /// The hierarchy of a controller that version 2 does not have.
    fn v1_only(&mut self, controller: &str, property: &str) -> Option<Place> {
        let place = self.layout.v1.iter().position(|h| h.controllers.iter().any(|c| c == controller));
        if place.is_none() {
            let message =
                format!("the controller {controller} of cgroup v1 is not available on this machine");
            self.unsupported(property, message);
        }
        place.map(Place::V1)
    }
}

/// A limit on the traffic with one device.
struct Throttle {
    property: String,
    major: i64,
    minor: i64,
    rate: u64,
    v1_file: &'static str,
    v2_key: &'static str,
}

fn throttles(block_io: &LinuxBlockIo) -> Vec<Throttle> {
    let lists = [
        (
            "throttleReadBpsDevice",
            block_io.throttle_read_bps_device(),
            "blkio.throttle.read_bps_device",
            "rbps",
        ),
        (
            "throttleWriteBpsDevice",
            block_io.throttle_write_bps_device(),
            "blkio.throttle.write_bps_device",
            "wbps",
        ),
        (
            "throttleReadIOPSDevice",
            block_io.throttle_read_iops_device(),
            "blkio.throttle.read_iops_device",
            "riops",
        ),
        (
            "throttleWriteIOPSDevice",
            block_io.throttle_write_iops_device(),
            "blkio.throttle.write_iops_device",
            "wiops",
        ),
    ];
    let each = lists.into_iter().flat_map(|(property, list, v1_file, v2_key)| {
        list.iter().flatten().enumerate().map(move |(index, device)| Throttle {
            property: format!("/blockIO/{property}/{index}"),
            major: device.major(),
            minor: device.minor(),
            rate: device.rate(),
            v1_file,
            v2_key,
        })
    });
    each.collect()
}

/// A size that asks for something: 0 is how callers say "not set".
fn set_size(size: Option<i64>) -> Option<i64> {
    size.filter(|&size| size != 0)
}

/// The swappiness, unless it is the -1 of an engine squeezed into an unsigned number.
fn swappiness(memory: &LinuxMemory) -> Option<u64> {
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

/// `<number>KB`, `<number>MB` or `<number>GB`.
fn is_page_size(size: &str) -> bool {
    let number = ["KB", "MB", "GB"].iter().find_map(|unit| size.strip_suffix(unit));
    number.is_some_and(|n| {
        (1..=9).contains(&n.len()) && n.bytes().all(|b| b.is_ascii_digit()) && !n.starts_with('0')
    })
}

/// A map key as part of an RFC 6901 pointer.
fn escape(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

#[cfg(test)]
mod tests;
