//! The server: one thread, one event loop.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixListener as StdListener;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use containerd_shim_protos::protobuf::{Message as _, MessageField};
use containerd_shim_protos::ttrpc::{self, Code, Request, Response};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use tokio::io::AsyncWrite;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::net::unix::OwnedReadHalf;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Mutex, Notify};
use tokio::task::{AbortHandle, LocalSet, spawn_local};
use tokio::time::{sleep, timeout};

use crate::args::Args;
use crate::events::Events;
use crate::load::Admission;
use crate::pod::Pod;
use crate::refusal::Refusal;
use crate::watch::watch;
use crate::{dispatch, exits, log as logging, wire};

/// A daemon has one connection for each container; nothing else may connect.
const MOST_CONNECTIONS: usize = 1024;
/// How long a server stays without containers and without calls.
const IDLE: Duration = Duration::from_secs(20);
/// How long the daemon may take for the last events.
const FLUSH: Duration = Duration::from_secs(5);
/// How long a caller may take for the last answer.
const LAST_ANSWER: Duration = Duration::from_secs(1);

/// Serves until it is told to end, or is no longer needed.
pub(crate) fn run(args: &Args) -> Result<(), String> {
    // First of all: it starts the program again.
    wharf::protect::reexec_read_only().map_err(|error| error.to_string())?;
    nix::sys::prctl::set_name(c"containerd-shim").ok();
    logging::set_up(args.debug);
    let failed = |what: &'static str| move |error: io::Error| format!("{what}: {error}");
    let listener = listener().map_err(failed("take the socket over"))?;
    nix::sys::prctl::set_child_subreaper(true)
        .map_err(|errno| format!("become the reaper of orphans: {errno}"))?;
    if std::env::var_os("SCHED_CORE").is_some_and(|value| value == "1")
        && let Err(error) = wharf::worker::core_scheduling_group()
    {
        log::warn!("{error}");
    }
    let signals = hold_signals().map_err(|errno| format!("hold signals back: {errno}"))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()
        .map_err(failed("make the event loop"))?;
    let path = listener.local_addr().ok().and_then(|address| address.as_pathname().map(PathBuf::from));
    let local = LocalSet::new();
    runtime.block_on(local.run_until(serve(&args.namespace, listener, signals)))?;
    // The next shim of the group would replace it anyway.
    if let Some(path) = path {
        std::fs::remove_file(path).ok();
    }
    Ok(())
}

/// The listening socket is standard input, which /dev/null then replaces.
fn listener() -> io::Result<StdListener> {
    let listener = StdListener::from(io::stdin().as_fd().try_clone_to_owned()?);
    listener.local_addr()?;
    listener.set_nonblocking(true)?;
    rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
    Ok(listener)
}

fn hold_signals() -> nix::Result<SignalFd> {
    let mut mask = SigSet::empty();
    for signal in [Signal::SIGCHLD, Signal::SIGTERM, Signal::SIGINT, Signal::SIGUSR1] {
        mask.add(signal);
    }
    mask.thread_block()?;
    SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
}

async fn serve(namespace: &str, listener: StdListener, signals: SignalFd) -> Result<(), String> {
    let listener = UnixListener::from_std(listener).map_err(|error| format!("listen: {error}"))?;
    let signals =
        watch(signals, Interest::READABLE).map_err(|error| format!("watch for signals: {error}"))?;
    let events = Events::new(namespace.to_owned());
    let pod = Rc::new(Pod::new(namespace.to_owned(), events.clone()));
    match std::env::var("TTRPC_ADDRESS") {
        Ok(address) if !address.is_empty() => {
            let events = events.clone();
            spawn_local(async move { events.forward(&address).await });
        }
        _ => events.discard(),
    }
    spawn_local(watch_signals(pod.clone(), signals));
    spawn_local(accept(pod.clone(), listener));
    spawn_local(end_when_idle(pod.clone()));
    pod.shutdown.notified().await;
    events.flush(FLUSH).await;
    // The caller that asked for the end gets an answer, too.
    let answered = async {
        loop {
            let answered = pod.answered.notified();
            if pod.load.calls() == 0 {
                return;
            }
            answered.await;
        }
    };
    timeout(LAST_ANSWER, answered).await.ok();
    Ok(())
}

