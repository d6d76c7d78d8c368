//! A cgroup that the runtime did not make, by its path: that of a pod, for example.

use std::path::{Component, Path, PathBuf};

use super::handle::{Cgroup, CgroupRecord, DirRecord};
use super::layout::{Attached, CgroupLayout, Hierarchy, Mode};
use super::stats::Stats;
use super::systemd::slice_path;
use crate::error::{Error, ErrorKind, Result};

/// What a cgroup uses. `path` is its place below the root of each hierarchy, or the name of a slice of systemd.
///
/// # Errors
///
/// [`ErrorKind::InvalidSpec`] if the path is none of the two, [`ErrorKind::NotFound`] if no hierarchy has it.
pub(crate) fn stats(path: &str) -> Result<Stats> {
    let wrong = || Error::new(ErrorKind::InvalidSpec, format!("{path:?} is not the path of a cgroup"));
    let is_slice = !path.contains('/') && Path::new(path).extension().is_some_and(|end| end == "slice");
    let inner = if is_slice { slice_path(path) } else { plain(path) };
    let inner = inner.ok_or_else(wrong)?;
    let layout = CgroupLayout::probe(None)?;
    let dirs: Vec<DirRecord> = layout
        .places()
        .filter_map(|place| record(&layout, place, &inner))
        .filter(|dir| dir.path().is_dir())
        .collect();
    let has_numbers = |dir: &DirRecord| match &dir.attached {
        Attached::V1(names) => names.iter().all(|name| !name.starts_with("name=")),
        Attached::Unified => layout.mode == Mode::V2,
    };
    if !dirs.iter().any(has_numbers) {
        return Err(Error::new(ErrorKind::NotFound, format!("there is no cgroup {path}")));
    }
    Cgroup::open(CgroupRecord { mode: layout.mode, dirs, made: Vec::new(), scope: None }).stats()
}

fn record(layout: &CgroupLayout, place: Hierarchy, inner: &Path) -> Option<DirRecord> {
    let attached = match place {
        Hierarchy::V1(index) => Attached::V1(layout.v1.get(index)?.controllers.clone()),
        Hierarchy::V2 => Attached::Unified,
    };
    Some(DirRecord { attached, mount: layout.mount(place)?.to_owned(), inner: inner.to_owned(), scope: None })
}

/// The path without its leading slash, if it has plain names only.
fn plain(path: &str) -> Option<PathBuf> {
    let inner = Path::new(path.trim_start_matches('/'));
    let plain = inner.components().all(|part| matches!(part, Component::Normal(_)));
    (plain && !inner.as_os_str().is_empty()).then(|| inner.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_and_absent_cgroups_are_told_apart() {
        for path in ["", "/", "../x", "/a/../b", "a--b.slice"] {
            assert_eq!(stats(path).unwrap_err().kind(), ErrorKind::InvalidSpec, "{path}");
        }
        if CgroupLayout::probe(None).is_ok() {
            for path in ["/no-such-cgroup", "no-such.slice"] {
                assert_eq!(stats(path).unwrap_err().kind(), ErrorKind::NotFound, "{path}");
            }
        }
    }
}
