//! The server: one thread, one event loop.

mod answer;
mod connection;
mod dispatch;
pub(crate) mod streaming;
mod streams;

use std::fs::File;
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixListener as StdListener;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::net::{UnixListener, UnixStream};
use tokio::task::{LocalSet, spawn_local};
use tokio::time::{sleep, timeout};

use crate::cli::args::Args;
use crate::events::Events;
use crate::logging;
use crate::pod::{Pod, exits};
use crate::stdio::remote::Remotes;
use crate::watch::watch;

/// A daemon has one connection for each container and each stream; nothing else may connect.
const MOST_CONNECTIONS: usize = 1024;
/// How long a server stays without containers and without calls.
const IDLE: Duration = Duration::from_secs(20);
/// How long a server has no call before it lets go of what it needs only to work.
const QUIET: Duration = Duration::from_secs(2);
/// How long the daemon may take for the last events.
const FLUSH: Duration = Duration::from_secs(5);
/// How long callers may take to read the last answer and to close their connections.
const LAST_ANSWER: Duration = Duration::from_secs(1);

/// Serves until a caller shuts it down or it is no longer needed.
pub(crate) fn run(args: &Args) -> Result<(), String> {
    // First of all: it starts the program again.
    wharf::protect::reexec_read_only().map_err(|error| error.to_string())?;
    nix::sys::prctl::set_name(c"containerd-shim").ok();
    logging::set_up(args.debug);
    let failed = |what: &'static str| move |error: io::Error| format!("{what}: {error}");
    let listener = listener().map_err(failed("take over the socket"))?;
    nix::sys::prctl::set_child_subreaper(true).map_err(|errno| format!("become a subreaper: {errno}"))?;
    if std::env::var_os("SCHED_CORE").is_some_and(|value| value == "1")
        && let Err(error) = wharf::worker::core_scheduling_group()
    {
        log::warn!("{error}");
    }
    let signals = hold_signals().map_err(|errno| format!("block signals: {errno}"))?;
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
    let socket = listener.local_addr().ok().and_then(|address| address.as_pathname().map(PathBuf::from));
    let listener = UnixListener::from_std(listener).map_err(|error| format!("listen: {error}"))?;
    let signals =
        watch(signals, Interest::READABLE).map_err(|error| format!("watch for signals: {error}"))?;
    let events = Events::new(namespace.to_owned());
    let pod = Rc::new(Pod::new(namespace.to_owned(), events.clone(), Remotes::new(socket)));
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
    spawn_local(rest_when_quiet(pod.clone()));
    pod.shutdown.notified().await;
    events.flush(FLUSH).await;
    // The caller that asked for the end gets an answer, too, and is the first to close the connection: a client in Go that
    // hears of the answer and of the end of the connection at once may report only the latter, and containerd would keep
    // the pod.
    let left = async {
        loop {
            let fewer = pod.answered.notified();
            if pod.load.calls() == 0 && pod.connections.get() == 0 {
                return;
            }
            fewer.await;
        }
    };
    timeout(LAST_ANSWER, left).await.ok();
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
            log::info!("no container and no daemon: the shim exits");
            pod.shutdown.notify_one();
            return;
        }
        pod.calmer.notified().await;
        while !idle(&pod) {
            pod.calmer.notified().await;
        }
    }
}

/// A node has as many servers as pods, and most of them wait most of the time.
async fn rest_when_quiet(pod: Rc<Pod>) {
    loop {
        pod.answered.notified().await;
        while timeout(QUIET, pod.answered.notified()).await.is_ok() {}
        wharf::worker::rest();
    }
}

async fn accept(pod: Rc<Pod>, listener: UnixListener) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) if pod.connections.get() < MOST_CONNECTIONS && is_ours(&stream) => {
                spawn_local(connection::converse(pod.clone(), stream));
            }
            Ok(_) => log::warn!("refused a connection: it comes from another user, or there are too many"),
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
