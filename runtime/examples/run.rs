//! Checks a bundle, runs it and deletes it, as `wharf check` and `wharf run` do:
//!
//! ```sh
//! mkdir -p web/rootfs/bin && cp /bin/busybox web/rootfs/bin/sh && wharf spec --bundle web
//! cargo build -p wharf --example run && sudo target/debug/examples/run web
//! ```

use std::process::ExitCode;

use wharf::{Bundle, Console, ContainerId, CreateOptions, Delete, ErrorKind, Runtime, Severity};

fn main() -> ExitCode {
    let Some(dir) = std::env::args_os().nth(1) else {
        eprintln!("usage: run BUNDLE");
        return ExitCode::from(2);
    };
    match run(dir.as_ref()) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            // The class of an error is for programs, its text for people.
            let class = if error.kind() == ErrorKind::Exec { "the program does not start" } else { "failed" };
            eprintln!("run: {class}: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(dir: &std::path::Path) -> wharf::Result<u8> {
    wharf::protect::reexec_read_only()?;
    let runtime = Runtime::builder().root("/run/wharf-examples").build()?;
    let bundle = Bundle::open(dir)?;
    for finding in runtime.check(&bundle) {
        let word = if finding.severity == Severity::Error { "error" } else { "warning" };
        eprintln!("{word}: {}: {}", finding.pointer, finding.message);
    }

    let id = ContainerId::new(&format!("run-{}", std::process::id()))?;
    let terminal = bundle.spec().process().as_ref().and_then(oci_spec::runtime::Process::terminal);
    let options = match terminal {
        // A terminal emulator would copy between its window and `take_console()`; see `wharf::terminal`.
        Some(true) => CreateOptions::new().console(Console::Keep),
        _ => CreateOptions::new(),
    };
    let container = runtime.create(&id, &bundle, options)?;
    // The namespaces, the mounts and the cgroup are there, and the program does not run yet: connect a network now.
    println!("created {id} with process {}", container.pid().unwrap_or(0));
    let ended = container.start().and_then(|()| container.wait());
    container.delete(Delete::Force)?;
    Ok(u8::try_from(ended?.code()).unwrap_or(u8::MAX))
}
