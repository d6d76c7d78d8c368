//! Making controllers usable in a new cgroup: enabling them (version 2), giving it CPUs and memory nodes (version 1).

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use nix::errno::Errno;

use super::file;
use super::settings::Setting;
use crate::error::{Error, ErrorKind, Result};

/// Controllers that work in a threaded cgroup; every other one needs a domain (cgroup-v2.rst, "Threads").
const THREADED: [&str; 4] = ["cpu", "cpuset", "perf_event", "pids"];

/// Enables the controllers for a version 2 cgroup, from the mount downwards.
///
/// All that the root offers are wanted, as statistics need them too; those that the settings need must be enabled. In
/// the usual case the parent has already enabled them for its children, which one read of the new cgroup shows.
pub(super) fn enable(
    mount: &Path,
    inner: &Path,
    leaf: &OwnedFd,
    wanted: &[String],
    needed: &[&Setting],
) -> Result<()> {
    let path = mount.join(inner);
    let here = |errno: Errno, file: &str| Error::os(errno, format!("read {}", path.join(file).display()));
    let has = |text: &str, name: &str| text.split_whitespace().any(|c| c == name);
    let available = file::read_at(leaf, "cgroup.controllers").map_err(|e| here(e, "cgroup.controllers"))?;
    if wanted.iter().all(|name| has(&available, name)) {
        return Ok(());
    }
    let mut refusals: Vec<(String, PathBuf, Errno)> = Vec::new();
    let mut dir = mount.to_owned();
    for part in inner.components() {
        delegate(&dir, wanted, &mut refusals);
        dir.push(part);
    }
    let needed: Vec<&&Setting> = needed.iter().filter(|setting| setting.controller != "cgroup").collect();
    check_type(&path, leaf, &needed)?;
    let available = file::read_at(leaf, "cgroup.controllers").map_err(|e| here(e, "cgroup.controllers"))?;
    for setting in needed {
        let name = &*setting.controller;
        if has(&available, name) {
            continue;
        }
        let what = format!("enable the cgroup controller {name} for {}", path.display());
        let error = match refusals.iter().find(|(refused, ..)| refused == name) {
            Some((_, dir, errno)) => {
                let error = Error::os(*errno, format!("{what} in {}/cgroup.subtree_control", dir.display()));
                match errno {
                    Errno::EBUSY => error
                        .with_hint("a cgroup with processes of its own cannot enable controllers for others"),
                    _ => error,
                }
            }
            None => Error::new(ErrorKind::Unsupported, format!("{what}: not available there")),
        };
        return Err(error.at(setting.pointer.clone()));
    }
    Ok(())
}

/// Enables for a cgroup's children what it has itself. A setting that needs a controller which could not be enabled
/// fails later, see [`enable`].
pub(super) fn hand_down(dir: &Path) -> Result<()> {
    let available = file::read(&dir.join("cgroup.controllers"))?;
    let wanted: Vec<String> = available.split_whitespace().map(str::to_owned).collect();
    let mut refusals = Vec::new();
    delegate(dir, &wanted, &mut refusals);
    for (name, dir, errno) in refusals {
        log::debug!("enable the cgroup controller {name} below {}: {errno}", dir.display());
    }
    Ok(())
}

