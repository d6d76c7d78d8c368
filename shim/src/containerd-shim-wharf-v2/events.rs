//! Events to containerd, in order: one queue, whose head is sent until it is accepted or given up.
//!
//! While the daemon is away, events wait. If the queue is full, the oldest events other than exits are dropped, since
//! clients wait for exits.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use containerd_shim_protos::protobuf::well_known_types::any::Any;
use containerd_shim_protos::protobuf::{Message, MessageField};
use containerd_shim_protos::shim::event::Envelope;
use containerd_shim_protos::shim::events::ForwardRequest;
use containerd_shim_protos::ttrpc::{Request, Response};
use tokio::net::UnixStream;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use crate::time;
use crate::wire;

/// How many events may wait.
const MOST: usize = 2048;
/// How long the daemon may take for one event.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often an event is sent that the daemon refuses.
const MOST_REFUSALS: u32 = 5;
const TOPIC_EXIT: &str = "/tasks/exit";

/// The queue.
#[derive(Clone, Debug)]
pub(crate) struct Events(Rc<Inner>);

#[derive(Debug)]
struct Inner {
    namespace: String,
    discarded: Cell<bool>,
    waiting: RefCell<VecDeque<Waiting>>,
    more: Notify,
    fewer: Notify,
}

#[derive(Debug)]
struct Waiting {
    topic: &'static str,
    request: Vec<u8>,
}

/// A connection to the daemon.
struct Daemon {
    stream: UnixStream,
    next: u32,
}

impl Events {
    /// An empty queue.
    pub(crate) fn new(namespace: String) -> Self {
        Self(Rc::new(Inner {
            namespace,
            discarded: Cell::new(false),
            waiting: RefCell::default(),
            more: Notify::new(),
            fewer: Notify::new(),
        }))
    }

    /// Queues an event that has just happened.
    pub(crate) fn publish<E: Message>(&self, topic: &'static str, event: &E) {
        if self.0.discarded.get() {
            return log::info!("event {topic} has no receiver");
        }
        let mut any = Any::new();
        any.type_url = type_url::<E>();
        any.value = event.write_to_bytes().unwrap_or_default();
        let mut envelope = Envelope::new();
        envelope.timestamp = MessageField::some(time::now());
        envelope.namespace.clone_from(&self.0.namespace);
        topic.clone_into(&mut envelope.topic);
        envelope.event = MessageField::some(any);
        let mut forward = ForwardRequest::new();
        forward.envelope = MessageField::some(envelope);
        let mut request = Request::new();
        "containerd.services.events.ttrpc.v1.Events".clone_into(&mut request.service);
        "Forward".clone_into(&mut request.method);
        request.timeout_nano = PATIENCE.as_nanos() as i64;
        request.payload = forward.write_to_bytes().unwrap_or_default();
        self.push(topic, request.write_to_bytes().unwrap_or_default());
    }

    fn push(&self, topic: &'static str, request: Vec<u8>) {
        let mut waiting = self.0.waiting.borrow_mut();
        if waiting.len() >= MOST {
            // The head may be on its way.
            let victim =
                waiting.iter().skip(1).position(|event| event.topic != TOPIC_EXIT).map_or(1, |at| at + 1);
            if let Some(lost) = waiting.remove(victim) {
                log::warn!("{MOST} events wait for the daemon: dropped one of topic {}", lost.topic);
            }
        }
        waiting.push_back(Waiting { topic, request });
        self.0.more.notify_one();
    }

    /// No daemon wants events, now or later.
    pub(crate) fn discard(&self) {
        self.0.discarded.set(true);
    }

    /// Sends queued events to the daemon at `address`; never returns.
    pub(crate) async fn forward(&self, address: &str) {
        let path = address.strip_prefix("unix://").unwrap_or(address);
        let mut daemon = None;
        let (mut failures, mut refusals) = (0, 0);
        loop {
            let head = self.0.waiting.borrow().front().map(|event| (event.topic, event.request.clone()));
            let Some((topic, request)) = head else {
                self.0.fewer.notify_waiters();
                self.0.more.notified().await;
                continue;
            };
            match timeout(PATIENCE, send(path, &mut daemon, &request)).await {
                Ok(Ok(None)) => (failures, refusals) = (0, 0),
                Ok(Ok(Some(reason))) => {
                    refusals += 1;
                    if refusals < MOST_REFUSALS {
                        sleep(Duration::from_secs(1) * refusals).await;
                        continue;
                    }
                    log::warn!("the daemon refuses an event of topic {topic}: {reason}");
                    refusals = 0;
                }
                Ok(Err(_)) | Err(_) => {
                    // A restarted daemon needs a new connection: retry at once, then ever less often.
                    daemon = None;
                    sleep(Duration::from_millis(20) * u32::min(failures * failures, 100)).await;
                    failures = u32::min(failures + 1, 10);
                    continue;
                }
            }
            self.0.waiting.borrow_mut().pop_front();
        }
    }

