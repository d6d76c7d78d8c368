//! What a container's cgroup needs besides being made: an owner and, with systemd, a scope around the first process.

use oci_spec::runtime::Spec;

use super::store::Directory;
use crate::cgroup::{Cgroup, CgroupPlan, Manager, Mode};
use crate::error::{Kind, Result};
use crate::host::Host;
use crate::linux::idmap::IdMaps;

/// Gives the container's cgroup (v2) to the container's user, if the configuration lets that user see and write it: the
/// rule of config-linux.md, Cgroup ownership.
pub(super) fn delegate_cgroup(spec: &Spec, cgroup: &Cgroup) -> Result<()> {
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
        Err(error) if error.kind() == Kind::Permission && Host::probe()?.is_rootless() => {
            log::debug!("{error}");
            Ok(())
        }
        other => other,
    }
}

/// Has systemd make the scope with the waiting child in it, and completes its cgroup.
pub(super) fn enter_scope(
    spec: &Spec,
    plan: &CgroupPlan,
    manager: &mut Manager,
    directory: &Directory,
    cgroup: &mut Option<Cgroup>,
    pid: i32,
) -> Result<()> {
    let Some(scope) = &plan.scope else { return Ok(()) };
    // It was found free. Recorded first: systemd may go on with it when this process is killed.
    let claimed = Cgroup::open(plan.claimed_record());
    directory.note_cgroup(claimed.record())?;
    scope.start(manager, pid)?;
    // From here on there is something to undo.
    let cgroup = cgroup.insert(claimed);
    plan.complete_scope(pid)?;
    delegate_cgroup(spec, cgroup)
}
