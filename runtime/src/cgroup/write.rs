//! Writing settings into the files of a cgroup.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use nix::errno::Errno;

use super::file;
use super::layout::Hierarchy;
use super::settings::{Absent, Group, Setting};
use crate::error::{Error, ErrorKind, Result};

/// The directories of one cgroup, each opened on first use.
pub(super) struct Dirs(Vec<(Hierarchy, PathBuf, Option<OwnedFd>)>);

impl Dirs {
    /// Takes the directory of each hierarchy.
    pub(super) fn new(dirs: impl IntoIterator<Item = (Hierarchy, PathBuf)>) -> Self {
        Self(dirs.into_iter().map(|(place, path)| (place, path, None)).collect())
    }

    /// The directory in one hierarchy.
    pub(super) fn open(&mut self, place: Hierarchy) -> Result<(&Path, &OwnedFd)> {
        let entry = self.0.iter_mut().find(|(other, ..)| *other == place);
        let Some((_, path, fd)) = entry else {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "the container has no cgroup in the hierarchy of this controller",
            ));
        };
        if fd.is_none() {
            *fd = Some(
                file::open_dir(path)
                    .map_err(|errno| Error::os(errno, format!("open cgroup {}", path.display())))?,
            );
        }
        Ok((path, fd.as_ref().expect("opened above")))
    }
}

/// The container's cgroup and, before it, that of the scope whose sub-group it is: both have the same limits.
pub(super) struct Levels(Vec<Dirs>);

impl Levels {
    /// Takes the container's directory in each hierarchy, and the scope's.
    pub(super) fn new(
        own: impl IntoIterator<Item = (Hierarchy, PathBuf)>,
        scope: Option<(Hierarchy, PathBuf)>,
    ) -> Self {
        let scope = scope.map(|scope| Dirs::new([scope]));
        Self(scope.into_iter().chain([Dirs::new(own)]).collect())
    }

    /// The container's own directories.
    pub(super) fn own(&mut self) -> &mut Dirs {
        self.0.last_mut().expect("made with one")
    }

    /// Writes the settings in order.
    pub(super) fn write(&mut self, settings: &[Setting]) -> Result<()> {
        self.0.iter_mut().try_for_each(|dirs| write_all(dirs, settings))
    }

    /// The values of the settings' files that are in force, before they are changed.
    pub(super) fn remember(&mut self, settings: &[Setting]) -> Before {
        let old = |dirs: &mut Dirs| settings.iter().filter_map(|setting| previous(dirs, setting)).collect();
        Before(self.0.iter_mut().map(old).collect())
    }

    /// Restores those values, last change first, as far as the kernel still takes them.
    pub(super) fn restore(&mut self, before: &Before) {
        for (dirs, old) in self.0.iter_mut().zip(&before.0).rev() {
            for group in old.chunk_by(belong_together).rev() {
                if let Err(error) = write_all(dirs, group) {
                    log::warn!("restore {}: {error}", group[0].file);
                }
            }
        }
    }
}

/// The limits that were in force before an update, outermost cgroup first.
pub(super) struct Before(Vec<Vec<Setting>>);

impl Before {
    /// Those of the outermost cgroup.
    pub(super) fn outermost(&self) -> &[Setting] {
        self.0.first().map_or(&[], Vec::as_slice)
    }
}

/// Writes the settings in order.
///
/// Within a group, what the kernel refuses with EINVAL or EBUSY is written again after the others, as long as that
/// makes progress: so a limit and the limit that bounds it can both rise and both fall.
fn write_all(dirs: &mut Dirs, settings: &[Setting]) -> Result<()> {
    for group in settings.chunk_by(belong_together) {
        let mut pending: Vec<&Setting> = group.iter().collect();
        loop {
            let mut refused = Vec::new();
            let mut first_error = None;
            for &setting in &pending {
                match write_one(dirs, setting) {
                    Ok(()) => {}
                    Err((Errno::EINVAL | Errno::EBUSY, error)) if pending.len() > 1 => {
                        refused.push(setting);
                        first_error.get_or_insert(error);
                    }
                    Err((_, error)) => return Err(error),
                }
            }
            match first_error {
                None => break,
                Some(error) if refused.len() == pending.len() => return Err(error),
                Some(_) => pending = refused,
            }
        }
    }
    Ok(())
}

fn belong_together(a: &Setting, b: &Setting) -> bool {
    a.group == b.group && a.group != Group::Single
}

fn write_one(dirs: &mut Dirs, setting: &Setting) -> Result<(), (Errno, Error)> {
    let (path, dir) =
        dirs.open(setting.place).map_err(|error| (Errno::ENOENT, error.at(setting.pointer.clone())))?;
    let fail = |errno: Errno| (errno, explain(errno, path, dir, setting));
    let file = match file::open_write(dir, &setting.file) {
        Ok(file) => file,
        // A file that cgroupfs does not have cannot be created either: some kernels report EACCES for that.
        Err(errno @ (Errno::ENOENT | Errno::EACCES | Errno::EPERM)) => match &setting.absent {
            Absent::Skip if errno == Errno::ENOENT => return Ok(()),
            Absent::Instead(other) if errno == Errno::ENOENT => return write_one(dirs, other),
            _ => return Err(fail(errno)),
        },
        Err(errno) => return Err(fail(errno)),
    };
    for line in setting.value.split('\n').filter(|line| !line.is_empty()) {
        file::put(&file, line).map_err(fail)?;
    }
    Ok(())
}

