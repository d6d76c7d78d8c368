//! Streams that a client carries over the server's own socket: `ttrpc+unix://SOCKET?streaming_id=ID`.
//!
//! Client and process meet at a *line*, in either order. A client opens its line by the id before it asks for the
//! process, and again if it was gone; what the process writes in between waits in its pipe, and input that a client has
//! sent waits here. Nothing else is kept, so a line takes no more memory than a pipe and a window.

mod input;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use containerd_shim_protos::ttrpc::Code;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;
use tokio::task::{AbortHandle, spawn_local};
use tokio::time::{Instant, timeout_at};

use super::copy::Watched;
use crate::refusal::Refusal;
pub(crate) use input::Input;

/// How long a new client waits for the one before it to go: the end of a daemon is noticed when its connection is read.
const HANDOVER: Duration = Duration::from_secs(1);
/// How many lines there may be: three for each process.
const MOST_LINES: usize = 4096;
/// How long an id may be; containerd's have 71 bytes.
const LONGEST_ID: usize = 1024;

/// The lines of the server, by id.
#[derive(Clone, Debug, Default)]
pub(crate) struct Remotes {
    lines: Rc<RefCell<BTreeMap<String, Rc<Line>>>>,
    /// The socket of the server.
    socket: Option<PathBuf>,
}

/// Where a client and a process meet.
#[derive(Debug, Default)]
struct Line {
    stage: RefCell<Stage>,
    /// Whether a client has it open.
    client: Cell<bool>,
    changed: Notify,
}

/// The process' side of a line.
#[derive(Clone, Debug, Default)]
pub(crate) enum Stage {
    /// There is no process yet.
    #[default]
    Expected,
    /// The shim's end of what the process writes.
    Output(Watched),
    /// What the process reads.
    Input(Rc<Input>),
    /// The process has been deleted.
    Over,
}

/// A client's hold on a line.
#[derive(Debug)]
pub(crate) struct Client {
    remotes: Remotes,
    id: String,
    line: Rc<Line>,
}

/// The process' hold on a line.
#[derive(Debug)]
pub(super) struct Remote {
    remotes: Remotes,
    id: String,
    line: Rc<Line>,
    /// Writes what clients have sent.
    feeder: Option<AbortHandle>,
}

impl Line {
    fn set(&self, stage: Stage) {
        *self.stage.borrow_mut() = stage;
        self.changed.notify_waiters();
    }
}

impl Remotes {
    /// For a server that listens there.
    pub(crate) fn new(socket: Option<PathBuf>) -> Self {
        Self { lines: Rc::default(), socket }
    }

    /// Whether the server listens there.
    pub(super) fn is_at(&self, socket: &Path) -> bool {
        self.socket.as_deref() == Some(socket)
    }

    fn line(&self, id: &str) -> Result<Rc<Line>, Refusal> {
        if id.is_empty() || id.len() > LONGEST_ID {
            let length = id.len();
            return Err(Refusal::invalid(format!(
                "the id of a stream has 1 to {LONGEST_ID} bytes, not {length}"
            )));
        }
        let mut lines = self.lines.borrow_mut();
        if let Some(line) = lines.get(id) {
            return Ok(line.clone());
        }
        if lines.len() >= MOST_LINES {
            return Err(Refusal::new(
                Code::RESOURCE_EXHAUSTED,
                format!("there are {MOST_LINES} streams already"),
            ));
        }
        let line = Rc::new(Line::default());
        lines.insert(id.to_owned(), line.clone());
        Ok(line)
    }

    fn forget(&self, id: &str, line: &Rc<Line>) {
        let mut lines = self.lines.borrow_mut();
        // The id may already have a new line.
        if lines.get(id).is_some_and(|known| Rc::ptr_eq(known, line)) {
            lines.remove(id);
        }
    }

    /// A client opens a line.
    pub(crate) async fn connect(&self, id: &str) -> Result<Client, Refusal> {
        let deadline = Instant::now() + HANDOVER;
        loop {
            let line = self.line(id)?;
            if !line.client.replace(true) {
                return Ok(Client { remotes: self.clone(), id: id.to_owned(), line });
            }
            if timeout_at(deadline, line.changed.notified()).await.is_err() {
                return Err(exists(id));
            }
        }
    }

    /// The shim's end of what a process will write.
    pub(super) fn output(&self, id: &str, pipe: Watched) -> Result<Remote, Refusal> {
        self.attach(id, Stage::Output(pipe), None)
    }

    /// The shim's end of what a process will read.
    pub(super) fn input(&self, id: &str, pipe: Watched) -> Result<Remote, Refusal> {
        let input = Rc::new(Input::default());
        self.attach(id, Stage::Input(input.clone()), Some((input, pipe)))
    }

    fn attach(&self, id: &str, stage: Stage, feed: Option<(Rc<Input>, Watched)>) -> Result<Remote, Refusal> {
        let line = self.line(id)?;
        if !matches!(*line.stage.borrow(), Stage::Expected) {
            return Err(exists(id));
        }
        line.set(stage);
        let feeder =
            feed.map(|(input, pipe)| spawn_local(input::feed(line.clone(), input, pipe)).abort_handle());
        Ok(Remote { remotes: self.clone(), id: id.to_owned(), line, feeder })
    }
}

fn exists(id: &str) -> Refusal {
    Refusal::exists(format!("stream {id}: already exists"))
}

impl Client {
    /// Where the process is.
    pub(crate) fn stage(&self) -> Stage {
        self.line.stage.borrow().clone()
    }

    /// Tells the others that something has changed.
    pub(crate) fn tell(&self) {
        self.line.changed.notify_waiters();
    }

