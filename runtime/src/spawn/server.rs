//! The one server of all children: follows a child, and takes the steps for which it asks.

use std::os::fd::{AsFd as _, AsRawFd, OwnedFd};

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};

use super::mapping::{compare_id_maps, map_ids};
use super::opening::{open_device, open_directory, open_id_map, open_mount};
use super::setting::{
    own_streams, set_io_priority, set_oom_score, set_rlimits, set_scheduler, write_time_offsets,
};
use super::spawned::Spawned;
use super::view::HostView;
use super::{Fate, Operation, Resources, failure, make, out_of_turn};
use crate::child::message::{Message, MessageKind};
use crate::error::{Error, Result};
use crate::linux::process_stat::became_program;
use crate::plan::{ParentStep, Plan};
use crate::program::Op;
use crate::program::blame::Blame;
use crate::sys::socket;
use crate::trace;

/// Makes the child and serves it until it reports that everything is in place. On failure nothing of the child is left.
pub(crate) fn spawn(
    plan: &Plan,
    resources: &Resources<'_>,
    operation: &mut dyn Operation,
) -> Result<Spawned> {
    let (ours, theirs) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)
        .map_err(|errno| Error::os(errno, "make the socket to the container's process"))?;
    let cancel = resources.cancel.map(|fd| fd.try_clone_to_owned()).transpose();
    let cancel = cancel.map_err(|error| Error::io(&error, "duplicate a descriptor"))?;
    let marks = trace::marks(plan);
    let (pid, pidfd) = make::make_child(plan, resources, theirs.as_raw_fd(), marks.as_ref())?;
    trace::done(format_args!("made process {pid}"));
    // Only the child holds its end now, so that we notice its end.
    drop(theirs);
    let mut spawned = Spawned {
        pid,
        pidfd,
        maker: None,
        sync: ours,
        console: None,
        cancel,
        expects_to_wait: resources.expects_to_wait,
        memory_limit: resources.memory_limit,
        sibling: resources.sibling,
        released: false,
        marks,
        told: 0,
    };
    let mut server = Server { resources, operation, emerges: emerges(plan) };
    // The process that enters a pid namespace is another one, which may exist before the first has got anything: what
    // is done for the first counts only while it lives, and is always done for the second.
    match server.born(&spawned) {
        Err(error) if !server.emerges => return Err(spawned.reason(plan, error)),
        _ => spawned.follow(plan, Some(server))?,
    }
    Ok(spawned)
}

/// Whether the child goes on in a process that others can see, in a pid namespace.
fn emerges(plan: &Plan) -> bool {
    plan.program.ops.contains(&Op::Emerge)
}

impl Spawned {
    /// Waits until the child has become its program.
    pub(crate) fn await_exec(&mut self, plan: &Plan) -> Result<()> {
        self.follow(plan, None)
    }

    /// Follows the child until it is created, as long as it has a server, or else to its program; logs its steps.
    fn follow(&mut self, plan: &Plan, server: Option<Server<'_>>) -> Result<()> {
        let followed = self.hear(plan, server);
        if let Some(marks) = &self.marks {
            self.told = trace::tell(plan, marks, self.told);
        }
        followed
    }

    /// Hears the child until it is created or has ended.
    fn hear(&mut self, plan: &Plan, mut server: Option<Server<'_>>) -> Result<()> {
        let mut failed: Option<(Message, Option<OwnedFd>)> = None;
        let mut refused: Option<Error> = None;
        while let Some((message, fd)) = self.next_message(failed.is_some())? {
            // Other processes that can see it may hold its socket, and speak for it.
            let has_emerged = self.maker.is_some() && emerges(plan);
            match (message.kind, &mut server) {
                (MessageKind::Ask, Some(server)) if !has_emerged => {
                    refused = self.answer(plan, server, message, fd)?.or(refused);
                }
                (MessageKind::Console, _) if !has_emerged => self.console = fd.map(|fd| (fd, message.a)),
                (MessageKind::Refork, Some(server)) if self.maker.is_none() => {
                    if let Some(pidfd) = fd {
                        self.move_to(message.a, pidfd);
                        server.moved(self).map_err(|error| self.reason(plan, error))?;
                        for step in &plan.emerged {
                            server.step(step, None, self).map_err(|error| self.reason(plan, error))?;
                        }
                    }
                }
                (MessageKind::Gone, Some(server)) => server.operation.fate(Fate::Gone(message.a))?,
                (MessageKind::Found, Some(server)) => server.operation.fate(Fate::Found(message.a))?,
                (MessageKind::Undone, Some(server)) => server.operation.fate(Fate::Undone)?,
                (MessageKind::Listener, Some(server)) => {
                    fd.map_or(Ok(()), |fd| server.operation.listener(fd, self))?;
                }
                (MessageKind::Warning, _) => log::warn!("{}", failure::warning(&plan.program, message)),
                // The child may send the plain failure first, and then what it found out about it.
                (MessageKind::Failed, _) => failed = Some((message, fd)),
                (MessageKind::Created, Some(_)) => return Ok(()),
                _ => return Err(out_of_turn()),
            }
        }
        match (refused, failed) {
            (Some(error), _) => Err(error),
            (None, Some((message, output))) => Err(failure::describe(&plan.program, message, output)),
            (None, None) if server.is_some() => Err(self.ended()),
            // The socket closes at execve, or at the end of the process: the kernel knows which.
            (None, None) => became_program(self.pid, self.pidfd.as_fd()).map_err(failure::not_executed),
        }
    }

