//! The cgroup of an existing container: where it is, and how processes get into it.

use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::unistd::AccessFlags;
use serde::{Deserialize, Serialize};

use super::file;
use super::layout::{Attached, CgroupLayout, Hierarchy, Mode, V1Hierarchy, V2Hierarchy};
use super::path::{SubCgroup, unified_membership};
use super::systemd::ScopeRecord;
use crate::error::{Error, ErrorKind, Result};

/// The record of a container's cgroup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CgroupRecord {
    /// The version of cgroups at the time of creation.
    pub(crate) mode: Mode,
    /// One directory per hierarchy.
    pub(crate) dirs: Vec<DirRecord>,
    /// The directories that the creation made, parents first: the only ones that a removal removes.
    pub(crate) made: Vec<PathBuf>,
    /// The unit, if systemd made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) scope: Option<ScopeRecord>,
}

/// The cgroup in one hierarchy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DirRecord {
    /// What is attached to the hierarchy.
    #[serde(default, rename = "controllers", skip_serializing_if = "Attached::is_unified")]
    pub(crate) attached: Attached,
    /// The root of the hierarchy.
    pub(crate) mount: PathBuf,
    /// The cgroup, relative to the root.
    pub(crate) inner: PathBuf,
    /// The cgroup of the scope, if the container's is a sub-group of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) scope: Option<PathBuf>,
}

impl DirRecord {
    /// The directory.
    pub(crate) fn path(&self) -> PathBuf {
        self.mount.join(&self.inner)
    }

    /// The directory of the surrounding scope.
    pub(super) fn scope_path(&self) -> Option<PathBuf> {
        self.scope.as_ref().map(|scope| self.mount.join(scope))
    }

    /// The outermost directory that belongs to the container alone.
    pub(super) fn top(&self) -> PathBuf {
        self.scope_path().unwrap_or_else(|| self.path())
    }

    /// Whether it is in the unified hierarchy.
    pub(crate) fn is_v2(&self) -> bool {
        self.attached.is_unified()
    }
}

/// The cgroup of a container.
#[derive(Clone, Debug)]
pub(crate) struct Cgroup {
    pub(super) record: CgroupRecord,
}

/// How a process gets into a cgroup.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Join {
    /// Files of version 1 (and of a version 2 group that the runtime did not make) into which the single-threaded
    /// process itself writes `0`. A thread that moves itself with `tasks` does not wait; a write to `cgroup.procs`
    /// waits for an RCU grace period of some 10 ms.
    pub(crate) tasks: Vec<PathBuf>,
    /// The directory for `CLONE_INTO_CGROUP`.
    pub(crate) v2_dir: Option<PathBuf>,
}

impl Join {
    /// Whether the kernel lets the caller put a process there: it must be able to write `cgroup.procs` of the place,
    /// and of the nearest common ancestor of the place and its own cgroup (cgroup-v2.rst, "Delegation Containment").
    pub(crate) fn is_permitted(&self) -> bool {
        let Some(target) = &self.v2_dir else { return true };
        let Ok(text) = file::read(Path::new("/proc/self/cgroup")) else { return false };
        let own = unified_membership(&text).unwrap_or("/").trim_start_matches('/');
        let common = target.ancestors().find(|dir| Path::new("/sys/fs/cgroup").join(own).starts_with(dir));
        [Some(target.as_path()), common].into_iter().all(|dir| {
            dir.is_some_and(|dir| nix::unistd::access(&dir.join("cgroup.procs"), AccessFlags::W_OK).is_ok())
        })
    }
}

impl Cgroup {
    /// Opens the cgroup of a container that was made earlier.
    pub(crate) fn open(record: CgroupRecord) -> Self {
        Self { record }
    }

    /// Whether any of its directories exists.
    pub(crate) fn exists(&self) -> bool {
        self.record.dirs.iter().any(|dir| dir.top().exists())
    }

    /// Whether all of its directories that have numbers exist.
    pub(crate) fn is_whole(&self) -> bool {
        let named = |attached: &Attached| matches!(attached, Attached::V1(names) if names.iter().all(|name| name.starts_with("name=")));
        self.record.dirs.iter().all(|dir| named(&dir.attached) || dir.path().exists())
    }

    /// The record.
    pub(crate) fn record(&self) -> &CgroupRecord {
        &self.record
    }

    /// Whether the container has no cgroup of its own, because its creator could make none and needed none.
    pub(crate) fn is_none(&self) -> bool {
        self.record.dirs.is_empty()
    }

    /// The `tasks` files of the hierarchies of version 1.
    pub(crate) fn tasks_files(&self) -> Vec<PathBuf> {
        self.record.dirs.iter().filter(|dir| !dir.is_v2()).map(|dir| dir.path().join("tasks")).collect()
    }

