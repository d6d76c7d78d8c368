//! Runs a command of the host in a sandbox that needs neither an image nor a file:
//!
//! ```sh
//! cargo build -p wharf --example sandbox && sudo target/debug/examples/sandbox ls -la /
//! ```

mod host_programs;

use std::process::ExitCode;

use wharf::{ContainerId, CreateOptions, Delete, Result, Runtime};

fn main() -> ExitCode {
    let mut args: Vec<String> = std::env::args().skip(1).collect();
    if args.is_empty() {
        args = ["sh", "-c", "id; hostname; ls /"].map(Into::into).into();
    }
    match sandbox(&args) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("sandbox: {error}");
            ExitCode::FAILURE
        }
    }
}

fn sandbox(args: &[String]) -> Result<u8> {
    // No container can write to this program: see `wharf::protect`.
    wharf::protect::reexec_read_only()?;
    let runtime = Runtime::builder().root("/run/wharf-examples").build()?;
    let id = ContainerId::new(&format!("sandbox-{}", std::process::id()))?;
    let container = runtime.run(&id, &host_programs::bundle(args)?, CreateOptions::new())?;
    let ended = container.wait();
    container.delete(Delete::Force)?;
    Ok(u8::try_from(ended?.code()).unwrap_or(u8::MAX))
}
