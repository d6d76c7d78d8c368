//! Everything that the server knows: the containers of its group, and what is in progress.

pub(crate) mod exits;
pub(crate) mod load;
mod memory;
pub(crate) mod process;
pub(crate) mod sandbox;
pub(crate) mod shared;
pub(crate) mod task;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use tokio::sync::Notify;

use crate::events::Events;
use crate::options::Options;
use crate::refusal::Refusal;
use crate::sandbox::files::Files;
use crate::stdio::remote::Remotes;
use crate::stdio::{Loggers, Owner, Purpose};
use crate::worker::Workers;
use load::Load;
use process::Exit;
use sandbox::Sandbox;
use task::Task;

/// The state of the server. It has one thread, so borrows end before anything is awaited.
#[derive(Debug)]
pub(crate) struct Pod {
    pub(crate) namespace: String,
    pub(crate) events: Events,
    pub(crate) workers: Workers,
    pub(crate) loggers: Loggers,
    /// The streams that clients carry over the socket of the server.
    pub(crate) remotes: Remotes,
    /// Asks the server to end.
    pub(crate) shutdown: Notify,
    /// Something ended that may have been the server's last reason to stay.
    pub(crate) calmer: Notify,
    pub(crate) connections: Cell<usize>,
    /// Calls without an answer so far.
    pub(crate) load: Rc<Load>,
    /// A call was answered.
    pub(crate) answered: Notify,
    /// The sandbox, if the server has one.
    pub(crate) sandbox: RefCell<Option<Rc<Sandbox>>>,
    tasks: RefCell<BTreeMap<String, Option<Rc<Task>>>>,
    early: RefCell<EarlyExits>,
}

/// Exits of unknown pids, kept while processes are being made whose pids are not known yet.
#[derive(Debug, Default)]
struct EarlyExits {
    flights: usize,
    clock: u64,
    exits: Vec<(u64, i32, Exit)>,
}

/// A process is being made; see [`Pod::flight`].
#[derive(Debug)]
pub(crate) struct Flight {
    pod: Rc<Pod>,
    began: u64,
}

/// An id that a creation has reserved; freed unless the creation succeeds.
#[derive(Debug)]
pub(crate) struct Reservation {
    pod: Rc<Pod>,
    id: String,
}

impl Pod {
    /// A server without containers.
    pub(crate) fn new(namespace: String, events: Events, remotes: Remotes) -> Self {
        Self {
            namespace,
            events,
            workers: Workers::default(),
            loggers: Loggers::default(),
            remotes,
            shutdown: Notify::new(),
            calmer: Notify::new(),
            connections: Cell::new(0),
            load: Rc::default(),
            answered: Notify::new(),
            sandbox: RefCell::default(),
            tasks: RefCell::default(),
            early: RefCell::default(),
        }
    }

    /// The container with an id.
    pub(crate) fn task(&self, id: &str) -> Result<Rc<Task>, Refusal> {
        self.find(id).ok_or_else(|| Refusal::not_found("container not created: not found"))
    }

    /// The container with an id, if there is one.
    pub(crate) fn find(&self, id: &str) -> Option<Rc<Task>> {
        self.tasks.borrow().get(id).cloned().flatten()
    }

    /// All containers.
    pub(crate) fn tasks(&self) -> Vec<Rc<Task>> {
        self.tasks.borrow().values().flatten().cloned().collect()
    }

    /// Whether there is no sandbox and no container, and none is being created.
    pub(crate) fn is_empty(&self) -> bool {
        self.sandbox.borrow().is_none() && self.tasks.borrow().is_empty()
    }

    /// The files that the containers of the pod get, if it has a sandbox.
    pub(crate) fn files(&self) -> Option<Files> {
        let sandbox = self.sandbox.borrow().clone();
        sandbox.and_then(|sandbox| sandbox.files.borrow().clone())
    }

