//! Network namespaces for a test, consisting of nothing but a descriptor: no device of this machine is touched.

use crate::outcome::{Outcome, fail, skip};
use crate::reaper;
use serde_json::Value;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::Command;

/// A network namespace that lives as long as this value, or a process in it.
pub struct Network {
    held: File,
}

impl Network {
    /// A new one, with its loopback device up.
    pub fn new() -> Outcome<Self> {
        for tool in ["ip", "nsenter"] {
            let paths = std::env::var_os("PATH").unwrap_or_default();
            if !std::env::split_paths(&paths).any(|dir| dir.join(tool).is_file()) {
                return skip(format!("needs the program {tool}"));
            }
        }
        // In a separate thread: this process stays where it is.
        let made = std::thread::spawn(|| {
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET)?;
            File::open("/proc/thread-self/ns/net")
        });
        let Ok(held) = made.join() else { return fail("the test itself: a thread ended") };
        let network = Self { held: held? };
        network.ip("link set lo up")?;
        Ok(network)
    }

    /// A path of it, valid for other processes too, as long as this value lives.
    pub fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.held.as_raw_fd())
    }

    /// Calls `ip` in it and returns what it prints, as JSON.
    pub fn ip(&self, arguments: &str) -> Outcome<Value> {
        ip(&self.path(), arguments)
    }

    /// Writes a file below /proc/sys/net, which shows the writing thread's namespace.
    pub fn sysctl(&self, name: &str, value: &str) -> Outcome {
        run(&self.path(), "sh", &["-c", &format!("echo {value} > /proc/sys/net/{name}")]).map(drop)
    }

    /// A movable device, and its other end, which is up. Skips if the kernel has no such devices.
    pub fn veth(&self, name: &str, peer: &str) -> Outcome {
        match self.ip(&format!("link add {name} type veth peer {peer}")) {
            Ok(_) => self.ip(&format!("link set {peer} up")).map(drop),
            Err(_) if !Path::new("/sys/module/veth").exists() => skip("this kernel has no veth devices"),
            Err(fault) => Err(fault),
        }
    }

    /// The names of its devices.
    pub fn names(&self) -> Outcome<Vec<String>> {
        names(&self.path())
    }
}

/// The path of the namespace of a process.
pub fn of(pid: rustix::process::Pid) -> String {
    format!("/proc/{}/ns/net", pid.as_raw_pid())
}

/// The names of the devices of a namespace.
pub fn names(namespace: &str) -> Outcome<Vec<String>> {
    let links = ip(namespace, "link show")?;
    Ok(links
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|link| link["ifname"].as_str().map(str::to_owned))
        .collect())
}

/// One device with its addresses; none if the namespace has no device with that name.
pub fn device(namespace: &str, name: &str) -> Outcome<Option<Value>> {
    let links = ip(namespace, "address show")?;
    Ok(links.as_array().into_iter().flatten().find(|link| link["ifname"] == name).cloned())
}

/// Calls `ip` in a namespace and returns what it prints, as JSON.
pub fn ip(namespace: &str, arguments: &str) -> Outcome<Value> {
    let words: Vec<_> = ["-json"].into_iter().chain(arguments.split(' ')).collect();
    let text = run(namespace, "ip", &words)?;
    if text.trim().is_empty() { Ok(Value::Null) } else { Ok(serde_json::from_str(&text)?) }
}

fn run(namespace: &str, program: &str, words: &[&str]) -> Outcome<String> {
    let mut command = Command::new("nsenter");
    let done = reaper::output(command.arg(format!("--net={namespace}")).arg(program).args(words))?;
    if done.status.success() {
        return Ok(String::from_utf8_lossy(&done.stdout).into_owned());
    }
    fail(format!(
        "the test itself: {program} {}: {}",
        words.join(" "),
        String::from_utf8_lossy(&done.stderr).trim()
    ))
}
