//! The sandbox of the server, if it has one: where it is in its life, and who waits for its end.

use std::cell::{Cell, RefCell};
use std::path::PathBuf;

use containerd_shim_protos::protobuf::well_known_types::timestamp::Timestamp;
use tokio::sync::{Mutex, Notify};

use super::process::Exit;
use super::shared::Shared;
use crate::sandbox::config::{PodConfig, Sharing};
use crate::sandbox::files::Files;

/// Where a sandbox is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Created,
    Ready,
    Stopped,
}

/// The sandbox of this server.
#[derive(Debug)]
pub(crate) struct Sandbox {
    pub(crate) id: String,
    pub(crate) bundle: PathBuf,
    pub(crate) config: PodConfig,
    pub(crate) sharing: Sharing,
    /// The network namespace as the daemon named it; empty for the host's.
    pub(crate) network: String,
    /// Calls that change it take turns.
    pub(crate) turn: Mutex<()>,
    pub(crate) phase: Cell<Phase>,
    pub(crate) created: Timestamp,
    pub(crate) files: RefCell<Option<Files>>,
    pub(crate) shared: RefCell<Option<Shared>>,
    pub(crate) exit: RefCell<Option<Exit>>,
    pub(crate) ended: Notify,
}

impl Sandbox {
    /// The end of the sandbox, for those who wait for it and for its status. The first one counts.
    pub(crate) fn end(&self, exit: Exit) {
        self.phase.set(Phase::Stopped);
        self.exit.borrow_mut().get_or_insert(exit);
        self.ended.notify_waiters();
    }

    pub(crate) async fn wait(&self) -> Exit {
        loop {
            // Created before the look, so that no end in between is missed.
            let ended = self.ended.notified();
            let exit = self.exit.borrow().clone();
            if let Some(exit) = exit {
                return exit;
            }
            ended.await;
        }
    }

    /// Notes the end of a child, if it held the namespaces: without them, the pod cannot go on.
    pub(crate) fn holder_ended(&self, pid: i32, exit: &Exit) -> bool {
        let is_holder = self.shared.borrow().as_ref().is_some_and(|shared| shared.is_holder(pid));
        if is_holder {
            log::info!("the process {pid}, which held the namespaces of the pod, has ended");
            self.end(exit.clone());
        }
        is_holder
    }
}