    /// Reserves an id for a creation.
    pub(crate) fn reserve(self: &Rc<Self>, id: &str) -> Result<Reservation, Refusal> {
        let mut tasks = self.tasks.borrow_mut();
        if tasks.contains_key(id) {
            return Err(Refusal::exists(format!("container {id}: already exists")));
        }
        tasks.insert(id.to_owned(), None);
        Ok(Reservation { pod: self.clone(), id: id.to_owned() })
    }

    /// Forgets a container.
    pub(crate) fn remove(&self, id: &str) {
        self.tasks.borrow_mut().remove(id);
        self.calmer.notify_one();
    }

    /// What the streams of a container's processes are opened for.
    pub(crate) fn purpose<'a>(&'a self, options: &Options, id: &'a str) -> Purpose<'a> {
        Purpose {
            loggers: &self.loggers,
            remotes: &self.remotes,
            home: self.workers.home(),
            owner: Owner { uid: options.io_uid, gid: options.io_gid },
            id,
            namespace: &self.namespace,
        }
    }

    /// Starts making a process: until the returned value is dropped, exits of unknown pids are kept.
    pub(crate) fn flight(self: &Rc<Self>) -> Flight {
        let mut early = self.early.borrow_mut();
        early.flights += 1;
        Flight { pod: self.clone(), began: early.clock }
    }

    /// Keeps the exit of an unknown pid, if it may belong to a process that is being made.
    pub(crate) fn keep_exit(&self, pid: i32, exit: Exit) {
        let mut early = self.early.borrow_mut();
        if early.flights > 0 {
            early.clock += 1;
            let now = early.clock;
            early.exits.push((now, pid, exit));
        }
    }
}

impl Flight {
    /// The exit of the new process, if it has already ended. Exits from before the flight belong to earlier processes
    /// with that pid.
    pub(crate) fn exit_of(&self, pid: i32) -> Option<Exit> {
        let mut early = self.pod.early.borrow_mut();
        let index = early.exits.iter().position(|(at, of, _)| *of == pid && *at > self.began)?;
        Some(early.exits.remove(index).2)
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        let mut early = self.pod.early.borrow_mut();
        early.flights -= 1;
        if early.flights == 0 {
            early.exits = Vec::new();
        }
    }
}

impl Reservation {
    /// The creation succeeded.
    pub(crate) fn fill(self, task: Rc<Task>) {
        self.pod.tasks.borrow_mut().insert(self.id.clone(), Some(task));
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let mut tasks = self.pod.tasks.borrow_mut();
        if tasks.get(&self.id).is_some_and(Option::is_none) {
            tasks.remove(&self.id);
            self.pod.calmer.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time;

    fn exit(status: u32) -> Exit {
        Exit { status, at: time::now() }
    }

    #[test]
    fn only_exits_of_the_flight_are_kept() {
        let pod =
            Rc::new(Pod::new("default".to_owned(), Events::new("default".to_owned()), Remotes::default()));
        pod.keep_exit(5, exit(1));
        let first = pod.flight();
        assert!(first.exit_of(5).is_none(), "it was before");
        pod.keep_exit(5, exit(2));
        let second = pod.flight();
        assert!(second.exit_of(5).is_none(), "the pid of an older process");
        pod.keep_exit(5, exit(3));
        assert_eq!(second.exit_of(5).map(|exit| exit.status), Some(3));
        assert_eq!(first.exit_of(5).map(|exit| exit.status), Some(2));
        drop(first);
        pod.keep_exit(6, exit(4));
        drop(second);
        assert!(pod.flight().exit_of(6).is_none());
    }

    #[test]
    fn an_id_is_reserved_once_and_freed_by_a_failure() {
        let pod =
            Rc::new(Pod::new("default".to_owned(), Events::new("default".to_owned()), Remotes::default()));
        let reservation = pod.reserve("a").unwrap();
        assert_eq!(pod.reserve("a").unwrap_err().code, 6);
        assert_eq!(pod.task("a").unwrap_err().code, 5);
        assert!(!pod.is_empty());
        drop(reservation);
        assert!(pod.is_empty());
        pod.reserve("a").unwrap();
    }
}
