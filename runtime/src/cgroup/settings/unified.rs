//! `linux.resources.unified`: version 2 files by name.

use std::borrow::Cow;

use oci_spec::runtime::LinuxResources;

use super::super::layout::Hierarchy;
use super::{Absent, Group, Output, ROOT, Setting};
use crate::error::Error;
use crate::finding::escape;

/// Core files that act on processes instead of limiting them.
const NOT_A_RESOURCE: [&str; 3] = ["cgroup.procs", "cgroup.threads", "cgroup.kill"];

/// Every key is a file of the container's cgroup; unknown ones are written all the same, and the kernel decides.
///
/// On a hybrid machine the keys of a controller in the unified hierarchy are honoured, and those of a controller bound
/// to version 1 are an error, as they all are on a machine with only version 1.
pub(super) fn translate(resources: &LinuxResources, out: &mut Output<'_>) {
    let mut entries: Vec<_> = resources.unified().iter().flatten().collect();
    entries.sort_by(|a, b| a.0.cmp(b.0));
    if entries.is_empty() {
        return;
    }
    let layout = out.layout;
    let Some(v2) = &layout.v2 else {
        let message =
            "invalid configuration: cannot use unified on cgroup v1, and this machine has no cgroup v2";
        out.unsupported("/unified", message);
        return;
    };
    for (key, value) in entries {
        let property = format!("/unified/{}", escape(key));
        match controller(key) {
            None => {
                let message =
                    format!("unified resource {key:?} must be a file name such as memory.high (no slashes)");
                out.errors.push(Error::invalid(format!("{ROOT}{property}"), message));
            }
            Some(_) if NOT_A_RESOURCE.contains(&key.as_str()) => {
                let message = format!("unified resource {key:?} acts on processes; it is not a resource");
                out.errors.push(Error::invalid(format!("{ROOT}{property}"), message));
            }
            Some(controller) if controller != "cgroup" && !v2.controllers.iter().any(|c| c == controller) => {
                // Both in runc's wording.
                let message = if layout.v1_place(controller).is_some() {
                    format!(
                        "invalid configuration: cannot use unified on cgroup v1, which has the controller {controller:?}"
                    )
                } else {
                    format!("unified resource {key:?} can't be set: controller {controller:?} not available")
                };
                out.errors.push(Error::unsupported(format!("{ROOT}{property}"), message));
            }
            Some(_) if value.contains('\0') => {
                out.errors.push(Error::invalid(format!("{ROOT}{property}"), "the value has a NUL character"));
            }
            Some(_) if ValueFormat::of(key).is_some_and(|format| !format.takes(value.trim_ascii())) => {
                let message = format!("unified resource {key:?} does not take the value {value:?}");
                out.errors.push(Error::invalid(format!("{ROOT}{property}"), message));
            }
            Some(controller) => out.settings.push(Setting {
                place: Hierarchy::V2,
                controller: Cow::Owned(controller.to_owned()),
                file: Cow::Owned(key.clone()),
                value: value.clone(),
                pointer: format!("{ROOT}{property}"),
                absent: Absent::Fail,
                group: Group::Single,
            }),
        }
    }
}

/// What files with a format documented by the kernel accept (Documentation/admin-guide/cgroup-v2.rst). The kernel
/// decides about the rest, and about the numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ValueFormat {
    /// A number or `max`.
    Limit,
    /// The same in bytes, with a unit.
    Bytes,
    /// A number.
    Number,
    /// `0` or `1`.
    Switch,
    /// CPUs or memory nodes.
    List,
}

impl ValueFormat {
    fn of(file: &str) -> Option<Self> {
        Some(match file {
            "pids.max" | "cgroup.max.depth" | "cgroup.max.descendants" => Self::Limit,
            "memory.min" | "memory.low" | "memory.high" | "memory.max" | "memory.swap.high"
            | "memory.swap.max" | "memory.zswap.max" => Self::Bytes,
            "cpu.weight" | "cpu.weight.nice" | "cpu.max.burst" => Self::Number,
            "cpu.idle"
            | "cgroup.freeze"
            | "cgroup.pressure"
            | "memory.oom.group"
            | "memory.zswap.writeback" => Self::Switch,
            "cpuset.cpus" | "cpuset.mems" | "cpuset.cpus.exclusive" => Self::List,
            _ => return None,
        })
    }

    fn takes(self, value: &str) -> bool {
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        // Numbers may be octal or hexadecimal (kstrtoll, memparse).
        let number = |text: &str| {
            let hexadecimal = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"));
            digits(text)
                || hexadecimal
                    .is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_hexdigit()))
        };
        match self {
            Self::Limit => value == "max" || number(value),
            Self::Bytes => {
                value == "max"
                    || number(value.strip_suffix(|c: char| "kKmMgGtTpPeE".contains(c)).unwrap_or(value))
            }
            Self::Number => number(value.strip_prefix('-').unwrap_or(value)),
            Self::Switch => matches!(value, "0" | "1"),
            Self::List => crate::check::list::parse(value).is_ok(),
        }
    }
}

/// The controller of a file name `CONTROLLER.NAME`, if the key is nothing but a file name.
fn controller(key: &str) -> Option<&str> {
    let (controller, rest) = key.split_once('.')?;
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    (!controller.is_empty() && !rest.is_empty() && key.chars().all(plain)).then_some(controller)
}

#[cfg(test)]
mod tests {
    use super::ValueFormat;

    #[test]
    fn values_of_documented_files_are_told_from_nonsense() {
        for (file, good, bad) in [
            ("pids.max", &["max", "0", "23", "0x10"][..], &["many", "", "-1", "1k", "max 1", "0x"][..]),
            ("memory.high", &["max", "104857600", "100M", "4g"], &["many", "", "-1", "1.5G", "M", "1 2"]),
            ("cpu.weight.nice", &["-20", "19"], &["low", "-", ""]),
            ("memory.oom.group", &["0", "1"], &["2", "true", ""]),
            ("cpuset.cpus", &["0-3,7", ""], &["zero", "3-1"]),
        ] {
            let format = ValueFormat::of(file).unwrap();
            assert!(good.iter().all(|value| format.takes(value)), "{file}");
            assert!(bad.iter().all(|value| !format.takes(value)), "{file}");
        }
        assert_eq!(ValueFormat::of("io.max"), None);
    }
}
