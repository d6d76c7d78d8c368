//! The cgroup of a creation: its owner and, with systemd, a scope around the first process.

use std::os::fd::BorrowedFd;

use oci_spec::runtime::Spec;

use super::creation::Creation;
use crate::cgroup::{Cgroup, CgroupPlan, Manager, Mode};
use crate::error::{ErrorKind, Result};
use crate::host::Host;
use crate::linux::idmap::IdMaps;

/// Connects to systemd if it is to make the cgroup. Done before the first side effect: there may be no systemd.
pub(super) fn connect(plan: &CgroupPlan, cancel: Option<BorrowedFd<'_>>) -> Result<Option<Manager>> {
    plan.scope.as_ref().map(|scope| Manager::connect(&scope.record.instance, cancel)).transpose()
}

impl Creation<'_> {
    /// Makes the cgroup, unless systemd does so around the first process.
    pub(super) fn make_cgroup(&mut self) -> Result<()> {
        if self.manager.is_some() {
            return self.cgroup_plan.check_free();
        }
        let cgroup = self.cgroup.insert(self.cgroup_plan.apply()?);
        self.directory.note_cgroup(cgroup.record())?;
        delegate(self.spec, cgroup)
    }

    /// Has systemd make the scope with the waiting process in it, if it is to, and completes the cgroup.
    pub(super) fn enter_scope(&mut self, pid: i32) -> Result<()> {
        let (Some(scope), Some(manager)) = (&self.cgroup_plan.scope, &mut self.manager) else {
            return Ok(());
        };
        // It was found free. Recorded first: systemd may go on with it when this process is killed.
        let claimed = Cgroup::open(self.cgroup_plan.claimed_record());
        self.directory.note_cgroup(claimed.record())?;
        scope.start(manager, pid)?;
        // From here on there is something to undo.
        let cgroup = self.cgroup.insert(claimed);
        self.cgroup_plan.complete_scope(pid)?;
        delegate(self.spec, cgroup)
    }
}

/// Gives the container's cgroup (v2) to the container's user, if the configuration lets that user see and write it: the
/// rule of config-linux.md, Cgroup ownership.
fn delegate(spec: &Spec, cgroup: &Cgroup) -> Result<()> {
    if cgroup.record().mode != Mode::V2 || !crate::cgroup::is_delegated(spec) {
        return Ok(());
    }
    let (Some(directory), Some(process)) = (cgroup.v2_dir(), spec.process()) else { return Ok(()) };
    let linux = spec.linux().as_ref();
    let maps = IdMaps::of(linux.and_then(|linux| linux.uid_mappings().as_ref()), None);
    let uid = process.user().uid();
    let host_uid = if maps.uids.is_empty() { Some(uid) } else { maps.host_uid(uid) };
    match host_uid.map_or(Ok(()), |uid| crate::cgroup::delegate(&directory, uid)) {
        // A caller that may not give files away is the user itself, and already owns the cgroup.
        Err(error) if error.kind() == ErrorKind::Permission && Host::probe()?.is_rootless() => {
            log::debug!("{error}");
            Ok(())
        }
        other => other,
    }
}
