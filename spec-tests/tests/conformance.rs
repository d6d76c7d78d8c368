//! The suite under `cargo test`: against `$WHARF_RUNTIME`, or the `wharf` of this workspace, which is built first.

use libtest_mimic::{Arguments, Failed, Trial};
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use wharf_spec_tests::outcome::Fault;
use wharf_spec_tests::runner::run_one;
use wharf_spec_tests::{Runtime, all, inject, session};

fn main() -> ExitCode {
    if let Some(code) = inject::tracer::called() {
        return code;
    }
    let mut arguments = Arguments::from_args();
    if arguments.list {
        let trials = all().iter().map(|test| Trial::test(test.name(), || Ok(()))).collect();
        return libtest_mimic::run(&arguments, trials).exit_code();
    }
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("conformance: {error}");
            return ExitCode::FAILURE;
        }
    };
    let mut session = match session::prepare() {
        Ok(session) => session,
        Err(error) => {
            eprintln!("conformance: private mount namespace: {error}");
            return ExitCode::FAILURE;
        }
    };
    if let Err(fault) = session.accommodate(std::slice::from_ref(&runtime)) {
        eprintln!("conformance: the first container: {fault}");
        return ExitCode::FAILURE;
    }
    for note in &session.notes {
        eprintln!("note: {note}");
    }
    // The libtest flag without a number means one thread per CPU, which is right here too.
    arguments.test_threads =
        arguments.test_threads.or(std::thread::available_parallelism().ok().map(usize::from));
    let work = session.work().to_owned();
    let trials = all()
        .into_iter()
        .map(|test| {
            let (runtime, host, work) = (runtime.clone(), session.host.clone(), work.clone());
            Trial::test(test.name(), move || match run_one(&test, &runtime, &host, &work).outcome {
                Ok(()) => Ok(()),
                Err(Fault::Failed(reason)) => Err(Failed::from(reason)),
                Err(Fault::Skipped(reason)) => {
                    eprintln!("skipped: {}: {reason}", test.name());
                    Ok(())
                }
            })
        })
        .collect();
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn runtime() -> Result<Runtime, String> {
    if let Some(path) = std::env::var_os("WHARF_RUNTIME") {
        return Runtime::find(&path).map_err(|error| format!("{}: {error}", path.display()));
    }
    let path = build_wharf()?;
    Runtime::find(path.as_os_str()).map_err(|error| format!("{}: {error}", path.display()))
}

/// Builds `wharf` with the profile of this test and gives its path: target/PROFILE/deps/THIS -> target/PROFILE/wharf.
fn build_wharf() -> Result<PathBuf, String> {
    let this = std::env::current_exe().map_err(|error| error.to_string())?;
    let dir = this.parent().and_then(|deps| deps.parent()).ok_or("no target directory above the test")?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = Command::new(cargo);
    build.args(["build", "--quiet", "-p", "wharf-shim", "--bin", "wharf"]);
    build.args(["--no-default-features", "--features", "systemd"]);
    if dir.ends_with("release") {
        build.arg("--release");
    }
    let status = build.status().map_err(|error| format!("cargo build -p wharf-shim: {error}"))?;
    if status.success() { Ok(dir.join("wharf")) } else { Err(format!("cargo build -p wharf-shim: {status}")) }
}
