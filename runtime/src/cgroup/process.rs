//! The processes of a cgroup: listing them, signalling all of them.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::file;
use super::handle::{Cgroup, DirRecord};
use super::tree;
use crate::error::{Error, ErrorKind, Result};
use crate::sys::pidfd;

/// How many rounds a signal makes to reach processes that were forked in the meantime. Without a freezer a fork bomb
/// could always stay ahead by one; with one, two rounds are enough.
const ROUNDS: usize = 100;

impl Cgroup {
    /// The pids in the container's cgroup, with those of its sub-cgroups if `recursive`.
    pub(crate) fn processes(&self, recursive: bool) -> Result<Vec<i32>> {
        match self.process_dir() {
            Some(dir) => list(&dir, recursive),
            None => Ok(Vec::new()),
        }
    }

    /// Sends a signal to every process of the container, including frozen ones, and to none outside of it.
    ///
    /// KILL always ends with a thawed cgroup, sub-cgroups included, as version 1 kills no process while it is frozen.
    /// After another signal, a paused container stays paused: the signal waits, or ends the process if it has no
    /// handler and the freezer is that of version 2.
    pub(crate) fn kill(&self, signal: i32) -> Result<()> {
        let all = signal == libc::SIGKILL;
        // The surrounding scope has no processes of its own, except those of a creation that got no further.
        if all && let Some(dir) = self.v2().map(DirRecord::top) {
            // Since Linux 5.14, one write kills the whole tree, including forks in flight.
            match file::open_dir(&dir).and_then(|dir| file::write_at(&dir, "cgroup.kill", "1")) {
                Ok(()) | Err(Errno::ENOENT | Errno::ENODEV) if self.only_v2() => return Ok(()),
                Ok(()) | Err(Errno::ENOENT | Errno::ENODEV | Errno::EOPNOTSUPP) => {} // threaded, or hybrid
                Err(errno) => {
                    return Err(Error::os(errno, format!("write 1 to {}/cgroup.kill", dir.display())));
                }
            }
        }
        let was_frozen = self.frozen()?;
        // Frozen processes cannot fork away from the list. If freezing fails, further rounds catch them.
        let froze = !was_frozen && self.freeze_within(Duration::from_millis(500)).is_ok();
        let mut known = Vec::new();
        let again = all && !froze && !was_frozen;
        let sent = self.process_dirs().try_for_each(|dir| signal_all(&dir, signal, again, &mut known));
        let thawed = match () {
            () if all => self.thaw_tree(),
            () if froze => self.thaw(),
            () => Ok(()),
        };
        sent.and(thawed)
    }

    fn only_v2(&self) -> bool {
        self.record.dirs.iter().all(DirRecord::is_v2)
    }

    /// The hierarchy whose list of processes counts: the unified one, or one of version 1 that every process is in.
    fn process_dir(&self) -> Option<PathBuf> {
        self.process_dirs().next()
    }

    /// The same and, on a hybrid machine, one of version 1 as well: a process can have left one of the two.
    pub(super) fn process_dirs(&self) -> impl Iterator<Item = PathBuf> {
        let v1 = ["freezer", "pids", "memory", "devices"].into_iter().find_map(|name| self.v1_dir(name));
        let v1 = v1.or_else(|| self.record.dirs.iter().find(|dir| !dir.is_v2()).map(DirRecord::path));
        self.v2_dir().into_iter().chain(v1)
    }
}

/// The pids in a cgroup; none if it is gone.
pub(super) fn list(dir: &Path, recursive: bool) -> Result<Vec<i32>> {
    let fail = |errno: Errno| Error::os(errno, format!("list the processes of cgroup {}", dir.display()));
    let mut pids = Vec::new();
    let mut take = |dir: &OwnedFd| match file::read_at(dir, "cgroup.procs") {
        Ok(text) => {
            pids.extend(text.lines().filter_map(|line| line.parse::<i32>().ok()));
            Ok(())
        }
        // It is gone, or threaded: the domain above lists the processes of threaded cgroups.
        Err(Errno::ENOENT | Errno::ENODEV | Errno::EOPNOTSUPP) => Ok(()),
        Err(errno) => Err(errno),
    };
    match file::open_dir(dir) {
        Ok(top) => take(&top).map_err(fail)?,
        Err(Errno::ENOENT) => return Ok(pids),
        Err(errno) => return Err(fail(errno)),
    }
    if recursive {
        tree::walk(dir, &mut |_, _, sub| take(sub)).map_err(fail)?;
    }
    pids.sort_unstable();
    pids.dedup();
    Ok(pids)
}

/// Signals every process of a cgroup tree that is not known yet; with `again`, until a round finds no new one.
fn signal_all(dir: &Path, signal: i32, again: bool, known: &mut Vec<i32>) -> Result<()> {
    for _ in 0..ROUNDS {
        let new: Vec<i32> = list(dir, true)?.into_iter().filter(|pid| !known.contains(pid)).collect();
        if new.is_empty() {
            return Ok(());
        }
        for (pid, pidfd) in verified(dir, &new)? {
            match pidfd::send_signal(pidfd.as_fd(), signal) {
                Ok(()) | Err(Errno::ESRCH) => {}
                Err(errno) => return Err(Error::os(errno, format!("send signal {signal} to process {pid}"))),
            }
        }
        known.extend(new);
        if !again {
            return Ok(());
        }
    }
    Err(Error::new(
        ErrorKind::Timeout,
        format!("the processes of cgroup {} fork faster than they are killed", dir.display()),
    ))
}

/// Descriptors of the processes that are in the cgroup both before and after they were opened: a pid that an unrelated
/// process reused in between is not in the second list.
fn verified(dir: &Path, pids: &[i32]) -> Result<Vec<(i32, OwnedFd)>> {
    let mut open = Vec::new();
    // Pid 0 stands for a process of another pid namespace, which has no pid here.
    for &pid in pids.iter().filter(|&&pid| pid > 0) {
        match pidfd::open(pid) {
            Ok(fd) => open.push((pid, fd)),
            Err(Errno::ESRCH | Errno::EINVAL) => {}
            Err(errno) => return Err(Error::os(errno, format!("open process {pid}"))),
        }
    }
    let still = list(dir, true)?;
    open.retain(|(pid, _)| still.contains(pid));
    Ok(open)
}

/// Waits until one of these processes ends, or time is up; returns whether there was one to wait for.
pub(super) fn wait_for_an_exit(pids: &[i32], patience: Duration) -> bool {
    // A few are enough: the caller checks again after each exit.
    let open: Vec<OwnedFd> = pids.iter().take(64).filter_map(|&pid| pidfd::open(pid).ok()).collect();
    let mut polled: Vec<PollFd<'_>> =
        open.iter().map(|fd| PollFd::new(fd.as_fd(), PollFlags::POLLIN)).collect();
    if polled.is_empty() {
        return false;
    }
    let timeout = PollTimeout::try_from(patience.as_millis()).unwrap_or(PollTimeout::MAX);
    // An interrupted wait only means an early check.
    !matches!(poll(&mut polled, timeout), Err(errno) if errno != Errno::EINTR)
}

/// The name of a process, for a message.
pub(super) fn name(pid: i32) -> String {
    let comm = std::fs::read_to_string(format!("/proc/{pid}/comm"));
    comm.map_or_else(|_| "?".to_owned(), |comm| comm.trim_end().escape_default().to_string())
}
