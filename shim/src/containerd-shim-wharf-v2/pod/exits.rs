//! Which child has ended, and in which order exits are reported.
//!
//! The order is a promise: for each container create, start, exits of added processes, exit of init, delete; and for
//! each process its start before its exit. So an exit waits while the process' start is in progress, the exit of an
//! unknown pid waits while processes are being made, and the exit of init waits for all others.

use std::os::fd::{AsFd as _, OwnedFd};
use std::rc::{Rc, Weak};

use containerd_shim_protos::events::task::{TaskExit, TaskOOM};
use containerd_shim_protos::protobuf::MessageField;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::task::{JoinHandle, spawn_local};

use super::memory::MemoryWatch;
use super::process::{Exit, Process};
use super::task::Task;
use super::{Flight, Pod};
use crate::stdio::Io;
use crate::time;
use crate::watch::watch;
use crate::worker::Answer;

/// The status of a process that SIGKILL ended.
const KILLED: u32 = 128 + nix::libc::SIGKILL as u32;

/// Takes the status of every child that has ended.
pub(crate) fn reap(pod: &Rc<Pod>) {
    loop {
        match wharf::worker::reap() {
            Ok(Some((pid, status))) => {
                ended(pod, pid, Exit { status: status.code() as u32, at: time::now() });
            }
            Ok(None) => return,
            Err(error) => {
                log::error!("{error}");
                return;
            }
        }
    }
}

fn ended(pod: &Rc<Pod>, pid: i32, exit: Exit) {
    if pod.workers.ended(pid) || pod.loggers.ended(pid) {
        return;
    }
    for task in pod.tasks() {
        for process in task.processes() {
            if process.pid.get() == pid && process.is_alive() {
                if process.starting.get() {
                    *process.held.borrow_mut() = Some(exit);
                } else {
                    tell(pod, &task, &process, exit);
                }
                return;
            }
        }
    }
    let sandbox = pod.sandbox.borrow().clone();
    if sandbox.is_some_and(|sandbox| sandbox.holder_ended(pid, &exit)) {
        return;
    }
    // A process that is being made, or an orphan of a container.
    pod.keep_exit(pid, exit);
}

/// The start of a process was reported, so its exit may be too, if it has already ended.
pub(crate) fn started(pod: &Rc<Pod>, task: &Rc<Task>, process: &Rc<Process>, flight: Option<&Flight>) {
    process.starting.set(false);
    let held = process.held.borrow_mut().take();
    let exit = held.or_else(|| flight.and_then(|flight| flight.exit_of(process.pid.get())));
    if let Some(exit) = exit {
        tell(pod, task, process, exit);
    }
    tell_last(pod, task);
}

fn tell(pod: &Rc<Pod>, task: &Rc<Task>, process: &Rc<Process>, exit: Exit) {
    if process.is_init() {
        if !task.owns_pids {
            spawn_local(end_others(pod.clone(), task.clone()));
        }
        *task.last_exit.borrow_mut() = Some(exit);
    } else {
        announce(pod, task, process, exit);
    }
    tell_last(pod, task);
}

/// Reports the end of init, once no other process of the container runs.
fn tell_last(pod: &Rc<Pod>, task: &Rc<Task>) {
    if task.has_running_execs() {
        return;
    }
    let Some(exit) = task.last_exit.borrow_mut().take() else { return };
    count_oom_kills(pod, task);
    task.oom.take();
    let last_words = task.init.io.borrow_mut().as_mut().and_then(Io::last_words);
    let Some(last_words) = last_words else { return announce(pod, task, &task.init, exit) };
    let (pod, task) = (pod.clone(), task.clone());
    spawn_local(async move {
        last_words.await;
        announce(&pod, &task, &task.init, exit);
    });
}

fn announce(pod: &Pod, task: &Task, process: &Process, exit: Exit) {
    if exit.status == KILLED {
        // The kill is counted by now, and is reported before the exit that it caused.
        count_oom_kills(pod, task);
    }
    let mut event = TaskExit::new();
    task.id.as_str().clone_into(&mut event.container_id);
    event.id = if process.is_init() { task.id.as_str().to_owned() } else { process.exec_id.clone() };
    event.pid = process.pid.get() as u32;
    event.exit_status = exit.status;
    event.exited_at = MessageField::some(exit.at.clone());
    process.set_exit(exit);
    pod.events.publish("/tasks/exit", &event);
}

/// Ends the other processes of a container that shares its pid namespace: they would outlive init.
async fn end_others(pod: Rc<Pod>, task: Rc<Task>) {
    let (runtime, id) = (task.runtime.clone(), task.id.clone());
    let ended = pod.workers.run(&[], || {
        runtime.open(&id)?.kill_all(nix::libc::SIGKILL)?;
        Ok(Answer::default())
    });
    if let Err(refusal) = ended.await {
        log::warn!("kill the processes that init of {} left behind: {refusal}", task.id);
    }
}

/// Reports out-of-memory kills until the cgroup is gone.
pub(crate) fn watch_memory(pod: &Rc<Pod>, task: &Rc<Task>) {
    let opened = task.runtime.open(&task.id).and_then(|container| container.oom_watch());
    let kills = match opened {
        Ok(kills) => kills,
        Err(error) => {
            log::debug!("container {}: {error}", task.id);
            return;
        }
    };
    let descriptor = kills.as_fd().try_clone_to_owned().and_then(|fd| watch(fd, Interest::READABLE));
    let follower = descriptor.ok().map(|descriptor| follow(pod.clone(), Rc::downgrade(task), descriptor));
    *task.oom.borrow_mut() = Some(MemoryWatch { kills, follower });
}

fn follow(pod: Rc<Pod>, task: Weak<Task>, descriptor: AsyncFd<OwnedFd>) -> JoinHandle<()> {
    spawn_local(async move {
        while let Ok(mut ready) = descriptor.readable().await {
            ready.clear_ready();
            let Some(task) = task.upgrade() else { return };
            if !count_oom_kills(&pod, &task) {
                return;
            }
        }
    })
}

/// Reports what has happened since the last call; returns whether more can follow.
fn count_oom_kills(pod: &Pod, task: &Task) -> bool {
    let mut kills = task.oom.borrow_mut();
    let Some(watch) = kills.as_mut() else { return false };
    match watch.kills.read() {
        Ok(Some(0)) => true,
        Ok(Some(_)) => {
            let mut event = TaskOOM::new();
            task.id.as_str().clone_into(&mut event.container_id);
            pod.events.publish("/tasks/oom", &event);
            true
        }
        Ok(None) => false,
        Err(error) => {
            log::debug!("{error}");
            false
        }
    }
}
