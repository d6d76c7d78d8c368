//! The processes of a container: those in its cgroup or, if its creator could make none, in its pid namespace.

use std::os::fd::AsFd as _;
use std::os::unix::fs::MetadataExt as _;

use nix::errno::Errno;

use super::handle::Container;
use crate::cgroup::no_cgroup;
use crate::error::{Error, Result};
use crate::sys::pidfd;

impl Container {
    /// The pids of all processes of the container, in the caller's pid namespace: those in its cgroup or, if it has
    /// none, those in the pid namespace that its init leads.
    ///
    /// # Errors
    ///
    /// If they cannot be listed; `ErrorKind::Unsupported` if the container has neither.
    pub fn processes(&self) -> Result<Vec<i32>> {
        if !self.cgroup().is_none() {
            return self.cgroup().processes(true);
        }
        if self.init()?.is_none() {
            return Ok(Vec::new());
        }
        let init = self.pid().unwrap_or(0);
        match namespace(init) {
            Some(inode) if leads_pid_namespace(init) => members(inode),
            _ => Err(no_cgroup()
                .with_hint("its processes cannot be told from others, as it has no pid namespace either")),
        }
    }

    /// Sends a signal to every process of the container. A stopped container has none, which is not an error.
    ///
    /// # Errors
    ///
    /// If the kernel refuses the signal, or as [`Container::processes`].
    pub fn kill_all(&self, signal: i32) -> Result<()> {
        if !self.cgroup().is_none() {
            return self.cgroup().kill(signal);
        }
        let wanted = self.pid().and_then(namespace);
        for pid in self.processes()? {
            let process = match pidfd::open(pid) {
                Ok(process) => process,
                Err(Errno::ESRCH | Errno::EINVAL) => continue,
                Err(errno) => return Err(Error::os(errno, format!("open process {pid}"))),
            };
            // A pid that was reused in between belongs to an unrelated process.
            if namespace(pid) != wanted {
                continue;
            }
            match pidfd::send_signal(process.as_fd(), signal) {
                Ok(()) | Err(Errno::ESRCH) => {}
                Err(errno) => return Err(Error::os(errno, format!("send signal {signal} to process {pid}"))),
            }
        }
        Ok(())
    }
}

/// The pid namespace of a process, if the caller may read it.
fn namespace(pid: i32) -> Option<u64> {
    std::fs::metadata(format!("/proc/{pid}/ns/pid")).ok().map(|namespace| namespace.ino())
}

/// Whether the process is number 1 of its pid namespace; a joined one has processes of others.
pub(super) fn leads_pid_namespace(pid: i32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("NSpid:")).unwrap_or_default();
    let mut numbers = line.split_ascii_whitespace().rev();
    numbers.next() == Some("1") && numbers.next().is_some()
}

fn members(wanted: u64) -> Result<Vec<i32>> {
    let entries = std::fs::read_dir("/proc").map_err(|error| Error::io(&error, "read /proc"))?;
    let mut pids: Vec<i32> = entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|pid| namespace(*pid) == Some(wanted))
        .collect();
    pids.sort_unstable();
    Ok(pids)
}
