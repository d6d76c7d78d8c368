//! Running another process in a container.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use nix::errno::Errno;
use oci_spec::runtime::{ContainerState, Process};

use super::exit::ExitStatus;
use super::handle::{Container, wait_child};
use super::opened::open_directory;
use super::options::ExecOptions;
use super::prepare::keeps_groups;
use super::terminal;
use crate::cgroup::SubCgroup;
use crate::check::finding::into_result;
use crate::error::{Error, Kind, Result};
use crate::host::Host;
use crate::linux::idmap::IdMaps;
use crate::linux::lsm;
use crate::plan::{ExecRequest, ParentStep};
use crate::spawn::{self, Asked, Resources, Spawned};
use crate::sys::pidfd;
use crate::trace;

/// A process that was added to a container; a child of the caller.
#[derive(Debug)]
pub struct ExecProcess {
    pid: i32,
    pidfd: OwnedFd,
    console: Option<OwnedFd>,
}

impl ExecProcess {
    /// Its pid in the caller's pid namespace.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Its pidfd, which becomes readable when it ends.
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// The master of its terminal, once, if the caller chose [`Console::Keep`](super::Console::Keep).
    pub fn take_console(&mut self) -> Option<OwnedFd> {
        self.console.take()
    }

    /// Sends it a signal.
    ///
    /// # Errors
    ///
    /// `Kind::NotFound` if it has ended.
    pub fn kill(&self, signal: i32) -> Result<()> {
        pidfd::send_signal(self.pidfd.as_fd(), signal).map_err(|errno| {
            let error = Error::os(errno, format!("send signal {signal} to process {}", self.pid));
            if errno == Errno::ESRCH { error.with_kind(Kind::NotFound) } else { error }
        })
    }

    /// Waits until it has ended, and takes its status.
    ///
    /// # Errors
    ///
    /// If its status was already taken elsewhere.
    pub fn wait(&self) -> Result<ExitStatus> {
        wait_child(&self.pidfd, self.pid)
    }
}

