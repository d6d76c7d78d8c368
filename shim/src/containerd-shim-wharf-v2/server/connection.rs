//! One connection: requests are read, performed side by side, and answered.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::pending;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use containerd_shim_protos::protobuf::Message as _;
use containerd_shim_protos::ttrpc::{Code, Request};
use tokio::io::AsyncWrite;
use tokio::net::UnixStream;
use tokio::net::unix::OwnedReadHalf;
use tokio::sync::{Mutex, Notify};
use tokio::task::{AbortHandle, spawn_local};
use tokio::time::timeout;

use super::answer::write_answer;
use super::dispatch;
use super::streaming;
use super::streams::Streams;
use crate::pod::Pod;
use crate::pod::load::Admission;
use crate::race::{First, first};
use crate::refusal::Refusal;
use crate::wire;

/// Answers the calls of a connection until its caller closes it.
pub(super) async fn converse(pod: Rc<Pod>, stream: UnixStream) {
    pod.connections.set(pod.connections.get() + 1);
    let (reader, writer) = stream.into_split();
    let waits = Waits::default();
    if let Err(error) = answer_requests(&pod, reader, Rc::new(Mutex::new(writer)), &waits).await {
        log::debug!("a connection broke: {error}");
    }
    // Only their answers matter, and they would last as long as the processes.
    waits.end();
    pod.connections.set(pod.connections.get() - 1);
    pod.calmer.notify_one();
    pod.answered.notify_waiters();
}

/// The calls of a connection that only wait, by number.
#[derive(Clone, Debug, Default)]
struct Waits(Rc<RefCell<HashMap<u64, AbortHandle>>>);

impl Waits {
    fn end(&self) {
        for (_, wait) in self.0.borrow_mut().drain() {
            wait.abort();
        }
    }
}

async fn answer_requests<W: AsyncWrite + Unpin + 'static>(
    pod: &Rc<Pod>,
    mut reader: OwnedReadHalf,
    writer: Rc<Mutex<W>>,
    waits: &Waits,
) -> io::Result<()> {
    let mut number = 0u64;
    let answers = Rc::new(Answers::default());
    let mut streams = Streams::default();
    loop {
        answers.until_read().await;
        let rest = async {
            // A connection with calls is its owner's to close.
            if number > 0 { pending().await } else { streams.rest().await }
        };
        let First::One(frame) = first(wire::read(&mut reader), rest).await else { return Ok(()) };
        let Some(frame) = frame? else { return Ok(()) };
        let stream = frame.stream;
        if !frame.is_request {
            if frame.is_data {
                streams.take(&frame);
            }
            continue;
        }
        let is_last = frame.is_last;
        let (request, admission) = match admitted(pod, frame.payload) {
            Ok(call) => call,
            Err(refusal) => {
                // Written before the next call is read: a client that reads no answers is not read from either.
                write_answer(&writer, stream, Err(refusal)).await;
                continue;
            }
        };
        if [&*request.service, &*request.method] == streaming::METHOD {
            if let Err(refusal) = streams.begin(&pod.remotes, stream, &request.payload, is_last, &writer) {
                write_answer(&writer, stream, Err(refusal)).await;
            }
            continue;
        }
        number += 1;
        let (pod, writer, own, answers) = (pod.clone(), writer.clone(), waits.clone(), answers.clone());
        let is_wait = admission.waits();
        let call = spawn_local(async move {
            let admission = Rc::new(admission);
            let done = perform(&pod, request, &admission).await;
            // An answer that is being written is completed.
            own.0.borrow_mut().remove(&number);
            admission.done();
            answers.waiting.set(answers.waiting.get() + 1);
            write_answer(&writer, stream, done).await;
            answers.waiting.set(answers.waiting.get() - 1);
            answers.read.notify_one();
            drop(admission);
            pod.answered.notify_waiters();
        });
        if is_wait {
            waits.0.borrow_mut().insert(number, call.abort_handle());
        }
    }
}

/// How many answers of one connection may wait for the caller to read them; beyond that, it is not read from either.
const MOST_ANSWERS: usize = 128;

/// The answers that are being written to a connection.
#[derive(Debug, Default)]
struct Answers {
    waiting: Cell<usize>,
    read: Notify,
}

impl Answers {
    async fn until_read(&self) {
        while self.waiting.get() >= MOST_ANSWERS {
            self.read.notified().await;
        }
    }
}

/// The call in a message, if there is room for it.
fn admitted(pod: &Pod, payload: Option<Vec<u8>>) -> Result<(Request, Admission), Refusal> {
    let payload = payload.ok_or_else(|| Refusal::new(wire::TOO_LONG, "the message is longer than 4 MiB"))?;
    let request = Request::parse_from_bytes(&payload)
        .map_err(|error| Refusal::invalid(format!("the request: {error}")))?;
    let admission = pod.load.admit(dispatch::only_waits(&request.method), payload.len())?;
    Ok((request, admission))
}

/// Performs one call in a task of its own: what was begun is completed, whether its caller waits or not. It counts
/// until then.
async fn perform(pod: &Rc<Pod>, request: Request, admission: &Rc<Admission>) -> Result<Vec<u8>, Refusal> {
    let limit = u64::try_from(request.timeout_nano).ok().filter(|limit| *limit > 0).map(Duration::from_nanos);
    let name = format!("{}/{}", request.service, request.method);
    let late = || Refusal::new(Code::DEADLINE_EXCEEDED, format!("{name}: the caller's deadline has passed"));
    let (pod, counted) = (pod.clone(), admission.clone());
    let call = async move {
        let done = dispatch::call(&pod, &request.service, &request.method, &request.payload).await;
        drop(counted);
        done
    };
    if admission.waits() {
        // Not in a task of its own: it is dropped with its caller.
        return match limit {
            None => call.await,
            Some(limit) => timeout(limit, call).await.map_err(|_| late())?,
        };
    }
    let call = spawn_local(call);
    let done = match limit {
        None => call.await,
        Some(limit) => timeout(limit, call).await.map_err(|_| late())?,
    };
    done.unwrap_or_else(|error| Err(Refusal::new(Code::INTERNAL, format!("{name}: {error}"))))
}
