//! A container, as the shim knows it.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::rc::Rc;

use containerd_shim_protos::api::Status;
use tokio::sync::RwLock;
use wharf::{ContainerId, Runtime};

use super::memory::MemoryWatch;
use super::process::{Exit, Phase, Process};
use crate::options::Options;
use crate::refusal::Refusal;
use crate::stdio::Pending;

/// Whether the processes of a container are frozen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Freeze {
    No,
    /// Being frozen.
    Underway,
    Yes,
}

/// A container that is still in a checkpoint, until it is started: it has a root file system and open streams, but no
/// process.
#[derive(Debug)]
pub(crate) struct Saved {
    /// The directory of the checkpoint.
    pub(crate) images: PathBuf,
    /// What the first process gets.
    pub(crate) streams: [OwnedFd; 3],
    /// The shim's part in them.
    pub(crate) pending: Pending,
}

/// A container with its processes.
#[derive(Debug)]
pub(crate) struct Task {
    pub(crate) id: ContainerId,
    pub(crate) bundle: PathBuf,
    pub(crate) options: Options,
    /// The library with the state directory of the namespace.
    pub(crate) runtime: Runtime,
    /// Operations that change the container take turns, but starts of added processes run side by side; signals, states
    /// and waits take no turns.
    pub(crate) turn: RwLock<()>,
    pub(crate) init: Rc<Process>,
    pub(crate) execs: RefCell<BTreeMap<String, Rc<Process>>>,
    pub(crate) freeze: Cell<Freeze>,
    /// Whether the kernel ends all processes when init ends.
    pub(crate) owns_pids: bool,
    /// The exit of init, while other processes of the container still run: it is reported last.
    pub(crate) last_exit: RefCell<Option<Exit>>,
    pub(crate) oom: RefCell<Option<MemoryWatch>>,
    /// The checkpoint that the container is restored from when it is started, if there is one.
    pub(crate) saved: RefCell<Option<Saved>>,
}

impl Task {
    /// The process that a call refers to.
    pub(crate) fn process(&self, exec_id: &str) -> Result<Rc<Process>, Refusal> {
        if exec_id.is_empty() {
            return Ok(self.init.clone());
        }
        let execs = self.execs.borrow();
        execs
            .get(exec_id)
            .cloned()
            .ok_or_else(|| Refusal::not_found(format!("process does not exist {exec_id}: not found")))
    }

    /// All processes, init first.
    pub(crate) fn processes(&self) -> Vec<Rc<Process>> {
        std::iter::once(self.init.clone()).chain(self.execs.borrow().values().cloned()).collect()
    }

    /// Whether an added process runs, or is about to.
    pub(crate) fn has_running_execs(&self) -> bool {
        self.execs.borrow().values().any(|process| process.is_alive() || process.starting.get())
    }

    /// The state of a process of the container, as containerd names it.
    pub(crate) fn status(&self, process: &Process) -> Status {
        match (process.phase(), self.freeze.get()) {
            (Phase::Stopped, _) => Status::STOPPED,
            (Phase::Created, _) => Status::CREATED,
            (Phase::Running, Freeze::Underway) => Status::PAUSING,
            (Phase::Running, Freeze::Yes) => Status::PAUSED,
            (Phase::Running, Freeze::No) => Status::RUNNING,
        }
    }

    /// The word for the state of init in error messages.
    pub(crate) fn word(&self) -> &'static str {
        match self.status(&self.init) {
            Status::CREATED => "created",
            Status::RUNNING => "running",
            Status::PAUSED | Status::PAUSING => "paused",
            _ => "stopped",
        }
    }
}
