//! The lock of a container, on the first of its files, and the mark of an addition of mounts, on the second.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt as _;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{self, AT_FDCWD, OFlag};
use nix::sys::stat::Mode;

use super::record::{PATIENCE, Record};
use super::store::{CONFIG, Directory, LOCK, Recorded};
use crate::error::{Error, ErrorKind, Result};
use crate::linux::process_stat::{doing, name};
use crate::linux::waiting::{UNTOLD, WaitLog};
use crate::sys::file_lock::FileLock;

impl Directory {
    /// Takes the lock of an existing container, waiting for its holder.
    pub(crate) fn lock(&self, shared: bool) -> Result<FileLock> {
        self.lock_within(shared, None, &mut || {})
    }

    /// The same with a time limit. `break_in` repeatedly does what makes the holder let go.
    pub(crate) fn lock_within(
        &self,
        shared: bool,
        patience: Option<Duration>,
        break_in: &mut dyn FnMut(),
    ) -> Result<FileLock> {
        let begun = Instant::now();
        // The kernel has no wait for a lock with a time limit.
        let mut pause = Duration::from_micros(500);
        let mut told = WaitLog::default();
        loop {
            if let Some(lock) = self.try_lock(shared)? {
                return Ok(lock);
            }
            break_in();
            if patience.is_some_and(|patience| begun.elapsed() > patience) {
                return Err(Error::new(
                    ErrorKind::Timeout,
                    format!("container {:?} is in use: {} holds its lock", self.id().as_str(), self.holder()),
                )
                .with_hint("let that process go on, or end it, and try again"));
            }
            if begun.elapsed() > Duration::from_millis(UNTOLD as u64) {
                told.once(|| {
                    format!(
                        "waiting for the lock of container {:?}: {} holds it",
                        self.id().as_str(),
                        self.holder()
                    )
                });
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(20));
        }
    }

    /// Takes the lock of this very container, exclusively; none if it was deleted in the meantime, whether or not its
    /// id is used again.
    pub(crate) fn lock_own(&self, record: &Record) -> Result<Option<FileLock>> {
        let lock = match self.lock_within(false, Some(PATIENCE), &mut || {}) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            other => other?,
        };
        Ok(self.is_still(record).then_some(lock))
    }

    /// Whether the container is the recorded one, and not another with its id.
    pub(crate) fn is_still(&self, record: &Record) -> bool {
        matches!(self.read(), Ok(Recorded::Complete(now) | Recorded::Intent(now)) if now.created == record.created)
    }

    /// Takes the lock if it is free.
    fn try_lock(&self, shared: bool) -> Result<Option<FileLock>> {
        let path = self.path().join(LOCK);
        loop {
            let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
            let file =
                fcntl::openat(AT_FDCWD, &path, flags, Mode::empty()).map(File::from).map_err(|errno| {
                    match errno {
                        Errno::ENOENT => self.unknown(),
                        _ => Error::os(errno, format!("open {}", path.display())),
                    }
                })?;
            // Before this was locked, the container may have been deleted, and another with that id created.
            let is_current = |file: &File| {
                fs::metadata(&path).is_ok_and(|now| {
                    file.metadata().is_ok_and(|held| held.ino() == now.ino() && held.dev() == now.dev())
                })
            };
            match FileLock::try_take(file, shared, is_current) {
                Ok(Some((lock, true))) => return Ok(Some(lock)),
                Ok(Some((_, false))) => {}
                Ok(None) => return Ok(None),
                Err(errno) => return Err(Error::os(errno, format!("lock {}", path.display()))),
            }
        }
    }

    /// Marks an addition of mounts that has recorded a mount and not yet attached it, until the lock is dropped or this
    /// process ends. The container's lock is held, so that [`Directory::no_addition`] sees the mark or no record.
    ///
    /// The container's lock cannot be the mark: its processes can delay the attachment for ever.
    pub(super) fn announce_addition(&self) -> Result<FileLock> {
        let path = self.path().join(CONFIG);
        FileLock::try_take(self.open_config()?, true, |_| ())
            .and_then(|taken| taken.ok_or(Errno::EWOULDBLOCK))
            .map(|(lock, ())| lock)
            .map_err(|errno| Error::os(errno, format!("lock {}", path.display())))
    }

    /// Whether each recorded mount was attached or never will be. The container's lock is held.
    pub(super) fn no_addition(&self) -> Result<bool> {
        let path = self.path().join(CONFIG);
        FileLock::try_take(self.open_config()?, false, |_| ())
            .map(|taken| taken.is_some())
            .map_err(|errno| Error::os(errno, format!("lock {}", path.display())))
    }

    fn open_config(&self) -> Result<File> {
        let path = self.path().join(CONFIG);
        File::open(&path).map_err(|error| Error::io(&error, format!("open {}", path.display())))
    }

    /// Who has the lock, in words, as far as the kernel tells (`proc_locks(5)`).
    fn holder(&self) -> String {
        let Ok(file) = fs::metadata(self.path().join(LOCK)) else { return "another process".to_owned() };
        let (major, minor) = (nix::sys::stat::major(file.dev()), nix::sys::stat::minor(file.dev()));
        let place = format!("{major:02x}:{minor:02x}:{}", file.ino());
        let locks = fs::read_to_string("/proc/locks").unwrap_or_default();
        let pid = locks
            .lines()
            .filter(|line| line.contains(" FLOCK ") && line.contains(&place))
            .find_map(|line| line.split_ascii_whitespace().nth(4)?.parse::<i32>().ok())
            .filter(|pid| *pid > 0);
        match pid {
            Some(pid) => format!("process {pid} ({:?}; {})", name(pid), doing(pid)),
            None => "another process".to_owned(),
        }
    }

    /// Whether an operation holds the lock now.
    pub(crate) fn is_busy(&self) -> bool {
        let Ok(file) = File::open(self.path().join(LOCK)) else { return false };
        matches!(FileLock::try_take(file, true, |_| ()), Ok(None))
    }
}
