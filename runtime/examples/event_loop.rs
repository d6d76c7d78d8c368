//! Looks after many containers with one thread and one poll(2):
//!
//! ```sh
//! cargo build -p wharf --example event_loop && sudo target/debug/examples/event_loop 20
//! ```

mod host_programs;

use std::error::Error;
use std::process::ExitCode;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use wharf::{Container, ContainerId, CreateOptions, Delete, OomWatch, Runtime};

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("event_loop: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    wharf::protect::reexec_read_only()?;
    let count: u32 = std::env::args().nth(1).map_or(Ok(10), |count| count.parse())?;
    let runtime = Runtime::builder().root("/run/wharf-examples").build()?;
    let prefix = format!("loop-{}", std::process::id());

    let mut watched = Vec::new();
    let result = start(&runtime, &prefix, count, &mut watched).and_then(|()| look_after(&mut watched));
    // Whatever happened, nothing is left.
    for Watched { container, .. } in watched {
        container.delete(Delete::Force)?;
    }
    result
}

struct Watched {
    container: Container,
    /// None where the machine has no memory cgroups.
    oom: Option<OomWatch>,
}

fn start(
    runtime: &Runtime,
    prefix: &str,
    count: u32,
    watched: &mut Vec<Watched>,
) -> Result<(), Box<dyn Error>> {
    for number in 0..count {
        let id = ContainerId::new(&format!("{prefix}-{number}"))?;
        let script = match number % 4 {
            // Grows until the kernel ends it for lack of memory.
            3 => "x=0123456789; while :; do x=$x$x; done".to_owned(),
            _ => format!("sleep 0.{number}; exit {number}"),
        };
        let bundle = host_programs::bundle(&["sh", "-c", &script])?;
        // For programs that must not wait for a creation, `wharf::worker` makes containers in a copy of the program.
        let container = runtime.create(&id, &bundle, CreateOptions::new())?;
        let oom = container.oom_watch().ok();
        watched.push(Watched { container, oom });
        watched[watched.len() - 1].container.start()?;
    }
    println!("{count} containers run");
    Ok(())
}

/// Until the last one has ended.
fn look_after(watched: &mut Vec<Watched>) -> Result<(), Box<dyn Error>> {
    while !watched.is_empty() {
        let mut fds: Vec<PollFd<'_>> = Vec::new();
        for one in watched.iter() {
            let pidfd = one.container.pidfd().ok_or("a container of this program has a pidfd")?;
            fds.push(PollFd::new(pidfd, PollFlags::POLLIN));
        }
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        let ended: Vec<bool> = fds.iter().map(|fd| fd.any() == Some(true)).collect();
        for index in (0..ended.len()).rev().filter(|&index| ended[index]) {
            let Watched { container, oom } = watched.swap_remove(index);
            let status = container.wait()?;
            let killed = match oom {
                Some(mut oom) => oom.read()?.unwrap_or(0),
                None => 0,
            };
            let memory = if killed > 0 { ", out of memory" } else { "" };
            println!("{} ended with {}{memory}", container.id(), status.code());
            container.delete(Delete::Stopped)?;
        }
    }
    Ok(())
}
