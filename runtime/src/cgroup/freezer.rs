//! Freezing and thawing all processes of a container.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::file;
use super::handle::{Cgroup, no_cgroup};
use super::tree;
use crate::error::{Error, ErrorKind, Result};

/// How long a container may take to freeze: a process in an uninterruptible wait delays it.
const PATIENCE: Duration = Duration::from_secs(10);

impl Cgroup {
    /// Freezes every process of the container, or leaves all of them running and fails.
    pub(crate) fn freeze(&self) -> Result<()> {
        self.freeze_within(PATIENCE)
    }

    /// The same with another time limit.
    pub(super) fn freeze_within(&self, patience: Duration) -> Result<()> {
        if self.is_none() {
            return Err(no_cgroup());
        }
        let end = Instant::now() + patience;
        let frozen = match (self.v2_dir(), self.v1_dir("freezer")) {
            (Some(dir), _) => freeze_v2(&dir, end),
            (None, Some(dir)) => freeze_v1(&dir, end),
            (None, None) => return Err(no_freezer()),
        };
        frozen.inspect_err(|_| {
            // Half-frozen is the worst state.
            if let Err(error) = self.thaw() {
                log::warn!("{error}");
            }
        })
    }

    /// Lets the processes run again.
    pub(crate) fn thaw(&self) -> Result<()> {
        if self.is_none() {
            return Ok(());
        }
        let (mut found, mut held) = (false, None);
        if let Some(dir) = self.v2_dir() {
            found = true;
            if !write_if_there(&dir, "cgroup.freeze", "0")? {
                return Ok(());
            }
            let settled = |end| wait_for(&dir, |events| is_settled(events, 0), end);
            if !settled(Instant::now())? {
                held = self.held_above();
            }
            if held.is_none() && !settled(Instant::now() + PATIENCE)? {
                return Err(Error::new(
                    ErrorKind::Timeout,
                    format!("cgroup {} does not thaw", dir.display()),
                )
                .with_hint("a cgroup above it may be frozen"));
            }
        }
        // On a hybrid machine another program may have used the old freezer.
        if let Some(dir) = self.v1_dir("freezer") {
            found = true;
            write_if_there(&dir, "freezer.state", "THAWED")?;
            // The state changes at once, unless an ancestor is frozen.
            if state_v1(&dir)?.is_some_and(|state| state != "THAWED") {
                held = held.or_else(|| self.held_above());
            }
        }
        match held {
            Some(error) => Err(error),
            None if found => Ok(()),
            None => Err(no_freezer()),
        }
    }

    /// Thaws the container and every sub-cgroup that it froze itself.
    pub(super) fn thaw_tree(&self) -> Result<()> {
        let thaw = |dir: &Path, name: &str, value: &str| {
            let all = tree::walk(dir, &mut |_, _, sub| match file::write_at(sub, name, value) {
                Ok(()) | Err(Errno::ENOENT | Errno::ENODEV) => Ok(()),
                Err(errno) => Err(errno),
            });
            all.map_err(|errno| Error::os(errno, format!("thaw the sub cgroups of {}", dir.display())))
        };
        if let Some(dir) = self.v2_dir() {
            thaw(&dir, "cgroup.freeze", "0")?;
        }
        if let Some(dir) = self.v1_dir("freezer") {
            thaw(&dir, "freezer.state", "THAWED")?;
        }
        self.thaw()
    }

    /// Whether the container is frozen or about to be, by whatever means.
    pub(crate) fn frozen(&self) -> Result<bool> {
        if let Some(dir) = self.v2_dir()
            && frozen_v2(&dir)? == Some(true)
        {
            return Ok(true);
        }
        match self.v1_dir("freezer") {
            Some(dir) => Ok(state_v1(&dir)?.is_some_and(|state| state != "THAWED")),
            None => Ok(false),
        }
    }
}

/// Writes, unless the cgroup was removed: then nothing in it is frozen. Returns whether it was there.
fn write_if_there(dir: &Path, name: &str, value: &str) -> Result<bool> {
    match write(dir, name, value) {
        Ok(()) => Ok(true),
        Err(_) if !dir.exists() => Ok(false),
        Err(error) => Err(error),
    }
}

fn no_freezer() -> Error {
    Error::new(ErrorKind::Unsupported, "this machine has no freezer for cgroups")
}

fn freeze_v2(dir: &Path, end: Instant) -> Result<()> {
    write(dir, "cgroup.freeze", "1")?;
    if wait_for(dir, |events| is_settled(events, 1), end)? { Ok(()) } else { Err(not_frozen(dir)) }
}

