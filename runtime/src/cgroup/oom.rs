//! Notices of out-of-memory kills in a container.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::AT_FDCWD;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

use super::file;
use super::handle::Cgroup;
use super::oom_notices::Notices;
use crate::error::{Error, ErrorKind, Result};

/// A watch on the out-of-memory kills in a cgroup.
///
/// Its descriptor becomes readable when something has happened, and [`OomWatch::read`] says what. Make the watch before the
/// container starts: a kill in its first milliseconds counts too. A kill is counted before the process ends, so a call
/// after a process was seen to end reports the kill that ended it, readable or not. Removing the cgroup wakes a watcher
/// of version 1 but not one of version 2, so a watcher should also poll for the end of the container.
#[derive(Debug)]
pub struct OomWatch {
    source: Source,
    counter: OwnedFd,
    path: PathBuf,
    seen: u64,
    /// Reports kills when the counter is gone; version 2.
    around: Option<Around>,
    /// Whether a kill was reported after that.
    told_last: bool,
    /// Whether only kills give notice, see [`OomWatch::read`].
    kills_only: bool,
    undecided: bool,
}

/// How long a reading of the parent's counter counts as current. The kernel leaves at least ten milliseconds between
/// two notices, and one that is still due is lost when the cgroup is removed. The rest is for a watcher that waits for a
/// processor: what it read last was prompted by a notice of this very cgroup.
const JUST_NOW: Duration = Duration::from_secs(1);

/// The counter of the parent cgroup, which counts kills in everything below it.
#[derive(Debug)]
struct Around {
    counter: OwnedFd,
    seen: u64,
    looked: Instant,
}

#[derive(Debug)]
enum Source {
    /// `cgroup.event_control` of version 1.
    V1(Notices),
    /// The modification events of `memory.events` of version 2.
    V2(Inotify),
}

impl Cgroup {
    /// Starts watching.
    pub(crate) fn watch_oom(&self) -> Result<OomWatch> {
        if let Some(dir) = self.v1_dir("memory") {
            let path = dir.join("memory.oom_control");
            let fail = |errno: Errno| Error::os(errno, format!("watch {}", path.display()));
            let fd = file::open_dir(&dir).map_err(fail)?;
            let counter = file::open_read(&fd, "memory.oom_control").map_err(fail)?;
            let notices = Notices::of(&fd, &counter).map_err(fail)?;
            return OomWatch::new(Source::V1(notices), counter, path, None, false);
        }
        let Some(record) = self.v2() else {
            return Err(Error::new(ErrorKind::Unsupported, "the container has no memory cgroup to watch"));
        };
        let dir = record.path();
        let path = dir.join("memory.events");
        let fail = |errno: Errno| Error::os(errno, format!("watch {}", path.display()));
        let fd = file::open_dir(&dir).map_err(fail)?;
        let counter = file::open_read(&fd, "memory.events").map_err(fail)?;
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK).map_err(fail)?;
        inotify.add_watch(&path, AddWatchFlags::IN_MODIFY | AddWatchFlags::IN_DELETE_SELF).map_err(fail)?;
        // In a sub-group of a scope (systemd/sub_group.rs), these two are all else that memory.events reports.
        let is = |name: &str, value: &str| file::read_at(&fd, name).is_ok_and(|text| text.trim() == value);
        let kills_only = record.scope.is_some() && is("memory.high", "max") && is("memory.low", "0");
        // The root has no such file; kills are counted elsewhere.
        let parent = record.top().parent().and_then(|parent| file::open_dir(parent).ok());
        let around = parent.and_then(|parent| file::open_read(&parent, "memory.events").ok());
        let around = around.or_else(|| file::open_read(AT_FDCWD, "/proc/vmstat").ok());
        OomWatch::new(Source::V2(inotify), counter, path, around, kills_only)
    }
}

impl OomWatch {
    fn new(
        source: Source,
        counter: OwnedFd,
        path: PathBuf,
        around: Option<OwnedFd>,
        kills_only: bool,
    ) -> Result<Self> {
        let around = around.and_then(Around::look);
        let mut watch =
            Self { source, counter, path, seen: 0, around, told_last: false, kills_only, undecided: false };
        watch.seen = watch.count()?.unwrap_or(0);
        Ok(watch)
    }

