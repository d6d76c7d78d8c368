//! `Create`, `Start` and `Delete`, and their counterparts for init.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::rc::Rc;

use containerd_shim_protos::api::{
    CreateTaskRequest, CreateTaskResponse, DeleteRequest, DeleteResponse, StartRequest, StartResponse,
};
use containerd_shim_protos::events::task::{TaskCreate, TaskDelete, TaskIO, TaskStart};
use containerd_shim_protos::protobuf::MessageField;
use tokio::sync::RwLock;
use wharf::{CgroupDriver, ContainerId, Delete, ErrorKind, Runtime};

use super::{checkpoint, execs};
use crate::options::Options;
use crate::pod::process::{Exit, Phase, Process};
use crate::pod::task::{Freeze, Saved, Task};
use crate::pod::{Pod, exits};
use crate::refusal::Refusal;
use crate::stdio::{self, Streams};
use crate::worker::Answer;
use crate::worker::creation::{self, Created, Creation};
use crate::{rootfs, time};

/// `Create`.
pub(crate) async fn create(pod: &Rc<Pod>, request: CreateTaskRequest) -> Result<CreateTaskResponse, Refusal> {
    let id = ContainerId::new(&request.id)?;
    let options = Options::decode(request.options.get_or_default())?;
    options.check()?;
    let images = checkpoint::images(&request)?;
    let runtime = runtime(pod, &options)?;
    let reservation = pod.reserve(&request.id)?;
    let bundle = PathBuf::from(&request.bundle);
    options.save(&bundle).map_err(|error| {
        Refusal::io(format_args!("keep the options in the bundle {}", bundle.display()), error)
    })?;
    let streams = Streams {
        stdin: request.stdin.clone(),
        stdout: request.stdout.clone(),
        stderr: request.stderr.clone(),
        terminal: request.terminal,
    };
    let opened = stdio::open(&streams, &pod.purpose(&options, &request.id)).await?;
    let (child, pending) = opened.split();
    // The streams of a saved container are for the worker that restores it.
    let (child, saved) = if images.is_some() { (None, Some(child)) } else { (Some(child), None) };
    let keep: Vec<_> = child.iter().flatten().map(AsRawFd::as_raw_fd).collect();
    let flight = pod.flight();
    let creation = Creation {
        runtime: runtime.clone(),
        id: id.clone(),
        bundle: bundle.clone(),
        files: pod.files(),
        mounts: request.rootfs.clone(),
        options: options.clone(),
        terminal: request.terminal,
        streams: child,
    };
    let answer = match pod.workers.run(&keep, move || creation.perform()).await {
        Err(refusal) => {
            if refusal.cut_short {
                creation::clean_up(&pod.workers, &runtime, &id, &bundle).await;
            }
            return Err(refusal);
        }
        Ok(answer) => answer,
    };
    let created: Created = serde_json::from_slice(&answer.bytes)
        .map_err(|error| Refusal::io("read a worker's answer", error))?;
    let init = Rc::new(Process::new(String::new(), streams, Vec::new()));
    init.pid.set(created.pid);
    let saved = if let (Some(images), Some(streams)) = (images, saved) {
        Some(Saved { images, streams, pending })
    } else {
        *init.io.borrow_mut() = Some(pending.begin(answer.descriptor)?);
        None
    };
    let task = Rc::new(Task {
        id,
        bundle,
        options,
        runtime,
        turn: RwLock::new(()),
        init: init.clone(),
        execs: RefCell::new(BTreeMap::new()),
        freeze: Cell::new(Freeze::No),
        owns_pids: created.owns_pids,
        last_exit: RefCell::new(None),
        oom: RefCell::new(None),
        saved: RefCell::new(saved),
    });
    if created.pid != 0 {
        exits::watch_memory(pod, &task);
    }
    reservation.fill(task.clone());
    announce_creation(pod, &request, created.pid as u32);
    exits::started(pod, &task, &init, Some(&flight));
    let mut response = CreateTaskResponse::new();
    response.pid = created.pid as u32;
    Ok(response)
}

fn runtime(pod: &Pod, options: &Options) -> Result<Runtime, Refusal> {
    let root = options.state_root(&pod.namespace);
    // Docker does not pass its cgroup driver to a shim from its configuration file; the form of the path shows it.
    let driver = if options.systemd_cgroup { CgroupDriver::Systemd } else { CgroupDriver::ByPath };
    Ok(Runtime::builder().root(root).cgroup_driver(driver).build()?)
}

