//! The streams of a process: what the strings in requests mean, what holds which end, and what is copied.
//!
//! | target | the process writes to | copied by the shim |
//! |---|---|---|
//! | fifo | the fifo | nothing |
//! | file | a pipe | pipe to file: root in the container could cut a file that it had open |
//! | logger (`binary://`) | a pipe whose other end the logger has | nothing |
//! | client (`ttrpc+unix://`) | a pipe | pipe to the client's messages, and back |
//! | terminal | the terminal | terminal to fifo, file or logger, and fifo to terminal |

mod copy;
mod fifo;
mod logger;
pub(crate) mod remote;
pub(crate) mod uri;

use std::fs::{DirBuilder, File};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use rustix::pipe::{PipeFlags, pipe_with};
use tokio::io::Interest;
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::timeout;
use wharf::terminal::{WindowSize, set_window_size};

pub(crate) use copy::Watched;
use copy::{Sink, watch};
pub(crate) use fifo::Owner;
use logger::Logger;
pub(crate) use logger::Loggers;
use remote::{Remote, Remotes};
use uri::Target;

use crate::refusal::Refusal;

/// How long copies may go on after the end of a process: another process may hold its streams open.
const DRAIN: Duration = Duration::from_secs(10);

/// Where the streams of a process lead, according to a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Streams {
    pub(crate) stdin: String,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) terminal: bool,
}

/// What streams are opened for.
#[derive(Debug)]
pub(crate) struct Purpose<'a> {
    pub(crate) loggers: &'a Loggers,
    /// The streams that clients carry.
    pub(crate) remotes: &'a Remotes,
    /// Where loggers run, if this process is in the namespaces of a pod.
    pub(crate) home: Option<Rc<wharf::pod::Home>>,
    pub(crate) owner: Owner,
    /// The id that loggers are given.
    pub(crate) id: &'a str,
    pub(crate) namespace: &'a str,
}

/// Open streams for a process that does not exist yet.
#[derive(Debug)]
pub(crate) struct Opened {
    /// What the process gets.
    pub(crate) child: [OwnedFd; 3],
    io: Io,
    /// Copies that begin once the process exists.
    copies: Vec<(Watched, Sink)>,
    /// The client's ends of the terminal.
    keyboard: Option<OwnedFd>,
    screen: Sink,
}

/// The shim's part in the streams of a process.
#[derive(Debug, Default)]
pub(crate) struct Io {
    /// The write end of standard input.
    hold: Option<OwnedFd>,
    /// Ends that only have to stay open.
    spares: Vec<OwnedFd>,
    console: Option<(Watched, Sink)>,
    /// Copies out of the process.
    outputs: Vec<JoinHandle<()>>,
    /// The copy into the terminal.
    input: Option<JoinHandle<()>>,
    /// Ends once it has logged everything.
    logger: Option<Logger>,
    /// What clients carry.
    remotes: Vec<Remote>,
    process_has_ended: bool,
    /// The same for the input.
    remote_input: Option<Remote>,
}

/// Opens the streams that `streams` describes.
pub(crate) async fn open(streams: &Streams, purpose: &Purpose<'_>) -> Result<Opened, Refusal> {
    let target = uri::target(&streams.stdout).map_err(Refusal::invalid)?;
    // Without output, the input decides.
    let target_is_remote = target == Target::Remote
        || (streams.stdout.is_empty() && uri::target(&streams.stdin) == Ok(Target::Remote));
    let mut opened = Opened {
        child: [null()?, null()?, null()?],
        io: Io::default(),
        copies: Vec::new(),
        keyboard: None,
        screen: Sink::Nowhere,
    };
    match target {
        Target::Paths => opened.open_paths(streams, purpose).await?,
        Target::File(path) => opened.open_file(&path, streams)?,
        Target::Remote => opened.open_remote_outputs(streams, purpose)?,
        Target::Logger(command) => {
            let started = purpose
                .loggers
                .start(&command, purpose.id, purpose.namespace, purpose.home.as_deref())
                .await?;
            let (logger, [out, err]) = started;
            opened.io.logger = Some(logger);
            if streams.terminal {
                opened.screen = Sink::Stream(watched(out, Interest::WRITABLE)?);
            } else {
                [opened.child[1], opened.child[2]] = [out, err];
            }
        }
    }
    if target_is_remote {
        opened.open_remote_input(streams, purpose)?;
    } else if let Some(path) = uri::path(&streams.stdin).map_err(Refusal::invalid)? {
        opened.open_input(&path, streams.terminal, purpose.owner)?;
    }
    Ok(opened)
}

