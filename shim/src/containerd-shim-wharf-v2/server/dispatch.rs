//! From the name of a method to the method. Versions 2 and 3 of the service have the same messages.

use std::rc::Rc;

use containerd_shim_protos::protobuf::Message;
use containerd_shim_protos::ttrpc::Code;

use crate::methods::{checkpoint, control, execs, lifecycle, queries};
use crate::pod::Pod;
use crate::refusal::Refusal;

const SERVICES: [&str; 2] = ["containerd.task.v2.Task", "containerd.task.v3.Task"];

/// Whether a call only waits for a process to end, however long that takes.
pub(crate) fn only_waits(method: &str) -> bool {
    method == "Wait"
}

/// Performs a call.
pub(crate) async fn call(
    pod: &Rc<Pod>,
    service: &str,
    method: &str,
    payload: &[u8],
) -> Result<Vec<u8>, Refusal> {
    if !SERVICES.contains(&service) {
        // Daemons find out by this code which version a shim has.
        return Err(Refusal::new(Code::UNIMPLEMENTED, format!("service {service}")));
    }
    log::debug!("call {method}");
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
