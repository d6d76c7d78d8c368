//! The answer to a call.

use containerd_shim_protos::protobuf::{EnumOrUnknown, Message as _, MessageField};
use containerd_shim_protos::ttrpc::{self, Code, Response};
use tokio::io::AsyncWrite;
use tokio::sync::Mutex;

use crate::refusal::Refusal;
use crate::wire;

/// Writes it, unless the caller has left.
pub(super) async fn write_answer<W: AsyncWrite + Unpin>(
    writer: &Mutex<W>,
    stream: u32,
    done: Result<Vec<u8>, Refusal>,
) {
    let bytes = response(done).write_to_bytes().unwrap_or_default();
    if let Err(error) = wire::write_response(&mut *writer.lock().await, stream, &bytes).await {
        log::debug!("a caller left before its answer was sent: {error}");
    }
}

fn response(done: Result<Vec<u8>, Refusal>) -> Response {
    let mut response = Response::new();
    match done {
        Ok(payload) => {
            response.status = MessageField::some(ttrpc::get_status(Code::OK, ""));
            response.payload = payload;
        }
        Err(refusal) => {
            let mut status = ttrpc::get_status(Code::UNKNOWN, refusal.message);
            status.code = EnumOrUnknown::from_i32(refusal.code);
            response.status = MessageField::some(status);
        }
    }
    response
}