    /// Waits for the next change of anything; to be called before what may change is looked at.
    pub(crate) fn changed(&self) -> Notified<'_> {
        self.line.changed.notified()
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.line.client.set(false);
        if matches!(*self.line.stage.borrow(), Stage::Expected) {
            self.remotes.forget(&self.id, &self.line);
        }
        self.line.changed.notify_waiters();
    }
}

impl Remote {
    /// No more input will come but what the client that is there still sends.
    pub(super) fn close(&self) {
        self.change_input(Input::close);
    }

    /// Nothing reads the input any more.
    pub(super) fn process_ended(&self) {
        self.change_input(Input::break_off);
        if let Some(feeder) = &self.feeder {
            feeder.abort();
        }
    }

    fn change_input(&self, change: impl FnOnce(&Input)) {
        if let Stage::Input(input) = &*self.line.stage.borrow() {
            change(input);
        }
        self.line.changed.notify_waiters();
    }

    /// Whether a client carries it.
    pub(super) fn has_client(&self) -> bool {
        self.line.client.get()
    }

    /// Waits until the client has everything, or is gone.
    pub(super) fn carried(&self) -> impl Future<Output = ()> + use<> {
        let line = self.line.clone();
        async move {
            loop {
                let changed = line.changed.notified();
                if !line.client.get() {
                    return;
                }
                changed.await;
            }
        }
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        self.process_ended();
        self.remotes.forget(&self.id, &self.line);
        self.line.set(Stage::Over);
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{Read as _, Write as _};
    use std::os::fd::OwnedFd;

    use tokio::io::Interest;
    use tokio::task::LocalSet;

    use super::super::copy::watch;
    use super::*;

    fn run(test: impl Future<Output = ()>) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(LocalSet::new().run_until(test));
    }

    fn pipe() -> (OwnedFd, OwnedFd) {
        rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap()
    }

    fn output(remotes: &Remotes, id: &str) -> Result<Remote, Refusal> {
        remotes.output(id, watch(pipe().0, Interest::READABLE).unwrap())
    }

    #[test]
    fn client_and_process_meet_in_either_order_and_again() {
        run(async {
            let remotes = Remotes::default();
            let client = remotes.connect("a").await.unwrap();
            assert!(matches!(client.stage(), Stage::Expected));
            assert_eq!(remotes.connect("a").await.unwrap_err().code, 6);
            let process = output(&remotes, "a").unwrap();
            assert!(matches!(client.stage(), Stage::Output(_)) && process.has_client());
            assert_eq!(output(&remotes, "a").unwrap_err().code, 6);
            drop(client);
            process.carried().await;
            let client = remotes.connect("a").await.unwrap();
            assert!(matches!(client.stage(), Stage::Output(_)), "it can be opened again");
            drop(process);
            assert!(matches!(client.stage(), Stage::Over));
            let another = remotes.connect("a").await.unwrap();
            assert!(matches!(another.stage(), Stage::Expected), "the next process of that name");
            drop((client, another));
            assert!(remotes.lines.borrow().is_empty());
        });
    }

    #[test]
    fn a_client_takes_over_from_one_that_goes() {
        run(async {
            let remotes = Remotes::default();
            let process = output(&remotes, "a").unwrap();
            let old = remotes.connect("a").await.unwrap();
            let next = spawn_local({
                let remotes = remotes.clone();
                async move { remotes.connect("a").await.map(drop) }
            });
            tokio::task::yield_now().await;
            drop(old);
            next.await.unwrap().unwrap();
            drop(process);
        });
    }

    #[test]
    fn ids_and_their_number_are_limited() {
        run(async {
            let remotes = Remotes::default();
            for id in ["", &"x".repeat(LONGEST_ID + 1)] {
                assert_eq!(remotes.connect(id).await.unwrap_err().code, 3);
            }
            let all: Vec<_> =
                (0..MOST_LINES).map(|number| output(&remotes, &number.to_string()).unwrap()).collect();
            assert_eq!(remotes.connect("one more").await.unwrap_err().code, 8);
            assert_eq!(output(&remotes, "one more").unwrap_err().code, 8);
            drop(all);
            remotes.connect("one more").await.unwrap();
        });
    }

    #[test]
    fn input_arrives_and_ends_after_the_client_or_a_close() {
        run(async {
            let remotes = Remotes::default();
            for close_first in [false, true] {
                let (reader, writer) = pipe();
                let process = remotes.input("in", watch(writer, Interest::WRITABLE).unwrap()).unwrap();
                let client = remotes.connect("in").await.unwrap();
                let Stage::Input(input) = client.stage() else { panic!() };
                if close_first {
                    process.close();
                }
                input.put(b"words");
                if !close_first {
                    input.end();
                }
                drop(client);
                while !input.is_broken() {
                    tokio::task::yield_now().await;
                }
                let mut text = String::new();
                File::from(reader).read_to_string(&mut text).unwrap();
                assert_eq!(text, "words");
                input.put(b"more is thrown away");
                assert_eq!(input.space(), input::ROOM);
                drop(process);
            }
        });
    }

    #[test]
    fn input_waits_for_a_process_that_does_not_read() {
        run(async {
            let remotes = Remotes::default();
            let (reader, writer) = pipe();
            File::from(writer.try_clone().unwrap()).write_all(&vec![0; 65536]).unwrap();
            let process = remotes.input("in", watch(writer, Interest::WRITABLE).unwrap()).unwrap();
            let client = remotes.connect("in").await.unwrap();
            let Stage::Input(input) = client.stage() else { panic!() };
            assert_eq!(input.space(), input::ROOM);
            input.put(&vec![1; input::ROOM]);
            for _ in 0..10 {
                tokio::task::yield_now().await;
            }
            assert_eq!(input.space(), 0);
            process.process_ended();
            assert_eq!(input.space(), input::ROOM, "nothing reads it");
            drop((client, process, reader));
        });
    }
}