/// Enables the controllers for the children of one cgroup: all at once, or else one by one.
///
/// Not if processes are in the way, though: enabling only those that the kernel allows there would turn another
/// program's cgroup into a threaded one, into which no container can be put.
fn delegate(dir: &Path, wanted: &[String], refusals: &mut Vec<(String, PathBuf, Errno)>) {
    let mut refuse = |name: &str, errno| refusals.push((name.to_owned(), dir.to_owned(), errno));
    let opened = file::open_dir(dir)
        .and_then(|fd| file::open_write(&fd, "cgroup.subtree_control").map(|control| (fd, control)));
    let (fd, control) = match opened {
        Ok(opened) => opened,
        Err(errno) => return wanted.iter().for_each(|name| refuse(name, errno)),
    };
    // The root, which has no type, may have both.
    let is_domain = file::read_at(&fd, "cgroup.type").is_ok_and(|kind| kind.trim() == "domain");
    if is_domain && file::read_at(&fd, "cgroup.procs").is_ok_and(|processes| !processes.is_empty()) {
        return wanted.iter().for_each(|name| refuse(name, Errno::EBUSY));
    }
    match file::put(&control, &file::words(wanted.iter().map(String::as_str), "+")) {
        Ok(()) => return,
        Err(errno @ (Errno::EBUSY | Errno::EOPNOTSUPP)) => {
            return wanted.iter().for_each(|name| refuse(name, errno));
        }
        Err(_) => {}
    }
    for name in wanted {
        if let Err(errno) = file::put(&control, &format!("+{name}")) {
            refuse(name, errno);
        }
    }
}

/// A cgroup below a threaded one is unusable until it is threaded itself, and then has no domain controllers.
fn check_type(path: &Path, leaf: &OwnedFd, needed: &[&&Setting]) -> Result<()> {
    let kind = match file::read_at(leaf, "cgroup.type") {
        Ok(kind) => kind.trim().to_owned(),
        Err(Errno::ENOENT) => return Ok(()), // the root
        Err(errno) => return Err(Error::os(errno, format!("read {}/cgroup.type", path.display()))),
    };
    if kind == "domain" {
        return Ok(());
    }
    let domain = needed.iter().find(|setting| !THREADED.contains(&&*setting.controller));
    if let Some(setting) = domain {
        let name = &setting.controller;
        let message =
            format!("cannot use the controller {name} in cgroup {}: its type is {kind}", path.display());
        return Err(Error::new(ErrorKind::Unsupported, message).at(setting.pointer.clone()));
    }
    if kind == "domain invalid" {
        let what = || format!("make cgroup {} threaded", path.display());
        file::write_at(leaf, "cgroup.type", "threaded").map_err(|errno| Error::os(errno, what()))?;
    }
    Ok(())
}

/// Gives a new version 1 cpuset the CPUs and memory nodes of its parent: without them no process can enter.
///
/// Parents without any get them as well, from the nearest ancestor that has some.
pub(super) fn fill_cpuset(mount: &Path, inner: &Path) -> Result<()> {
    for name in ["cpuset.cpus", "cpuset.mems"] {
        let mut empty = Vec::new();
        let mut value = String::new();
        for dir in inner.ancestors().map(|part| mount.join(part)) {
            let text = file::read(&dir.join(name))?;
            if !text.trim().is_empty() {
                text.trim().clone_into(&mut value);
                break;
            }
            empty.push(dir);
        }
        for dir in empty.iter().rev() {
            let fd = file::open_dir(dir);
            fd.and_then(|fd| file::write_at(&fd, name, &value)).map_err(|errno| {
                Error::os(errno, format!("write {value:?} to {}", dir.join(name).display()))
            })?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cpuset_is_filled_from_the_nearest_parent_that_has_values() {
        let dir = tempfile::tempdir().unwrap();
        let values = [("", "0-3", "0"), ("a", "1-2", "0"), ("a/b", "", "0"), ("a/b/c", "", "")];
        for (path, cpus, mems) in values {
            std::fs::create_dir_all(dir.path().join(path)).unwrap();
            std::fs::write(dir.path().join(path).join("cpuset.cpus"), format!("{cpus}\n")).unwrap();
            std::fs::write(dir.path().join(path).join("cpuset.mems"), format!("{mems}\n")).unwrap();
        }
        fill_cpuset(dir.path(), Path::new("a/b/c")).unwrap();
        let read = |path: &str| std::fs::read_to_string(dir.path().join(path)).unwrap();
        assert_eq!(read("a/b/cpuset.cpus").trim(), "1-2");
        assert_eq!(read("a/b/c/cpuset.cpus").trim(), "1-2");
        assert_eq!(read("a/b/c/cpuset.mems").trim(), "0");
        assert_eq!(read("cpuset.cpus").trim(), "0-3");
    }
}
