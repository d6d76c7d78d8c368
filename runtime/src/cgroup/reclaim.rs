//! Lowers a memory limit only if the container can live with it.
//!
//! Version 2 accepts a limit below the usage: the kernel reclaims what it can, and then kills. Version 1 refuses such a
//! limit, after one attempt to reclaim. So here memory is reclaimed first, for as long as the caller allows, and the
//! limit is set once the usage is below it; otherwise all limits stay as they were.

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use oci_spec::runtime::LinuxResources;

use super::file;
use super::handle::Cgroup;
use super::settings::settings_for;
use crate::error::{Error, ErrorKind, Result};

/// Makes the kernel throttle and reclaim without killing.
const HIGH: &str = "memory.high";

impl Cgroup {
    /// As [`Cgroup::update`], but first brings the memory usage below a lower limit, within that time.
    pub(crate) fn update_within(&self, resources: &LinuxResources, patience: Duration) -> Result<()> {
        let limit = resources.memory().and_then(|memory| memory.limit()).filter(|&limit| limit > 0);
        let Some(limit) = limit.and_then(|limit| u64::try_from(limit).ok()) else {
            return self.update(resources);
        };
        let end = Instant::now() + patience;
        if let Some(dir) = self.v1_dir("memory") {
            return self.retry(
                resources,
                &Usage { file: dir.join("memory.usage_in_bytes"), limit, patience },
                end,
            );
        }
        let Some(dir) = self.v2_dir() else { return self.update(resources) };
        let usage = Usage { file: dir.join("memory.current"), limit, patience };
        // Whatever can be refused is refused before anything is reclaimed.
        settings_for(resources, &self.layout()?, &self.current(resources)?)?;
        if usage.now()? > limit {
            let mut high = High::hold(dir)?;
            high.lower(&usage, end)?;
            self.update(resources)?;
            if resources.unified().as_ref().is_some_and(|files| files.contains_key(HIGH)) {
                high.old.clear();
            }
            return Ok(());
        }
        self.update(resources)
    }

    /// Version 1: the kernel itself reclaims what it can at each attempt.
    fn retry(&self, resources: &LinuxResources, usage: &Usage, end: Instant) -> Result<()> {
        let mut pause = Pause::new(end);
        loop {
            match self.update(resources) {
                Err(error) if error.errno() == Some(libc::EBUSY) && usage.now()? > usage.limit => {
                    if !pause.take() {
                        return Err(usage.refusal());
                    }
                }
                other => return other,
            }
        }
    }
}

/// The memory in use, and the new limit.
struct Usage {
    file: PathBuf,
    limit: u64,
    patience: Duration,
}

impl Usage {
    fn now(&self) -> Result<u64> {
        let text = file::read(&self.file)?;
        text.trim().parse().map_err(|_| {
            Error::new(ErrorKind::System, format!("{} holds no number: {text:?}", self.file.display()))
        })
    }

    fn refusal(&self) -> Error {
        let usage = self.now().map_or_else(|_| "more".to_owned(), |usage| usage.to_string());
        Error::new(
            ErrorKind::Timeout,
            format!(
                "cannot lower the memory limit to {}: {usage} are in use, and no more could be reclaimed within {:?}",
                self.limit, self.patience
            ),
        )
        .at("/linux/resources/memory/limit")
        .with_hint("the old limits are in force")
    }
}

/// The mark above which memory is reclaimed; dropping this restores the old one.
struct High {
    dir: OwnedFd,
    path: PathBuf,
    old: String,
}

impl High {
    fn hold(path: PathBuf) -> Result<Self> {
        let fail = |errno: Errno| Error::os(errno, format!("read {}/{HIGH}", path.display()));
        let dir = file::open_dir(&path).map_err(fail)?;
        let old = file::read_at(&dir, HIGH).map_err(fail)?.trim().to_owned();
        Ok(Self { dir, path, old })
    }

    /// Reclaims memory until the usage is within the limit.
    fn lower(&self, usage: &Usage, end: Instant) -> Result<()> {
        // Lower than the limit, so that growth in the meantime does not pass the limit before it is in force.
        let mark = (usage.limit - usage.limit / 64).to_string();
        let mut pause = Pause::new(end);
        loop {
            // Each write reclaims what is above the mark.
            file::write_at(&self.dir, HIGH, &mark).map_err(|errno| {
                Error::os(errno, format!("write {mark} to {}/{HIGH}", self.path.display()))
                    .at("/linux/resources/memory/limit")
            })?;
            if usage.now()? <= usage.limit {
                return Ok(());
            }
            if !pause.take() {
                return Err(usage.refusal());
            }
        }
    }
}

impl Drop for High {
    fn drop(&mut self) {
        if !self.old.is_empty()
            && let Err(errno) = file::write_at(&self.dir, HIGH, &self.old)
        {
            log::warn!("write {} to {}/{HIGH}: {}", self.old, self.path.display(), errno.desc());
        }
    }
}

/// The time between two attempts: nothing reports when there is more to reclaim.
struct Pause {
    end: Instant,
    next: Duration,
}

impl Pause {
    fn new(end: Instant) -> Self {
        Self { end, next: Duration::from_millis(5) }
    }

    /// Waits a while; false if time is up.
    fn take(&mut self) -> bool {
        let left = self.end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return false;
        }
        std::thread::sleep(self.next.min(left));
        self.next = (self.next * 2).min(Duration::from_millis(200));
        true
    }
}
