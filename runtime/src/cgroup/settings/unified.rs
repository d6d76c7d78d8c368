//! `linux.resources.unified`: files of version 2 by name.

use std::borrow::Cow;

use oci_spec::runtime::LinuxResources;

use super::super::layout::Place;
use super::{Absent, Group, Output, Problem, ROOT, Setting, escape};

/// Core files that act on processes instead of limiting them.
const NOT_A_RESOURCE: [&str; 3] = ["cgroup.procs", "cgroup.threads", "cgroup.kill"];

/// Every key is a file of the container's cgroup; unknown ones are written all the same, the kernel is the judge.
///
/// On a hybrid machine the keys of a controller that is in the unified hierarchy are honoured, and those of a
/// controller bound to version 1 are an error, as they all are on a machine with version 1 alone.
pub(super) fn translate(resources: &LinuxResources, out: &mut Output<'_>) {
    let mut entries: Vec<_> = resources.unified().iter().flatten().collect();
    entries.sort_by(|a, b| a.0.cmp(b.0));
    if entries.is_empty() {
        return;
    }
    let layout = out.layout;
    let Some(v2) = &layout.v2 else {
        out.unsupported("/unified", "unified resources need cgroup v2, which this machine does not have");
        return;
    };
    for (key, value) in entries {
        let property = format!("/unified/{}", escape(key));
        match controller(key) {
            None => {
                let message =
                    format!("unified resource {key:?} must be a file name such as memory.high (no slashes)");
                out.problems.push(Problem::invalid(format!("{ROOT}{property}"), message));
            }
            Some(_) if NOT_A_RESOURCE.contains(&key.as_str()) => {
                let message = format!("unified resource {key:?} acts on processes, it is no resource");
                out.problems.push(Problem::invalid(format!("{ROOT}{property}"), message));
            }
            Some(controller) if controller != "cgroup" && !v2.controllers.iter().any(|c| c == controller) => {
                let message =
                    format!("unified resource {key:?} can't be set: controller {controller:?} not available");
                out.problems.push(Problem::unsupported(format!("{ROOT}{property}"), message));
            }
            Some(_) if value.contains('\0') => {
                out.problems
                    .push(Problem::invalid(format!("{ROOT}{property}"), "the value has a NUL character"));
            }
            Some(controller) => out.settings.push(Setting {
                place: Place::V2,
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

/// The controller of a file name `CONTROLLER.NAME`, if the key is nothing but a file name.
fn controller(key: &str) -> Option<&str> {
    let (controller, rest) = key.split_once('.')?;
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    (!controller.is_empty() && !rest.is_empty() && key.chars().all(plain)).then_some(controller)
}
