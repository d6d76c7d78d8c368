//! `start`: finds or starts the shim that serves a group of containers, and reports where it listens.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use containerd_shim_protos::protobuf::Message as _;
use containerd_shim_protos::protobuf::well_known_types::any::Any;
use nix::fcntl::OFlag;
use serde::Deserialize;

use crate::cli::address::{self, Claim};
use crate::cli::args::Args;
use crate::cli::bootstrap::{Daemon, MOST_INPUT};
use crate::options::Options;

/// Annotations that name a container's group; the first one present counts.
const GROUP_ANNOTATIONS: [&str; 2] = ["io.containerd.runc.v2.group", "io.kubernetes.cri.sandbox-id"];

/// Performs `start`; the answer is all that may be printed.
pub(crate) fn run(args: &Args) -> Result<Vec<u8>, String> {
    let bundle = std::env::current_dir().map_err(|error| format!("find the bundle: {error}"))?;
    let mut input = Vec::new();
    io::stdin()
        .lock()
        .take(MOST_INPUT)
        .read_to_end(&mut input)
        .map_err(|error| format!("read the parameters from standard input: {error}"))?;
    let (max, wanted) = (variable("MAX_SHIM_VERSION"), variable("SHIM_API"));
    let daemon = Daemon::recognize(&input, &args.id, &args.namespace, max.as_deref(), wanted.as_deref());
    let group = group(&bundle)?.unwrap_or_else(|| args.id.clone());
    let path = if args.socket.is_empty() {
        address::path(daemon.socket_dir(), &args.address, &args.namespace, &group)
    } else {
        PathBuf::from(args.socket.strip_prefix("unix://").unwrap_or(&args.socket))
    };
    let url = address::url(&path);
    let claim = address::claim(&path).map_err(|error| format!("listen on {}: {error}", path.display()))?;
    if let Claim::Ours(listener) = claim {
        let removed = |reason: String| {
            fs::remove_file(&path).ok();
            reason
        };
        let mut server = serve(args, &daemon, &bundle, listener.into()).map_err(removed)?;
        settle(&server, &shim_cgroup(&daemon, &input)?).map_err(|reason| {
            server.kill().ok();
            removed(reason)
        })?;
    }
    // Where 1.6 and 1.7 look after a restart, and 2.x if its own file is missing.
    fs::write(bundle.join("address"), &url)
        .map_err(|error| format!("write {}: {error}", bundle.join("address").display()))?;
    Ok(daemon.answer(&url))
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// The group that the configuration names. There may be none: the shim of a sandbox starts without a configuration.
fn group(bundle: &Path) -> Result<Option<String>, String> {
    #[derive(Deserialize)]
    struct Annotated {
        #[serde(default)]
        annotations: Option<HashMap<String, String>>,
    }
    let path = bundle.join("config.json");
    let bytes = match fs::read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(|error| format!("read {}: {error}", path.display()))?,
    };
    let config: Annotated =
        serde_json::from_slice(&bytes).map_err(|error| format!("{}: {error}", path.display()))?;
    let mut annotations = config.annotations.unwrap_or_default();
    Ok(GROUP_ANNOTATIONS.iter().find_map(|name| annotations.remove(*name)).filter(|group| !group.is_empty()))
}

/// Starts the server, with the listening socket as standard input: it is ready at every moment.
fn serve(args: &Args, daemon: &Daemon, bundle: &Path, listener: OwnedFd) -> Result<Child, String> {
    let program = std::env::current_exe().map_err(|error| format!("find this program: {error}"))?;
    let name = std::env::args_os().next().unwrap_or_else(|| program.clone().into());
    let mut command = Command::new(&program);
    command
        .arg0(name)
        .args(["-namespace", &args.namespace, "-id", &args.id, "-address", &args.address])
        .current_dir("/")
        .stdin(listener)
        .stdout(Stdio::null())
        .stderr(log(bundle).map_or_else(Stdio::null, Stdio::from))
        .process_group(0);
    if args.debug {
        command.arg("-debug");
    }
    // Drops whatever the daemon's starter left open.
    wharf::worker::pass_descriptors(&mut command, Vec::new());
    if let Some(address) = daemon.events_address() {
        command.env("TTRPC_ADDRESS", address);
    }
    command.spawn().map_err(|error| format!("start {}: {error}", program.display()))
}

