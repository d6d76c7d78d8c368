//! Ending and removing containers, however damaged their records are.

use std::os::fd::AsFd as _;

use nix::errno::Errno;
use oci_spec::runtime::Spec;

use super::cgroups::Cgroups;
use super::hooks::run_poststop;
use super::host_mounts::unmount;
use super::identity::{ProcessIdentity, wait_end};
use super::options::{CgroupDriver, Delete};
use super::record::{PATIENCE, Record};
use super::state::{Status, status_of};
use super::store::{Directory, Recorded};
use crate::bundle::Bundle;
use crate::cgroup::{Cgroup, CgroupLayout, CgroupPlan, Denial};
use crate::error::{Error, ErrorKind, Result};
use crate::host::Host;
use crate::sys::file_lock::FileLock;
use crate::sys::pidfd;

/// Deletes the container of a directory.
pub(super) fn delete(directory: &Directory, how: Delete) -> Result<()> {
    delete_if(directory, how, &|_| true)
}

/// Deletes this very container, and not another that has got its id since.
pub(super) fn delete_own(directory: &Directory, own: &Record, how: Delete) -> Result<()> {
    delete_if(directory, how, &|found| found.created == own.created)
}

fn delete_if(directory: &Directory, how: Delete, is_meant: &dyn Fn(&Record) -> bool) -> Result<()> {
    let lock = match lock(directory, how, is_meant)? {
        Grasp::Locked(lock) => Some(lock),
        // Damaged or half removed: there is nothing to lock, and no other operation can use it.
        Grasp::Unlockable => None,
        Grasp::Nothing => return Ok(()),
    };
    let known = directory.read()?;
    if let Recorded::Complete(record) | Recorded::Intent(record) = &known
        && !is_meant(record)
    {
        return if how == Delete::Force { Ok(()) } else { Err(directory.unknown()) };
    }
    let interrupted = !matches!(known, Recorded::Complete(_));
    let record = match known {
        Recorded::Complete(record) => Some(record),
        Recorded::Intent(record) if how == Delete::Force => Some(record),
        Recorded::Nothing if how == Delete::Force => None,
        Recorded::Intent(_) | Recorded::Nothing => directory.record().map(Some)?,
    };
    if let Some(record) = &record {
        end(directory, record, interrupted, how)?;
    }
    match &record {
        Some(record) if interrupted => end_interrupted(directory, record)?,
        Some(record) => Cgroup::open(record.cgroup.clone()).destroy(PATIENCE)?,
        None => end_unknown(directory)?,
    }
    let is_current = record.as_ref().is_none_or(|record| !record.is_of_another_boot());
    if interrupted
        && is_current
        && let Some(devices) = directory.noted_devices()
    {
        devices.undo();
    }
    let Some(record) = record else { return directory.remove() };
    if let Some(rdt) = &record.rdt {
        if interrupted { rdt.remove_unused()? } else { rdt.remove()? }
    }
    unmount(&record);
    let spec = record
        .poststop
        .then(|| directory.config().and_then(|bytes| Bundle::saved(bytes, record.bundle.clone())));
    directory.remove()?;
    drop(lock);
    match spec {
        None => Ok(()),
        Some(Ok(bundle)) => run_poststop(&record, bundle.spec()),
        Some(Err(error)) => {
            log::warn!("the poststop hooks cannot run: {error}");
            Ok(())
        }
    }
}

enum Grasp {
    Locked(FileLock),
    Unlockable,
    Nothing,
}

fn lock(directory: &Directory, how: Delete, is_meant: &dyn Fn(&Record) -> bool) -> Result<Grasp> {
    let locked = match how {
        // The holder of the lock waits for the container, or soon will: ending the container ends the wait.
        Delete::Force => directory.lock_within(false, Some(PATIENCE), &mut || end_first(directory, is_meant)),
        Delete::Stopped | Delete::Strict => directory.lock(false),
    };
    match locked {
        Ok(lock) => Ok(Grasp::Locked(lock)),
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        Err(_) if directory.path().is_dir() && how == Delete::Force => Ok(Grasp::Unlockable),
        Err(_) if how == Delete::Force => Ok(Grasp::Nothing),
        Err(error) => Err(error),
    }
}

/// Kills the container's process, and lets it die, while another process holds the lock.
fn end_first(directory: &Directory, is_meant: &dyn Fn(&Record) -> bool) {
    let (record, interrupted) = match directory.read() {
        Ok(Recorded::Complete(record)) => (record, false),
        Ok(Recorded::Intent(record)) => (record, true),
        Ok(Recorded::Nothing) | Err(_) => return,
    };
    let Some(Ok(Some(init))) = record.init.as_ref().map(ProcessIdentity::open) else { return };
    if !is_meant(&record) {
        return;
    }
    let _ = pidfd::send_signal(init.as_fd(), libc::SIGKILL);
    if let Err(error) = thaw(directory, &record, interrupted) {
        log::debug!("{error}");
    }
}

