//! Checks whether restored processes are confined as the configuration says.
//!
//! criu makes processes as the images describe them, and the images may come from anywhere. So everything that a
//! creation would have set is checked in the kernel once all is restored and before any process has run; any deviation
//! ends the restore. Limits can only be set again, so they are.

mod credentials;
mod files;
mod mounts;
mod namespaces;
mod seccomp;

use std::collections::BTreeSet;
use std::fs;

use oci_spec::runtime::{Process, Spec};

use super::super::checkpoint::{HostMount, MountView};
use crate::error::{Error, ErrorKind, Result};
use crate::linux::capability::Masks;
use crate::linux::namespace::Namespaces;
use crate::linux::{process_status, rlimit};
use crate::spawn;
use crate::sys::process;

pub(super) use seccomp::{Expected as ExpectedSeccomp, expected as expected_seccomp};

/// `CAP_SYS_ADMIN` and others, as bits.
pub(super) const SYS_ADMIN: u64 = 1 << 21;
const SYS_RESOURCE: u64 = 1 << 24;

/// What restored processes are compared with.
pub(super) struct Policy<'p> {
    pub(super) spec: &'p Spec,
    pub(super) namespaces: &'p Namespaces,
    /// The sets of the configuration, without those that the runtime cannot grant.
    pub(super) capabilities: Masks,
    pub(super) rootfs: &'p std::path::Path,
    pub(super) host_mounts: &'p [HostMount],
    pub(super) seccomp: ExpectedSeccomp,
    /// criu's cgroup, which is the container's: the lines of its /proc/PID/cgroup.
    pub(super) cgroups: &'p str,
    /// The pid of criu, whose mounts are copies of the host's.
    pub(super) criu: &'p str,
    /// The security label that criu was given, if it is not the configuration's.
    pub(super) label: Option<&'p str>,
    /// Device and inode of the caller's streams.
    pub(super) streams: &'p [(u64, u64)],
}

/// The refusal of a restore.
fn refuse(what: impl std::fmt::Display, pointer: &str) -> Error {
    Error::new(ErrorKind::InvalidSpec, format!("the checkpoint does not fit the configuration: {what}"))
        .at(pointer)
}

/// Compares everything; criu has stopped the processes.
pub(super) fn verify(init: i32, policy: &Policy<'_>) -> Result<()> {
    mounts::protect(init, &MountView::of(&init.to_string())?, policy)?;
    let view = MountView::of(&init.to_string())?;
    mounts::verify(&view, policy)?;
    namespaces::verify_init(init, policy)?;
    for pid in descendants(init)? {
        verify_process(init, pid, &view, policy)
            .map_err(|error| error.during(format_args!("process {pid}")))?;
        set_limits(pid, policy)?;
    }
    Ok(())
}

fn verify_process(init: i32, pid: i32, view: &MountView, policy: &Policy<'_>) -> Result<()> {
    verify_cgroup(pid, policy)?;
    namespaces::verify_process(init, pid, policy)?;
    mounts::verify_process(init, pid, view, policy)?;
    files::verify(pid, policy)?;
    for thread in list(&format!("/proc/{pid}/task"))? {
        let status = read(&format!("/proc/{pid}/task/{thread}/status"))?;
        let status = process_status::parse(&status).ok_or_else(|| {
            Error::new(ErrorKind::System, format!("/proc/{pid}/task/{thread}/status is incomplete"))
        })?;
        credentials::verify(&status, policy)?;
        seccomp::verify(&status, policy)?;
        credentials::verify_label(pid, &thread.to_string(), policy)?;
    }
    Ok(())
}

/// A process and all its descendants.
fn descendants(init: i32) -> Result<Vec<i32>> {
    let mut all = vec![init];
    let mut next = 0;
    while let Some(&pid) = all.get(next) {
        next += 1;
        for thread in list(&format!("/proc/{pid}/task"))? {
            let children = read(&format!("/proc/{pid}/task/{thread}/children"))?;
            all.extend(children.split_ascii_whitespace().filter_map(|child| child.parse::<i32>().ok()));
        }
    }
    Ok(all)
}

