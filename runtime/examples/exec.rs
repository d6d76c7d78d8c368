//! Executes a command in a running container and captures its output:
//!
//! ```sh
//! cargo build -p wharf --example exec && sudo target/debug/examples/exec cat /proc/1/status
//! ```

mod host_programs;

use std::error::Error;
use std::fs::File;
use std::io::{PipeReader, Read as _, pipe};
use std::process::ExitCode;
use std::thread;

use oci_spec::runtime::{Process, ProcessBuilder};
use wharf::{Container, ContainerId, CreateOptions, Delete, ExecOptions, ExitStatus, Runtime, Stdio};

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("exec: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    wharf::protect::reexec_read_only()?;
    let mut args: Vec<String> = std::env::args().skip(1).collect();
    if args.is_empty() {
        args = ["sh", "-c", "ls /; ls /nowhere"].map(Into::into).into();
    }
    let process =
        ProcessBuilder::default().args(args).cwd("/").env(["PATH=/usr/bin:/bin".to_owned()]).build()?;

    let runtime = Runtime::builder().root("/run/wharf-examples").build()?;
    let id = ContainerId::new(&format!("exec-{}", std::process::id()))?;
    let container = runtime.run(&id, &host_programs::bundle(&["sleep", "600"])?, CreateOptions::new())?;
    let output = capture(&container, &process);
    container.delete(Delete::Force)?;

    let output = output?;
    println!("exit code {}", output.status.code());
    println!("{} bytes of output:\n{}", output.stdout.len(), String::from_utf8_lossy(&output.stdout));
    println!("{} bytes of errors:\n{}", output.stderr.len(), String::from_utf8_lossy(&output.stderr));
    Ok(())
}

struct Output {
    status: ExitStatus,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

/// As `std::process::Command::output`, in a container.
fn capture(container: &Container, process: &Process) -> Result<Output, Box<dyn Error>> {
    let ((stdout, output), (stderr, errors)) = (pipe()?, pipe()?);
    let streams = Stdio::Fds([File::open("/dev/null")?.into(), output.into(), errors.into()]);
    // The options close our ends of the pipes when `exec` returns, so that the readers see the end.
    let running = container.exec(process, ExecOptions::new().stdio(streams))?;
    // Both at the same time: the command would wait for ever if one pipe were full and nothing read it.
    let read = |mut from: PipeReader| {
        thread::spawn(move || {
            let mut bytes = Vec::new();
            from.read_to_end(&mut bytes).map(|_| bytes)
        })
    };
    let (stdout, stderr) = (read(stdout), read(stderr));
    let status = running.wait()?;
    let join = |reader: thread::JoinHandle<std::io::Result<Vec<u8>>>| reader.join().expect("a reader");
    Ok(Output { status, stdout: join(stdout)?, stderr: join(stderr)? })
}
