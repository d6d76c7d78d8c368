//! Hearing of it when the kernel kills a process of the container for lack of memory.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

use super::file;
use super::handle::Cgroup;
use super::oom_notices::Notices;
use crate::error::{Error, Kind, Result};

/// A watch on the out-of-memory kills in a cgroup.
///
/// Its descriptor becomes readable when something happened; [`OomWatch::read`] tells what. It should be made before
/// the container starts: a kill in its first milliseconds counts too. A kill is counted before the process ends, so a
/// call after an end that was seen tells of a kill that caused it, readable or not. The removal of the cgroup wakes a watcher of
/// version 1 but not one of version 2, so a watcher also polls for the end of the container.
#[derive(Debug)]
pub struct OomWatch {
    source: Source,
    counter: OwnedFd,
    path: PathBuf,
    seen: u64,
    /// Whether there is no notice but of kills, see [`OomWatch::read`].
    kills_only: bool,
}

#[derive(Debug)]
enum Source {
    /// `cgroup.event_control` of version 1.
    V1(Notices),
    /// The modification events of `memory.events` of version 2.
    V2(Inotify),
}

impl Cgroup {
    /// Begins to watch.
    pub(crate) fn watch_oom(&self) -> Result<OomWatch> {
        if let Some(dir) = self.v1_dir("memory") {
            let path = dir.join("memory.oom_control");
            let fail = |errno: Errno| Error::os(errno, format!("watch {}", path.display()));
            let fd = file::open_dir(&dir).map_err(fail)?;
            let counter = file::open_read(&fd, "memory.oom_control").map_err(fail)?;
            let notices = Notices::of(&fd, &counter).map_err(fail)?;
            return OomWatch::new(Source::V1(notices), counter, path, false);
        }
        let Some(record) = self.v2() else {
            return Err(Error::new(Kind::Unsupported, "the container has no memory cgroup to watch"));
        };
        let dir = record.path();
        let path = dir.join("memory.events");
        let fail = |errno: Errno| Error::os(errno, format!("watch {}", path.display()));
        let fd = file::open_dir(&dir).map_err(fail)?;
        let counter = file::open_read(&fd, "memory.events").map_err(fail)?;
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK).map_err(fail)?;
        inotify.add_watch(&path, AddWatchFlags::IN_MODIFY | AddWatchFlags::IN_DELETE_SELF).map_err(fail)?;
        // In a sub-group of a scope (systemd/sub_group.rs) these two are all that memory.events tells besides.
        let is = |name: &str, value: &str| file::read_at(&fd, name).is_ok_and(|text| text.trim() == value);
        let kills_only = record.scope.is_some() && is("memory.high", "max") && is("memory.low", "0");
        OomWatch::new(Source::V2(inotify), counter, path, kills_only)
    }
}

impl OomWatch {
    fn new(source: Source, counter: OwnedFd, path: PathBuf, kills_only: bool) -> Result<Self> {
        let mut watch = Self { source, counter, path, seen: 0, kills_only };
        watch.seen = watch.count()?.unwrap_or(0);
        Ok(watch)
    }

    /// How many processes were killed since the last call, or nothing when the cgroup is gone; never blocks.
    ///
    /// systemd removes the cgroup of a scope as soon as its last process has ended, which may be before anybody could
    /// read how many were killed. Where nothing but a kill gives notice, such a notice counts as one.
    ///
    /// # Errors
    ///
    /// The failure of a system call.
    pub fn read(&mut self) -> Result<Option<u64>> {
        let mut noticed = false;
        match &mut self.source {
            Source::V1(notices) => notices.take().map_err(|errno| failed(&self.path, errno))?,
            Source::V2(inotify) => loop {
                match inotify.read_events() {
                    Ok(events) => {
                        noticed |= events.iter().any(|event| event.mask.contains(AddWatchFlags::IN_MODIFY));
                    }
                    Err(Errno::EINTR) => {}
                    Err(Errno::EAGAIN) => break,
                    Err(errno) => return Err(failed(&self.path, errno)),
                }
            },
        }
        let Some(count) = self.count()? else { return Ok((noticed && self.kills_only).then_some(1)) };
        let new = count.saturating_sub(self.seen);
        self.seen = count;
        if let Source::V1(notices) = &mut self.source {
            notices.counted(new).map_err(|errno| failed(&self.path, errno))?;
        }
        Ok(Some(new))
    }

    fn count(&self) -> Result<Option<u64>> {
        let mut text = [0; 512];
        match nix::sys::uio::pread(&self.counter, &mut text, 0) {
            Ok(count) => Ok(file::field(&String::from_utf8_lossy(&text[..count]), "oom_kill")),
            Err(Errno::ENODEV) => Ok(None),
            Err(errno) => Err(Error::os(errno, format!("read {}", self.path.display()))),
        }
    }
}

fn failed(path: &Path, errno: Errno) -> Error {
    Error::os(errno, format!("watch {}", path.display()))
}

impl AsFd for OomWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.source {
            Source::V1(notices) => notices.as_fd(),
            Source::V2(inotify) => inotify.as_fd(),
        }
    }
}