    /// Returns how many processes were killed since the last call, or `None` once the cgroup is gone. Never blocks.
    ///
    /// The cgroup may be gone before its count is read, since systemd removes a scope as soon as its last process has
    /// ended. A notice that has arrived, or may still be on its way, then counts as one kill if the parent cgroup has
    /// counted a kill since the last call; if that is unknown, it counts where only kills give notice. So a kill in a
    /// neighbouring cgroup at that moment can be mistaken for one in this cgroup.
    ///
    /// On version 1 the one notice that has arrived may be of a kill or of the removal: then the answer is `Some(0)`, and
    /// [`OomWatch::is_undecided`] until the descriptor has become readable once more, within a second.
    ///
    /// # Errors
    ///
    /// If a system call fails.
    pub fn read(&mut self) -> Result<Option<u64>> {
        let mut noticed = false;
        match &mut self.source {
            Source::V1(notices) => noticed = notices.take().map_err(|errno| failed(&self.path, errno))?,
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
        // Read before the container's own counter, which is counted first: what happens in between is seen twice rather
        // than never.
        let around = self.around.as_ref().and_then(Around::count);
        let Some(count) = self.count()? else {
            self.undecided = match &mut self.source {
                Source::V1(notices) if !noticed && !self.told_last => {
                    notices.awaits_removal().map_err(|errno| failed(&self.path, errno))?
                }
                _ => false,
            };
            if self.undecided {
                return Ok(Some(0));
            }
            let last = !self.told_last && self.was_killed(noticed, around);
            self.told_last |= last;
            return Ok(last.then_some(1));
        };
        if let (Some(before), Some(now)) = (&mut self.around, around) {
            (before.seen, before.looked) = (now, Instant::now());
        }
        let new = count.saturating_sub(self.seen);
        self.seen = count;
        if let Source::V1(notices) = &mut self.source {
            notices.counted(new).map_err(|errno| failed(&self.path, errno))?;
        }
        Ok(Some(new))
    }

    /// Whether the last [`OomWatch::read`] could not tell yet if a kill came right before the removal of the cgroup: wait
    /// for the descriptor, also after the end of the container, and read again.
    pub fn is_undecided(&self) -> bool {
        self.undecided
    }

    /// Whether there was a kill that the counter, now gone, can no longer report.
    fn was_killed(&self, noticed: bool, around: Option<u64>) -> bool {
        match (&self.source, &self.around, around) {
            (Source::V1(_), ..) => noticed,
            (Source::V2(_), Some(before), Some(now)) => {
                now > before.seen && (noticed || before.looked.elapsed() < JUST_NOW)
            }
            (Source::V2(_), ..) => noticed && self.kills_only,
        }
    }

    fn count(&self) -> Result<Option<u64>> {
        count(&self.counter).map_err(|errno| Error::os(errno, format!("read {}", self.path.display())))
    }
}

impl Around {
    fn look(counter: OwnedFd) -> Option<Self> {
        let seen = count(&counter).ok().flatten()?;
        Some(Self { counter, seen, looked: Instant::now() })
    }

    fn count(&self) -> Option<u64> {
        count(&self.counter).ok().flatten()
    }
}

/// How many processes were killed in a cgroup, if it is still there.
fn count(counter: &OwnedFd) -> nix::Result<Option<u64>> {
    let mut text = vec![0; 4096];
    let mut filled = 0;
    loop {
        let at = i64::try_from(filled).map_err(|_| Errno::EOVERFLOW)?;
        match nix::sys::uio::pread(counter, &mut text[filled..], at) {
            Ok(0) => return Ok(file::field(&String::from_utf8_lossy(&text[..filled]), "oom_kill")),
            Ok(count) => filled += count,
            Err(Errno::EINTR) => {}
            Err(Errno::ENODEV) => return Ok(None),
            Err(errno) => return Err(errno),
        }
        if filled == text.len() {
            text.resize(filled * 2, 0);
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
