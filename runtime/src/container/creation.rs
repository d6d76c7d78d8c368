//! A creation under way, which undoes itself when it fails.

use std::os::fd::{AsFd as _, OwnedFd};

use oci_spec::runtime::{LinuxMemory, Process, Spec};

use super::claims::Claims;
use super::gate;
use super::handle::Container;
use super::hooks;
use super::host_mounts::unmount;
use super::identity::ProcessIdentity;
use super::opened;
use super::options::CreateOptions;
use super::record::{PATIENCE, Record};
use super::store::Directory;
use super::terminal::Destination;
use crate::bundle::Bundle;
use crate::cgroup::{Cgroup, CgroupPlan, Manager, Setting};
use crate::error::{ErrorKind, Result};
use crate::hook::Watch;
use crate::host::Host;
use crate::plan::{Gate, Plan};
use crate::spawn::{Resources, spawn};
use crate::sys::file_lock::FileLock;
use crate::trace;

/// A creation that undoes itself unless it is completed.
pub(super) struct Creation<'c> {
    pub(super) directory: &'c Directory,
    pub(super) spec: &'c Spec,
    pub(super) record: Record,
    pub(super) cgroup_plan: &'c CgroupPlan,
    /// systemd, if it makes the cgroup.
    pub(super) manager: Option<Manager>,
    pub(super) cgroup: Option<Cgroup>,
    /// Cgroup settings that wait for the first process.
    pub(super) late: Vec<Setting>,
    pub(super) claims: Claims,
    /// Whether hooks ran, so that the poststop hooks have something to undo.
    hooked: bool,
    /// Held until the container is complete: what follows can take as long as the container and its hooks like.
    lock: Option<FileLock>,
    done: bool,
}

impl<'c> Creation<'c> {
    /// Begins with the state directory, in which the intent is recorded.
    pub(super) fn begin(
        directory: &'c Directory,
        bundle: &'c Bundle,
        record: Record,
        cgroup_plan: &'c CgroupPlan,
        manager: Option<Manager>,
    ) -> Result<Self> {
        let lock = directory.begin(&record, bundle.config_bytes())?;
        trace::done("recorded the intent");
        Ok(Self {
            directory,
            spec: bundle.spec(),
            record,
            cgroup_plan,
            manager,
            cgroup: None,
            late: Vec::new(),
            claims: Claims::default(),
            hooked: false,
            lock: Some(lock),
            done: false,
        })
    }

    /// Runs the runtime's hooks for a process that exists.
    pub(super) fn run_runtime_hooks(&mut self, pid: i32, watch: Watch<'_>) -> Result<()> {
        self.hooked = true;
        hooks::run_runtime_hooks(self.spec, &self.record, pid, watch)
    }

    /// Makes the process, serves it until it is complete, and records it.
    pub(super) fn spawn(
        &mut self,
        plan: &Plan,
        options: &CreateOptions,
        gate: Gate,
        console: &Destination,
    ) -> Result<Container> {
        let listener = (gate == Gate::Socket).then(|| gate::make(self.directory)).transpose()?;
        let opened = opened::OpenedNamespaces::of(plan)?;
        let cgroup = self
            .cgroup
            .as_ref()
            .filter(|cgroup| cgroup.found_v2().is_none())
            .and_then(Cgroup::v2_dir)
            .map(|path| opened::open_directory(&path))
            .transpose()?;
        let rootfs = self.record.rootfs.clone();
        let resources = Resources {
            listener: listener.as_ref().map(OwnedFd::as_fd),
            cgroup: cgroup.as_ref().map(OwnedFd::as_fd),
            born_joined: &opened.born_joined,
            rootfs: Some(&rootfs),
            oom_score: self.spec.process().as_ref().and_then(Process::oom_score_adj),
            memory_limit: memory_limit(self.spec),
            ..options.child.resources(Host::probe()?, &opened.joined)
        };
        let mut spawned = spawn(plan, &resources, self)
            .inspect_err(|error| self.hooked |= error.kind() == ErrorKind::Hook)?;
        drop(listener);
        let kept = console.take_from(&mut spawned)?;
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
            spawned.await_exec(plan).inspect_err(|error| self.hooked |= error.kind() == ErrorKind::Hook)?;
            if self.record.poststart {
                self.hooked = true;
                let watch = Watch { process: None, cancel: options.child.cancel() };
                hooks::run_poststart(&self.record, self.spec, watch)?;
            }
        }
        let container = self.complete(spawned.into_pidfd()?, kept);
        self.claims.keep(self.directory);
        Ok(container)
    }

    /// Nothing can fail any more.
    pub(super) fn complete(&mut self, init: OwnedFd, console: Option<OwnedFd>) -> Container {
        self.done = true;
        Container::made(self.directory.clone(), self.record.clone(), init, console)
    }
}

fn memory_limit(spec: &Spec) -> Option<i64> {
    let resources = spec.linux().as_ref()?.resources().as_ref()?;
    resources.memory().as_ref().and_then(LinuxMemory::limit)
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
