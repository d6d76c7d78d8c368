//! The client's side: many calls at once over one connection to a shim.

use super::wire::{Frame, RESPONSE};
use crate::outcome::{Fault, Outcome, check, fail};
use containerd_shim_protos::protobuf::Message;
use containerd_shim_protos::ttrpc::proto::{Request, Response};
use std::collections::HashMap;
use std::fmt::{self, Display};
use std::io;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How long an answer may take before it counts as missing.
pub const PATIENCE: Duration = Duration::from_secs(40);

/// Codes of gRPC that shims answer with.
pub mod code {
    /// Anything that has no code of its own.
    pub const UNKNOWN: i32 = 2;
    /// The request is invalid.
    pub const INVALID_ARGUMENT: i32 = 3;
    /// No such container or process.
    pub const NOT_FOUND: i32 = 5;
    /// The id is taken.
    pub const ALREADY_EXISTS: i32 = 6;
    /// Too much is in progress.
    pub const RESOURCE_EXHAUSTED: i32 = 8;
    /// The container or process is in the wrong state.
    pub const FAILED_PRECONDITION: i32 = 9;
    /// No such service or method.
    pub const UNIMPLEMENTED: i32 = 12;
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The shim answered with an error.
    Status {
        /// Its gRPC code.
        code: i32,
        /// Its message.
        message: String,
    },
    /// The connection ended first.
    Closed,
    /// Nothing came in time.
    Silence,
    /// The bytes are not such a message.
    Garbled(String),
}

impl Refusal {
    /// The gRPC code, if the shim answered at all.
    pub fn code(&self) -> Option<i32> {
        if let Self::Status { code, .. } = self { Some(*code) } else { None }
    }
}

impl Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status { code, message } => write!(f, "code {code}: {message}"),
            Self::Closed => f.write_str("the shim closed the connection"),
            Self::Silence => f.write_str("no answer"),
            Self::Garbled(error) => write!(f, "not the promised message: {error}"),
        }
    }
}

/// An answer, or why there is none.
pub type Reply<T> = Result<T, Refusal>;

/// Adds the request to a refusal that the test did not expect.
pub fn granted<T>(what: &str, reply: Reply<T>) -> Outcome<T> {
    reply.map_err(|refusal| Fault::Failed(format!("{what}: {refusal}")))
}

/// Passes if the shim answered with one of these codes and the message has one of these words.
pub fn refused<T>(what: &str, reply: Reply<T>, codes: &[i32], words: &[&str]) -> Outcome {
    match reply {
        Ok(_) => fail(format!("{what} succeeded")),
        Err(Refusal::Status { code, message }) => {
            check(codes.is_empty() || codes.contains(&code), || {
                format!("{what}: code {code}, wanted {codes:?}: {message}")
            })?;
            let lower = message.to_lowercase();
            check(words.is_empty() || words.iter().any(|word| lower.contains(&word.to_lowercase())), || {
                format!("{what}: the message names none of {words:?}: {message}")
            })
        }
        Err(other) => fail(format!("{what}: {other}")),
    }
}

#[derive(Debug, Default)]
struct Open {
    streams: HashMap<u32, Sender<Vec<u8>>>,
    next: u32,
    ended: bool,
}

/// A connection to a shim.
#[derive(Debug)]
pub struct Client {
    stream: UnixStream,
    open: Arc<Mutex<Open>>,
}

impl Client {
    /// Connects to `unix:///path`, or to a bare path.
    pub fn connect(address: &str) -> io::Result<Self> {
        Self::over(UnixStream::connect(socket_path(address))?)
    }

    /// Uses an existing connection.
    pub fn over(stream: UnixStream) -> io::Result<Self> {
        let open = Arc::new(Mutex::new(Open { next: 1, ..Open::default() }));
        let (mut reader, shared) = (stream.try_clone()?, Arc::clone(&open));
        std::thread::spawn(move || {
            while let Ok(Some(frame)) = Frame::read(&mut reader) {
                let mut open = shared.lock().unwrap_or_else(PoisonError::into_inner);
                if frame.kind == RESPONSE
                    && let Some(waiting) = open.streams.remove(&frame.stream)
                {
                    // The caller may have given up.
                    let _gone = waiting.send(frame.body);
                }
            }
            let mut open = shared.lock().unwrap_or_else(PoisonError::into_inner);
            open.ended = true;
            open.streams.clear();
        });
        Ok(Self { stream, open })
    }

    /// Sends a request and returns the pending answer.
    pub fn begin(&self, service: &str, method: &str, payload: Vec<u8>) -> Pending {
        let request =
            Request { service: service.into(), method: method.into(), payload, ..Request::default() };
        self.begin_request(&request)
    }

    /// As [`Client::begin`], with a prepared request.
    pub fn begin_request(&self, request: &Request) -> Pending {
        let body = request.write_to_bytes().unwrap_or_default();
        let (sender, answer) = channel();
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let stream = open.next;
        open.next += 2;
        if !open.ended {
            open.streams.insert(stream, sender);
            // Under the lock, so that frames do not mix. A dead connection shows as a closed channel.
            if Frame::request(stream, body).write(&mut &self.stream).is_err() {
                open.streams.remove(&stream);
            }
        }
        Pending { answer }
    }

    /// Asks and waits for the answer.
    pub fn call<Q: Message, A: Message>(&self, service: &str, method: &str, question: &Q) -> Reply<A> {
        self.begin(service, method, question.write_to_bytes().unwrap_or_default()).answer(PATIENCE)
    }

    /// Sends bytes that need not be a frame.
    pub fn raw(&self, bytes: &[u8]) -> io::Result<()> {
        io::Write::write_all(&mut &self.stream, bytes)
    }

    /// Ends the connection, as when a daemon ends.
    pub fn hang_up(&self) {
        // The reading thread has a copy of the descriptor; this ends it too. There may be no other end any more.
        let _ended = self.stream.shutdown(std::net::Shutdown::Both);
    }

    /// Whether the shim has closed the connection.
    pub fn ended(&self) -> bool {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).ended
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.hang_up();
    }
}

/// The path of a socket address.
pub fn socket_path(address: &str) -> &Path {
    Path::new(address.strip_prefix("unix://").unwrap_or(address))
}

/// A call that has been sent.
#[derive(Debug)]
pub struct Pending {
    answer: Receiver<Vec<u8>>,
}

impl Pending {
    /// Waits for the answer.
    pub fn answer<A: Message>(&self, limit: Duration) -> Reply<A> {
        let body = self.answer.recv_timeout(limit).map_err(|error| match error {
            RecvTimeoutError::Timeout => Refusal::Silence,
            RecvTimeoutError::Disconnected => Refusal::Closed,
        })?;
        let garbled = |error: containerd_shim_protos::protobuf::Error| Refusal::Garbled(error.to_string());
        let response = Response::parse_from_bytes(&body).map_err(garbled)?;
        let status = response.status.get_or_default();
        if status.code.value() != 0 {
            return Err(Refusal::Status { code: status.code.value(), message: status.message.clone() });
        }
        A::parse_from_bytes(&response.payload).map_err(garbled)
    }
}