/// The value in force, for files that accept what they show.
fn previous(dirs: &mut Dirs, setting: &Setting) -> Option<Setting> {
    if matches!(&*setting.file, "memory.oom_control" | "io.max" | "net_prio.ifpriomap" | "rdma.max")
        || setting.file.contains("_device")
    {
        return None; // shows another format than it reads, or a table
    }
    let (_, dir) = dirs.open(setting.place).ok()?;
    let text = match (file::read_at(dir, &setting.file), &setting.absent) {
        (Ok(text), _) => text,
        (Err(_), Absent::Instead(other)) => return previous(dirs, other),
        (Err(_), _) => return None,
    };
    let value = text.trim_end().to_owned();
    (!value.contains('\n')).then(|| Setting { value, absent: Absent::Skip, ..setting.clone() })
}

/// The message for a refused write.
fn explain(errno: Errno, path: &Path, dir: &OwnedFd, setting: &Setting) -> Error {
    let read =
        |name: &str| file::read_at(dir, name).map_or("unknown".to_owned(), |text| text.trim().to_owned());
    let memory = match &*setting.file {
        "memory.limit_in_bytes" => Some((read("memory.usage_in_bytes"), read("memory.max_usage_in_bytes"))),
        "memory.max" => Some((read("memory.current"), read("memory.peak"))),
        _ => None,
    };
    let error = match memory {
        Some((usage, peak)) if errno == Errno::EBUSY => Error::os(
            errno,
            format!(
                "unable to set memory limit to {} (current usage: {usage}, peak usage: {peak})",
                setting.value
            ),
        ),
        _ => {
            Error::os(errno, format!("write {:?} to {}", setting.value, path.join(&*setting.file).display()))
        }
    };
    let error = error.at(setting.pointer.clone());
    match errno {
        Errno::ENOENT if setting.file.starts_with("memory.memsw.") => error
            .with_kind(ErrorKind::Unsupported)
            .with_hint("swap accounting is off; boot with swapaccount=1"),
        Errno::ENOENT => {
            error.with_kind(ErrorKind::Unsupported).with_hint("this kernel has no such cgroup file")
        }
        Errno::ENODEV if setting.pointer.contains("/blockIO/") => {
            error.with_hint("the numbers must be those of a whole disk that exists")
        }
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setting(file: &'static str, value: &str, absent: Absent, group: Group) -> Setting {
        Setting {
            place: Hierarchy::V2,
            controller: "x".into(),
            file: file.into(),
            value: value.to_owned(),
            pointer: "/p".to_owned(),
            absent,
            group,
        }
    }

    fn tree(files: &[&str]) -> (tempfile::TempDir, Dirs) {
        let dir = tempfile::tempdir().unwrap();
        for name in files {
            std::fs::write(dir.path().join(name), "").unwrap();
        }
        let dirs = Dirs::new([(Hierarchy::V2, dir.path().to_owned())]);
        (dir, dirs)
    }

    #[test]
    fn missing_files_fail_are_skipped_or_replaced() {
        let (dir, mut dirs) = tree(&["b"]);
        let instead = Box::new(setting("b", "2", Absent::Fail, Group::Single));
        let list = [
            setting("a", "1", Absent::Skip, Group::Single),
            setting("a", "1", Absent::Instead(instead), Group::Single),
        ];
        write_all(&mut dirs, &list).unwrap();
        assert_eq!(std::fs::read_to_string(dir.path().join("b")).unwrap(), "2");
        let error = write_all(&mut dirs, &[setting("a", "1", Absent::Fail, Group::Single)]).unwrap_err();
        assert_eq!((error.kind(), error.pointer()), (ErrorKind::Unsupported, Some("/p")));
        assert!(!dir.path().join("a").exists(), "nothing is ever created");
    }

    #[test]
    fn an_update_can_be_taken_back() {
        let (dir, dirs) = tree(&["a", "b"]);
        std::fs::write(dir.path().join("a"), "10").unwrap();
        let instead = Box::new(setting("a", "77", Absent::Fail, Group::Single));
        let new = [setting("c", "77", Absent::Instead(instead), Group::Single)];
        let mut levels = Levels(vec![dirs]);
        let old = levels.remember(&new);
        assert_eq!((&*old.outermost()[0].file, &*old.outermost()[0].value), ("a", "10"));
        levels.write(&new).unwrap();
        assert_eq!(std::fs::read_to_string(dir.path().join("a")).unwrap(), "77");
        levels.restore(&old);
        assert_eq!(std::fs::read_to_string(dir.path().join("a")).unwrap(), "10");
    }

    #[test]
    fn what_fails_below_the_scope_is_taken_back_in_both() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["scope", "own"] {
            std::fs::create_dir(dir.path().join(name)).unwrap();
            std::fs::write(dir.path().join(name).join("a"), "10").unwrap();
        }
        std::fs::write(dir.path().join("scope/b"), "1").unwrap();
        let at = |name: &str| (Hierarchy::V2, dir.path().join(name));
        let read = |name: &str| std::fs::read_to_string(dir.path().join(name)).unwrap();
        let mut levels = Levels::new([at("own")], Some(at("scope")));
        let new =
            [setting("a", "20", Absent::Fail, Group::Single), setting("b", "2", Absent::Fail, Group::Single)];
        let old = levels.remember(&new);
        levels.write(&new).unwrap_err();
        assert_eq!([read("scope/a"), read("scope/b"), read("own/a")], ["20", "2", "20"]);
        levels.restore(&old);
        assert_eq!([read("scope/a"), read("scope/b"), read("own/a")], ["10", "1", "10"]);
    }

    #[test]
    fn a_hierarchy_without_a_directory_is_an_error() {
        let mut dirs = Dirs::new([]);
        write_all(&mut dirs, &[setting("a", "1", Absent::Skip, Group::Single)]).unwrap_err();
    }
}