    /// The version 2 cgroup, if the runtime found it instead of making it. Nothing may be born into it: after a write
    /// to its `cgroup.kill`, kernels (seen on Linux 6.18) kill whatever `CLONE_INTO_CGROUP` brings there from outside,
    /// for as long as it exists.
    pub(crate) fn found_v2(&self) -> Option<PathBuf> {
        self.v2_dir().filter(|dir| self.found(dir)).filter(|dir| dir.exists())
    }

    /// Whether the runtime did not make a directory. systemd moves the process of a scope.
    fn found(&self, dir: &Path) -> bool {
        self.record.scope.is_none() && !self.record.made.iter().any(|made| made == dir)
    }

    /// Moves a process of the runtime into the cgroup.
    #[cfg(feature = "criu")]
    pub(crate) fn take_in(&self, pid: i32) -> Result<()> {
        self.record.dirs.iter().try_for_each(|dir| {
            let path = dir.path();
            let moved =
                file::open_dir(&path).and_then(|dir| file::write_at(&dir, "cgroup.procs", &pid.to_string()));
            moved.map_err(|errno| {
                Error::os(errno, format!("move process {pid} into cgroup {}", path.display()))
            })
        })
    }

    /// The cgroup in the unified hierarchy.
    pub(super) fn v2(&self) -> Option<&DirRecord> {
        self.record.dirs.iter().find(|dir| dir.is_v2())
    }

    /// Its directory.
    pub(crate) fn v2_dir(&self) -> Option<PathBuf> {
        self.v2().map(DirRecord::path)
    }

    /// The path of one of its directories relative to the scope's cgroup.
    pub(crate) fn inside_scope(&self, dir: &Path) -> PathBuf {
        let top = self.v2().map(DirRecord::top).unwrap_or_default();
        dir.strip_prefix(top).unwrap_or(Path::new("")).to_owned()
    }

    /// The directory in the version 1 hierarchy with this controller.
    pub(crate) fn v1_dir(&self, controller: &str) -> Option<PathBuf> {
        let dir = self.record.dirs.iter().find(|dir| dir.attached.has_v1(controller));
        dir.map(DirRecord::path)
    }

    /// How a further process of the container gets in, into a sub-cgroup if one is named.
    ///
    /// A container may have moved its init into a sub-cgroup to enable controllers for others; then no process can
    /// enter its top any more, and a further one goes where init is.
    pub(crate) fn join_further(&self, subs: &[SubCgroup], init: i32) -> Result<Join> {
        let mut join = Join::default();
        let mut used = vec![false; subs.len()];
        for dir in &self.record.dirs {
            // The unified hierarchy is addressed by a path without controllers, or by one of its own.
            let controllers = match &dir.attached {
                Attached::V1(names) => names,
                Attached::Unified => {
                    let own = file::read(&dir.path().join("cgroup.controllers")).unwrap_or_default();
                    &own.split_whitespace().map(str::to_owned).collect()
                }
            };
            let sub = subs.iter().position(|sub| sub.is_for(controllers));
            let mut path = dir.path();
            if let Some(index) = sub {
                used[index] = true;
                path.push(&subs[index].path);
                if !path.is_dir() {
                    return Err(Error::os(
                        Errno::ENOENT,
                        format!("error adding pid to cgroups: join sub cgroup {}", path.display()),
                    )
                    .with_hint("a sub cgroup must exist before a process can be started in it"));
                }
            } else if dir.is_v2() && hands_out_controllers(&path)? {
                path = place_of(dir, init)?;
            }
            if dir.is_v2() {
                let procs = path.join("cgroup.procs");
                // A user may not be permitted to do that; then it is better for the process to be born elsewhere than
                // not at all.
                let enters = nix::unistd::geteuid().is_root() && procs.exists();
                if self.found(&path) && enters {
                    join.tasks.push(procs);
                } else {
                    join.v2_dir = Some(path);
                }
            } else {
                join.tasks.push(path.join("tasks"));
            }
        }
        match used.iter().position(|used| !used) {
            Some(index) => {
                let names = subs[index].controllers.join(",");
                let message = format!("unknown controller {names}: the container has no cgroup with it");
                Err(Error::new(ErrorKind::InvalidSpec, message))
            }
            None => Ok(join),
        }
    }