impl Opened {
    async fn open_paths(&mut self, streams: &Streams, purpose: &Purpose<'_>) -> Result<(), Refusal> {
        let texts = [&streams.stdout, &streams.stderr];
        let count = if streams.terminal { 1 } else { 2 };
        for (index, text) in texts.into_iter().take(count).enumerate() {
            let Some(path) = uri::path(text).map_err(Refusal::invalid)? else { continue };
            if !fifo::is_fifo(&path) {
                let sink = Sink::File(Rc::new(append_to(&path, false)?));
                self.put(index + 1, sink, streams.terminal)?;
                continue;
            }
            let output = fifo::open_output(&path, purpose.owner, !streams.terminal).await?;
            self.io.spares.push(output.spare);
            if streams.terminal {
                self.screen = Sink::Stream(watched(output.writer, Interest::WRITABLE)?);
            } else {
                self.child[index + 1] = output.writer;
            }
        }
        Ok(())
    }

    fn open_file(&mut self, path: &Path, streams: &Streams) -> Result<(), Refusal> {
        if let Some(dir) = path.parent() {
            DirBuilder::new()
                .recursive(true)
                .mode(0o755)
                .create(dir)
                .map_err(|error| Refusal::io(format_args!("make the directory {}", dir.display()), error))?;
        }
        let sink = Sink::File(Rc::new(append_to(path, true)?));
        self.put(1, sink.clone(), streams.terminal)?;
        if streams.terminal { Ok(()) } else { self.put(2, sink, false) }
    }

    /// Sets up a copy to `sink` of what is written to a stream.
    fn put(&mut self, stream: usize, sink: Sink, terminal: bool) -> Result<(), Refusal> {
        if terminal {
            self.screen = sink;
            return Ok(());
        }
        let (reader, writer) = pipe()?;
        self.child[stream] = writer;
        self.copies.push((watched(reader, Interest::READABLE)?, sink));
        Ok(())
    }

    fn open_input(&mut self, path: &Path, terminal: bool, owner: Owner) -> Result<(), Refusal> {
        if !fifo::is_fifo(path) {
            let file = File::open(path)
                .map_err(|error| Refusal::io(format_args!("open {} for input", path.display()), error))?;
            if terminal {
                return Err(Refusal::invalid(format!(
                    "the input of a terminal must be a fifo, and {} is not one",
                    path.display()
                )));
            }
            self.child[0] = file.into();
            return Ok(());
        }
        let input = fifo::open_input(path, owner, !terminal)?;
        self.io.hold = Some(input.hold);
        if terminal {
            self.keyboard = Some(input.reader);
        } else {
            self.child[0] = input.reader;
        }
        Ok(())
    }

    fn open_remote_outputs(&mut self, streams: &Streams, purpose: &Purpose<'_>) -> Result<(), Refusal> {
        let count = if streams.terminal { 1 } else { 2 };
        for (index, text) in [&streams.stdout, &streams.stderr].into_iter().take(count).enumerate() {
            let Some(id) = remote_id(text, purpose)? else { continue };
            let (reader, writer) = pipe()?;
            let reader = watched(reader, Interest::READABLE)?;
            fifo::own(&writer, purpose.owner)
                .map_err(|error| Refusal::io("give a pipe to its user", error))?;
            self.io.remotes.push(purpose.remotes.output(&id, reader)?);
            if streams.terminal {
                self.screen = Sink::Stream(watched(writer, Interest::WRITABLE)?);
            } else {
                self.child[index + 1] = writer;
            }
        }
        Ok(())
    }

    fn open_remote_input(&mut self, streams: &Streams, purpose: &Purpose<'_>) -> Result<(), Refusal> {
        let Some(id) = remote_id(&streams.stdin, purpose)? else { return Ok(()) };
        let (reader, writer) = pipe()?;
        let writer = watched(writer, Interest::WRITABLE)?;
        fifo::own(&reader, purpose.owner).map_err(|error| Refusal::io("give a pipe to its user", error))?;
        self.io.remote_input = Some(purpose.remotes.input(&id, writer)?);
        if streams.terminal {
            self.keyboard = Some(reader);
        } else {
            self.child[0] = reader;
        }
        Ok(())
    }

    /// Separates what goes to the process from what begins once it exists.
    pub(crate) fn split(self) -> ([OwnedFd; 3], Pending) {
        let Self { child, io, copies, keyboard, screen } = self;
        (child, Pending { io, copies, keyboard, screen })
    }
}

/// The shim's part, for a process that is being made.
#[derive(Debug)]
pub(crate) struct Pending {
    io: Io,
    copies: Vec<(Watched, Sink)>,
    keyboard: Option<OwnedFd>,
    screen: Sink,
}