/// The old freezer reports FREEZING while a process resists or was forked in the meantime; writing again catches the
/// latter. Two processes that wait for each other in the kernel never both stop: thawing for a moment lets them go on.
/// The file cannot be polled.
fn freeze_v1(dir: &Path, end: Instant) -> Result<()> {
    for round in 1_u32.. {
        write(dir, "freezer.state", "FROZEN")?;
        match state_v1(dir)?.as_deref() {
            Some("FROZEN") => return Ok(()),
            None => return Err(Error::os(Errno::ENOENT, format!("freeze cgroup {}", dir.display()))),
            Some(_) => {}
        }
        if Instant::now() > end {
            break;
        }
        if round % 50 == 0 {
            write(dir, "freezer.state", "THAWED")?;
            std::thread::sleep(Duration::from_millis(10));
        } else {
            std::thread::sleep(Duration::from_micros(u64::from(round.min(50)) * 50));
        }
    }
    Err(not_frozen(dir))
}

fn not_frozen(dir: &Path) -> Error {
    Error::new(ErrorKind::Timeout, format!("unable to freeze cgroup {} in time", dir.display()))
        .with_hint("a process in it is in an uninterruptible wait")
}

fn write(dir: &Path, name: &str, value: &str) -> Result<()> {
    let written = file::open_dir(dir).and_then(|dir| file::write_at(&dir, name, value));
    written.map_err(|errno| Error::os(errno, format!("write {value} to {}", dir.join(name).display())))
}

fn read(dir: &Path, name: &str) -> Result<Option<String>> {
    match file::read_path(&dir.join(name)) {
        Ok(text) => Ok(Some(text.trim_end().to_owned())),
        Err(Errno::ENOENT | Errno::ENODEV) => Ok(None),
        Err(errno) => Err(Error::os(errno, format!("read {}", dir.join(name).display()))),
    }
}

fn state_v1(dir: &Path) -> Result<Option<String>> {
    read(dir, "freezer.state")
}

/// Whether the processes have reached the wanted state. Without processes there is nothing to reach, and the flag may
/// be wrong: a cgroup whose last process died while frozen can keep saying so for ever (seen on Linux 6.18).
fn is_settled(events: &str, frozen: u64) -> bool {
    file::field(events, "frozen") == Some(frozen) || file::field(events, "populated") == Some(0)
}

/// Frozen, or told to freeze: a request counts before it is complete. For an empty cgroup only requests count, its own
/// and those of its ancestors.
fn frozen_v2(dir: &Path) -> Result<Option<bool>> {
    let Some(wanted) = read(dir, "cgroup.freeze")? else { return Ok(None) };
    if wanted == "1" {
        return Ok(Some(true));
    }
    let events = read(dir, "cgroup.events")?.unwrap_or_default();
    if file::field(&events, "frozen") != Some(1) {
        return Ok(Some(false));
    }
    if file::field(&events, "populated") == Some(1) {
        return Ok(Some(true));
    }
    for above in dir.ancestors().skip(1) {
        match read(above, "cgroup.freeze")?.as_deref() {
            Some("1") => return Ok(Some(true)),
            Some(_) => {}
            None => break, // the root cannot be frozen
        }
    }
    Ok(Some(false))
}

/// Waits until the text of `cgroup.events` is as wanted; the kernel wakes a poll at each change.
pub(super) fn wait_for(dir: &Path, wished: impl Fn(&str) -> bool, end: Instant) -> Result<bool> {
    let fail = |errno: Errno| Error::os(errno, format!("watch {}/cgroup.events", dir.display()));
    let events: OwnedFd = match file::open_dir(dir).and_then(|dir| file::open_read(&dir, "cgroup.events")) {
        Ok(events) => events,
        Err(Errno::ENOENT | Errno::ENODEV) => return Ok(true), // gone: neither frozen nor populated
        Err(errno) => return Err(fail(errno)),
    };
    loop {
        let mut text = [0; 256];
        let text = match nix::sys::uio::pread(&events, &mut text, 0) {
            Ok(count) => String::from_utf8_lossy(&text[..count]).into_owned(),
            Err(Errno::ENODEV) => return Ok(true),
            Err(Errno::EINTR) => continue,
            Err(errno) => return Err(fail(errno)),
        };
        if wished(&text) {
            return Ok(true);
        }
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(false);
        }
        let timeout = PollTimeout::try_from(left.as_millis() + 1).unwrap_or(PollTimeout::MAX);
        match poll(&mut [PollFd::new(events.as_fd(), PollFlags::POLLPRI)], timeout) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(fail(errno)),
        }
    }
}