fn announce_creation(pod: &Pod, request: &CreateTaskRequest, pid: u32) {
    let mut io = TaskIO::new();
    io.stdin.clone_from(&request.stdin);
    io.stdout.clone_from(&request.stdout);
    io.stderr.clone_from(&request.stderr);
    io.terminal = request.terminal;
    let mut event = TaskCreate::new();
    event.container_id.clone_from(&request.id);
    event.bundle.clone_from(&request.bundle);
    event.rootfs.clone_from(&request.rootfs);
    event.io = MessageField::some(io);
    event.checkpoint.clone_from(&request.checkpoint);
    event.pid = pid;
    pod.events.publish("/tasks/create", &event);
}

/// `Start`.
pub(crate) async fn start(pod: &Rc<Pod>, request: &StartRequest) -> Result<StartResponse, Refusal> {
    let task = pod.task(&request.id)?;
    let process = task.process(&request.exec_id)?;
    let pid = if process.is_init() {
        let _turn = task.turn.write().await;
        start_init(pod, &task, &process).await?
    } else {
        let _turn = task.turn.read().await;
        execs::start(pod, &task, &process).await?
    };
    let mut response = StartResponse::new();
    response.pid = pid;
    Ok(response)
}

async fn start_init(pod: &Rc<Pod>, task: &Rc<Task>, init: &Rc<Process>) -> Result<u32, Refusal> {
    match init.phase() {
        Phase::Created => {}
        Phase::Running => {
            return Err(Refusal::precondition(format!("cannot start a {} process", task.word())));
        }
        Phase::Stopped => {
            return Err(Refusal::precondition("init process is not running: failed precondition"));
        }
    }
    init.starting.set(true);
    let flight = pod.flight();
    let saved = task.saved.borrow_mut().take();
    let started = match saved {
        Some(saved) => checkpoint::restore(saved, pod, task, init).await,
        None => release(pod, task).await,
    };
    if started.is_ok() {
        init.set_running();
        let mut event = TaskStart::new();
        task.id.as_str().clone_into(&mut event.container_id);
        event.pid = init.pid.get() as u32;
        pod.events.publish("/tasks/start", &event);
    }
    exits::started(pod, task, init, Some(&flight));
    started.map(|()| init.pid.get() as u32)
}

/// Lets the first process execute its program.
async fn release(pod: &Rc<Pod>, task: &Rc<Task>) -> Result<(), Refusal> {
    let (runtime, id) = (task.runtime.clone(), task.id.clone());
    let released = pod.workers.run(&[], move || {
        let during = |error: wharf::Error| Refusal::from(error).during("OCI runtime start failed");
        runtime.open(&id).and_then(|container| container.start()).map_err(during)?;
        Ok(Answer::default())
    });
    released.await.map(drop)
}

/// `Delete`.
pub(crate) async fn delete(pod: &Rc<Pod>, request: &DeleteRequest) -> Result<DeleteResponse, Refusal> {
    let task = pod.task(&request.id)?;
    let process = task.process(&request.exec_id)?;
    if !process.is_init() {
        return execs::delete(&task, &process).await;
    }
    let _turn = task.turn.write().await;
    // Another call may have deleted it first.
    pod.task(&request.id)?;
    if process.phase() == Phase::Running {
        return Err(Refusal::precondition(format!("cannot delete a {} process", task.word())));
    }
    let (runtime, id, bundle) = (task.runtime.clone(), task.id.clone(), task.bundle.clone());
    pod.workers
        .run(&[], move || {
            match runtime.delete(&id, Delete::Stopped) {
                // NotFound: it was already deleted with the command line.
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error.into()),
                _ => {}
            }
            rootfs::unmount(&bundle.join("rootfs")).map_err(Refusal::unknown)?;
            Ok(Answer::default())
        })
        .await?;
    if task.saved.borrow_mut().take().is_some() {
        process.set_exit(Exit { status: checkpoint::NOT_RESTORED, at: time::now() });
    }
    // A container that was never started has been killed; its exit comes before its deletion.
    let exit = process.wait().await;
    let io = process.io.borrow_mut().take();
    if let Some(io) = io {
        io.drain().await;
    }
    pod.remove(&request.id);
    let mut event = TaskDelete::new();
    event.container_id.clone_from(&request.id);
    event.pid = process.pid.get() as u32;
    event.exit_status = exit.status;
    event.exited_at = MessageField::some(exit.at.clone());
    pod.events.publish("/tasks/delete", &event);
    let mut response = DeleteResponse::new();
    response.pid = process.pid.get() as u32;
    response.exit_status = exit.status;
    response.exited_at = MessageField::some(exit.at);
    Ok(response)
}
