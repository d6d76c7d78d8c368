//! Which cgroup at or above a place keeps its processes frozen: a process that is born or moved there would wait until
//! something unrelated thaws it.

use std::path::{Path, PathBuf};

use super::create::CgroupPlan;
use super::file;
use super::handle::{Cgroup, DirRecord, Join};
use super::layout::Attached;
use crate::error::{Error, ErrorKind, Result};

impl CgroupPlan {
    /// Refuses a place below a frozen cgroup, at any level: no process would ever run there.
    pub(crate) fn refuse_frozen(&self) -> Result<()> {
        let freezers = self.dirs.iter().filter(|dir| is_freezer(&dir.attached));
        for dir in freezers {
            // The place itself is checked if it is found in use.
            let path = dir.path();
            if let Some(frozen) = path.parent().and_then(|above| at_or_above(&dir.mount, above)) {
                return Err(refusal(&dir.path(), &frozen).at("/linux/cgroupsPath"));
            }
        }
        Ok(())
    }
}

impl Cgroup {
    /// The nearest ancestor of the container's cgroup that is frozen by itself, if there is one.
    pub(crate) fn frozen_above(&self) -> Option<PathBuf> {
        let freezers = self.record().dirs.iter().filter(|dir| is_freezer(&dir.attached));
        freezers
            .filter_map(|dir| Some((dir, dir.path().parent()?.to_owned())))
            .find_map(|(dir, above)| at_or_above(&dir.mount, &above))
    }

    /// The cgroup at or above one of these places of the container that is frozen by itself, if there is one.
    pub(crate) fn frozen_at(&self, join: &Join) -> Option<PathBuf> {
        let v1 = self.record().dirs.iter().find(|dir| dir.attached.has_v1("freezer"));
        let v1 = v1.and_then(|dir: &DirRecord| {
            let tasks = join.tasks.iter().find(|tasks| tasks.starts_with(&dir.mount))?;
            at_or_above(&dir.mount, tasks.parent()?)
        });
        let v2 = self.record().dirs.iter().find(|dir| dir.is_v2());
        v1.or_else(|| at_or_above(&v2?.mount, join.v2_dir.as_deref()?))
    }

    /// The error of an attempt to resume the container's processes while a cgroup above keeps them frozen.
    pub(super) fn held_above(&self) -> Option<Error> {
        let frozen = self.frozen_above()?;
        let dir = self.record().dirs.iter().find(|dir| frozen.starts_with(&dir.mount))?;
        Some(
            Error::new(
                ErrorKind::WrongState,
                format!(
                    "cgroup {} stays frozen: {} above it is frozen",
                    dir.path().display(),
                    frozen.display()
                ),
            )
            .with_hint(thaw(&frozen)),
        )
    }
}

fn refusal(place: &Path, frozen: &Path) -> Error {
    Error::new(
        ErrorKind::WrongState,
        format!("no process can run in cgroup {}: {} is frozen", place.display(), frozen.display()),
    )
    .with_hint(thaw(frozen))
}

fn thaw(frozen: &Path) -> String {
    if frozen.join("cgroup.freeze").exists() {
        format!("write 0 to {}/cgroup.freeze", frozen.display())
    } else {
        format!("write THAWED to {}/freezer.state", frozen.display())
    }
}

/// Whether a hierarchy has a freezer: the unified one, and one of version 1.
fn is_freezer(attached: &Attached) -> bool {
    attached.is_unified() || attached.has_v1("freezer")
}

/// The nearest of these that exists and is frozen by itself.
fn at_or_above(mount: &Path, place: &Path) -> Option<PathBuf> {
    let levels = place.ancestors().take_while(|path| path.starts_with(mount));
    let is = |path: &Path, name: &str| file::read_path(&path.join(name)).is_ok_and(|text| text.trim() == "1");
    levels
        .into_iter()
        .find(|path| is(path, "cgroup.freeze") || is(path, "freezer.self_freezing"))
        .map(Path::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_frozen_level_is_found_whichever_it_is() {
        let root = tempfile::tempdir().unwrap();
        let path = |inner: &str| root.path().join(inner);
        std::fs::create_dir_all(path("a/b/c")).unwrap();
        let place = path("a/b/c/to/be");
        assert_eq!(at_or_above(root.path(), &place), None);
        std::fs::write(path("a/freezer.self_freezing"), "1\n").unwrap();
        assert_eq!(at_or_above(root.path(), &place), Some(path("a")));
        std::fs::write(path("a/b/c/cgroup.freeze"), "1\n").unwrap();
        assert_eq!(at_or_above(root.path(), &place), Some(path("a/b/c")));
        assert_eq!(at_or_above(&path("a/b"), &path("a/b")), None, "not above the mount");
    }
}
