//! Reading and writing the small files of cgroupfs, one `open`, one `read` or `write`.

use std::fmt::Write as _;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, openat};
use nix::sys::stat::Mode;

use crate::error::{Error, Result};

fn retry<T>(mut call: impl FnMut() -> nix::Result<T>) -> nix::Result<T> {
    loop {
        match call() {
            Err(Errno::EINTR) => {}
            other => return other,
        }
    }
}

/// Opens a cgroup directory, to reach its files by name and to pass it to system calls.
pub(super) fn open_dir(path: &Path) -> nix::Result<OwnedFd> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
    retry(|| openat(AT_FDCWD, path, flags, Mode::empty()))
}

/// Opens a file of a directory for reading.
pub(super) fn open_read(dir: impl AsFd + Copy, name: &str) -> nix::Result<OwnedFd> {
    let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
    retry(|| openat(dir, name, flags, Mode::empty()))
}

/// Opens a file of a directory for writing; never creates or truncates one.
pub(super) fn open_write(dir: impl AsFd + Copy, name: &str) -> nix::Result<OwnedFd> {
    let flags = OFlag::O_WRONLY | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
    retry(|| openat(dir, name, flags, Mode::empty()))
}

/// Writes a value with one `write`, as the kernel's parsers need it.
pub(super) fn put(file: impl AsFd + Copy, value: &str) -> nix::Result<()> {
    match retry(|| nix::unistd::write(file, value.as_bytes()))? {
        written if written == value.len() => Ok(()),
        _ => Err(Errno::EIO),
    }
}

/// Writes one file of a directory.
pub(super) fn write_at(dir: impl AsFd + Copy, name: &str, value: &str) -> nix::Result<()> {
    put(&open_write(dir, name)?, value)
}

/// Reads one file of a directory.
pub(super) fn read_at(dir: impl AsFd + Copy, name: &str) -> nix::Result<String> {
    drain(&open_read(dir, name)?)
}

/// Reads a whole file.
pub(super) fn read(path: &Path) -> Result<String> {
    read_path(path).map_err(|errno| Error::os(errno, format!("read {}", path.display())))
}

/// Reads a whole file, for callers that interpret the errno.
pub(super) fn read_path(path: &Path) -> nix::Result<String> {
    let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
    retry(|| openat(AT_FDCWD, path, flags, Mode::empty())).and_then(|fd| drain(&fd))
}

/// Reads from an open file until its end.
pub(super) fn drain(file: impl AsFd + Copy) -> nix::Result<String> {
    let mut bytes = vec![0; 512];
    let mut filled = 0;
    loop {
        match retry(|| nix::unistd::read(file, &mut bytes[filled..]))? {
            0 => break,
            count => filled += count,
        }
        if filled == bytes.len() {
            bytes.resize(filled * 4, 0);
        }
    }
    bytes.truncate(filled);
    String::from_utf8(bytes).map_err(|_| Errno::EILSEQ)
}

/// The value of a `key value` line.
pub(super) fn field(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        let (name, value) = line.split_once(' ')?;
        (name == key).then(|| value.trim().parse().ok())?
    })
}

/// Joins words with single spaces.
pub(super) fn words<'a>(words: impl IntoIterator<Item = &'a str>, prefix: &str) -> String {
    let mut line = String::new();
    for word in words {
        let gap = if line.is_empty() { "" } else { " " };
        let _ = write!(line, "{gap}{prefix}{word}");
    }
    line
}
