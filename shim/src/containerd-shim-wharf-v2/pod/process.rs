//! A process of a container: init, or one that was added by `Exec`.

use std::cell::{Cell, RefCell};

use containerd_shim_protos::protobuf::well_known_types::timestamp::Timestamp;
use tokio::sync::Notify;

use crate::refusal::Refusal;
use crate::stdio::{Io, Streams};

/// How and when a process ended.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Exit {
    /// The exit code, or 128 plus the number of a signal.
    pub(crate) status: u32,
    /// When its status was taken.
    pub(crate) at: Timestamp,
}

/// Where a process is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Registered, not started.
    Created,
    /// Started.
    Running,
    /// Ended, or failed to start.
    Stopped,
}

/// A process.
#[derive(Debug)]
pub(crate) struct Process {
    /// The id of the exec; empty for init.
    pub(crate) exec_id: String,
    /// Where its streams lead.
    pub(crate) streams: Streams,
    /// What to execute, as JSON, until it is started.
    pub(crate) spec: RefCell<Vec<u8>>,
    /// Its pid; 0 until it has one.
    pub(crate) pid: Cell<i32>,
    /// Whether a start is in progress; until it is over, exits must not be reported.
    pub(crate) starting: Cell<bool>,
    /// An exit that is held back.
    pub(crate) held: RefCell<Option<Exit>>,
    /// Whether no more input will come; this may be set before the process is started.
    pub(crate) stdin_closed: Cell<bool>,
    /// The part of its streams that the shim handles.
    pub(crate) io: RefCell<Option<Io>>,
    phase: Cell<Phase>,
    exit: RefCell<Option<Exit>>,
    ended: Notify,
}

impl Process {
    /// A process that has not been started.
    pub(crate) fn new(exec_id: String, streams: Streams, spec: Vec<u8>) -> Self {
        Self {
            exec_id,
            streams,
            spec: RefCell::new(spec),
            pid: Cell::new(0),
            starting: Cell::new(false),
            held: RefCell::new(None),
            stdin_closed: Cell::new(false),
            io: RefCell::new(None),
            phase: Cell::new(Phase::Created),
            exit: RefCell::new(None),
            ended: Notify::new(),
        }
    }

    /// Whether this is the first process of its container.
    pub(crate) fn is_init(&self) -> bool {
        self.exec_id.is_empty()
    }

    /// Where it is in its life.
    pub(crate) fn phase(&self) -> Phase {
        self.phase.get()
    }

    /// It now runs.
    pub(crate) fn set_running(&self) {
        if self.phase.get() == Phase::Created {
            self.phase.set(Phase::Running);
        }
    }

    /// Whether it exists and is not known to have ended.
    pub(crate) fn is_alive(&self) -> bool {
        self.pid.get() > 0 && self.exit.borrow().is_none()
    }

    /// How it ended, if it has.
    pub(crate) fn exit(&self) -> Option<Exit> {
        self.exit.borrow().clone()
    }

    /// It has ended: wakes those who wait.
    pub(crate) fn set_exit(&self, exit: Exit) {
        self.exit.borrow_mut().get_or_insert(exit);
        self.phase.set(Phase::Stopped);
        self.spec.borrow_mut().clear();
        if let Some(io) = self.io.borrow_mut().as_mut() {
            io.process_ended();
        }
        self.ended.notify_waiters();
    }

    /// Waits until it has ended.
    pub(crate) async fn wait(&self) -> Exit {
        loop {
            // Created before the check, so that no end in between is missed.
            let ended = self.ended.notified();
            if let Some(exit) = self.exit() {
                return exit;
            }
            ended.await;
        }
    }

    /// Sends it a signal; errors have the words that clients know.
    pub(crate) fn signal(&self, signal: i32) -> Result<(), Refusal> {
        let finished = || Refusal::not_found("process already finished: not found");
        if self.exit.borrow().is_some() || self.held.borrow().is_some() {
            return Err(finished());
        }
        if self.pid.get() == 0 {
            return Err(match self.phase.get() {
                Phase::Stopped => finished(),
                _ => Refusal::precondition("process not created: failed precondition"),
            });
        }
        // It has not been reaped, so the pid is still its own.
        match wharf::worker::signal_child(self.pid.get(), signal) {
            Err(error) if error.kind() == wharf::ErrorKind::NotFound => Err(finished()),
            other => other.map_err(Refusal::from),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process() -> Process {
        Process::new("e".to_owned(), Streams::default(), b"{}".to_vec())
    }

    fn exit(status: u32) -> Exit {
        Exit { status, at: Timestamp::new() }
    }

    #[test]
    fn the_first_exit_counts_and_every_waiter_gets_it() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let process = process();
            assert_eq!((process.phase(), process.is_alive()), (Phase::Created, false));
            process.pid.set(1);
            process.set_running();
            assert_eq!((process.phase(), process.is_alive()), (Phase::Running, true));
            let both = async { (process.wait().await, process.wait().await) };
            let mut both = std::pin::pin!(both);
            let waker = std::task::Context::from_waker(std::task::Waker::noop());
            let mut context = waker;
            assert!(both.as_mut().poll(&mut context).is_pending());
            process.set_exit(exit(3));
            process.set_exit(exit(4));
            assert_eq!(both.await, (exit(3), exit(3)));
            process.set_running();
            assert_eq!((process.phase(), process.is_alive()), (Phase::Stopped, false));
        });
    }

    #[test]
    fn signals_need_a_process() {
        let process = process();
        assert_eq!(process.signal(9).unwrap_err().code, 9);
        process.set_exit(exit(0));
        assert_eq!(process.signal(9).unwrap_err().code, 5);
    }
}
