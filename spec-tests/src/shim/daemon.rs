//! The daemon's side of events: a socket that shims forward them to, which can fall silent, fail, and go away.

use super::wire::{Frame, RESPONSE};
use crate::outcome::{Outcome, fail};
use containerd_shim_protos::events::task as events;
use containerd_shim_protos::protobuf::{Enum, Message};
use containerd_shim_protos::shim::events::ForwardRequest;
use containerd_shim_protos::ttrpc::proto::{Code, Request, Response, Status};
use std::fmt::{self, Debug};
use std::io;
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

const SERVICE: &str = "containerd.services.events.ttrpc.v1.Events";

/// An event as it arrived.
#[derive(Clone)]
pub struct Event {
    /// For example `/tasks/exit`.
    pub topic: String,
    /// The namespace in its envelope.
    pub namespace: String,
    /// Seconds since 1970 in its envelope.
    pub seconds: i64,
    /// The type in its envelope.
    pub type_url: String,
    /// The event itself.
    pub value: Vec<u8>,
}

impl Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}({})", self.topic, self.process())
    }
}

impl Event {
    /// The event as its message.
    pub fn parse<M: Message>(&self) -> Outcome<M> {
        M::parse_from_bytes(&self.value).or_else(|error| fail(format!("{}: {error}", self.topic)))
    }

    /// The container it is about.
    pub fn container(&self) -> String {
        // container_id has number 1 in every event of a task.
        self.exit().map_or_else(String::new, |exit| exit.container_id)
    }

    /// The process it is about: the exec's id, or else the container's.
    pub fn process(&self) -> String {
        match self.topic.as_str() {
            "/tasks/exit" => self.exit().map_or_else(String::new, |exit| exit.id),
            "/tasks/exec-added" | "/tasks/exec-started" => {
                events::TaskExecAdded::parse_from_bytes(&self.value)
                    .map_or_else(|_| String::new(), |event| event.exec_id)
            }
            _ => self.container(),
        }
    }

    fn exit(&self) -> Option<events::TaskExit> {
        let mut input = containerd_shim_protos::protobuf::CodedInputStream::from_bytes(&self.value);
        let mut exit = events::TaskExit::new();
        if self.topic == "/tasks/exit" {
            return events::TaskExit::parse_from_bytes(&self.value).ok();
        }
        // Only the first field is the same in all of them.
        if input.read_raw_varint32().ok()? == 10 {
            exit.container_id = input.read_string().ok()?;
        }
        Some(exit)
    }
}

/// What the daemon does with a forwarded event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// Takes it.
    Takes,
    /// Reads it and does not answer.
    Silent,
    /// Answers with an error.
    Refuses,
}

#[derive(Debug)]
struct Heard {
    events: Vec<Event>,
    /// What this daemon was sent that is not an event.
    strays: Vec<String>,
    manner: Manner,
    streams: Vec<UnixStream>,
    connections: usize,
    open: bool,
}

#[derive(Debug)]
struct Shared {
    heard: Mutex<Heard>,
    more: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The listening side.
#[derive(Debug)]
pub struct Daemon {
    /// Its socket, which shims get as `TTRPC_ADDRESS`.
    pub path: PathBuf,
    shared: Arc<Shared>,
}

impl Daemon {
    /// Listens at a path.
    pub fn listen(path: &Path) -> io::Result<Self> {
        let heard = Heard {
            events: Vec::new(),
            strays: Vec::new(),
            manner: Manner::Takes,
            streams: Vec::new(),
            connections: 0,
            open: false,
        };
        let shared = Arc::new(Shared { heard: Mutex::new(heard), more: Condvar::new() });
        let daemon = Self { path: path.to_owned(), shared };
        daemon.up()?;
        Ok(daemon)
    }

