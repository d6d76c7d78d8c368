//! Methods that change an existing container.

use std::rc::Rc;

use containerd_shim_protos::api::{
    CloseIORequest, Empty, KillRequest, PauseRequest, ResizePtyRequest, ResumeRequest, ShutdownRequest,
    UpdateTaskRequest,
};
use containerd_shim_protos::events::task::{TaskPaused, TaskResumed};
use nix::libc::SIGKILL;
use wharf::ErrorKind;

use crate::pod::Pod;
use crate::pod::process::Phase;
use crate::pod::task::{Freeze, Task};
use crate::refusal::Refusal;
use crate::worker::{Answer, creation};

/// `Kill`. It does not take turns with other operations: whatever hangs must be killable.
pub(crate) async fn kill(pod: &Rc<Pod>, request: &KillRequest) -> Result<Empty, Refusal> {
    let task = pod.task(&request.id)?;
    let process = task.process(&request.exec_id)?;
    let signal = i32::try_from(request.signal)
        .map_err(|_| Refusal::invalid(format!("{} is not the number of a signal", request.signal)))?;
    if !process.is_init() {
        process.signal(signal)?;
        return Ok(Empty::new());
    }
    if request.all {
        if process.phase() == Phase::Stopped && task.owns_pids {
            return Err(Refusal::not_found("process already finished: not found"));
        }
        with_container(pod, &task, move |container| container.kill_all(signal)).await?;
        return Ok(Empty::new());
    }
    process.signal(signal)?;
    if signal == SIGKILL && (!task.owns_pids || task.freeze.get() != Freeze::No) {
        // Other processes of the container live on, or nothing dies while it is frozen.
        let finished = with_container(pod, &task, move |container| match container.kill(signal) {
            Err(error) if error.kind() == ErrorKind::WrongState => Ok(()),
            other => other,
        });
        finished.await?;
    }
    Ok(Empty::new())
}

/// Calls the library for a container, in a worker.
pub(crate) async fn with_container(
    pod: &Rc<Pod>,
    task: &Rc<Task>,
    act: impl FnOnce(&wharf::Container) -> wharf::Result<()>,
) -> Result<(), Refusal> {
    let (runtime, id) = (task.runtime.clone(), task.id.clone());
    let done = pod.workers.run(&[], move || {
        runtime.open(&id).and_then(|container| act(&container))?;
        Ok(Answer::default())
    });
    done.await.map(drop)
}

/// `Pause`.
pub(crate) async fn pause(pod: &Rc<Pod>, request: &PauseRequest) -> Result<Empty, Refusal> {
    let task = pod.task(&request.id)?;
    let _turn = task.turn.write().await;
    if task.word() != "running" {
        return Err(Refusal::precondition(format!("cannot pause task in {} state", task.word())));
    }
    task.freeze.set(Freeze::Underway);
    let paused = with_container(pod, &task, wharf::Container::pause).await;
    task.freeze.set(if paused.is_ok() { Freeze::Yes } else { Freeze::No });
    paused?;
    let mut event = TaskPaused::new();
    event.container_id.clone_from(&request.id);
    pod.events.publish("/tasks/paused", &event);
    Ok(Empty::new())
}

/// `Resume`.
pub(crate) async fn resume(pod: &Rc<Pod>, request: &ResumeRequest) -> Result<Empty, Refusal> {
    let task = pod.task(&request.id)?;
    let _turn = task.turn.write().await;
    if task.word() != "paused" {
        return Err(Refusal::precondition(format!("cannot resume a {} process", task.word())));
    }
    with_container(pod, &task, wharf::Container::resume).await?;
    task.freeze.set(Freeze::No);
    let mut event = TaskResumed::new();
    event.container_id.clone_from(&request.id);
    pod.events.publish("/tasks/resumed", &event);
    Ok(Empty::new())
}

/// `Update`.
pub(crate) async fn update(pod: &Rc<Pod>, request: UpdateTaskRequest) -> Result<Empty, Refusal> {
    let task = pod.task(&request.id)?;
    let _turn = task.turn.write().await;
    if task.word() == "stopped" {
        return Err(Refusal::precondition("cannot update a stopped container"));
    }
    let resources = request.resources.into_option().unwrap_or_default();
    with_container(pod, &task, move |container| {
        let (resources, warnings) = wharf::document::read_resources(&resources.value)?;
        for warning in warnings {
            log::warn!("{}", warning.message);
        }
        container.update(&resources)
    })
    .await?;
    Ok(Empty::new())
}

/// `ResizePty`.
pub(crate) fn resize(pod: &Pod, request: &ResizePtyRequest) -> Result<Empty, Refusal> {
    let process = pod.task(&request.id)?.process(&request.exec_id)?;
    if process.phase() == Phase::Stopped && !process.is_init() {
        return Err(Refusal::precondition("cannot resize a stopped container"));
    }
    if let Some(io) = &*process.io.borrow() {
        io.resize(request.width, request.height)?;
    }
    Ok(Empty::new())
}

/// `CloseIO`.
pub(crate) fn close_io(pod: &Pod, request: &CloseIORequest) -> Result<Empty, Refusal> {
    let process = pod.task(&request.id)?.process(&request.exec_id)?;
    if request.stdin {
        process.stdin_closed.set(true);
        if let Some(io) = process.io.borrow_mut().as_mut() {
            io.close_stdin();
        }
    }
    Ok(Empty::new())
}

/// Ends and forgets every container: their pod goes.
pub(super) async fn end_all(pod: &Rc<Pod>) {
    for task in pod.tasks() {
        let _turn = task.turn.write().await;
        creation::clean_up(&pod.workers, &task.runtime, &task.id, &task.bundle).await;
        pod.remove(task.id.as_str());
    }
}

/// `Shutdown`.
pub(crate) fn shutdown(pod: &Pod, _request: &ShutdownRequest) -> Empty {
    if pod.is_empty() {
        pod.shutdown.notify_one();
    }
    Empty::new()
}
