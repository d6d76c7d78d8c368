//! The sub-group of a scope that a container lives in, on cgroup version 2.
//!
//! A cgroup has one writer (systemd's "Control Group APIs and Delegation"): the files of the scope's own cgroup are
//! systemd's, and what is below is the caller's. So the container gets a group below it, whose files and device filter
//! systemd never touches again. The group has the scope's limits as well: the container, whose cgroup namespace ends
//! there, reads them there.
//!
//! It also means that a watcher of `memory.events` of the container's cgroup learns of a kill when it happens, and of
//! nothing else before. Hitting the limit is counted where the charge is refused, in the scope, which is charged for
//! what the sub-group itself takes. The kill is counted where the victim is. Without a sub-group the first notice says
//! that the limit is hit, the next one comes 10 ms later at the earliest (the kernel's pause between two notices), and
//! systemd, which removes the scope with its last process, is often faster.

use std::collections::HashMap;

use crate::error::{Error, Result};

/// The name of the sub-group, by crun's annotation; an empty name means that there is none.
pub(crate) const ANNOTATION: &str = "run.oci.systemd.subgroup";

/// Its name by default, which managers know from crun.
const DEFAULT: &str = "container";

/// The longest name of a directory.
const LONGEST: usize = 255;

/// The part before the dot in the names of the kernel's own files in a cgroup.
const OF_KERNEL: [&str; 13] = [
    "cgroup",
    "cpu",
    "cpuset",
    "debug",
    "dmem",
    "hugetlb",
    "io",
    "irq",
    "memory",
    "misc",
    "perf_event",
    "pids",
    "rdma",
];

/// The name of the sub-group that the annotations ask for; none if the container is to live in the scope itself.
pub(in super::super) fn name(annotations: Option<&HashMap<String, String>>) -> Result<Option<&str>> {
    let Some(name) = annotations.and_then(|all| all.get(ANNOTATION)) else { return Ok(Some(DEFAULT)) };
    let of_kernel = name.split_once('.').is_some_and(|(before, _)| OF_KERNEL.contains(&before));
    if matches!(&**name, "." | "..") || name.contains(['/', '\n', '\0']) || name.len() > LONGEST || of_kernel
    {
        let message = format!("{name:?} cannot be the name of a cgroup below the scope");
        return Err(Error::invalid(format!("/annotations/{ANNOTATION}"), message)
            .with_hint("use one name without a slash that no file of the kernel has in a cgroup"));
    }
    Ok(Some(&**name).filter(|name| !name.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(value: &str) -> HashMap<String, String> {
        HashMap::from([(ANNOTATION.to_owned(), value.to_owned())])
    }

    #[test]
    fn the_name_is_given_or_usual_or_none() {
        assert_eq!(name(None).unwrap(), Some("container"));
        assert_eq!(name(Some(&HashMap::new())).unwrap(), Some("container"));
        assert_eq!(name(Some(&given(""))).unwrap(), None);
        for good in ["payload", "a.scope", "..a", "memory", "a b"] {
            assert_eq!(name(Some(&given(good))).unwrap(), Some(good));
        }
    }

    #[test]
    fn a_name_that_leads_elsewhere_is_refused() {
        let long = "n".repeat(256);
        for bad in [".", "..", "/", "a/b", "../x", "a\nb", "a\0b", "memory.max", "cgroup.procs", &long] {
            let error = name(Some(&given(bad))).unwrap_err();
            assert_eq!(error.pointer(), Some("/annotations/run.oci.systemd.subgroup"), "{bad:?}");
        }
    }
}
