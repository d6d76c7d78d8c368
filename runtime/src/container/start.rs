//! Starting a created container: its process becomes the program, or it is known why not.

use std::os::fd::AsFd as _;

use oci_spec::runtime::Spec;

use super::delete;
use super::gate::{self, Started};
use super::handle::Container;
use super::record::Record;
use super::state::Status;
use crate::child::message::Message;
use crate::error::{Error, Kind, Result};
use crate::hook::{HookKind, HookPolicy, run_hooks};
use crate::plan::hooks::HookState;
use crate::spawn::describe;

impl Container {
    /// Starts the program of a created container. When this returns, the program runs: `execve` has succeeded, and the
    /// poststart hooks have run.
    ///
    /// # Errors
    ///
    /// `Kind::WrongState` unless the container is in the state `created`; `Kind::Exec` if the program cannot be
    /// executed, after which the container is stopped; `Kind::Hook` if a startContainer or poststart hook failed, after
    /// which the container is destroyed (runtime.md, Lifecycle, steps 7 to 11).
    pub fn start(&self) -> Result<()> {
        let lock = self.lock()?;
        let init = self.init()?;
        let (Some(init), Some(connection)) = (init, gate::reach(&self.directory)?) else {
            let what = match self.status()? {
                Status::Stopped => "cannot start a container that has stopped",
                _ => "cannot start an already running container",
            };
            return Err(Error::new(Kind::WrongState, what));
        };
        match gate::release(connection, &init)? {
            Started::Running => {}
            Started::Gone => {
                return Err(Error::new(Kind::WrongState, "cannot start a container that has stopped")
                    .hint("its process was ended while it waited for the start"));
            }
            Started::Failed(message, output) => {
                let error = self.describe_failure(message, output);
                // The process ends by itself now; whoever reacts to the error must find it ended.
                super::identity::wait_end(init.as_fd(), 10_000);
                drop(lock);
                if error.kind() == Kind::Hook {
                    self.destroy();
                }
                return Err(error);
            }
        }
        // The socket has served; whoever connects after this point is refused anyhow.
        std::fs::remove_file(self.directory.socket()).ok();
        if self.record.poststart {
            let bundle = self.bundle()?;
            if let Err(error) = run_poststart(&self.record, bundle.spec()) {
                drop(lock);
                self.destroy();
                return Err(error);
            }
        }
        Ok(())
    }

    /// Puts a failed step into words. The plan is made again: that is rare, and keeps it out of the state directory.
    fn describe_failure(&self, message: Message, output: Option<std::os::fd::OwnedFd>) -> Error {
        match super::prepare::plan_again(self) {
            Ok(plan) => describe(&plan.program, message, output),
            Err(error) => error.during("start the container's process"),
        }
    }

    /// Ends and deletes the container after a hook failed; what goes wrong here is only worth a warning.
    fn destroy(&self) {
        if let Err(error) = delete::delete(&self.directory, super::options::Delete::Force) {
            log::warn!("{error}");
        }
    }
}

/// Runs the poststart hooks.
pub(super) fn run_poststart(record: &Record, spec: &Spec) -> Result<()> {
    let Some(hooks) = spec.hooks().as_ref() else { return Ok(()) };
    let bundle = record.bundle.to_string_lossy();
    let pid = record.init.map_or(0, |init| init.pid);
    let state = HookState::new(spec, &record.id, &bundle, "running", pid).json();
    run_hooks(
        HookKind::Poststart,
        HookKind::Poststart.of(hooks),
        &state,
        &record.bundle,
        HookPolicy::StopAtFirst,
    )
}
