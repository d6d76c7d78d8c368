//! Running another process in a container.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use nix::errno::Errno;
use oci_spec::runtime::{ContainerState, Process, Spec};

use super::exit::ExitStatus;
use super::handle::{Container, wait_child};
use super::notify;
use super::opened::{open_directory, ways_in};
use super::options::ExecOptions;
use super::prepare::keeps_groups;
use super::record::Record;
use super::terminal::{Destination, has_terminal};
use crate::cgroup::SubCgroup;
use crate::error::{Error, ErrorKind, Result};
use crate::finding::into_result;
use crate::host::Host;
use crate::linux::lsm;
use crate::plan::join::Join;
use crate::plan::{ExecRequest, ParentStep, Plan};
use crate::spawn::{Operation, Resources, Spawned, out_of_turn, spawn};
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
    /// `ErrorKind::NotFound` if it has ended.
    pub fn kill(&self, signal: i32) -> Result<()> {
        pidfd::send_signal(self.pidfd.as_fd(), signal).map_err(|errno| {
            let error = Error::os(errno, format!("send signal {signal} to process {}", self.pid));
            if errno == Errno::ESRCH { error.with_kind(ErrorKind::NotFound) } else { error }
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
    /// `ErrorKind::WrongState` if the container is stopped, or paused without permission to exec then; `ErrorKind::InvalidSpec`
    /// for a contradictory process; `ErrorKind::Exec` if the program cannot be executed.
    pub fn exec(&self, process: &Process, options: ExecOptions) -> Result<ExecProcess> {
        trace::begin();
        for warning in into_result(crate::check::check_process(process))? {
            log::warn!("{warning}");
        }
        let given = options.args.iter().chain(&options.env);
        if let Some(text) = given.into_iter().find(|text| text.as_bytes().contains(&0)) {
            return Err(Error::new(
                ErrorKind::InvalidSpec,
                format!("{:?} has a NUL character in it", text.to_string_lossy()),
            ));
        }
        // Shared: several execs may run at once, but not while the container is started or deleted.
        let lock = self.directory.lock(true)?;
        let Some(init) = self.init()? else {
            return Err(Error::new(ErrorKind::WrongState, "cannot exec in a stopped container"));
        };
        let init_pid = self.pid().unwrap_or(0);
        let Prepared { plan, host, paused, cgroup, mut exec } =
            self.prepare_exec(process, &options, init_pid)?;
        plan.log();
        trace::done("checked the process and made the plan");
        let console = Destination::connect(has_terminal(Some(process)), &options.child.console)?;
        let cgroup = cgroup.as_deref().map(open_directory).transpose()?;
        let ways_in = ways_in(init, init_pid, self.record.namespaces)?;
        let resources = Resources {
            cgroup: cgroup.as_ref().map(OwnedFd::as_fd),
            cgroup_optional: !host.is_admin(),
            oom_score: process.oom_score_adj(),
            // Until it is resumed, as the caller asked.
            expects_to_wait: paused,
            ..options.child.resources(host, &ways_in)
        };
        // The rest may wait for the new process as long as another process in the container keeps it stopped. A
        // deletion ends it with the others, or it finds no container to join.
        drop(lock);
        let mut spawned = spawn(&plan, &resources, &mut exec)?;
        let console = console.take_from(&mut spawned)?;
        spawned.go().map_err(|error| spawned.reason(&plan, error))?;
        spawned.await_exec(&plan)?;
        Ok(ExecProcess { pid: spawned.pid, pidfd: spawned.into_pidfd()?, console })
    }

    /// Decides everything before the process exists, and refuses what cannot be.
    fn prepare_exec(&self, process: &Process, options: &ExecOptions, init_pid: i32) -> Result<Prepared<'_>> {
        let own = self.cgroup();
        let paused = own.frozen().unwrap_or(false);
        if paused && !options.ignore_paused {
            let error = Error::new(ErrorKind::WrongState, "cannot exec in a paused container");
            return Err(match own.frozen_above() {
                Some(above) => error.with_hint(format!("cgroup {} above it is frozen", above.display())),
                None => error,
            });
        }
        lsm::refuse_absent(Some(process), "", None)?;
        let host = Host::probe()?;
        let spec = self.spec()?;
        let linux = spec.linux().as_ref();
        let subs =
            options.cgroups.iter().map(|path| SubCgroup::parse(path)).collect::<Result<Vec<_>, _>>()?;
        let mut join = own.join_further(&subs, init_pid)?;
        if !subs.is_empty()
            && !options.ignore_paused
            && let Some(frozen) = own.frozen_at(&join)
        {
            return Err(Error::new(
                ErrorKind::WrongState,
                format!("cannot exec in a frozen cgroup: {} is frozen", frozen.display()),
            ));
        }
        // From a login session, a user cannot move a process into a scope of the user's systemd, so we ask systemd to
        // do it.
        let scope = self.record.cgroup.scope.as_ref();
        let scope = scope.filter(|_| !host.is_admin() && subs.is_empty() && !join.is_permitted());
        let inside_scope =
            scope.map(|_| join.v2_dir.take().map(|dir| own.inside_scope(&dir)).unwrap_or_default());
        let request = ExecRequest {
            id: &self.record.id,
            join: Join::of(linux, self.record.namespaces, keeps_groups(spec)),
            new_keyring: self.record.new_keyring,
            preserved: options.child.preserve_fds,
            host,
            tasks: &join.tasks,
            scope: scope.map(|scope| &*scope.unit),
            seccomp: linux.and_then(|linux| linux.seccomp().as_ref()),
            memory_policy: linux.and_then(|linux| linux.memory_policy().as_ref()),
            personality: linux.and_then(|linux| linux.personality().as_ref()),
            args: &options.args,
            env: &options.env,
        };
        let plan = crate::plan::exec(process, &request)?;
        let exec = Exec { record: &self.record, spec, inside_scope };
        Ok(Prepared { plan, host, paused, cgroup: join.v2_dir, exec })
    }
}

/// An exec before its process exists.
struct Prepared<'c> {
    plan: Plan,
    host: Host,
    paused: bool,
    /// The cgroup (v2) that the process is born in.
    cgroup: Option<PathBuf>,
    exec: Exec<'c>,
}

/// An exec in progress.
struct Exec<'c> {
    record: &'c Record,
    spec: &'c Spec,
    /// Where in the container's scope systemd has to put the process.
    inside_scope: Option<PathBuf>,
}

impl Operation for Exec<'_> {
    fn born(&mut self, child: &Spawned) -> Result<()> {
        self.record.rdt.as_ref().map_or(Ok(()), |rdt| rdt.assign(child.pid))
    }

    fn step(&mut self, step: &ParentStep, child: &Spawned) -> Result<()> {
        match (step, &self.record.cgroup.scope, &self.inside_scope) {
            (ParentStep::EnterScope(_), Some(scope), Some(inside)) => scope.attach(inside, child.pid),
            _ => Err(out_of_turn()),
        }
    }

    fn listener(&mut self, listener: OwnedFd, child: &Spawned) -> Result<()> {
        let seccomp = self.spec.linux().as_ref().and_then(|linux| linux.seccomp().as_ref());
        notify::send(seccomp, listener, child.pid, self.record, ContainerState::Running)
    }
}
