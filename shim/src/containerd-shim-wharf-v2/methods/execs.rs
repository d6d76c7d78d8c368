//! Processes that are added to a container.

use std::os::fd::AsRawFd;
use std::rc::Rc;

use containerd_shim_protos::api::{DeleteResponse, Empty, ExecProcessRequest};
use containerd_shim_protos::events::task::{TaskExecAdded, TaskExecStarted};
use containerd_shim_protos::protobuf::MessageField;
use wharf::{Console, ExecOptions, Stdio};

use crate::pod::Pod;
use crate::pod::exits;
use crate::pod::process::{Exit, Phase, Process};
use crate::pod::task::Task;
use crate::refusal::Refusal;
use crate::stdio::{self, Streams};
use crate::time;
use crate::worker::Answer;
use crate::worker::creation::write_pid;

/// The status of a process that could not be started.
const NOT_STARTED: u32 = 255;

/// `Exec`: registers a process, which `Start` then makes.
pub(crate) fn exec(pod: &Rc<Pod>, request: ExecProcessRequest) -> Result<Empty, Refusal> {
    let task = pod.task(&request.id)?;
    // It becomes part of file names.
    if request.exec_id.is_empty() || request.exec_id.contains(['/', '\0']) || request.exec_id.starts_with('.')
    {
        return Err(Refusal::invalid(format!("the exec id {:?} is not valid", request.exec_id)));
    }
    if task.execs.borrow().contains_key(&request.exec_id) {
        return Err(Refusal::exists(format!("id {}: already exists", request.exec_id)));
    }
    if matches!(task.word(), "paused" | "stopped") {
        return Err(Refusal::precondition(format!("cannot exec in a {} container", task.word())));
    }
    let spec = request.spec.into_option().unwrap_or_default();
    if !spec.type_url.ends_with("Process") {
        return Err(Refusal::invalid(format!("the process to execute is of type {:?}", spec.type_url)));
    }
    wharf::document::read_process(&spec.value)?;
    let streams = Streams {
        stdin: request.stdin,
        stdout: request.stdout,
        stderr: request.stderr,
        terminal: request.terminal,
    };
    let process = Rc::new(Process::new(request.exec_id.clone(), streams, spec.value));
    task.execs.borrow_mut().insert(request.exec_id.clone(), process);
    let mut event = TaskExecAdded::new();
    event.container_id = request.id;
    event.exec_id = request.exec_id;
    pod.events.publish("/tasks/exec-added", &event);
    Ok(Empty::new())
}

/// `Start` of an added process.
pub(crate) async fn start(pod: &Rc<Pod>, task: &Rc<Task>, process: &Rc<Process>) -> Result<u32, Refusal> {
    match process.phase() {
        Phase::Created if process.starting.get() => {
            return Err(Refusal::precondition("the process is already being started"));
        }
        Phase::Created => {}
        Phase::Running => return Err(Refusal::precondition("cannot start a running process")),
        Phase::Stopped => return Err(Refusal::precondition("cannot start a stopped process")),
    }
    process.starting.set(true);
    let flight = pod.flight();
    let started = make(pod, task, process).await;
    match &started {
        Ok(pid) => {
            process.pid.set(*pid as i32);
            process.set_running();
            let mut event = TaskExecStarted::new();
            task.id.as_str().clone_into(&mut event.container_id);
            event.exec_id.clone_from(&process.exec_id);
            event.pid = *pid;
            pod.events.publish("/tasks/exec-started", &event);
        }
        // Wakes the callers that wait for it; a process that never existed has no exit event.
        Err(_) => process.set_exit(Exit { status: NOT_STARTED, at: time::now() }),
    }
    exits::started(pod, task, process, Some(&flight));
    started
}

async fn make(pod: &Rc<Pod>, task: &Rc<Task>, process: &Rc<Process>) -> Result<u32, Refusal> {
    let opened = stdio::open(&process.streams, &pod.purpose(&task.options, task.id.as_str())).await?;
    let (child, pending) = opened.split();
    let keep = child.each_ref().map(AsRawFd::as_raw_fd);
    let (runtime, id, bundle) = (task.runtime.clone(), task.id.clone(), task.bundle.clone());
    let (spec, terminal) = (process.spec.take(), process.streams.terminal);
    let pid_file = format!("{}.pid", process.exec_id);
    let answer = pod
        .workers
        .run(&keep, move || {
            let during = |error: wharf::Error| Refusal::from(error).during("OCI runtime exec failed");
            let (mut wanted, warnings) = wharf::document::read_process(&spec).map_err(during)?;
            for warning in warnings {
                log::warn!("{}", warning.message);
            }
            wanted.set_terminal(Some(terminal));
            let options = ExecOptions::new()
                .stdio(Stdio::Fds(child))
                .console(if terminal { Console::Keep } else { Console::None })
                .sibling(true);
            let container = runtime.open(&id).map_err(during)?;
            let mut made = container.exec(&wanted, options).map_err(during)?;
            // Only other programs read it.
            if let Err(refusal) = write_pid(&bundle, &pid_file, made.pid()) {
                log::warn!("{refusal}");
            }
            Ok(Answer { bytes: made.pid().to_le_bytes().to_vec(), descriptor: made.take_console() })
        })
        .await?;
    let pid = answer.bytes.as_slice().try_into().map(u32::from_le_bytes);
    let pid = pid.map_err(|_| Refusal::unknown("a worker's answer cannot be parsed"))?;
    let mut io = pending.begin(answer.descriptor)?;
    if process.stdin_closed.get() {
        io.close_stdin();
    }
    *process.io.borrow_mut() = Some(io);
    Ok(pid)
}

/// `Delete` of an added process. There is no event for it.
pub(crate) async fn delete(task: &Rc<Task>, process: &Rc<Process>) -> Result<DeleteResponse, Refusal> {
    if process.phase() == Phase::Running || process.starting.get() {
        return Err(Refusal::precondition(format!("cannot delete a {} process", task.word())));
    }
    let io = process.io.borrow_mut().take();
    if let Some(io) = io {
        io.drain().await;
    }
    task.execs.borrow_mut().remove(&process.exec_id);
    std::fs::remove_file(task.bundle.join(format!("{}.pid", process.exec_id))).ok();
    let mut response = DeleteResponse::new();
    response.pid = process.pid.get() as u32;
    if let Some(exit) = process.exit() {
        response.exit_status = exit.status;
        response.exited_at = MessageField::some(exit.at);
    }
    Ok(response)
}
