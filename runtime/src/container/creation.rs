//! A creation under way, which undoes itself when it fails.

use std::os::fd::AsFd as _;

use oci_spec::runtime::Spec;

use super::answers::Answers;
use super::claims::Claims;
use super::gate;
use super::handle::Container;
use super::hooks;
use super::host_mounts::unmount;
use super::identity::ProcessIdentity;
use super::opened;
use super::options::CreateOptions;
use super::record::{PATIENCE, Record};
use super::store::{Directory, Lock};
use super::terminal::{self, ConsoleSocket};
use crate::cgroup::{Cgroup, CgroupPlan, Manager, Setting};
use crate::error::{Error, Kind, Result};
use crate::hook::Watch;
use crate::host::Host;
use crate::id::ContainerId;
use crate::plan::{Gate, Plan};
use crate::spawn::{self, Asked, Resources, Spawned};

/// A creation that undoes itself unless it is completed.
pub(super) struct Creation<'c> {
    pub(super) directory: &'c Directory,
    spec: &'c Spec,
    pub(super) record: Record,
    pub(super) cgroup: Option<Cgroup>,
    /// Cgroup settings that wait for the first process.
    pub(super) late: Vec<Setting>,
    pub(super) claims: Claims,
    /// Whether hooks ran, so that the poststop hooks have something to undo.
    hooked: bool,
    /// Held until the container is complete: what follows can take as long as the container and its hooks like.
    lock: Option<Lock>,
    pub(super) done: bool,
}

impl<'c> Creation<'c> {
    /// A creation of which only the state directory exists.
    pub(super) fn new(directory: &'c Directory, spec: &'c Spec, record: Record, lock: Lock) -> Self {
        let (late, claims) = (Vec::new(), Claims::default());
        Self {
            directory,
            spec,
            record,
            cgroup: None,
            late,
            claims,
            hooked: false,
            lock: Some(lock),
            done: false,
        }
    }

    /// Runs the runtime's hooks for a process that exists.
    #[cfg(feature = "criu")]
    pub(super) fn run_runtime_hooks(&mut self, pid: i32, pidfd: std::os::fd::BorrowedFd<'_>) -> Result<()> {
        self.hooked = true;
        let watch = Watch { process: Some(pidfd), cancel: None };
        hooks::run_runtime_hooks(self.spec, &self.record, pid, watch)
    }

