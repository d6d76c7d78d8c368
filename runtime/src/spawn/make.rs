//! The birth of the child: which descriptors it keeps, and the threads and namespaces that it is born in.

use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use nix::errno::Errno;

use super::Resources;
use super::apart::apart;
use crate::child::{Inherited, birth};
use crate::error::{Error, Result};
use crate::plan::Plan;
use crate::sys::clone;
use crate::sys::marks::Marks;

/// Clones the child, on a separate thread if it must be born into other namespaces.
pub(super) fn make_child(
    plan: &Plan,
    resources: &Resources<'_>,
    sync: RawFd,
    marks: Option<&Marks>,
) -> Result<(i32, OwnedFd)> {
    let namespaces: Vec<RawFd> = resources.namespaces.iter().map(AsRawFd::as_raw_fd).collect();
    let listener = resources.listener.map_or(-1, |fd| fd.as_raw_fd());
    let mut keep: Vec<RawFd> =
        resources.streams.into_iter().chain([sync, listener]).chain(namespaces.iter().copied()).collect();
    let preserved = (0..resources.preserved).map(|number| number as RawFd + 3);
    keep.extend(preserved.filter(|fd| !resources.absent.contains(fd)));
    keep.retain(|fd| *fd >= 0);
    keep.sort_unstable();
    keep.dedup();
    let (streams, absent) = (resources.streams, resources.absent);
    let inherited =
        Inherited { sync, listener, streams, namespaces: &namespaces, keep: &keep, absent, marks };
    if resources.born_joined.is_empty() {
        return clone_child(plan, inherited, resources);
    }
    apart(|| {
        for ((namespace, kind), (path, _, place)) in resources.born_joined.iter().zip(&plan.born_joined) {
            clone::setns(namespace.as_raw_fd(), *kind).map_err(|errno| {
                Error::os(errno, format!("join namespace {}", path.display()))
                    .at(place.pointer().unwrap_or_default())
            })?;
        }
        clone_child(plan, inherited, resources)
    })
}

fn clone_child(plan: &Plan, inherited: Inherited<'_>, resources: &Resources<'_>) -> Result<(i32, OwnedFd)> {
    let flags = plan.born_with | if resources.sibling { libc::CLONE_PARENT } else { 0 };
    let make = |cgroup| birth::make(&plan.program, flags, inherited, cgroup);
    let made = match make(resources.cgroup) {
        // The two cgroups have no common ancestor that the caller may write to (cgroups(7), Delegation containment).
        Err(errno @ (Errno::EACCES | Errno::ENOENT))
            if resources.cgroup_optional && resources.cgroup.is_some() =>
        {
            log::warn!(
                "the new process is not in the container's cgroup, and its limits do not hold for it: {}",
                errno.desc()
            );
            make(None)
        }
        made => made,
    };
    made.map_err(|errno| clone_failed(errno, plan.born_with))
}

fn clone_failed(errno: Errno, born_with: i32) -> Error {
    let error = Error::os(errno, "make the container's process (clone3)");
    match errno {
        Errno::ENOSPC => error
            .at("/linux/namespaces")
            .with_hint("the limit of nested or existing namespaces is reached: see /proc/sys/user"),
        Errno::EPERM if born_with & libc::CLONE_NEWUSER != 0 => {
            error.at("/linux/namespaces").with_hint(
                "this host does not let the caller make user namespaces: see \
                 /proc/sys/kernel/unprivileged_userns_clone, /proc/sys/kernel/apparmor_restrict_unprivileged_userns",
            )
        }
        Errno::EACCES => error.at("/linux/cgroupsPath").with_hint(
            "the caller may not move a process from his own cgroup to that of the container: no cgroup above both \
             is delegated to him",
        ),
        Errno::EAGAIN => error.with_hint("a pids limit of the runtime's own cgroup or a process limit is reached"),
        Errno::EBUSY => {
            error.with_hint("the cgroup has children with controllers enabled and may not hold processes itself")
        }
        _ => error,
    }
}
