//! What a creation does for its process besides what every new process needs.

use std::os::fd::{AsFd as _, OwnedFd};

use oci_spec::runtime::ContainerState;

use super::creation::Creation;
use super::identity::ProcessIdentity;
use super::notify;
use crate::error::Result;
use crate::hook::Watch;
use crate::plan::ParentStep;
use crate::spawn::{Operation, Spawned, out_of_turn};

impl Operation for Creation<'_> {
    fn born(&mut self, child: &Spawned) -> Result<()> {
        self.moved(child)?;
        match &self.cgroup {
            Some(cgroup) if !self.late.is_empty() => cgroup.set(&self.late),
            _ => Ok(()),
        }
    }

    /// Records which process it is, so that a later `delete --force` can end it.
    fn moved(&mut self, child: &Spawned) -> Result<()> {
        self.directory.note_init(&ProcessIdentity::of(child.pid, child.pidfd.as_fd())?)
    }

    fn step(&mut self, step: &ParentStep, child: &Spawned) -> Result<()> {
        let pidfd = child.pidfd.as_fd();
        match step {
            ParentStep::EnterScope(_) => {
                if let Some(manager) = &mut self.manager {
                    manager.watch(pidfd)?;
                }
                self.enter_scope(child.pid)
            }
            ParentStep::JoinRdt(_) => self.claims.join_rdt(child.pid),
            ParentStep::MoveDevices(_) => self.claims.move_devices(self.spec, self.directory, pidfd),
            ParentStep::RuntimeHooks => {
                self.run_runtime_hooks(child.pid, Watch { process: Some(pidfd), cancel: child.cancel() })
            }
            _ => Err(out_of_turn()),
        }
    }

    fn listener(&mut self, listener: OwnedFd, child: &Spawned) -> Result<()> {
        let seccomp = self.spec.linux().as_ref().and_then(|linux| linux.seccomp().as_ref());
        notify::send(seccomp, listener, child.pid, &self.record, ContainerState::Creating)
    }
}
