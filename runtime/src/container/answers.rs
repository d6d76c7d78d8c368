//! What the runtime does for the child of a creation, step by step, on request.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd, RawFd};

use oci_spec::runtime::{ContainerState, Spec};

use super::cgroup_setup::enter_scope;
use super::claims::Claims;
use super::hooks;
use super::identity::ProcessIdentity;
use super::record::Record;
use super::store::Directory;
use crate::cgroup::{Cgroup, CgroupPlan, Manager};
use crate::error::{Error, Kind, Result};
use crate::hook::Watch;
use crate::host::Host;
use crate::plan::ParentStep;
use crate::spawn::{self, Asked, Spawned, View};

/// What the answers need, and what they leave for a creation to undo.
pub(super) struct Answers<'a> {
    pub(super) spec: &'a Spec,
    pub(super) host: Host,
    /// The child's standard streams, by their descriptor numbers here.
    pub(super) streams: [RawFd; 3],
    pub(super) record: &'a Record,
    pub(super) directory: &'a Directory,
    /// The namespaces opened for the child, by number.
    pub(super) namespaces: &'a [OwnedFd],
    pub(super) claims: &'a mut Claims,
    pub(super) cgroup: &'a mut Option<Cgroup>,
    pub(super) scope: Option<(&'a CgroupPlan, &'a mut Manager)>,
    pub(super) hooked: &'a mut bool,
    pub(super) cancel: Option<BorrowedFd<'a>>,
}

impl Answers<'_> {
    /// Performs a step for the child; if there is a descriptor, it goes to the child.
    pub(super) fn answer(&mut self, asked: Asked<'_>, child: &Spawned) -> Result<Option<OwnedFd>> {
        match asked {
            Asked::Step(step) => self.step(step, child),
            Asked::Listener(fd) => self.hand_on(fd, child.pid).map(|()| None),
            Asked::Reborn => self.note(child).map(|()| None),
            Asked::Note(..) | Asked::Fate(_) => Err(spawn::out_of_turn()),
        }
    }

    /// Records which process it is, so that a later `delete --force` can end it.
    pub(super) fn note(&self, child: &Spawned) -> Result<()> {
        self.directory.note_init(&ProcessIdentity::of(child.pid, child.pidfd.as_fd())?)
    }

    fn hand_on(&self, listener: OwnedFd, pid: i32) -> Result<()> {
        match self.spec.linux().as_ref().and_then(|linux| linux.seccomp().as_ref()) {
            Some(seccomp) => {
                super::notify::send(seccomp, listener, pid, self.record, ContainerState::Creating)
            }
            None => Ok(()),
        }
    }

    fn step(&mut self, step: &ParentStep, child: &Spawned) -> Result<Option<OwnedFd>> {
        let pid = child.pid;
        match step {
            ParentStep::MapIds(maps) => spawn::map_ids(pid, maps, self.host)?,
            ParentStep::CompareIdMaps(maps) => spawn::compare_id_maps(pid, maps)?,
            ParentStep::IoPriority(value) => spawn::set_io_priority(pid, *value)?,
            ParentStep::TimeOffsets(text) => spawn::write_time_offsets(pid, text)?,
            ParentStep::Rlimits(limits) => spawn::set_rlimits(pid, limits)?,
            ParentStep::Scheduler(attr) => spawn::set_scheduler(pid, attr)?,
            ParentStep::OpenProcfs(number) => {
                return match self.namespaces.get(usize::from(*number)) {
                    Some(namespace) => spawn::open_procfs(namespace.as_fd()).map(Some),
                    None => Err(Error::new(Kind::System, format!("{step}: it was not opened"))),
                };
            }
            ParentStep::OpenIdMap(maps) => return spawn::open_id_map(maps, self.host).map(Some),
            ParentStep::OpenMount { source, recursive, follow, propagation, id_map } => {
                let view = View::for_source(source, &self.record.rootfs, child.pidfd.as_fd());
                let id_map = id_map.as_ref();
                let reach = (*recursive, *follow);
                return spawn::open_mount(source, reach, *propagation, id_map, self.host, view).map(Some);
            }
            ParentStep::OpenDirectory(path) => return spawn::open_directory(path).map(Some),
            ParentStep::OwnStreams(uid) => spawn::own_streams(pid, self.streams, *uid)?,
            ParentStep::OpenDevice { path, mode, device } => {
                return spawn::open_device(path, *mode, *device).map(Some);
            }
            ParentStep::NoteMount(_) => return Err(spawn::out_of_turn()),
            ParentStep::EnterScope(_) => {
                if let Some((plan, manager)) = &mut self.scope {
                    manager.watch(child.pidfd.as_fd())?;
                    enter_scope(self.spec, plan, manager, self.directory, self.cgroup, pid)?;
                }
            }
            ParentStep::JoinRdt(_) => self.claims.join_rdt(pid)?,
            ParentStep::MoveDevices(_) => {
                self.claims.move_devices(self.spec, self.directory, child.pidfd.as_fd())?;
            }
            ParentStep::RuntimeHooks => {
                *self.hooked = true;
                let watch = Watch { process: Some(child.pidfd.as_fd()), cancel: self.cancel };
                hooks::run_runtime_hooks(self.spec, self.record, pid, watch)?;
            }
        }
        Ok(None)
    }
}
