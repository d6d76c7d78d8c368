//! Removing the cgroup of a container.

use std::path::Path;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::AT_FDCWD;
use nix::unistd::{UnlinkatFlags, unlinkat};

use super::freezer::wait_for;
use super::handle::Cgroup;
use super::process;
use super::tree;
use crate::error::{Error, ErrorKind, Result};

impl Cgroup {
    /// Ends every process of the container, and removes everything that was made for its cgroup.
    ///
    /// Processes that share the pid namespace, or that init left behind, live as long as the cgroup lets them.
    pub(crate) fn destroy(&self, patience: Duration) -> Result<()> {
        if self.is_vacated() {
            return self.remove(patience);
        }
        self.kill(libc::SIGKILL)?;
        if self.frozen().unwrap_or(false) {
            self.thaw()?;
        }
        if let Some(scope) = &self.record.scope
            && let Err(error) = scope.stop()
        {
            // Its processes are dead, so systemd forgets the unit as soon as it works again.
            log::warn!("{error}");
        }
        self.remove(patience)
    }

    /// Whether no process is left to end: an empty cgroup can be removed, one with a process or a sub-cgroup cannot. So
    /// either the directories that list processes are gone afterwards, or this is false. The usual case at the end of a
    /// container.
    fn is_vacated(&self) -> bool {
        let is_gone = |dir: &Path| {
            let removed = unlinkat(AT_FDCWD, dir, UnlinkatFlags::RemoveDir);
            matches!(removed, Ok(()) | Err(Errno::ENOENT | Errno::ENODEV))
        };
        // systemd removes the directories of its scopes itself, with the unit.
        self.record.scope.is_none()
            && self.process_dirs().all(|dir| self.record.made.contains(&dir) && is_gone(&dir))
    }

    /// Removes what an interrupted creation was about to make, as far as it exists and is empty: no process of the
    /// container has been in it yet, so anything in it belongs to another program.
    pub(crate) fn unmake(&self) {
        tree::unmake(&self.record.made);
    }

    /// Removes the directories that the creation made, with everything that the container nested in them.
    ///
    /// Waits at most `patience` for processes that are about to end. A directory that existed before the container is
    /// not touched; a parent that the creation made goes too, unless another container uses it by now.
    pub(crate) fn remove(&self, patience: Duration) -> Result<()> {
        let end = Instant::now() + patience;
        let mut first_error = None;
        for dir in &self.record.dirs {
            let path = dir.path();
            if !self.record.made.contains(&path) {
                continue;
            }
            if let Err(error) = remove_tree(&path, dir.is_v2(), end) {
                first_error.get_or_insert(error);
            }
        }
        if let Some(error) = first_error {
            return Err(error);
        }
        let parents =
            self.record.made.iter().filter(|made| self.record.dirs.iter().all(|d| d.path() != **made));
        tree::unmake(&parents.cloned().collect::<Vec<_>>());
        Ok(())
    }
}

fn remove_tree(path: &Path, v2: bool, end: Instant) -> Result<()> {
    let fail = |errno: Errno| Error::os(errno, format!("remove cgroup {}", path.display()));
    let mut pause = Duration::from_millis(1);
    loop {
        match unlinkat(AT_FDCWD, path, UnlinkatFlags::RemoveDir) {
            Ok(()) | Err(Errno::ENOENT | Errno::ENODEV) => return Ok(()),
            Err(Errno::EBUSY | Errno::ENOTEMPTY) => {}
            Err(Errno::EINTR) => continue,
            Err(errno) => return Err(fail(errno)),
        }
        if has_children(path) {
            tree::remove_below(path).map_err(fail)?;
            if !has_children(path) {
                continue;
            }
        }
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(held(path));
        }
        let waited = if v2 {
            // The kernel wakes us when the last process of the whole tree is gone. It does so a moment before the
            // directory can be removed.
            !super::file::read(&path.join("cgroup.events")).is_ok_and(|e| e.contains("populated 0"))
                && wait_for(path, |events| events.contains("populated 0"), end)?
        } else {
            process::wait_for_an_exit(&process::list(path, true)?, left)
        };
        if !waited {
            // No process is listed, but the kernel is still dropping the last references, which cannot be polled for.
            std::thread::sleep(pause.min(left));
            pause = (pause * 2).min(Duration::from_millis(50));
        }
    }
}

fn has_children(path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    path.symlink_metadata().is_ok_and(|meta| meta.nlink() > 2)
}

/// Names the processes that keep the cgroup from being removed.
fn held(path: &Path) -> Error {
    let pids = process::list(path, true).unwrap_or_default();
    let named: Vec<_> = pids.iter().take(8).map(|&pid| format!("{pid} ({})", process::name(pid))).collect();
    let more = if pids.len() > named.len() { ", ..." } else { "" };
    let who = if named.is_empty() {
        "no process is in it".to_owned()
    } else {
        format!("{} process(es) are in it: {}{more}", pids.len(), named.join(", "))
    };
    Error::os(Errno::EBUSY, format!("remove cgroup {}: {who}", path.display())).with_kind(ErrorKind::Timeout)
}