/// Thaws the cgroup so that killed processes can die. If the creation has not recorded the cgroup, it may belong to
/// another container.
fn thaw(directory: &Directory, record: &Record, interrupted: bool) -> Result<()> {
    let cgroup = if interrupted { directory.noted_cgroup() } else { Some(record.cgroup.clone()) };
    match cgroup.map(Cgroup::open) {
        Some(cgroup) if cgroup.frozen().unwrap_or(false) => cgroup.thaw(),
        _ => Ok(()),
    }
}

/// Ends the init process if `how` allows it, or refuses.
fn end(directory: &Directory, record: &Record, interrupted: bool, how: Delete) -> Result<()> {
    let Some(identity) = &record.init else { return Ok(()) };
    let Some(init) = identity.open()? else { return Ok(()) };
    let may_kill = match how {
        Delete::Force => true,
        Delete::Stopped => status_of(directory, record)?.0 == Status::Created,
        Delete::Strict => false,
    };
    if !may_kill {
        let status = status_of(directory, record)?.0;
        return Err(Error::new(
            ErrorKind::WrongState,
            format!("cannot delete container {} that is not stopped: {status}", record.id),
        ));
    }
    match pidfd::send_signal(init.as_fd(), libc::SIGKILL) {
        // ESRCH: it has ended by itself.
        Ok(()) | Err(Errno::ESRCH) => {}
        Err(errno) => {
            let what = format!("kill process {} of container {}", identity.pid, record.id);
            return Err(Error::os(errno, what));
        }
    }
    thaw(directory, record, interrupted)?;
    if wait_end(init.as_fd(), PATIENCE.as_millis() as i32) {
        Ok(())
    } else {
        Err(Error::new(
            ErrorKind::Timeout,
            format!(
                "process {} of container {} does not end although it was killed",
                identity.pid, record.id
            ),
        )
        .with_hint("it hangs in the kernel: see /proc/PID/stack, or a file system that does not answer"))
    }
}

/// Ends what an interrupted creation left in its cgroup. Until the creation has recorded the cgroup, it may be about to
/// find out that the cgroup belongs to another container, with that container's processes.
fn end_interrupted(directory: &Directory, record: &Record) -> Result<()> {
    if record.is_of_another_boot() {
        return Ok(());
    }
    if let Some(noted) = directory.noted_cgroup() {
        return Cgroup::open(noted).destroy(PATIENCE);
    }
    let planned = Cgroup::open(record.cgroup.clone());
    if !record.notes_cgroup() || directory.has_entered_cgroup() {
        return planned.destroy(PATIENCE);
    }
    planned.unmake();
    Ok(())
}

/// The same if no record can be parsed. A container's processes are in its cgroup, so the cgroup has to be found; if
/// none of the container's files is there, there is no process.
fn end_unknown(directory: &Directory) -> Result<()> {
    if let Some(noted) = directory.noted_cgroup() {
        return Cgroup::open(noted).destroy(PATIENCE);
    }
    if !directory.has_entered_cgroup() && directory.socket().symlink_metadata().is_err() {
        return Ok(());
    }
    let bundle = directory.config().ok().and_then(|bytes| Bundle::saved(bytes, "/".into()).ok());
    match guess_cgroup(directory, bundle.as_ref()) {
        Some(cgroup) if bundle.is_some() || cgroup.exists() => cgroup.destroy(PATIENCE),
        _ => Err(Error::new(
            ErrorKind::Corrupt,
            format!(
                "no file in {} can be understood, and container {:?} is not in the cgroup that it would have by \
                 default: its processes may still run",
                directory.path().display(),
                directory.id().as_str()
            ),
        )
        .with_hint("end them, if there are any, and remove the directory")),
    }
}

/// Finds the cgroup of a container without a record: where its configuration says.
fn guess_cgroup(directory: &Directory, bundle: Option<&Bundle>) -> Option<Cgroup> {
    let id = directory.path().file_name()?.to_str()?;
    let layout = CgroupLayout::probe(None).ok()?;
    let rootless = Host::probe().ok()?.is_rootless();
    let bare = Spec::default();
    let spec = bundle.map_or(&bare, Bundle::spec);
    // Each driver refuses the other's paths; without a path, the scope counts if there is one.
    for driver in [CgroupDriver::Systemd, CgroupDriver::Cgroupfs] {
        let cgroup = Cgroups { driver, trusted: true, rootless: None }
            .plan(spec, id, &layout, rootless)
            .map(|plan| Cgroup::open(plan.claimed_record()));
        if let Ok(cgroup) = cgroup
            && (driver == CgroupDriver::Cgroupfs || cgroup.exists())
        {
            return Some(cgroup);
        }
    }
    let denial = if rootless { Denial::Expected } else { Denial::Odd };
    let plan = CgroupPlan::new(None, id, &layout, denial).ok()?;
    Some(Cgroup::open(plan.claimed_record()))
}