    /// Waits until the queue is empty, at most that long.
    pub(crate) async fn flush(&self, limit: Duration) {
        let emptied = async {
            loop {
                let fewer = self.0.fewer.notified();
                if self.0.waiting.borrow().is_empty() {
                    return;
                }
                fewer.await;
            }
        };
        // Events that the daemon does not take in that time are lost.
        timeout(limit, emptied).await.ok();
    }
}

/// Sends one event; the answer says why the daemon refuses it.
async fn send(path: &str, daemon: &mut Option<Daemon>, request: &[u8]) -> io::Result<Option<String>> {
    let daemon = match daemon {
        Some(daemon) => daemon,
        None => daemon.insert(Daemon { stream: UnixStream::connect(path).await?, next: 1 }),
    };
    let stream = daemon.next;
    daemon.next = daemon.next.wrapping_add(2);
    wire::write_request(&mut daemon.stream, stream, request).await?;
    loop {
        let frame = wire::read(&mut daemon.stream).await?.ok_or(io::ErrorKind::UnexpectedEof)?;
        // An answer that comes too late belongs to an earlier attempt.
        if frame.is_response && frame.stream == stream {
            let response = Response::parse_from_bytes(&frame.payload.unwrap_or_default())?;
            let status = response.status.unwrap_or_default();
            return Ok((status.code.value() != 0).then_some(status.message));
        }
    }
}

/// `containerd.events.TaskExit`, for example. The descriptors of protobuf would have it too, but take 100 kB of memory.
fn type_url<E: Message>() -> String {
    format!("containerd.events.{}", E::NAME)
}

#[cfg(test)]
mod tests {
    use containerd_shim_protos::events::task::{TaskExit, TaskOOM, TaskStart};

    use super::*;

    #[test]
    fn types_have_their_full_names() {
        assert_eq!(type_url::<TaskExit>(), "containerd.events.TaskExit");
    }

    #[test]
    fn exits_stay_when_the_queue_is_full() {
        let events = Events::new("default".to_owned());
        events.publish("/tasks/start", &TaskStart::new());
        events.publish("/tasks/oom", &TaskOOM::new());
        for _ in 2..MOST {
            events.publish(TOPIC_EXIT, &TaskExit::new());
        }
        events.publish(TOPIC_EXIT, &TaskExit::new());
        let topics: Vec<_> = events.0.waiting.borrow().iter().map(|event| event.topic).collect();
        assert_eq!((topics.len(), topics[0], topics[1]), (MOST, "/tasks/start", TOPIC_EXIT));
    }

    #[test]
    fn the_head_waits_for_the_daemon_and_order_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("events");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let local = tokio::task::LocalSet::new();
        runtime.block_on(local.run_until(async {
            let events = Events::new("default".to_owned());
            events.publish("/tasks/start", &TaskStart::new());
            events.publish(TOPIC_EXIT, &TaskExit::new());
            let (forwarder, address) = (events.clone(), path.to_str().unwrap().to_owned());
            tokio::task::spawn_local(async move { forwarder.forward(&address).await });
            events.flush(Duration::from_millis(50)).await;
            assert_eq!(events.0.waiting.borrow().len(), 2);
            let listener = tokio::net::UnixListener::bind(&path).unwrap();
            let mut topics = Vec::new();
            // The first connection breaks before the answer, so the event is sent again.
            for answers in [0, 2] {
                let (mut stream, _) = listener.accept().await.unwrap();
                for _ in 0..std::cmp::max(answers, 1) {
                    let frame = wire::read(&mut stream).await.unwrap().unwrap();
                    let request = Request::parse_from_bytes(&frame.payload.unwrap()).unwrap();
                    let forward = ForwardRequest::parse_from_bytes(&request.payload).unwrap();
                    topics.push(forward.envelope.topic.clone());
                    if answers > 0 {
                        let response = Response::new().write_to_bytes().unwrap();
                        wire::write_response(&mut stream, frame.stream, &response).await.unwrap();
                    }
                }
            }
            assert_eq!(topics, ["/tasks/start", "/tasks/start", TOPIC_EXIT]);
            events.flush(PATIENCE).await;
            assert!(events.0.waiting.borrow().is_empty());
        }));
    }
}
