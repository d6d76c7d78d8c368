//! Runs a real container and shows it from the inside: the payload is the static probe, so no image is needed.
//!
//! `cargo demo` builds `wharf` first; `$WHARF_RUNTIME` names another runtime to look at.

use serde_json::{Value, json};
use std::env;
use std::fs::{self, DirBuilder, Permissions};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Output};
use std::time::Instant;
use wharf_probe::PROBE;

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
    if fs::metadata("/proc/self").map_err(text)?.uid() != 0 {
        return Err("this container needs root: try `sudo -E env PATH=\"$PATH\" cargo demo`".into());
    }
    let runtime = match env::var_os("WHARF_RUNTIME") {
        Some(path) => PathBuf::from(path),
        None => build()?,
    };
    let dir = Directory::new()?;
    let (bundle, root) = (dir.0.join("bundle"), dir.0.join("state"));
    let id = format!("demo-{}", std::process::id());
    let version = output(Command::new(&runtime).arg("--version"))?;
    make_bundle(&runtime, &bundle)?;
    println!("runtime    {} ({})", runtime.display(), version.lines().next().unwrap_or_default());
    println!("bundle     {} (config.json, and a rootfs whose only file is the probe)", bundle.display());
    println!("command    {} run --bundle {} {id}\n", runtime.display(), bundle.display());
    let begin = Instant::now();
    let mut run = Command::new(&runtime);
    let said = output(run.arg("--root").arg(root).args(["run", "--bundle"]).arg(bundle).arg(id))?;
    let took = begin.elapsed();
    show(&serde_json::from_str(&said).map_err(|error| format!("the probe said {said:?}: {error}"))?);
    println!("\nThe whole run took {:.1} ms; nothing of the container is left.", took.as_secs_f64() * 1e3);
    Ok(())
}

/// A directory that is removed with all that is in it.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Result<Self, String> {
        let path = env::temp_dir().join(format!("wharf-demo-{}", std::process::id()));
        // Not one that is there already: the directory around it belongs to everyone.
        DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            eprintln!("demo: {} stays: {error}", self.0.display());
        }
    }
}

/// The usual configuration, with values that the reader can find in the output.
fn make_bundle(runtime: &Path, bundle: &Path) -> Result<(), String> {
    let rootfs = bundle.join("rootfs");
    for name in ["proc", "dev", "sys"] {
        fs::create_dir_all(rootfs.join(name)).map_err(text)?;
    }
    fs::write(rootfs.join("probe"), PROBE).map_err(text)?;
    fs::set_permissions(rootfs.join("probe"), Permissions::from_mode(0o755)).map_err(text)?;
    output(Command::new(runtime).args(["spec", "--bundle"]).arg(bundle))?;
    let file = bundle.join("config.json");
    let mut config: Value = serde_json::from_slice(&fs::read(&file).map_err(text)?).map_err(text)?;
    config["hostname"] = json!("hello-from-inside");
    config["process"]["terminal"] = json!(false);
    config["process"]["args"] = json!(["/probe", "report"]);
    config["process"]["user"] = json!({"uid": 1000, "gid": 1000});
    config["linux"]["resources"]["pids"] = json!({"limit": 100});
    // So that it sees its cgroups under the names that the reader knows.
    for list in ["/mounts", "/linux/namespaces"] {
        if let Some(Value::Array(list)) = config.pointer_mut(list) {
            list.retain(|entry| entry["type"] != "cgroup");
        }
    }
    fs::write(&file, config.to_string()).map_err(text)
}

/// Builds `wharf`, and nothing that it does not need here.
fn build() -> Result<PathBuf, String> {
    let this = env::current_exe().map_err(text)?;
    let target = this.ancestors().nth(2).ok_or("this program is in no target directory")?;
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--quiet", "--profile", "demo", "-p", "wharf-shim", "--bin", "wharf"]);
    cargo.arg("--no-default-features").arg("--target-dir").arg(target);
    let status = cargo.status().map_err(|error| format!("cargo build: {error}"))?;
    if status.success() { Ok(target.join("demo/wharf")) } else { Err(format!("cargo build: {status}")) }
}

/// What a command that succeeds prints.
fn output(command: &mut Command) -> Result<String, String> {
    let name = command.get_program().display().to_string();
    let Output { status, stdout, stderr } = command.output().map_err(|error| format!("{name}: {error}"))?;
    if status.success() {
        return Ok(String::from_utf8_lossy(&stdout).into_owned());
    }
    Err(format!("{name}: {status}: {}", String::from_utf8_lossy(&stderr).trim()))
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

fn show(seen: &Value) {
    println!("What the process inside says of itself:");
    println!("  pid            {} (parent {})", seen["pid"], seen["ppid"]);
    println!("  user           uid {} gid {}", seen["uid"], seen["gid"]);
    println!("  hostname       {}", word(&seen["hostname"]));
    println!("  directory      {}", word(&seen["cwd"]));
    println!("  files in /     {}", keys(&seen["root"]));
    println!("  devices        {}", keys(&seen["dev"]));
    let status = &seen["status"];
    for (label, key) in [("effective", "CapEff"), ("bounding", "CapBnd"), ("ambient", "CapAmb")] {
        println!("  capabilities   {label:<10} {}", capabilities(&status[key]));
    }
    println!("  no_new_privs   {}", word(&status["NoNewPrivs"]));
    let limit = &seen["rlimits"]["RLIMIT_NOFILE"];
    println!("  open files     soft {} hard {}", word(&limit[0]), word(&limit[1]));
    println!("  descriptors    {}", keys(&seen["fds"]));
    println!("  mounts");
    for mount in seen["mounts"].as_array().into_iter().flatten() {
        let options = words(&mount["options"]).join(",");
        println!("    {:<24} {:<8} {options}", word(&mount["destination"]), word(&mount["type"]));
    }
    println!("  namespaces (those that differ from yours)");
    for (kind, link) in seen["namespaces"].as_object().into_iter().flatten() {
        let own = fs::read_link(format!("/proc/self/ns/{kind}")).unwrap_or_default();
        if word(link) != own.to_string_lossy() {
            println!("    {kind:<8} {}", word(link));
        }
    }
    println!("  cgroups");
    for line in words(&seen["cgroup"]) {
        println!("    {line}");
    }
}

fn word(value: &Value) -> &str {
    value.as_str().unwrap_or("?")
}

fn words(value: &Value) -> Vec<&str> {
    value.as_array().into_iter().flatten().map(word).collect()
}

fn keys(value: &Value) -> String {
    let names: Vec<&str> = value.as_object().into_iter().flatten().map(|(name, _)| name.as_str()).collect();
    names.join(" ")
}

/// Names of the first capabilities by their bits; the mask itself if there are others.
fn capabilities(value: &Value) -> String {
    const NAMES: [(u32, &str); 3] = [(5, "KILL"), (10, "NET_BIND_SERVICE"), (29, "AUDIT_WRITE")];
    let Ok(mask) = u64::from_str_radix(word(value), 16) else { return "?".into() };
    let names: Vec<&str> =
        NAMES.iter().filter(|(bit, _)| mask & (1 << bit) != 0).map(|(_, name)| *name).collect();
    let known: u64 = NAMES.iter().map(|(bit, _)| 1 << bit).sum();
    match (mask, mask & !known) {
        (0, _) => "none".into(),
        (_, 0) => names.join(" "),
        _ => format!("{mask:#x}"),
    }
}
