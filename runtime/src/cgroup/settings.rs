//! From `linux.resources` to an ordered list of files to write, without a system call.
//!
//! What counts is each controller, not the machine as a whole: on a hybrid machine one controller can be in a version 1
//! hierarchy and the next in the unified one. A property that no hierarchy of this machine can honour is an error;
//! a value by which callers of runtimes mean "not set" (0 for sizes, `false`, -1 for swappiness) is not.

mod block_io;
mod limits;
mod named;
mod unified;
mod v1;
mod v2;

use std::borrow::Cow;

use oci_spec::runtime::LinuxResources;

use self::block_io::Throttle;
use self::limits::swappiness;
use super::layout::{CgroupLayout, Hierarchy};
use crate::error::{Error, Result};

/// The pointer of `linux.resources`.
const ROOT: &str = "/linux/resources";

/// One file to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Setting {
    /// The hierarchy whose directory has the file.
    pub(crate) place: Hierarchy,
    /// The controller that must be enabled there, by its name in that hierarchy.
    pub(crate) controller: Cow<'static, str>,
    /// The name of the file.
    pub(crate) file: Cow<'static, str>,
    /// What to write. Several lines are several writes, as the kernel takes one line at a time.
    pub(crate) value: String,
    /// The property of `config.json` that asks for it.
    pub(crate) pointer: String,
    /// What to do if the kernel has no such file.
    pub(crate) absent: Absent,
    /// Neighbouring settings with the same group limit each other: the kernel may refuse the first until the second is
    /// written, and which one that is depends on the values in force.
    pub(crate) group: Group,
}

/// What a missing file means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Absent {
    /// The property cannot be honoured.
    Fail,
    /// Nothing is lost: a kernel without the file behaves that way anyway.
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

/// The values in force, for an update that names only a part of what belongs together.
///
/// A new cgroup has no limits, see [`Current::fresh`].
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
) -> (Vec<Setting>, Vec<Error>) {
    let mut out = Output { layout, settings: Vec::new(), errors: Vec::new() };
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
    (out.settings, out.errors)
}

/// The settings in the order of writing, unless something is wrong with them.
pub(crate) fn settings_for(
    resources: &LinuxResources,
    layout: &CgroupLayout,
    current: &Current,
) -> Result<Vec<Setting>> {
    let (settings, errors) = translate(resources, layout, current);
    errors.into_iter().next().map_or(Ok(settings), Err)
}

/// Everything that is wrong with the resources on this machine.
pub(crate) fn check(resources: &LinuxResources, layout: &CgroupLayout) -> Vec<Error> {
    let mut errors = translate(resources, layout, &Current::fresh()).1;
    errors.extend(super::devices::check(resources, layout));
    errors
}

/// Collects the translation.
struct Output<'a> {
    layout: &'a CgroupLayout,
    settings: Vec<Setting>,
    errors: Vec<Error>,
}

impl Output<'_> {
    fn invalid(&mut self, property: &str, message: impl Into<String>) {
        self.errors.push(Error::invalid(format!("{ROOT}{property}"), message));
    }

    fn unsupported(&mut self, property: &str, message: impl Into<String>) {
        self.errors.push(Error::unsupported(format!("{ROOT}{property}"), message));
    }

    /// Finds the controller, or reports for the first property that wants it that this machine has none.
    fn place(&mut self, v1: &str, v2: &str, property: &str) -> Option<Hierarchy> {
        let place = self.layout.place(v1, v2);
        if place.is_none() {
            let name = if self.layout.v1.is_empty() { v2 } else { v1 };
            let error = Error::unsupported(
                format!("{ROOT}{property}"),
                format!("the cgroup controller {name} is not available on this machine"),
            );
            self.errors.push(error.with_hint("the kernel lacks it, or it is disabled or not mounted"));
        }
        place
    }

    fn set(
        &mut self,
        place: Hierarchy,
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
}

/// A size that asks for something: callers write 0 for "not set".
fn set_size(size: Option<i64>) -> Option<i64> {
    size.filter(|&size| size != 0)
}

#[cfg(test)]
mod tests;
