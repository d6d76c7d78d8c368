//! Methods that change nothing.

use std::rc::Rc;

use containerd_shim_protos::api::{
    ConnectRequest, ConnectResponse, PidsRequest, PidsResponse, ProcessInfo, StateRequest, StateResponse,
    StatsRequest, StatsResponse, WaitRequest, WaitResponse,
};
use containerd_shim_protos::protobuf::well_known_types::any::Any;
use containerd_shim_protos::protobuf::{EnumOrUnknown, Message as _, MessageField};
use containerd_shim_protos::shim::oci::ProcessDetails;
use containerd_shim_protos::ttrpc::Code;
use wharf::ErrorKind;

use crate::metrics;
use crate::pod::Pod;
use crate::pod::process::Phase;
use crate::refusal::Refusal;
use crate::time;
use crate::worker::Answer;

/// `State`.
pub(crate) fn state(pod: &Pod, request: &StateRequest) -> Result<StateResponse, Refusal> {
    let task = pod.task(&request.id)?;
    let process = task.process(&request.exec_id)?;
    let mut response = StateResponse::new();
    response.id = if process.is_init() { request.id.clone() } else { process.exec_id.clone() };
    response.exec_id.clone_from(&request.exec_id);
    response.bundle = task.bundle.to_string_lossy().into_owned();
    response.pid = process.pid.get() as u32;
    response.status = EnumOrUnknown::new(task.status(&process));
    response.stdin.clone_from(&process.streams.stdin);
    response.stdout.clone_from(&process.streams.stdout);
    response.stderr.clone_from(&process.streams.stderr);
    response.terminal = process.streams.terminal;
    response.exited_at = MessageField::some(time::never());
    if let Some(exit) = process.exit() {
        response.exit_status = exit.status;
        response.exited_at = MessageField::some(exit.at);
    }
    Ok(response)
}

/// `Wait`.
pub(crate) async fn wait(pod: &Rc<Pod>, request: &WaitRequest) -> Result<WaitResponse, Refusal> {
    let process = pod.task(&request.id)?.process(&request.exec_id)?;
    let exit = process.wait().await;
    let mut response = WaitResponse::new();
    response.exit_status = exit.status;
    response.exited_at = MessageField::some(exit.at);
    Ok(response)
}

/// `Pids`.
pub(crate) async fn pids(pod: &Rc<Pod>, request: &PidsRequest) -> Result<PidsResponse, Refusal> {
    let task = pod.task(&request.id)?;
    let (runtime, id) = (task.runtime.clone(), task.id.clone());
    let answer = pod
        .workers
        .run(&[], move || {
            let pids = runtime.open(&id)?.processes()?;
            Ok(Answer { bytes: pids.into_iter().flat_map(i32::to_le_bytes).collect(), descriptor: None })
        })
        .await?;
    let mut response = PidsResponse::new();
    for pid in answer.bytes.chunks_exact(4) {
        let mut info = ProcessInfo::new();
        info.pid = u32::from_le_bytes([pid[0], pid[1], pid[2], pid[3]]);
        let execs = task.execs.borrow();
        let added = execs.values().find(|process| process.pid.get() as u32 == info.pid && process.is_alive());
        if let Some(process) = added {
            let mut details = ProcessDetails::new();
            details.exec_id.clone_from(&process.exec_id);
            info.info = MessageField::some(any("containerd.runc.v1.ProcessDetails", &details)?);
        }
        response.processes.push(info);
    }
    Ok(response)
}

fn any(type_url: &str, message: &impl containerd_shim_protos::protobuf::Message) -> Result<Any, Refusal> {
    let mut any = Any::new();
    type_url.clone_into(&mut any.type_url);
    any.value = message.write_to_bytes().map_err(|error| Refusal::io("encode the answer", error))?;
    Ok(any)
}

/// `Stats`.
pub(crate) async fn stats(pod: &Rc<Pod>, request: &StatsRequest) -> Result<StatsResponse, Refusal> {
    let task = pod.task(&request.id)?;
    if task.init.phase() == Phase::Stopped {
        return Err(Refusal::not_found("cgroup does not exist: not found"));
    }
    let (runtime, id) = (task.runtime.clone(), task.id.clone());
    let answer = pod
        .workers
        .run(&[], move || {
            let stats = runtime.open(&id).and_then(|container| container.stats());
            let stats = stats.map_err(|error| match error.kind() {
                ErrorKind::WrongState => Refusal::new(Code::NOT_FOUND, error.to_string()),
                _ => error.into(),
            })?;
            let any = metrics::encode(&stats).map_err(|error| Refusal::io("encode the answer", error))?;
            let bytes = any.write_to_bytes().map_err(|error| Refusal::io("encode the answer", error))?;
            Ok(Answer { bytes, descriptor: None })
        })
        .await?;
    let mut response = StatsResponse::new();
    let stats =
        Any::parse_from_bytes(&answer.bytes).map_err(|error| Refusal::io("read a worker's answer", error))?;
    response.stats = MessageField::some(stats);
    Ok(response)
}

/// `Connect`.
pub(crate) fn connect(pod: &Pod, request: &ConnectRequest) -> ConnectResponse {
    let mut response = ConnectResponse::new();
    response.shim_pid = std::process::id();
    response.task_pid = pod.find(&request.id).map_or(0, |task| task.init.pid.get() as u32);
    response
}
