//! What a container's process sees of its isolation, in a form that is equal for equal isolation.

use super::scenes::Stage;
use crate::bed::Bed;
use crate::cgroup;
use crate::outcome::{Outcome, fail};
use rustix::process::Pid;
use serde_json::{Map, Value, json};
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// What tells nothing about isolation, or is another with each run.
const VOLATILE: [&str; 9] =
    ["pid", "ppid", "pgrp", "sid", "monotonic", "boottime", "uptime", "timerslack", "terminals"];

/// The lines of /proc/self/status that do.
const STATUS: [&str; 24] = [
    "Name",
    "Umask",
    "TracerPid",
    "Uid",
    "Gid",
    "Groups",
    "CapInh",
    "CapPrm",
    "CapEff",
    "CapBnd",
    "CapAmb",
    "NoNewPrivs",
    "Seccomp",
    "Seccomp_filters",
    "Speculation_Store_Bypass",
    "SpeculationIndirectBranch",
    "Cpus_allowed",
    "Mems_allowed",
    "SigBlk",
    "SigIgn",
    "SigCgt",
    "Threads",
    "CoreDumping",
    "THP_enabled",
];

/// Files of a cgroup that have a container's limits, by the controller.
const LIMITS: [(&str, &[&str]); 4] = [
    ("devices", &["devices.list"]),
    ("pids", &["pids.max"]),
    ("memory", &["memory.limit_in_bytes", "memory.max"]),
    ("cpu", &["cpu.shares", "cpu.weight"]),
];

/// The text with a word in the place of a path, also where the path begins at the root of its file system: mountinfo says
/// where in that a mount is.
fn without_path(text: String, path: &Path, bed: &Bed<'_>, word: &str) -> String {
    let own = bed.dir().file_name().unwrap_or_default().to_string_lossy();
    let path = path.to_string_lossy();
    let ends = path.match_indices('/').map(|(at, _)| &path[at..]).filter(|end| end.contains(&*own));
    ends.fold(text, |text, end| text.replace(end, word))
}

/// A report of the probe without what differs from run to run.
pub(super) fn normal(bed: &Bed<'_>, stage: &Stage, report: &Value) -> Outcome<Value> {
    let text = report.to_string();
    // The bundle first: its path has that of the bed in it.
    let text = without_path(without_path(text, &stage.bundle.dir, bed, "BUNDLE"), bed.dir(), bed, "BED");
    let mut report: Value = serde_json::from_str(&text.replace(&stage.bundle.id, "ID"))?;
    let Some(map) = report.as_object_mut() else { return fail(format!("no report: {text}")) };
    for key in VOLATILE {
        map.remove(key);
    }
    if let Some(Value::Object(status)) = map.get_mut("status") {
        status.retain(|key, _| STATUS.contains(&key.as_str()));
    }
    if let Some(Value::Object(namespaces)) = map.get_mut("namespaces") {
        for (kind, link) in namespaces {
            let own = fs::read_link(format!("/proc/self/ns/{kind}")).ok();
            let is_hosts = own.is_some_and(|own| link.as_str() == own.to_str());
            *link = json!(if is_hosts { "the host's" } else { "its own" });
        }
    }
    for mount in map.get_mut("mounts").and_then(Value::as_array_mut).into_iter().flatten() {
        without(mount, &["id", "parent"]);
    }
    if let Some(Value::Object(fds)) = map.get_mut("fds") {
        for target in fds.values_mut() {
            let text = target.as_str().unwrap_or_default();
            // One of a container without the device in its /dev has another path.
            let text = if text == "/null" { "/dev/null" } else { text };
            let words: Vec<&str> =
                text.split(|letter: char| letter.is_ascii_digit()).filter(|word| !word.is_empty()).collect();
            *target = json!(words.join("#"));
        }
    }
    let hosts = fs::metadata("/dev/null").map(|meta| (meta.dev(), meta.ino())).ok();
    for stream in map.get_mut("streams").and_then(Value::as_array_mut).into_iter().flatten() {
        let node = stream["fs"].as_u64().zip(stream["ino"].as_u64());
        let is_hosts = node.is_some() && node == hosts;
        // It depends on the caller whether a stream can be given to the container's user.
        without(stream, &["ino", "fs", "size", "uid", "gid"]);
        stream["is the host's null device"] = json!(is_hosts);
    }
    if let Some(keyring) = map.get_mut("keyring") {
        without(keyring, &["id"]);
    }
    for list in ["dev", "root"] {
        for node in map.get_mut(list).and_then(Value::as_object_mut).into_iter().flat_map(Map::values_mut) {
            without(node, &["ino", "fs", "size"]);
        }
    }
    Ok(report)
}

fn without(value: &mut Value, keys: &[&str]) {
    if let Value::Object(map) = value {
        map.retain(|key, _| !keys.contains(&key.as_str()));
    }
}

/// The limits of the cgroups in which a process is.
pub(super) fn limits(pid: Pid) -> Value {
    let mut limits = Map::new();
    for (controller, files) in LIMITS {
        // A controller that the machine does not have is missing in each run.
        let Ok(place) = cgroup::of(pid, controller) else { continue };
        for file in files {
            if let Ok(text) = place.read(file) {
                limits.insert((*file).to_owned(), json!(text));
            }
        }
    }
    Value::Object(limits)
}

/// Where two values differ, at most a few places.
pub(super) fn differences(seen: &Value, wanted: &Value) -> Vec<String> {
    let mut found = Vec::new();
    compare(String::new(), seen, wanted, &mut found);
    found.truncate(4);
    found
}

fn compare(at: String, seen: &Value, wanted: &Value, found: &mut Vec<String>) {
    match (seen, wanted) {
        (Value::Object(one), Value::Object(other)) => {
            let missing = other.keys().filter(|key| !one.contains_key(*key));
            for key in one.keys().chain(missing) {
                let of = |map: &Map<String, Value>| map.get(key).cloned().unwrap_or_default();
                compare(format!("{at}/{key}"), &of(one), &of(other), found);
            }
        }
        (Value::Array(one), Value::Array(other)) if one.len() == other.len() => {
            for (index, (one, other)) in one.iter().zip(other).enumerate() {
                compare(format!("{at}/{index}"), one, other, found);
            }
        }
        _ if seen == wanted => {}
        _ => found.push(format!("{at} is {seen}, undisturbed {wanted}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_have_their_places() {
        let seen = json!({"a": {"b": [1, 2]}, "c": 1, "new": 1});
        assert!(differences(&seen, &seen).is_empty());
        let wanted = json!({"a": {"b": [1, 3]}, "c": 1, "old": 2});
        let found = differences(&seen, &wanted);
        assert_eq!(found.len(), 3, "{found:?}");
        assert_eq!(found[0], "/a/b/1 is 2, undisturbed 3");
    }
}