/// A process in a cgroup other than the container's would be neither limited nor killed with it.
fn verify_cgroup(pid: i32, policy: &Policy<'_>) -> Result<()> {
    let text = read(&format!("/proc/{pid}/cgroup"))?;
    for line in policy.cgroups.lines() {
        let Some((hierarchy, top)) = split_cgroup(line) else { continue };
        let inside = text.lines().filter_map(split_cgroup).any(|(other, path)| {
            let below = path.strip_prefix(top.trim_end_matches('/'));
            other == hierarchy && below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        });
        if !inside {
            return Err(refuse(format_args!("it is not in cgroup {top}"), "/linux/cgroupsPath"));
        }
    }
    Ok(())
}

/// "4:memory:/a" to "4:memory" and "/a".
fn split_cgroup(line: &str) -> Option<(&str, &str)> {
    let (at, _) = line.match_indices(':').nth(1)?;
    Some((line.get(..at)?, line.get(at + 1..)?))
}

/// Resource limits and the out-of-memory score adjustment: never better than configured.
fn set_limits(pid: i32, policy: &Policy<'_>) -> Result<()> {
    let Some(process) = policy.spec.process() else { return Ok(()) };
    // Processes that may raise limits may have raised them.
    if policy.capabilities.bounding & SYS_RESOURCE != 0 {
        return Ok(());
    }
    for (index, limit) in process.rlimits().iter().flatten().enumerate() {
        let (resource, soft, hard) = rlimit::values(limit);
        let fail = |errno| {
            Error::os(errno, format!("set resource limit {resource} of process {pid}"))
                .at(format!("/process/rlimits/{index}"))
        };
        let (now_soft, now_hard) = process::rlimit(pid, resource).map_err(fail)?;
        if now_hard > hard {
            let soft = if now_soft > hard { soft } else { now_soft };
            process::set_rlimit(pid, resource, soft, hard).map_err(fail)?;
        }
    }
    let configured = process.oom_score_adj();
    let now = read(&format!("/proc/{pid}/oom_score_adj"))?.trim().parse::<i32>().ok();
    match (configured, now) {
        (Some(configured), Some(now)) if now < configured => spawn::set_oom_score(pid, configured),
        _ => Ok(()),
    }
}

fn read(file: &str) -> Result<String> {
    fs::read_to_string(file).map_err(|error| Error::io(&error, format!("read {file}")))
}

/// The numbered entries of a directory of procfs.
fn list(directory: &str) -> Result<BTreeSet<i32>> {
    let fail = |error: std::io::Error| Error::io(&error, format!("read the directory {directory}"));
    let mut all = BTreeSet::new();
    for entry in fs::read_dir(directory).map_err(fail)? {
        all.extend(entry.map_err(fail)?.file_name().to_str().and_then(|name| name.parse::<i32>().ok()));
    }
    Ok(all)
}

/// A property of the process, which must exist: without one nothing can have been saved.
fn process_of<'p>(policy: &Policy<'p>) -> Result<&'p Process> {
    policy.spec.process().as_ref().ok_or_else(|| refuse("there is no process to restore", "/process"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_proc_pid_cgroup_are_split() {
        assert_eq!(split_cgroup("4:cpu,cpuacct:/a:b"), Some(("4:cpu,cpuacct", "/a:b")));
        assert_eq!(split_cgroup("0::/x"), Some(("0:", "/x")));
        assert_eq!(split_cgroup("broken"), None);
    }

    #[test]
    fn children_are_found() {
        let mut child = std::process::Command::new("sleep").arg("100").spawn().expect("sleep");
        let found = descendants(std::process::id() as i32).expect("procfs");
        assert!(found.contains(&(child.id() as i32)));
        child.kill().expect("kill");
        child.wait().expect("wait");
    }
}
