//! From the name of a method to the method. Versions 2 and 3 of the service have the same messages.

use std::rc::Rc;

use containerd_shim_protos::protobuf::Message;
use containerd_shim_protos::ttrpc::Code;

use crate::methods::{checkpoint, control, execs, lifecycle, queries, sandbox};
use crate::pod::Pod;
use crate::refusal::Refusal;

const TASKS: [&str; 2] = ["containerd.task.v2.Task", "containerd.task.v3.Task"];
const SANDBOX: &str = "containerd.runtime.sandbox.v1.Sandbox";

/// Whether a call only waits for a process or a sandbox to end, however long that takes.
pub(crate) fn only_waits(method: &str) -> bool {
    matches!(method, "Wait" | "WaitSandbox")
}

/// Performs a call.
pub(crate) async fn call(
    pod: &Rc<Pod>,
    service: &str,
    method: &str,
    payload: &[u8],
) -> Result<Vec<u8>, Refusal> {
    log::debug!("call {method}");
    match service {
        SANDBOX => of_sandbox(pod, method, payload).await,
        task if TASKS.contains(&task) => of_task(pod, method, payload).await,
        // Daemons find out by this code which version a shim has.
        other => Err(Refusal::new(Code::UNIMPLEMENTED, format!("service {other}"))),
    }
}

async fn of_sandbox(pod: &Rc<Pod>, method: &str, payload: &[u8]) -> Result<Vec<u8>, Refusal> {
    match method {
        "CreateSandbox" => encoded(sandbox::create(pod, decoded(payload)?).await),
        "StartSandbox" => encoded(sandbox::start(pod, &decoded(payload)?).await),
        "Platform" => encoded(sandbox::platform(pod, &decoded(payload)?)),
        "StopSandbox" => encoded(sandbox::stop(pod, &decoded(payload)?).await),
        "WaitSandbox" => encoded(sandbox::wait(pod, &decoded(payload)?).await),
        "SandboxStatus" => encoded(sandbox::status(pod, &decoded(payload)?)),
        "PingSandbox" => encoded(sandbox::ping(pod, &decoded(payload)?)),
        "ShutdownSandbox" => encoded(sandbox::shutdown(pod, &decoded(payload)?).await),
        "SandboxMetrics" => encoded(sandbox::metrics(pod, &decoded(payload)?).await),
        other => Err(Refusal::new(Code::UNIMPLEMENTED, format!("method {other}"))),
    }
}

async fn of_task(pod: &Rc<Pod>, method: &str, payload: &[u8]) -> Result<Vec<u8>, Refusal> {
    match method {
        "State" => encoded(queries::state(pod, &decoded(payload)?)),
        "Create" => encoded(lifecycle::create(pod, decoded(payload)?).await),
        "Start" => encoded(lifecycle::start(pod, &decoded(payload)?).await),
        "Delete" => encoded(lifecycle::delete(pod, &decoded(payload)?).await),
        "Pids" => encoded(queries::pids(pod, &decoded(payload)?).await),
        "Pause" => encoded(control::pause(pod, &decoded(payload)?).await),
        "Resume" => encoded(control::resume(pod, &decoded(payload)?).await),
        "Checkpoint" => encoded(checkpoint::checkpoint(pod, &decoded(payload)?).await),
        "Kill" => encoded(control::kill(pod, &decoded(payload)?).await),
        "Exec" => encoded(execs::exec(pod, decoded(payload)?)),
        "ResizePty" => encoded(control::resize(pod, &decoded(payload)?)),
        "CloseIO" => encoded(control::close_io(pod, &decoded(payload)?)),
        "Update" => encoded(control::update(pod, decoded(payload)?).await),
        "Wait" => encoded(queries::wait(pod, &decoded(payload)?).await),
        "Stats" => encoded(queries::stats(pod, &decoded(payload)?).await),
        "Connect" => encoded(Ok(queries::connect(pod, &decoded(payload)?))),
        "Shutdown" => encoded(Ok(control::shutdown(pod, &decoded(payload)?))),
        other => Err(Refusal::new(Code::UNIMPLEMENTED, format!("method {other}"))),
    }
}

fn decoded<M: Message>(payload: &[u8]) -> Result<M, Refusal> {
    M::parse_from_bytes(payload)
        .map_err(|error| Refusal::invalid(format!("the message {}: {error}", M::NAME)))
}

fn encoded(done: Result<impl Message, Refusal>) -> Result<Vec<u8>, Refusal> {
    done?.write_to_bytes().map_err(|error| Refusal::io("encode the answer", error))
}
