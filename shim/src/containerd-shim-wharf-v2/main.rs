//! `containerd-shim-wharf-v2`: containerd's task service, with the runtime inside.
//!
//! containerd calls this program with `start` for every container. That call finds or starts one *server* for each
//! group of containers (a pod), prints its address and ends. The server has one thread and one event loop for
//! everything quick: states, signals, waits, events, streams. Everything else — creating, starting, deleting, exec —
//! runs in a *worker*, a copy of the server that calls the library once and ends ([`worker`]). Container processes that
//! a worker makes are children of the server, which gets their exit statuses.
//!
//! | module | idea |
//! |---|---|
//! | `cli` | the command line, and what can be done without a server |
//! | `options` | the options of the runtime, in both of their forms |
//! | `server`, `wire` | connections, frames, and from the name of a method to the method |
//! | `methods` | what the task service does |
//! | `pod` | what is known of containers and their processes, and in which order exits are reported |
//! | `worker` | heavy work in a process of its own |
//! | `events` | the queue of events to containerd |
//! | `stdio` | the streams of a process |
//! | `metrics` | statistics as containerd has them |
//! | `watch`, `race` | descriptors in the event loop, the first of several things |
//! | `rootfs` | mounts of the root file system |
//!
//! Imports go one way, as a test shows: `server`, `methods`, `pod`, `worker`.

mod cli;
mod events;
mod logging;
mod methods;
mod metrics;
mod options;
mod pod;
mod race;
mod refusal;
mod rootfs;
mod sandbox;
mod server;
mod stdio;
mod time;
mod watch;
mod wire;
mod worker;

use std::io::Write as _;
use std::process::ExitCode;

use crate::cli::args::{self, Args};
use crate::cli::{cleanup, info, start};

fn main() -> ExitCode {
    // Processes in containers must not look into this one.
    nix::sys::prctl::set_dumpable(false).ok();
    wharf::worker::keep_exit_statuses();
    let mut words = std::env::args_os();
    let program = words.next().unwrap_or_default().display().to_string();
    let done = match args::parse(words) {
        Ok(args) => perform(&program, &args),
        Err(reason) => {
            eprintln!("{reason}");
            return ExitCode::from(args::USAGE_ERROR);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            // The daemon shows it to the client that wanted the container.
            eprintln!("{program}: {reason}");
            ExitCode::FAILURE
        }
    }
}

fn perform(program: &str, args: &Args) -> Result<(), String> {
    if args.version {
        return print(info::version(program).as_bytes());
    }
    if args.info {
        return print(&info::run()?);
    }
    if args.namespace.is_empty() {
        return Err("shim namespace cannot be empty".to_owned());
    }
    match args.action.as_str() {
        "start" => print(&start::run(args)?),
        "delete" => print(&cleanup::run(args)?),
        "" => server::run(args),
        other => Err(format!("unknown action {other:?}: use start or delete")),
    }
}

fn print(bytes: &[u8]) -> Result<(), String> {
    let mut output = std::io::stdout().lock();
    output
        .write_all(bytes)
        .and_then(|()| output.flush())
        .map_err(|error| format!("print the answer: {error}"))
}