/// The shim's end of the daemon's log. The daemon already reads there; the shim must not create the fifo.
fn log(bundle: &Path) -> Option<File> {
    OpenOptions::new().write(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(bundle.join("log")).ok()
}

/// The cgroup for the shim itself, if the options name one.
fn shim_cgroup(daemon: &Daemon, input: &[u8]) -> Result<String, String> {
    let any = match daemon {
        // In parameters, the options are one of the extensions.
        Daemon::Bootstrap(params) => {
            let mut values = params.extensions.iter().filter_map(|extension| extension.value.as_ref());
            values.find(|any| any.type_url.ends_with(".Options")).cloned()
        }
        _ => Any::parse_from_bytes(input).ok(),
    };
    match any {
        Some(any) => {
            Options::decode(&any).map(|options| options.shim_cgroup).map_err(|refusal| refusal.message)
        }
        None => Ok(String::new()),
    }
}

/// Puts the server in its place: its cgroup, and an out-of-memory score one above the daemon's.
fn settle(server: &Child, cgroup: &str) -> Result<(), String> {
    if !cgroup.is_empty() {
        join(server.id(), cgroup)?;
    }
    let parent = nix::unistd::getppid();
    let score = fs::read_to_string(format!("/proc/{parent}/oom_score_adj"))
        .ok()
        .and_then(|text| text.trim().parse::<i32>().ok())
        .unwrap_or(0);
    // Lowering the score takes a privilege, and is not worth a failure.
    fs::write(format!("/proc/{}/oom_score_adj", server.id()), (score + 1).min(1000).to_string()).ok();
    Ok(())
}

/// Moves the server into an existing cgroup, in every hierarchy that has it.
fn join(pid: u32, cgroup: &str) -> Result<(), String> {
    let root = Path::new("/sys/fs/cgroup");
    let relative = cgroup.trim_start_matches('/');
    let place = |hierarchy: &Path| -> Result<(), String> {
        let dir = hierarchy.join(relative);
        OpenOptions::new()
            .write(true)
            .open(dir.join("cgroup.procs"))
            .and_then(|mut file| file.write_all(pid.to_string().as_bytes()))
            .map_err(|error| format!("move the shim into the cgroup {}: {error}", dir.display()))
    };
    if root.join("cgroup.controllers").exists() {
        return place(root);
    }
    let entries = fs::read_dir(root).map_err(|error| format!("read {}: {error}", root.display()))?;
    let mut found = false;
    for entry in entries.flatten() {
        let hierarchy = entry.path();
        // Symbolic links are second names of hierarchies.
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) && hierarchy.join(relative).is_dir() {
            place(&hierarchy)?;
            found = true;
        }
    }
    if found { Ok(()) } else { Err(format!("move the shim into the cgroup {cgroup}: no hierarchy has it")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bundle(config: &str) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("config.json"), config).unwrap();
        dir
    }

    #[test]
    fn annotations_name_the_group() {
        let of = |config: &str| group(bundle(config).path());
        assert_eq!(
            of(r#"{"annotations":{"io.kubernetes.cri.sandbox-id":"pod"}}"#),
            Ok(Some("pod".to_owned()))
        );
        let both =
            r#"{"annotations":{"io.kubernetes.cri.sandbox-id":"pod","io.containerd.runc.v2.group":"g"}}"#;
        assert_eq!(of(both), Ok(Some("g".to_owned())));
        assert_eq!(of(r#"{"annotations":null}"#), Ok(None));
        assert_eq!(of("{}"), Ok(None));
        assert!(of("{").is_err());
        assert_eq!(group(tempfile::tempdir().unwrap().path()), Ok(None), "sandboxes have no configuration");
    }
}
