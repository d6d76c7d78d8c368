//! Adding mounts to a running container, and removing them again.

use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::path::Path;

use oci_spec::runtime::Mount;

use super::added;
use super::cgroups::layout;
use super::handle::Container;
use super::identity::has_ended;
use super::links::links;
use super::opened::{open_namespace, ways_in};
use super::prepare::views;
use crate::error::{Error, ErrorKind, Result};
use crate::finding::into_result;
use crate::host::Host;
use crate::linux::mount::added::AddedMount;
use crate::plan::join::Join;
use crate::plan::mounts::{MountsRequest, add, remove};
use crate::plan::{ParentStep, Plan};
use crate::spawn::{Fate, Operation, Resources, Spawned, open_procfs, out_of_turn, spawn};
use crate::sys::file_lock::FileLock;
use crate::sys::mount_id::{self, MountId};

impl Container {
    /// Adds mounts to a created, running or paused container, just as its creation would have made them: relative bind
    /// sources are relative to the bundle, and missing mount points are made.
    ///
    /// Each mount is recorded before it is attached, so [`Container::remove_mounts`] knows it even if this process is
    /// killed at any moment. The mounts end with the container's mount namespace; its configuration does not change.
    ///
    /// # Errors
    ///
    /// `ErrorKind::InvalidSpec` for a contradictory mount, with a pointer that begins with `/mounts`; `ErrorKind::WrongState` if
    /// the container is stopped; `ErrorKind::Corrupt` if the record of earlier mounts cannot be parsed. After any failure
    /// none of the mounts is there, but mount points that were made stay.
    pub fn add_mounts(&self, mounts: &[Mount]) -> Result<()> {
        let bundle = self.bundle()?;
        for warning in into_result(crate::check::check_added_mounts(mounts, bundle.spec()))? {
            log::warn!("{warning}");
        }
        self.change_mounts(mounts, add)
    }

    /// Removes mounts that [`Container::add_mounts`] made, together with everything mounted below them. Only
    /// `destination` of each entry counts: the one that was asked for, or where the mount is now. If several have the
    /// same destination, the latest goes. Nothing else is ever unmounted, neither a mount of the configuration nor one
    /// that a process of the container made: a mount is identified by its id, whatever became of the path.
    ///
    /// Before Linux 6.8, a mount that is no longer at its destination is found only by its present path.
    ///
    /// # Errors
    ///
    /// `ErrorKind::WrongState` if the container is stopped; `ErrorKind::InvalidSpec` if there is no such mount at one of the
    /// destinations, if it is gone, or if another mount covers it; `ErrorKind::Corrupt` if the record cannot be parsed.
    /// After a refusal all mounts are where they were.
    pub fn remove_mounts(&self, mounts: &[Mount]) -> Result<()> {
        into_result(crate::check::check_removed_mounts(mounts))?;
        self.change_mounts(mounts, |mounts, request| Ok(remove(mounts, request)))
    }

    fn change_mounts(
        &self,
        mounts: &[Mount],
        plan: impl FnOnce(&[Mount], &MountsRequest<'_>) -> Result<Plan>,
    ) -> Result<()> {
        let lock = self.lock()?;
        let Some(init) = self.init()? else { return Err(self.not_running()) };
        let pid = self.pid().unwrap_or(0);
        let bundle = self.bundle()?;
        let host = Host::probe()?;
        let known = added::read(&self.directory)?;
        let settled = self.directory.no_addition()?;
        let views = views(&layout(bundle)?, &self.cgroup());
        let namespaces = self.record.namespaces;
        let request = MountsRequest {
            spec: bundle.spec(),
            bundle: bundle.dir(),
            join: Join::of(bundle.spec().linux().as_ref(), namespaces, false),
            views: &views,
            links: &links(mounts, bundle.dir()),
            admin: host.is_admin(),
            known: &known,
        };
        let plan = plan(mounts, &request)?;
        plan.log();
        // Not in the container's cgroup, where a pause would stop it halfway.
        let ways_in = ways_in(init, pid, namespaces)?;
        let mut change =
            Change { container: self, pid, known: &known, fates: Fates::default(), announced: None };
        // The rest may wait for the child as long as another process in the container keeps it stopped.
        drop(lock);
        // The child has nothing left to do when it reports: it ends by itself or, if it is kept from that, when the value
        // is dropped. Without the word it would take back what it has done, should it not be permitted to end it.
        let done =
            spawn(&plan, &Resources::new(host, &ways_in), &mut change).map(|mut child| drop(child.go()));
        let over = change.fates.over(done.is_ok(), settled);
        if !over.is_empty()
            && let Err(error) = added::forget(&self.directory, &self.record, &over)
        {
            // The next change forgets it.
            log::warn!("{error}");
        }
        done
    }
}

/// A change of mounts in progress.
struct Change<'c> {
    container: &'c Container,
    pid: i32,
    known: &'c [AddedMount],
    fates: Fates,
    /// Held from the first recorded mount to the end.
    announced: Option<FileLock>,
}

impl Operation for Change<'_> {
    fn step(&mut self, _: &ParentStep, _: &Spawned) -> Result<()> {
        Err(out_of_turn())
    }

    /// Of the init process' pid namespace, which still exists when it is opened.
    fn procfs(&self, init: &OwnedFd) -> Result<OwnedFd> {
        let namespace = open_namespace(Path::new(&format!("/proc/{}/ns/pid", self.pid)))?;
        if has_ended(init.as_fd()) {
            return Err(Error::new(ErrorKind::WrongState, "container not running"));
        }
        open_procfs(namespace.as_fd())
    }

    fn attaches(&mut self, destination: &Path, mount: OwnedFd) -> Result<()> {
        let (mount, _) = mount_id::of(mount.as_raw_fd())
            .map_err(|errno| Error::os(errno, "ask for the id of the new mount"))?;
        self.fates.attached.push(mount);
        let Container { directory, record, .. } = self.container;
        let mount = AddedMount { destination: destination.to_owned(), mount };
        self.announced = Some(added::note(directory, record, mount)?);
        Ok(())
    }

    fn fate(&mut self, fate: Fate) -> Result<()> {
        self.fates.tell(fate, self.known);
        Ok(())
    }
}

/// What became of the recorded mounts.
#[derive(Debug, Default)]
struct Fates {
    gone: Vec<MountId>,
    found: Vec<MountId>,
    attached: Vec<MountId>,
    undone: bool,
}

impl Fates {
    fn tell(&mut self, fate: Fate, known: &[AddedMount]) {
        let of = |number: u32| known.get(number as usize).map(|one| one.mount);
        match fate {
            Fate::Gone(number) => self.gone.extend(of(number)),
            Fate::Found(number) => self.found.extend(of(number)),
            Fate::Undone => self.undone = true,
        }
    }

    /// The mounts that are gone after a change, which may have failed. What was not there during the change may still be
    /// attached if the records were not `settled` before.
    fn over(self, done: bool, settled: bool) -> Vec<MountId> {
        let mut over = if settled { self.gone } else { Vec::new() };
        if done {
            over.extend(self.found);
        } else if self.undone {
            over.extend(self.attached);
        }
        over
    }
}