async fn watch_signals(pod: Rc<Pod>, signals: AsyncFd<SignalFd>) {
    loop {
        let Ok(mut ready) = signals.readable().await else { return };
        loop {
            match signals.get_ref().read_signal() {
                Ok(Some(info)) => on_signal(&pod, info.ssi_signo as i32),
                Ok(None) => break,
                Err(errno) => {
                    log::error!("read a signal: {errno}");
                    break;
                }
            }
        }
        ready.clear_ready();
    }
}

fn on_signal(pod: &Rc<Pod>, signal: i32) {
    match Signal::try_from(signal) {
        Ok(Signal::SIGCHLD) => exits::reap(pod),
        Ok(Signal::SIGUSR1) => {
            for task in pod.tasks() {
                log::info!("container {}: {} with pid {}", task.id, task.word(), task.init.pid.get());
            }
        }
        // A service manager that stops everything in the daemon's cgroup must not take the containers' parent away.
        Ok(_) if pod.is_empty() => pod.shutdown.notify_one(),
        _ => log::info!("signal {signal} has no effect while there are containers"),
    }
}

async fn end_when_idle(pod: Rc<Pod>) {
    let idle = |pod: &Pod| pod.is_empty() && pod.connections.get() == 0;
    loop {
        sleep(IDLE).await;
        if idle(&pod) {
            log::info!("no container and no daemon: the shim ends");
            pod.shutdown.notify_one();
            return;
        }
        pod.calmer.notified().await;
        while !idle(&pod) {
            pod.calmer.notified().await;
        }
    }
}

async fn accept(pod: Rc<Pod>, listener: UnixListener) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) if pod.connections.get() < MOST_CONNECTIONS && is_ours(&stream) => {
                spawn_local(converse(pod.clone(), stream));
            }
            Ok(_) => log::warn!("a connection is refused: it is of another user, or one too many"),
            Err(error) => {
                log::error!("accept a connection: {error}");
                // Too many open files, for example, which takes time to pass.
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

fn is_ours(stream: &UnixStream) -> bool {
    stream.peer_cred().is_ok_and(|peer| {
        peer.uid() == nix::unistd::geteuid().as_raw() && peer.gid() == nix::unistd::getegid().as_raw()
    })
}

async fn converse(pod: Rc<Pod>, stream: UnixStream) {
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
    loop {
        answers.until_read().await;
        let Some(frame) = wire::read(&mut reader).await? else { return Ok(()) };
        if !frame.is_request {
            // Stream data, which the service does not use.
            continue;
        }
        let stream = frame.stream;
        let (request, admission) = match admitted(pod, frame.payload) {
            Ok(call) => call,
            Err(refusal) => {
                // Written before the next call is read: a client that reads no answers is not read from either.
                write_answer(&writer, stream, Err(refusal)).await;
                continue;
            }
        };
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

async fn write_answer<W: AsyncWrite + Unpin>(writer: &Mutex<W>, stream: u32, done: Result<Vec<u8>, Refusal>) {
    let bytes = response(done).write_to_bytes().unwrap_or_default();
    if let Err(error) = wire::write_response(&mut *writer.lock().await, stream, &bytes).await {
        log::debug!("a caller went away before its answer: {error}");
    }
}

/// Performs one call in a task of its own: what was begun is completed, whether its caller waits or not. It counts
/// until then.
async fn perform(pod: &Rc<Pod>, request: Request, admission: &Rc<Admission>) -> Result<Vec<u8>, Refusal> {
    let limit = u64::try_from(request.timeout_nano).ok().filter(|limit| *limit > 0).map(Duration::from_nanos);
    let name = format!("{}/{}", request.service, request.method);
    let late = || Refusal::new(Code::DEADLINE_EXCEEDED, format!("{name}: the time of the caller is over"));
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

fn response(done: Result<Vec<u8>, Refusal>) -> Response {
    let mut response = Response::new();
    match done {
        Ok(payload) => {
            response.status = MessageField::some(ttrpc::get_status(Code::OK, ""));
            response.payload = payload;
        }
        Err(refusal) => {
            let mut status = ttrpc::get_status(Code::UNKNOWN, refusal.message);
            status.code = containerd_shim_protos::protobuf::EnumOrUnknown::from_i32(refusal.code);
            response.status = MessageField::some(status);
        }
    }
    response
}
