//! What a container uses: the numbers of `events --stats`, in the JSON that callers of runc parse.

mod files;
#[cfg(feature = "fuzzing")]
pub(super) mod fuzz;
mod model;
mod v1;
mod v2;

use self::files::{Files, number, numbers, pressure, rdma, table};
pub use self::model::{
    BlkioEntry, BlkioStats, CpuStats, CpuUsage, CpusetStats, HugetlbStats, MemoryEntry, MemoryStats,
    PidsStats, Pressure, PressureLine, RdmaStats, Stats, Throttling,
};
use super::handle::Cgroup;
use super::layout::Mode;
use crate::error::Result;

impl Cgroup {
    /// What the container uses right now, from whichever hierarchy has each controller.
    pub(crate) fn stats(&self) -> Result<Stats> {
        let mut stats = Stats { unified: self.record.mode == Mode::V2, ..Stats::default() };
        v1::collect(self, &mut stats)?;
        if let Some(dir) = self.v2() {
            v2::collect(&dir.path(), dir.scope_path().as_deref(), &mut stats)?;
        }
        Ok(stats)
    }
}

#[cfg(test)]
mod tests;