    /// The container's hierarchies as a layout, for translating an update.
    pub(super) fn layout(&self) -> Result<CgroupLayout> {
        let v1 = self.record.dirs.iter().filter_map(|dir| match &dir.attached {
            Attached::V1(controllers) => Some(V1Hierarchy {
                controllers: controllers.clone(),
                mount: dir.mount.clone(),
                own: "/".into(),
            }),
            Attached::Unified => None,
        });
        let mut layout =
            CgroupLayout { mode: self.record.mode, v1: v1.collect(), v2: None, page_sizes: None };
        if let Some(dir) = self.v2() {
            // On a hybrid machine only what a container needs is enabled for it, which an update may be the first to
            // do.
            let offered = if self.record.mode == Mode::Hybrid { dir.mount.clone() } else { dir.path() };
            let controllers = file::read(&offered.join("cgroup.controllers"))?;
            let controllers = controllers.split_whitespace().map(str::to_owned).collect();
            layout.v2 = Some(V2Hierarchy { controllers, mount: dir.mount.clone(), own: "/".into() });
        }
        Ok(layout)
    }

    /// The directories by the places of [`Cgroup::layout`].
    pub(super) fn places(&self) -> impl Iterator<Item = (Hierarchy, PathBuf)> {
        let v1 = self.record.dirs.iter().filter(|dir| !dir.is_v2()).enumerate();
        let v1 = v1.map(|(index, dir)| (Hierarchy::V1(index), dir.path()));
        v1.chain(self.v2_dir().map(|dir| (Hierarchy::V2, dir)))
    }
}

/// The error of an operation that needs the cgroup of a container without one.
pub(crate) fn no_cgroup() -> Error {
    Error::new(
        ErrorKind::Unsupported,
        "the container has no cgroup: its creator had no right to make one, and it asked for no limits",
    )
}

/// Whether a cgroup has enabled controllers for its children, and so cannot have processes itself.
fn hands_out_controllers(dir: &Path) -> Result<bool> {
    Ok(!file::read(&dir.join("cgroup.subtree_control"))?.trim().is_empty())
}

/// The unified cgroup of a process of the container, if it is inside the container's cgroup.
fn place_of(dir: &DirRecord, pid: i32) -> Result<PathBuf> {
    let text = file::read(Path::new(&format!("/proc/{pid}/cgroup")))?;
    let inside = unified_membership(&text).map(Path::new).and_then(|path| path.strip_prefix("/").ok());
    match inside {
        Some(path) if path.starts_with(&dir.inner) => Ok(dir.mount.join(path)),
        _ => Err(Error::new(
            ErrorKind::WrongState,
            format!(
                "cgroup {} cannot take processes and process {pid} is not below it",
                dir.path().display()
            ),
        )
        .with_hint("name a sub cgroup for the new process")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fake(root: &Path) -> Cgroup {
        for dir in ["memory/c/sub", "cpu/c", "unified/c/sub"] {
            std::fs::create_dir_all(root.join(dir)).unwrap();
        }
        for file in ["cgroup.controllers", "cgroup.subtree_control"] {
            std::fs::write(root.join("unified/c").join(file), "\n").unwrap();
        }
        let dir = |name: &str, controllers: &[&str]| DirRecord {
            attached: controllers.iter().map(|&c| c.to_owned()).collect::<Vec<_>>().into(),
            mount: root.join(name),
            inner: "c".into(),
            scope: None,
        };
        let dirs = vec![dir("memory", &["memory"]), dir("cpu", &["cpu", "cpuacct"]), dir("unified", &[])];
        Cgroup::open(CgroupRecord { mode: Mode::Hybrid, dirs, made: Vec::new(), scope: None })
    }

    #[test]
    fn sub_cgroups_go_to_the_hierarchies_they_name() {
        let dir = tempfile::tempdir().unwrap();
        let cgroup = fake(dir.path());
        let at = |path: &str| dir.path().join(path);
        let join = cgroup.join_further(&[SubCgroup::parse("memory:sub").unwrap()], 1).unwrap();
        assert_eq!(join.tasks, [at("memory/c/sub/tasks"), at("cpu/c/tasks")]);
        assert_eq!(join.v2_dir, Some(at("unified/c")));
        let top = Join { tasks: cgroup.tasks_files(), v2_dir: cgroup.v2_dir() };
        assert_eq!(cgroup.join_further(&[], 1).unwrap(), top);
        let missing = cgroup.join_further(&[SubCgroup::parse("sub").unwrap()], 1).unwrap_err();
        assert_eq!(missing.errno(), Some(Errno::ENOENT as i32), "cpu has no such sub cgroup");
        cgroup.join_further(&[SubCgroup::parse("pids:sub").unwrap()], 1).unwrap_err();
    }

    #[test]
    fn the_record_survives_json() {
        let record = fake(tempfile::tempdir().unwrap().path()).record().clone();
        let text = serde_json::to_string(&record).unwrap();
        assert_eq!(serde_json::from_str::<CgroupRecord>(&text).unwrap(), record);
    }
}
