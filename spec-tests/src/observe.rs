//! Reads the probe's reports.

use crate::outcome::{Outcome, fail};
use serde_json::Value;

/// The topmost mount at a destination.
pub fn mount_at<'r>(report: &'r Value, destination: &str) -> Outcome<&'r Value> {
    let mounts = report["mounts"].as_array().or_else(|| report.as_array());
    mounts
        .into_iter()
        .flatten()
        .rfind(|mount| mount["destination"] == destination)
        .map_or_else(|| fail(format!("nothing is mounted at {destination}")), Ok)
}

/// Whether the mount, or its file system, has this option.
pub fn has_option(mount: &Value, option: &str) -> bool {
    ["options", "super"]
        .iter()
        .any(|key| mount[*key].as_array().is_some_and(|list| list.iter().any(|o| o == option)))
}

/// Whether the mount point itself has this flag.
pub fn has_flag(mount: &Value, option: &str) -> bool {
    mount["options"].as_array().is_some_and(|list| list.iter().any(|o| o == option))
}

/// Passes if the mount has all of the options and none of the others.
pub fn options(mount: &Value, with: &[&str], without: &[&str]) -> Outcome {
    for option in with {
        if !has_option(mount, option) {
            return fail(format!("no {option} in {} {}", mount["options"], mount["super"]));
        }
    }
    for option in without {
        if has_flag(mount, option) {
            return fail(format!("{option} in {}", mount["options"]));
        }
    }
    Ok(())
}

/// A capability set as the kernel prints it.
pub fn capability_set(report: &Value, name: &str) -> Outcome<u64> {
    let text = report["status"][name].as_str().unwrap_or("none");
    u64::from_str_radix(text, 16).map_or_else(|_| fail(format!("{name} is {text}")), Ok)
}

/// A mask of signals as the kernel prints it.
pub fn signal_set(report: &Value, name: &str) -> Outcome<u64> {
    capability_set(report, name)
}

/// A list of strings.
pub fn strings(value: &Value) -> Vec<&str> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}
