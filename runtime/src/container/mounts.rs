//! Adding mounts to a running container, and removing mounts from it.

use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;

use oci_spec::runtime::Mount;

use super::cgroups::layout;
use super::exec::root_of;
use super::handle::Container;
use super::identity::has_ended;
use super::links::links;
use super::opened::open_namespace;
use super::prepare::views;
use crate::check::finding::into_result;
use crate::error::{Error, Kind, Result};
use crate::host::Host;
use crate::plan::mounts::{MountsRequest, add, remove};
use crate::plan::{ParentStep, Plan};
use crate::spawn::{self, Asked, Resources, Spawned, View};

impl Container {
    /// Adds mounts to a container that is created, running or paused, as its creation would have made them: relative
    /// bind sources are relative to the bundle, and missing mount points are made.
    ///
    /// The mounts end with the container's mount namespace; its configuration does not change.
    ///
    /// # Errors
    ///
    /// `Kind::InvalidSpec` for a contradictory mount, with a pointer that begins with `/mounts`; `Kind::WrongState` if
    /// the container is stopped. After any failure none of the mounts is there, but mount points that were made stay.
    pub fn add_mounts(&self, mounts: &[Mount]) -> Result<()> {
        let bundle = self.bundle()?;
        for warning in into_result(crate::check::check_added_mounts(mounts, bundle.spec()))? {
            log::warn!("{warning}");
        }
        self.change_mounts(mounts, add)
    }

    /// Removes what is mounted on the destinations of these mounts, together with everything below it; of the entries
    /// only `destination` counts. Where several mounts are stacked, the topmost goes.
    ///
    /// # Errors
    ///
    /// `Kind::WrongState` if the container is stopped. If nothing is mounted on one of the destinations, or it may not
    /// be unmounted, none is.
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
        let init_pid = self.pid().unwrap_or(0);
        let bundle = self.bundle()?;
        let host = Host::probe()?;
        let views = views(&layout(bundle)?, &self.cgroup());
        let namespaces = self.record.namespaces;
        let request = MountsRequest {
            spec: bundle.spec(),
            bundle: bundle.dir(),
            namespaces,
            views: &views,
            links: &links(mounts, bundle.dir()),
            admin: host.is_admin(),
        };
        let plan = plan(mounts, &request)?;
        plan.log();
        let mut inherited: Vec<OwnedFd> =
            vec![init.try_clone().map_err(|error| Error::io(&error, "duplicate a pidfd"))?];
        if namespaces & libc::CLONE_NEWNS == 0 {
            inherited.push(root_of(init_pid)?);
        }
        let resources = Resources {
            streams: [0, 1, 2],
            preserved: 0,
            absent: &[],
            listener: None,
            // Not in the container's cgroup, where a pause would stop it halfway.
            cgroup: None,
            cgroup_optional: false,
            born_joined: &[],
            namespaces: &inherited,
            sibling: false,
            cancel: None,
        };
        let mut serve = |asked: Asked<'_>, _: &Spawned| match asked {
            Asked::Step(ParentStep::OpenProcfs(_)) => {
                spawn::open_procfs(pid_namespace_of(&init, init_pid)?.as_fd()).map(Some)
            }
            Asked::Step(ParentStep::OpenIdMap(maps)) => spawn::open_id_map(maps, host).map(Some),
            Asked::Step(ParentStep::OpenMount { source, recursive, follow, propagation, id_map }) => {
                let reach = (*recursive, *follow);
                spawn::open_mount(source, reach, *propagation, id_map.as_ref(), host, View::Own).map(Some)
            }
            Asked::Step(step) => {
                Err(Error::new(Kind::System, format!("{step}: not a step of a change of mounts")))
            }
            Asked::Listener(_) | Asked::Reborn => Ok(None),
        };
        // What follows may wait for the child as long as somebody in the container keeps it stopped.
        drop(lock);
        // The child has nothing left to do when it reports, and is ended with the value.
        spawn::spawn(&plan, &resources, &mut |_| Ok(()), &mut serve).map(drop)
    }
}

/// The pid namespace of the init process, which is still there when it is opened.
fn pid_namespace_of(init: &OwnedFd, pid: i32) -> Result<OwnedFd> {
    let namespace = open_namespace(Path::new(&format!("/proc/{pid}/ns/pid")))?;
    if has_ended(init.as_fd()) {
        return Err(Error::new(Kind::WrongState, "container not running"));
    }
    Ok(namespace)
}
