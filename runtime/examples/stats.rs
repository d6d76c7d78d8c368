//! Measures a container once a second until it ends, and changes a limit while it runs:
//!
//! ```sh
//! cargo build -p wharf --example stats && sudo target/debug/examples/stats sh -c 'timeout 5 sh -c "while :; do :; done"'
//! ```

mod host_programs;

use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, poll};
use oci_spec::runtime::{LinuxPidsBuilder, LinuxResourcesBuilder};
use wharf::{Container, ContainerId, CreateOptions, Delete, Runtime};

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("stats: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    wharf::protect::reexec_read_only()?;
    let mut args: Vec<String> = std::env::args().skip(1).collect();
    if args.is_empty() {
        args = ["timeout", "3", "sh", "-c", "while :; do :; done"].map(Into::into).into();
    }
    let runtime = Runtime::builder().root("/run/wharf-examples").build()?;
    let id = ContainerId::new(&format!("stats-{}", std::process::id()))?;
    let container = runtime.run(&id, &host_programs::bundle(&args)?, CreateOptions::new())?;
    let result = measure(&container);
    container.delete(Delete::Force)?;
    result
}

fn measure(container: &Container) -> Result<(), Box<dyn Error>> {
    let pids = LinuxPidsBuilder::default().limit(32).build()?;
    container.update(&LinuxResourcesBuilder::default().pids(pids).build()?)?;
    let pidfd = container.pidfd().ok_or("a container of this program has a pidfd")?;
    loop {
        let stats = container.stats()?;
        println!(
            "CPU {:6.2} s   memory {:6} KiB, at most {:6} KiB   {} of {} tasks",
            Duration::from_nanos(stats.cpu.usage.total).as_secs_f64(),
            stats.memory.usage.usage >> 10,
            stats.memory.usage.max >> 10,
            stats.pids.current,
            stats.pids.limit,
        );
        // Readable once the container has ended.
        match poll(&mut [PollFd::new(pidfd, PollFlags::POLLIN)], 1000u16) {
            Ok(0) | Err(Errno::EINTR) => {}
            Ok(_) => break,
            Err(errno) => return Err(errno.into()),
        }
    }
    println!("ended with {}", container.wait()?.code());
    Ok(())
}