impl Pending {
    /// The process exists: starts copying.
    pub(crate) fn begin(self, console: Option<OwnedFd>) -> Result<Io, Refusal> {
        let mut io = self.io;
        for (source, sink) in self.copies {
            io.outputs.push(spawn_local(copy::copy(source, sink)));
        }
        let Some(console) = console else { return Ok(io) };
        let console = watched(console, Interest::READABLE | Interest::WRITABLE)?;
        io.outputs.push(spawn_local(copy::copy(console.clone(), self.screen.clone())));
        if let Some(keyboard) = self.keyboard {
            let keyboard = watched(keyboard, Interest::READABLE)?;
            io.input = Some(spawn_local(copy::copy(keyboard, Sink::Stream(console.clone()))));
        }
        io.console = Some((console, self.screen));
        Ok(io)
    }
}

impl Io {
    /// No more input will come.
    pub(crate) fn close_stdin(&mut self) {
        if let Some(input) = &self.remote_input {
            input.close();
        }
        self.hold = None;
    }

    /// Sets the size of the terminal, if there is one.
    pub(crate) fn resize(&self, width: u32, height: u32) -> Result<(), Refusal> {
        let Some((console, _)) = &self.console else { return Ok(()) };
        let narrow = |size: u32| u16::try_from(size).unwrap_or(u16::MAX);
        let size = WindowSize { columns: narrow(width), rows: narrow(height) };
        set_window_size(console.get_ref().as_fd(), size).map_err(Refusal::from)
    }

    /// The process has ended: its last output goes out before its end is reported.
    pub(crate) fn process_ended(&mut self) {
        if std::mem::replace(&mut self.process_has_ended, true) {
            return;
        }
        if let Some((console, screen)) = &mut self.console {
            copy::flush(console, screen);
            // The copy keeps it until the terminal ends; then the client sees the end as well.
            *screen = Sink::Nowhere;
        }
        if let Some(input) = self.input.take() {
            input.abort();
        }
        if let Some(input) = &self.remote_input {
            input.process_ended();
        }
        self.hold = None;
    }

    /// What is still on its way to clients after the end of the process; none if there is no client. It must arrive
    /// before they hear of the end: containerd stops reading then.
    pub(crate) fn last_words(&mut self) -> Option<impl Future<Output = ()> + use<>> {
        let carried: Vec<_> =
            self.remotes.iter().filter(|remote| remote.has_client()).map(Remote::carried).collect();
        if carried.is_empty() {
            return None;
        }
        self.process_ended();
        Some(async {
            let all = async {
                for carried in carried {
                    carried.await;
                }
            };
            timeout(DRAIN, all).await.ok();
        })
    }

    /// Waits until all output has arrived, but not for processes that only hold it open.
    pub(crate) async fn drain(mut self) {
        let all = async {
            for output in &mut self.outputs {
                // It fails only if it was aborted.
                output.await.ok();
            }
            for remote in &self.remotes {
                remote.carried().await;
            }
        };
        timeout(DRAIN, all).await.ok();
    }
}

impl Drop for Io {
    fn drop(&mut self) {
        for task in self.outputs.iter().chain(&self.input) {
            task.abort();
        }
    }
}

fn pipe() -> Result<(OwnedFd, OwnedFd), Refusal> {
    pipe_with(PipeFlags::CLOEXEC).map_err(|errno| Refusal::io("make a pipe", errno))
}

/// The id of a stream that a client carries over this server's socket.
fn remote_id(text: &str, purpose: &Purpose<'_>) -> Result<Option<String>, Refusal> {
    let Some(address) = uri::remote(text).map_err(Refusal::invalid)? else { return Ok(None) };
    if !purpose.remotes.is_at(&address.socket) {
        let socket = address.socket.display();
        return Err(Refusal::invalid(format!(
            "the stream {text:?} is one of {socket}, which is another server"
        )));
    }
    Ok(Some(address.id))
}

fn watched(fd: OwnedFd, interest: Interest) -> Result<Watched, Refusal> {
    watch(fd, interest).map_err(|error| Refusal::io("watch a stream", error))
}

fn null() -> Result<OwnedFd, Refusal> {
    File::options()
        .read(true)
        .write(true)
        .open("/dev/null")
        .map(OwnedFd::from)
        .map_err(|error| Refusal::io("open /dev/null", error))
}

fn append_to(path: &Path, create: bool) -> Result<File, Refusal> {
    File::options()
        .append(true)
        .create(create)
        .mode(0o644)
        .open(path)
        .map_err(|error| Refusal::io(format_args!("open {} for output", path.display()), error))
}