impl Container {
    /// Runs another process in the container. When this returns, its program runs: `execve` has succeeded.
    ///
    /// The process gets what `process` says (user, capabilities, limits, labels, `no_new_privs`), and the container's
    /// seccomp filter, personality, namespaces and cgroup.
    ///
    /// # Errors
    ///
    /// `Kind::WrongState` if the container is stopped, or paused without permission to exec then; `Kind::InvalidSpec`
    /// for a contradictory process; `Kind::Exec` if the program cannot be executed.
    pub fn exec(&self, process: &Process, options: ExecOptions) -> Result<ExecProcess> {
        trace::begin();
        for warning in into_result(crate::check::check_process(process))? {
            log::warn!("{warning}");
        }
        let given = options.args.iter().chain(&options.env);
        if let Some(text) = given.into_iter().find(|text| text.as_bytes().contains(&0)) {
            return Err(Error::new(
                Kind::InvalidSpec,
                format!("{:?} has a NUL character in it", text.to_string_lossy()),
            ));
        }
        // Shared: several execs may run at once, but not while the container is started or deleted.
        let lock = self.directory.lock(true)?;
        let Some(init) = self.init()? else {
            return Err(Error::new(Kind::WrongState, "cannot exec in a stopped container"));
        };
        let paused = self.cgroup().frozen().unwrap_or(false);
        if paused && !options.ignore_paused {
            let error = Error::new(Kind::WrongState, "cannot exec in a paused container");
            return Err(match self.cgroup().frozen_above() {
                Some(above) => error.hint(format!("cgroup {} above it is frozen", above.display())),
                None => error,
            });
        }
        lsm::refuse_absent(Some(process), "", None)?;
        let host = Host::probe()?;
        let bundle = self.bundle()?;
        let linux = bundle.spec().linux().as_ref();
        let seccomp = linux.and_then(|linux| linux.seccomp().as_ref());
        let init_pid = self.pid().unwrap_or(0);
        let subs =
            options.cgroups.iter().map(|path| SubCgroup::parse(path)).collect::<Result<Vec<_>, _>>()?;
        let own = self.cgroup();
        let mut join = own.join_further(&subs, init_pid)?;
        if !subs.is_empty()
            && !options.ignore_paused
            && let Some(frozen) = own.frozen_at(&join)
        {
            return Err(Error::new(
                Kind::WrongState,
                format!("cannot exec in a frozen cgroup: {} is frozen", frozen.display()),
            ));
        }
        // From a login session, a user cannot move a process into a scope of the user's systemd, so we ask systemd to
        // do it.
        let scope = self.record.cgroup.scope.as_ref();
        let scope = scope.filter(|_| !host.is_admin() && subs.is_empty() && !join.is_permitted());
        let inside_scope = match join.v2_dir.take_if(|_| scope.is_some()) {
            Some(dir) => own.inside_scope(&dir),
            None => PathBuf::new(),
        };
        let request = ExecRequest {
            id: &self.record.id,
            namespaces: self.record.namespaces,
            new_keyring: self.record.new_keyring,
            preserved: options.preserve_fds,
            host,
            keep_groups: keeps_groups(bundle.spec()),
            root: IdMaps::of(
                linux.and_then(|linux| linux.uid_mappings().as_ref()),
                linux.and_then(|linux| linux.gid_mappings().as_ref()),
            )
            .root(),
            tasks: &join.tasks,
            scope: scope.map(|scope| &*scope.unit),
            seccomp,
            memory_policy: linux.and_then(|linux| linux.memory_policy().as_ref()),
            personality: linux.and_then(|linux| linux.personality().as_ref()),
            args: &options.args,
            env: &options.env,
        };
        let plan = crate::plan::exec(process, &request)?;
        plan.log();
        trace::done("checked the process and made the plan");
        let console = terminal::connect(process.terminal().unwrap_or(false), &options.console)?;
        let cgroup = join.v2_dir.as_deref().map(open_directory).transpose()?;
        let mut namespaces = vec![init.try_clone().map_err(|error| Error::io(&error, "duplicate a pidfd"))?];
        if self.record.namespaces & libc::CLONE_NEWNS == 0 {
            namespaces.push(root_of(init_pid)?);
        }
        let resources = Resources {
            streams: options.stdio.numbers(),
            preserved: options.preserve_fds,
            absent: &options.absent_fds,
            listener: None,
            cgroup: cgroup.as_ref().map(|fd| fd.as_fd()),
            cgroup_optional: !host.is_admin(),
            born_joined: &[],
            namespaces: &namespaces,
            sibling: options.sibling,
            cancel: options.cancel.as_ref().map(|fd| fd.as_fd()),
            // Until it is resumed, as the caller asked.
            expects_to_wait: paused,
        };
        // The rest may wait for the new process as long as another process in the container keeps it stopped. A
        // deletion ends it with the others, or it finds no container to join.
        drop(lock);
        let oom_score = process.oom_score_adj().filter(|_| host.is_admin());
        let mut born = |child: &Spawned| {
            self.record.rdt.as_ref().map_or(Ok(()), |rdt| rdt.assign(child.pid))?;
            oom_score.map_or(Ok(()), |score| spawn::set_oom_score(child.pid, score))
        };
        let step = |step: &ParentStep, child: &Spawned| match step {
            ParentStep::EnterScope(_) => {
                scope.map_or(Ok(()), |scope| scope.attach(&inside_scope, child.pid)).map(|()| None)
            }
            ParentStep::OwnStreams(uid) => {
                spawn::own_streams(child.pid, options.stdio.numbers(), *uid).map(|()| None)
            }
            ParentStep::Rlimits(limits) => spawn::set_rlimits(child.pid, limits).map(|()| None),
            ParentStep::IoPriority(value) => spawn::set_io_priority(child.pid, *value).map(|()| None),
            ParentStep::Scheduler(attr) => spawn::set_scheduler(child.pid, attr).map(|()| None),
            _ => Err(Error::new(Kind::System, format!("{step}: not a step of an exec"))),
        };
        let mut serve = |asked: Asked<'_>, child: &Spawned| match asked {
            Asked::Step(asked) => step(asked, child),
            Asked::Listener(fd) => match seccomp {
                Some(seccomp) => {
                    super::notify::send(seccomp, fd, child.pid, &self.record, ContainerState::Running)
                        .map(|()| None)
                }
                None => Ok(None),
            },
            Asked::Reborn => Ok(None),
            Asked::Note(..) | Asked::Fate(_) => Err(spawn::out_of_turn()),
        };
        let mut spawned = spawn::spawn(&plan, &resources, &mut born, &mut serve)?;
        let kept = terminal::hand_over(spawned.console.take(), console, &options.console)?;
        spawned.go().map_err(|error| spawned.reason(&plan, error))?;
        spawned.await_exec(&plan)?;
        let pid = spawned.pid;
        Ok(ExecProcess { pid, pidfd: spawned.into_pidfd()?, console: kept })
    }
}

/// The root directory of a container without a mount namespace.
pub(super) fn root_of(pid: i32) -> Result<OwnedFd> {
    let path = format!("/proc/{pid}/root");
    super::opened::hold(path.as_ref())
}