    /// Listens again after [`Daemon::down`].
    pub fn up(&self) -> io::Result<()> {
        let listener = UnixListener::bind(&self.path)?;
        self.shared.lock().open = true;
        let shared = Arc::clone(&self.shared);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut heard = shared.lock();
                let Ok(stream) = stream else { return };
                if !heard.open {
                    return;
                }
                let Ok(copy) = stream.try_clone() else { return };
                heard.streams.push(copy);
                heard.connections += 1;
                drop(heard);
                let shared = Arc::clone(&shared);
                std::thread::spawn(move || serve(stream, &shared));
            }
        });
        Ok(())
    }

    /// Ends like a stopped daemon: the socket goes away and every connection breaks.
    pub fn down(&self) -> io::Result<()> {
        let streams = {
            let mut heard = self.shared.lock();
            heard.open = false;
            std::mem::take(&mut heard.streams)
        };
        // Wakes the accepting thread, which then sees that it should end.
        drop(UnixStream::connect(&self.path));
        std::fs::remove_file(&self.path)?;
        for stream in streams {
            let _gone = stream.shutdown(Shutdown::Both);
        }
        Ok(())
    }

    /// Changes what is done with events from now on.
    pub fn manner(&self, manner: Manner) {
        self.shared.lock().manner = manner;
    }

    /// How many connections there have been.
    pub fn connections(&self) -> usize {
        self.shared.lock().connections
    }

    /// What was sent that is not an event.
    pub fn strays(&self) -> Vec<String> {
        self.shared.lock().strays.clone()
    }

    /// All events so far.
    pub fn events(&self) -> Vec<Event> {
        self.shared.lock().events.clone()
    }

    /// The events about one container so far.
    pub fn about(&self, id: &str) -> Vec<Event> {
        self.events().into_iter().filter(|event| event.container() == id).collect()
    }

    /// Forgets all events.
    pub fn forget(&self) {
        self.shared.lock().events.clear();
    }

    /// Waits for an event that matches.
    pub fn wait(&self, what: &str, limit: Duration, wanted: impl Fn(&Event) -> bool) -> Outcome<Event> {
        let end = Instant::now() + limit;
        let mut heard = self.shared.lock();
        loop {
            if let Some(found) = heard.events.iter().find(|event| wanted(event)) {
                return Ok(found.clone());
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return fail(format!("no event {what}; there were {:?}", heard.events));
            }
            heard = self.shared.more.wait_timeout(heard, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits for the event with this topic about this process.
    pub fn wait_for(&self, topic: &str, process: &str) -> Outcome<Event> {
        self.wait(&format!("{topic}({process})"), super::client::PATIENCE, |event| {
            event.topic == topic && event.process() == process
        })
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _stopped = self.down();
    }
}

fn serve(mut stream: UnixStream, shared: &Shared) {
    while let Ok(Some(frame)) = Frame::read(&mut stream) {
        let mut heard = shared.lock();
        let (status, kept) = match event(&frame) {
            Ok(event) if heard.manner == Manner::Takes => {
                heard.events.push(event);
                (Code::OK, true)
            }
            Ok(_) => (Code::UNAVAILABLE, heard.manner == Manner::Refuses),
            Err(stray) => {
                heard.strays.push(stray);
                (Code::UNIMPLEMENTED, true)
            }
        };
        shared.more.notify_all();
        drop(heard);
        if !kept {
            continue;
        }
        let mut response = Response::new();
        if status != Code::OK {
            response.status = Some(Status {
                code: status.into(),
                message: format!("code {}", status.value()),
                ..Status::default()
            })
            .into();
        }
        let body = response.write_to_bytes().unwrap_or_default();
        if (Frame { stream: frame.stream, kind: RESPONSE, flags: 0, body }).write(&mut stream).is_err() {
            return;
        }
    }
}

/// The event in a frame, or else what it contains.
fn event(frame: &Frame) -> Result<Event, String> {
    let request = Request::parse_from_bytes(&frame.body).map_err(|error| format!("no request: {error}"))?;
    if request.service != SERVICE || request.method != "Forward" {
        return Err(format!("a call of {}/{}", request.service, request.method));
    }
    let forward = ForwardRequest::parse_from_bytes(&request.payload)
        .map_err(|error| format!("no ForwardRequest: {error}"))?;
    let envelope = forward.envelope.unwrap_or_default();
    let any = envelope.event.unwrap_or_default();
    Ok(Event {
        topic: envelope.topic,
        namespace: envelope.namespace,
        seconds: envelope.timestamp.seconds,
        type_url: any.type_url,
        value: any.value,
    })
}
