//! Making, walking and removing cgroup directories.
//!
//! A container that owns its cgroup can nest others as deep as it likes. So walks go by file descriptor and `..`, never
//! by path or recursion: no path grows too long, no stack overflows, and at most two descriptors are open.

use std::ffi::CString;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use nix::dir::{Dir, Type};
use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{Mode, fstat};
use nix::unistd::{UnlinkatFlags, unlinkat};

use super::file;

/// Makes a cgroup and its missing ancestors; notes every directory that this call made, parents first.
///
/// Returns whether the cgroup itself is new.
pub(super) fn make(mount: &Path, inner: &Path, made: &mut Vec<PathBuf>) -> nix::Result<bool> {
    let mode = Mode::from_bits_truncate(0o755);
    let leaf = mount.join(inner);
    // Another runtime may remove an empty parent between two of our steps; it cannot win for ever.
    for _ in 0..16 {
        match nix::unistd::mkdir(&leaf, mode) {
            Ok(()) => {
                made.push(leaf);
                return Ok(true);
            }
            Err(Errno::EEXIST) => return Ok(false),
            Err(Errno::ENOENT) => {}
            Err(errno) => return Err(errno),
        }
        let mut dir = mount.to_owned();
        for part in inner.parent().into_iter().flat_map(Path::components) {
            dir.push(part);
            match nix::unistd::mkdir(&dir, mode) {
                Ok(()) => made.push(dir.clone()),
                Err(Errno::EEXIST) => {}
                Err(Errno::ENOENT) => break,
                Err(errno) => return Err(errno),
            }
        }
    }
    Err(Errno::ENOENT)
}

/// Removes what [`make`] made, as far as it is empty, children first.
pub(super) fn unmake(made: &[PathBuf]) {
    for dir in made.iter().rev() {
        // Another program uses this cgroup by now.
        if let Err(error) = std::fs::remove_dir(dir) {
            log::debug!("rmdir {}: {error}", dir.display());
        }
    }
}

/// Removes everything below a cgroup that has no process in it.
pub(super) fn remove_below(top: &Path) -> nix::Result<()> {
    walk(top, &mut |parent, name, _| match unlinkat(parent, name.as_c_str(), UnlinkatFlags::RemoveDir) {
        Ok(()) | Err(Errno::ENOENT | Errno::ENODEV | Errno::EBUSY | Errno::ENOTEMPTY) => Ok(()),
        Err(errno) => Err(errno),
    })
}

/// Calls `visit` with every cgroup of a tree except its top: children before their parent, each with its parent
/// directory, its name and itself.
pub(super) fn walk(
    top: &Path,
    visit: &mut dyn FnMut(&OwnedFd, &CString, &OwnedFd) -> nix::Result<()>,
) -> nix::Result<()> {
    let mut here = match file::open_dir(top) {
        Err(Errno::ENOENT) => return Ok(()),
        other => other?,
    };
    let mut open = vec![children(&here)?];
    let mut names: Vec<CString> = Vec::new();
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
    while let Some(level) = open.last_mut() {
        if let Some(name) = level.pop() {
            match openat(&here, name.as_c_str(), flags, Mode::empty()) {
                Ok(child) => {
                    open.push(children(&child)?);
                    names.push(name);
                    here = child;
                }
                Err(Errno::ENOENT | Errno::ENODEV) => {}
                Err(errno) => return Err(errno),
            }
            continue;
        }
        open.pop();
        let Some(name) = names.pop() else { break };
        let parent = openat(&here, c"..", flags, Mode::empty())?;
        visit(&parent, &name, &here)?;
        here = parent;
    }
    Ok(())
}

/// The sub-cgroups of a directory; the link count shows without reading it that there are none.
fn children(dir: &OwnedFd) -> nix::Result<Vec<CString>> {
    if fstat(dir)?.st_nlink == 2 {
        return Ok(Vec::new());
    }
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let mut names = Vec::new();
    for entry in Dir::openat(dir, c".", flags, Mode::empty())?.iter() {
        let entry = match entry {
            Err(Errno::ENOENT | Errno::ENODEV) => break,
            other => other?,
        };
        let name = entry.file_name();
        if name != c"." && name != c".." && matches!(entry.file_type(), Some(Type::Directory) | None) {
            names.push(name.to_owned());
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn makes_parents_and_takes_back_only_its_own() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("old")).unwrap();
        let mut made = Vec::new();
        assert_eq!(make(dir.path(), Path::new("old/a/b"), &mut made), Ok(true));
        assert_eq!(make(dir.path(), Path::new("old/a/b"), &mut made), Ok(false));
        assert_eq!(made, [dir.path().join("old/a"), dir.path().join("old/a/b")]);
        unmake(&made);
        assert!(dir.path().join("old").exists() && !dir.path().join("old/a").exists());
    }

    #[test]
    fn a_tree_of_any_depth_is_walked_and_removed() {
        let dir = tempfile::tempdir().unwrap();
        let top = dir.path().join("top");
        std::fs::create_dir_all(top.join("x/y")).unwrap();
        // 3,000 levels: the path of the last one is longer than PATH_MAX.
        let mut here = file::open_dir(&top).unwrap();
        for _ in 0..3000 {
            nix::sys::stat::mkdirat(&here, "dd", Mode::from_bits_truncate(0o755)).unwrap();
            here = openat(&here, "dd", OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty()).unwrap();
        }
        let mut seen = 0;
        walk(&top, &mut |_, _, _| {
            seen += 1;
            Ok(())
        })
        .unwrap();
        assert_eq!(seen, 3002);
        remove_below(&top).unwrap();
        assert_eq!(std::fs::read_dir(&top).unwrap().count(), 0);
    }
}