    /// Takes a step for the child, and tells it so. Returns why the step was refused if the child must undo something
    /// before it ends.
    fn answer(
        &mut self,
        plan: &Plan,
        server: &mut Server<'_>,
        message: Message,
        shown: Option<OwnedFd>,
    ) -> Result<Option<Error>> {
        let step = plan.steps.get(message.a as usize).ok_or_else(out_of_turn)?;
        let mut packet = Message::about(MessageKind::Answer, message.a);
        let (answer, refused) = match server.step(step, shown, self) {
            Ok(answer) => (answer, None),
            Err(error) if plan.program.undoes => {
                packet.b = libc::ECANCELED;
                (None, Some(error))
            }
            Err(error) => return Err(self.reason(plan, error)),
        };
        let with = answer.as_ref().map_or(-1, AsRawFd::as_raw_fd);
        socket::send(self.sync.as_raw_fd(), &packet.encode(), with)
            .map_err(|errno| self.reason(plan, Error::os(errno, "answer the container's process")))?;
        Ok(refused)
    }
}

/// The parent of one child.
struct Server<'s> {
    resources: &'s Resources<'s>,
    operation: &'s mut dyn Operation,
    /// Whether the child goes on in a process that emerges in a pid namespace.
    emerges: bool,
}

impl Server<'_> {
    /// Does what a process needs from its birth on.
    fn born(&mut self, child: &Spawned) -> Result<()> {
        self.operation.born(child)?;
        // Without privileges, the child does it itself.
        let score = self.resources.oom_score.filter(|_| self.resources.host.is_admin());
        score.map_or(Ok(()), |score| set_oom_score(child.pid, score))
    }

    /// Does the same where the child goes on in a new process.
    fn moved(&mut self, child: &Spawned) -> Result<()> {
        if self.emerges { self.born(child) } else { self.operation.moved(child) }
    }

    /// Takes one step of the plan; a descriptor goes to the child. `shown` is the mount that came with the request.
    fn step(
        &mut self,
        (step, blame): &(ParentStep, Blame),
        shown: Option<OwnedFd>,
        child: &Spawned,
    ) -> Result<Option<OwnedFd>> {
        let taken = match (step, shown) {
            (ParentStep::NoteMount(destination), Some(mount)) => {
                self.operation.attaches(destination, mount).map(|()| None)
            }
            (ParentStep::NoteMount(_), None) | (_, Some(_)) => Err(out_of_turn()),
            (step, None) => self.take(step, child),
        };
        taken.map_err(|error| match blame.place.pointer() {
            Some(pointer) => error.at(pointer),
            None => error,
        })
    }

    fn take(&mut self, step: &ParentStep, child: &Spawned) -> Result<Option<OwnedFd>> {
        let Resources { host, streams, namespaces, rootfs, .. } = *self.resources;
        let pid = child.pid;
        let done = match step {
            ParentStep::OpenProcfs(number) => {
                let namespace = namespaces.get(usize::from(*number)).ok_or_else(out_of_turn)?;
                return self.operation.procfs(namespace).map(Some);
            }
            ParentStep::OpenIdMap(maps) => return open_id_map(maps, host).map(Some),
            ParentStep::OpenMount { source, recursive, follow, propagation, id_map } => {
                let view = rootfs.map_or(HostView::Own, |rootfs| {
                    HostView::for_source(source, rootfs, child.pidfd.as_fd())
                });
                let reach = (*recursive, *follow);
                return open_mount(source, reach, *propagation, id_map.as_ref(), host, view).map(Some);
            }
            ParentStep::OpenDirectory(path) => return open_directory(path).map(Some),
            ParentStep::OpenDevice { path, mode, device } => {
                return open_device(path, *mode, *device).map(Some);
            }
            ParentStep::MapIds(maps) => map_ids(pid, maps, host),
            ParentStep::CompareIdMaps(maps) => compare_id_maps(pid, maps),
            ParentStep::TimeOffsets(text) => write_time_offsets(pid, text),
            ParentStep::Rlimits(limits) => set_rlimits(pid, limits),
            ParentStep::Scheduler(attr) => set_scheduler(pid, attr),
            ParentStep::IoPriority(value) => set_io_priority(pid, *value),
            ParentStep::OwnStreams(uid) => own_streams(pid, streams, *uid),
            ParentStep::NoteMount(_) => Err(out_of_turn()),
            ParentStep::EnterScope(_)
            | ParentStep::JoinRdt(_)
            | ParentStep::MoveDevices(_)
            | ParentStep::RuntimeHooks => self.operation.step(step, child),
        };
        done.map(|()| None)
    }
}