    /// Makes the process, serves it until it is complete, and records it.
    pub(super) fn spawn(
        &mut self,
        plan: &Plan,
        options: &CreateOptions,
        gate: Gate,
        console: Option<ConsoleSocket>,
        id: &ContainerId,
        scope: Option<(&CgroupPlan, &mut Manager)>,
    ) -> Result<Container> {
        let cancel = options.cancel.as_ref().map(|fd| fd.as_fd());
        let listener = (gate == Gate::Socket).then(|| gate::make(self.directory)).transpose()?;
        let opened = opened::Namespaces::of(plan)?;
        let cgroup_dir = self
            .cgroup
            .as_ref()
            .filter(|cgroup| cgroup.found_v2().is_none())
            .and_then(Cgroup::v2_dir)
            .map(|path| opened::open_directory(&path))
            .transpose()?;
        let host = Host::probe()?;
        let resources = Resources {
            streams: options.stdio.numbers(),
            preserved: options.preserve_fds,
            absent: &options.absent_fds,
            listener: listener.as_ref().map(|fd| fd.as_fd()),
            cgroup: cgroup_dir.as_ref().map(|fd| fd.as_fd()),
            cgroup_optional: false,
            born_joined: &opened.born_joined,
            namespaces: &opened.joined,
            sibling: options.sibling,
            cancel,
            expects_to_wait: false,
        };
        let oom_score = self.spec.process().as_ref().and_then(oci_spec::runtime::Process::oom_score_adj);
        let (late, late_for) = (std::mem::take(&mut self.late), self.cgroup.clone());
        let directory = self.directory;
        let mut born = |child: &Spawned| {
            directory.note_init(&ProcessIdentity::of(child.pid, child.pidfd.as_fd())?)?;
            if let Some(cgroup) = late_for.as_ref().filter(|_| !late.is_empty()) {
                cgroup.set(&late)?;
            }
            match oom_score.filter(|_| host.is_admin()) {
                Some(score) => spawn::set_oom_score(child.pid, score),
                None => Ok(()),
            }
        };
        let mut answers = Answers {
            spec: self.spec,
            host,
            streams: options.stdio.numbers(),
            record: &self.record,
            directory: self.directory,
            namespaces: &opened.joined,
            claims: &mut self.claims,
            cgroup: &mut self.cgroup,
            scope,
            hooked: &mut self.hooked,
            cancel,
        };
        let mut serve = |asked: Asked<'_>, child: &Spawned| answers.answer(asked, child);
        let spawned = spawn::spawn(plan, &resources, &mut born, &mut serve);
        let mut spawned = match spawned {
            Ok(spawned) => spawned,
            Err(error) => {
                self.hooked |= error.kind() == Kind::Hook;
                return Err(self.explain_end(error, options.sibling));
            }
        };
        drop(listener);
        let kept = terminal::hand_over(spawned.console.take(), console, &options.console)?;
        let identity = ProcessIdentity::of(spawned.pid, spawned.pidfd.as_fd());
        self.record.init = Some(identity.map_err(|error| spawned.reason(plan, error))?);
        if let Some(cgroup) = &self.cgroup {
            self.record.cgroup = cgroup.record().clone();
        }
        self.record.rdt = self.claims.membership();
        self.directory.complete(&self.record)?;
        spawned.go().map_err(|error| spawned.reason(plan, error))?;
        if gate == Gate::Open {
            self.lock = None;
            if let Err(error) = spawned.await_exec(plan) {
                self.hooked |= error.kind() == Kind::Hook;
                return Err(error);
            }
            if self.record.poststart {
                self.hooked = true;
                hooks::run_poststart(&self.record, self.spec, Watch { process: None, cancel })?;
            }
        }
        let pidfd = spawned.into_pidfd()?;
        // Nothing can fail any more.
        self.done = true;
        self.claims.keep(self.directory);
        Ok(Container::made(self.directory.clone(), id.clone(), self.record.clone(), pidfd, kept))
    }

    /// A child that was killed during its set-up has mostly hit its own memory limit.
    fn explain_end(&self, error: Error, sibling: bool) -> Error {
        let limited = self
            .spec
            .linux()
            .as_ref()
            .and_then(|l| l.resources().as_ref())
            .and_then(|r| r.memory().as_ref())
            .and_then(oci_spec::runtime::LinuxMemory::limit);
        match limited {
            Some(limit) if limit > 0 && may_be_killed(&error.to_string(), sibling) => error
                .at("/linux/resources/memory/limit")
                .hint(format!("the memory limit of {limit} bytes may be too low to start a process")),
            _ => error,
        }
    }
}

impl Drop for Creation<'_> {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        // The child is gone: its creator ended it and waited for it. Its network namespace is held open.
        self.claims.undo();
        if self.lock.is_none() {
            match self.directory.lock_own(&self.record) {
                Ok(Some(lock)) => self.lock = Some(lock),
                // It was deleted in the meantime.
                Ok(None) => return,
                Err(error) => return log::warn!("{error}"),
            }
        }
        if let Some(cgroup) = &self.cgroup
            && let Err(error) = cgroup.destroy(PATIENCE)
        {
            log::warn!("{error}");
        }
        unmount(&self.record);
        if let Err(error) = self.directory.remove() {
            log::warn!("{error}");
        }
        self.lock = None;
        if self.hooked
            && let Err(error) = hooks::run_poststop(&self.record, self.spec)
        {
            log::warn!("{error}");
        }
    }
}

/// Only the parent of a sibling can know how it ended.
fn may_be_killed(error: &str, sibling: bool) -> bool {
    error.contains("killed by signal 9") || (sibling && error.ends_with("it stopped talking"))
}
