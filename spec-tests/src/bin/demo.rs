//! Runs a real container and shows it from the inside: the payload is the static probe, so no image is needed.
//!
//! `cargo demo` builds `wharf` first; `$WHARF_RUNTIME` names another runtime to look at.

use serde_json::Value;
use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use wharf_spec_tests::observe::strings;
use wharf_spec_tests::runtime::{Invocation, PATIENCE};
use wharf_spec_tests::{Bundle, Fault, Runtime, Spec};

fn main() -> ExitCode {
    match demonstrate() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("demo: {error}");
            ExitCode::FAILURE
        }
    }
}

fn demonstrate() -> Result<(), String> {
    if !rustix::process::geteuid().is_root() {
        return Err("this container needs root: try `sudo -E env PATH=\"$PATH\" cargo demo`".into());
    }
    let runtime = runtime()?;
    let dir = tempfile::Builder::new().prefix("wharf-demo-").tempdir().map_err(|error| error.to_string())?;
    let id = format!("demo-{}", std::process::id());
    let spec = spec();
    let bundle = Bundle::make(dir.path().join("bundle"), id, &spec, None)
        .map_err(|error| format!("make a bundle: {error}"))?;
    let root = dir.path().join("state");
    println!("runtime    {} ({})", runtime.path.display(), runtime.version());
    println!("bundle     {} (config.json, and a rootfs whose only file is the probe)", bundle.dir.display());
    println!("command    {} run --bundle {} {}\n", runtime.path.display(), bundle.dir.display(), bundle.id);
    let called = Invocation::new(&runtime.path, dir.path())
        .args(["--root".as_ref(), root.as_os_str()])
        .args(["run", "--bundle", &bundle.dir.to_string_lossy(), &bundle.id])
        .patience(PATIENCE)
        .call()
        .and_then(wharf_spec_tests::Called::ok)
        .map_err(reason)?;
    let seen = called.json().map_err(reason)?;
    show(&seen);
    println!(
        "\nThe whole run took {:.1} ms; nothing of the container is left.",
        called.took.as_secs_f64() * 1e3
    );
    Ok(())
}

/// A configuration whose values the reader can find in the output.
fn spec() -> Spec {
    Spec::new()
        .set("/hostname", "hello-from-inside")
        .set("/root/readonly", true)
        .set("/process/user", serde_json::json!({"uid": 1000, "gid": 1000}))
        .set("/linux/resources/pids", serde_json::json!({"limit": 100}))
}

fn runtime() -> Result<Runtime, String> {
    let path = match std::env::var_os("WHARF_RUNTIME") {
        Some(path) => PathBuf::from(path),
        None => build()?,
    };
    Runtime::find(path.as_os_str()).map_err(|error| format!("{}: {error}", path.display()))
}

/// Builds `wharf` with the profile of this program and returns its path, which is beside this program.
fn build() -> Result<PathBuf, String> {
    let this = std::env::current_exe().map_err(|error| error.to_string())?;
    let dir = this.parent().ok_or("this program has no directory")?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["build", "--quiet", "-p", "wharf-shim", "--bin", "wharf"]);
    if dir.file_name() == Some(OsStr::new("release")) {
        command.arg("--release");
    }
    let status = command.status().map_err(|error| format!("cargo build -p wharf-shim: {error}"))?;
    if status.success() { Ok(dir.join("wharf")) } else { Err(format!("cargo build -p wharf-shim: {status}")) }
}

fn show(seen: &Value) {
    println!("What the process inside says of itself:");
    println!("  pid            {} (parent {})", seen["pid"], seen["ppid"]);
    println!("  user           uid {} gid {}", seen["uid"], seen["gid"]);
    println!("  hostname       {}", text(&seen["hostname"]));
    println!("  directory      {}", text(&seen["cwd"]));
    println!("  files in /     {}", keys(&seen["root"]));
    println!("  devices        {}", keys(&seen["dev"]));
    let status = &seen["status"];
    for (label, key) in [("effective", "CapEff"), ("bounding", "CapBnd"), ("ambient", "CapAmb")] {
        println!("  capabilities   {label:<10} {}", capabilities(&status[key]));
    }
    println!("  no_new_privs   {}", text(&status["NoNewPrivs"]));
    let limit = &seen["rlimits"]["RLIMIT_NOFILE"];
    println!("  open files     soft {} hard {}", text(&limit[0]), text(&limit[1]));
    println!("  descriptors    {}", keys(&seen["fds"]));
    println!("  mounts");
    for mount in seen["mounts"].as_array().into_iter().flatten() {
        let options = strings(&mount["options"]).join(",");
        println!("    {:<24} {:<8} {options}", text(&mount["destination"]), text(&mount["type"]));
    }
    println!("  namespaces (those that differ from yours)");
    for (kind, link) in seen["namespaces"].as_object().into_iter().flatten() {
        let own = std::fs::read_link(format!("/proc/self/ns/{kind}")).unwrap_or_default();
        if text(link) != own.to_string_lossy() {
            println!("    {kind:<8} {}", text(link));
        }
    }
    println!("  cgroups");
    for line in strings(&seen["cgroup"]) {
        println!("    {line}");
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("?")
}

fn keys(value: &Value) -> String {
    let names: Vec<&str> = value.as_object().into_iter().flatten().map(|(name, _)| name.as_str()).collect();
    names.join(" ")
}

/// Names of the first capabilities by their bits; the mask itself if there are others.
fn capabilities(value: &Value) -> String {
    const NAMES: [(u32, &str); 3] = [(5, "KILL"), (10, "NET_BIND_SERVICE"), (29, "AUDIT_WRITE")];
    let Ok(mask) = u64::from_str_radix(text(value), 16) else { return "?".into() };
    let names: Vec<&str> =
        NAMES.iter().filter(|(bit, _)| mask & (1 << bit) != 0).map(|(_, name)| *name).collect();
    let known: u64 = NAMES.iter().map(|(bit, _)| 1 << bit).sum();
    match (mask, mask & !known) {
        (0, _) => "none".into(),
        (_, 0) => names.join(" "),
        _ => format!("{mask:#x}"),
    }
}

fn reason(fault: Fault) -> String {
    match fault {
        Fault::Failed(text) | Fault::Skipped(text) => text,
    }
}
