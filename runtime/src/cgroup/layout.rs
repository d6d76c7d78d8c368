//! Which cgroup hierarchies this machine has, where they are mounted, and where in them the runtime itself is.

use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::sys::statfs::{CGROUP_SUPER_MAGIC, CGROUP2_SUPER_MAGIC, FsType, TMPFS_MAGIC, statfs};
use oci_spec::runtime::LinuxResources;
use serde::{Deserialize, Serialize};

use super::file;
use crate::error::{Error, ErrorKind, Result};

/// The version of cgroups that the machine was booted with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Mode {
    /// One hierarchy per controller.
    V1,
    /// Version 1 for most controllers, and a version 2 tree beside them.
    Hybrid,
    /// One unified hierarchy.
    V2,
}

/// What is attached to a hierarchy. In the record of a container it is a list, which the unified hierarchy lacks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<String>", into = "Vec<String>")]
pub(crate) enum Attached {
    /// Version 1: these controllers, or a name.
    V1(Vec<String>),
    /// Version 2: what the parent cgroup enables.
    #[default]
    Unified,
}

impl Attached {
    /// Whether it is the unified hierarchy.
    pub(crate) fn is_unified(&self) -> bool {
        *self == Self::Unified
    }

    /// Whether the controller is bound to version 1 here.
    pub(crate) fn has_v1(&self, controller: &str) -> bool {
        matches!(self, Self::V1(names) if names.iter().any(|name| name == controller))
    }
}

impl From<Vec<String>> for Attached {
    fn from(names: Vec<String>) -> Self {
        if names.is_empty() { Self::Unified } else { Self::V1(names) }
    }
}

impl From<Attached> for Vec<String> {
    fn from(attached: Attached) -> Self {
        match attached {
            Attached::V1(names) => names,
            Attached::Unified => Self::new(),
        }
    }
}

/// One hierarchy of version 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct V1Hierarchy {
    /// The attached controllers: `["cpu", "cpuacct"]`, or `["name=systemd"]` for a hierarchy without a controller.
    pub(crate) controllers: Vec<String>,
    /// Where its root is mounted.
    pub(crate) mount: PathBuf,
    /// The cgroup of the runtime, absolute below the mount.
    pub(crate) own: PathBuf,
}

/// The unified hierarchy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct V2Hierarchy {
    /// What the root offers its children: `cgroup.controllers` of the mount.
    pub(crate) controllers: Vec<String>,
    /// Where its root is mounted.
    pub(crate) mount: PathBuf,
    /// The cgroup of the runtime, absolute below the mount.
    pub(crate) own: PathBuf,
}

/// A hierarchy of a [`CgroupLayout`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Hierarchy {
    /// The hierarchy of version 1 with this index.
    V1(usize),
    /// The unified hierarchy.
    V2,
}

/// The cgroup hierarchies of a machine: plain data, so that tests can describe any machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CgroupLayout {
    /// Version 1, 2 or both.
    pub(crate) mode: Mode,
    /// The mounted version 1 hierarchies, in the order of `/proc/self/cgroup`.
    pub(crate) v1: Vec<V1Hierarchy>,
    /// The unified hierarchy, if it is mounted.
    pub(crate) v2: Option<V2Hierarchy>,
    /// The kernel's huge page sizes as cgroup files spell them (`2MB`), if they were asked for.
    pub(crate) page_sizes: Option<Vec<String>>,
}

impl CgroupLayout {
    /// Probes this machine: one read of `/proc/self/cgroup` and one `statfs` per hierarchy, no mount table.
    ///
    /// What only some containers need (the huge page sizes) is looked up if `resources` asks for it.
    pub(crate) fn probe(resources: Option<&LinuxResources>) -> Result<Self> {
        let mut layout = Self::probe_at(Path::new("/sys/fs/cgroup"), Path::new("/proc/self/cgroup"), &magic)?;
        let limits = resources.and_then(|r| r.hugepage_limits().as_ref());
        if limits.is_some_and(|limits| !limits.is_empty()) {
            layout.page_sizes = Some(page_sizes(Path::new("/sys/kernel/mm/hugepages"))?);
        }
        Ok(layout)
    }

    /// The same, with the parent of the runtime's version 2 cgroup in its place, if the caller may work there: the
    /// caller's own cgroup has the caller's processes, and so cannot enable controllers for others.
    pub(crate) fn one_up(mut self) -> Self {
        if let Some(v2) = &mut self.v2
            && let Some(above) = v2.own.parent()
        {
            let dir = v2.mount.join(above.strip_prefix("/").unwrap_or(above));
            let writable = |path: &Path| nix::unistd::access(path, nix::unistd::AccessFlags::W_OK).is_ok();
            if writable(&dir) && writable(&dir.join("cgroup.procs")) {
                v2.own = above.to_owned();
            }
        }
        self
    }

    /// The same for a tree elsewhere, with a function that returns the file system of a directory.
    pub(crate) fn probe_at(
        root: &Path,
        membership: &Path,
        magic: &dyn Fn(&Path) -> nix::Result<FsType>,
    ) -> Result<Self> {
        let kind = magic(root).map_err(|errno| {
            Error::os(errno, format!("statfs {}", root.display()))
                .with_hint("cgroups must be mounted below /sys/fs/cgroup")
        })?;
        let text = file::read(membership)?;
        let lines = text.lines().filter_map(Membership::parse);
        if kind == CGROUP2_SUPER_MAGIC {
            let own = lines.into_iter().find(Membership::is_unified).map_or("/", |m| m.path);
            let v2 = V2Hierarchy::at(root.to_owned(), own)?;
            return Ok(Self { mode: Mode::V2, v1: Vec::new(), v2: Some(v2), page_sizes: None });
        }
        if kind != TMPFS_MAGIC {
            // A container without the mount, or a kernel without cgroups: nothing found, and nothing to make there.
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!("{} is neither cgroup v2 nor a tmpfs with cgroup v1 hierarchies", root.display()),
            )
            .with_hint("mount cgroup2 on /sys/fs/cgroup"));
        }
        let mut layout = Self { mode: Mode::V1, v1: Vec::new(), v2: None, page_sizes: None };
        for member in lines {
            if member.is_unified() {
                let mount = root.join("unified");
                if is_hierarchy(&mount, CGROUP2_SUPER_MAGIC, magic)? {
                    layout.v2 = Some(V2Hierarchy::at(mount, member.path)?);
                    layout.mode = Mode::Hybrid;
                }
            } else if let Some(mount) = member.mount(root, magic)? {
                let own = own_place(&mount, member.path);
                let controllers = member.names.iter().map(|&name| name.to_owned()).collect();
                layout.v1.push(V1Hierarchy { controllers, mount, own });
            }
        }
        if layout.v1.is_empty() && layout.v2.is_some() {
            layout.mode = Mode::V2;
        }
        Ok(layout)
    }

    /// The hierarchy of version 1 that has this controller.
    pub(crate) fn v1_place(&self, controller: &str) -> Option<Hierarchy> {
        self.v1.iter().position(|h| h.controllers.iter().any(|c| c == controller)).map(Hierarchy::V1)
    }

    /// Where a controller is: by its name in version 1, or by its name in version 2 if it is not bound to version 1.
    pub(crate) fn place(&self, v1_name: &str, v2_name: &str) -> Option<Hierarchy> {
        self.v1_place(v1_name).or_else(|| {
            let v2 = self.v2.as_ref()?;
            v2.controllers.iter().any(|c| c == v2_name).then_some(Hierarchy::V2)
        })
    }

    /// The same machine, for a container that should have no cgroup.
    pub(crate) fn without_hierarchies(&self) -> Self {
        Self { mode: self.mode, v1: Vec::new(), v2: None, page_sizes: None }
    }

    /// The root of a hierarchy.
    pub(crate) fn mount(&self, place: Hierarchy) -> Option<&Path> {
        match place {
            Hierarchy::V1(index) => self.v1.get(index).map(|h| h.mount.as_path()),
            Hierarchy::V2 => self.v2.as_ref().map(|h| h.mount.as_path()),
        }
    }

    /// Every hierarchy: those of version 1 in order, then the unified one.
    pub(crate) fn places(&self) -> impl Iterator<Item = Hierarchy> {
        (0..self.v1.len()).map(Hierarchy::V1).chain(self.v2.as_ref().map(|_| Hierarchy::V2))
    }
}

impl V2Hierarchy {
    fn at(mount: PathBuf, own: &str) -> Result<Self> {
        let controllers = file::read(&mount.join("cgroup.controllers"))?;
        let controllers = controllers.split_whitespace().map(str::to_owned).collect();
        let own = own_place(&mount, own);
        Ok(Self { controllers, mount, own })
    }
}

/// One line of `/proc/PID/cgroup`: `4:memory:/user.slice`, `1:name=systemd:/`, `0::/user.slice` (cgroups(7)).
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Membership<'a> {
    /// The controllers; none for the unified hierarchy.
    pub(crate) names: Vec<&'a str>,
    /// The cgroup, seen from the root of the reader's cgroup namespace.
    pub(crate) path: &'a str,
}

impl<'a> Membership<'a> {
    /// Reads one line.
    pub(crate) fn parse(line: &'a str) -> Option<Self> {
        let mut parts = line.splitn(3, ':');
        let (_, names, path) = (parts.next()?, parts.next()?, parts.next()?);
        Some(Self { names: names.split(',').filter(|name| !name.is_empty()).collect(), path })
    }

    /// Whether it is that of the unified hierarchy.
    pub(crate) fn is_unified(&self) -> bool {
        self.names.is_empty()
    }

    /// The directory where this version 1 hierarchy is mounted by convention: named after the whole list of
    /// controllers, after one of them, or after what follows `name=`.
    fn mount(&self, root: &Path, magic: &dyn Fn(&Path) -> nix::Result<FsType>) -> Result<Option<PathBuf>> {
        let list = self.names.join(",");
        let mut reversed = self.names.clone();
        reversed.reverse();
        let candidates =
            [list, reversed.join(",")].into_iter().chain(self.names.iter().map(|&n| n.to_owned()));
        for name in candidates {
            let path = root.join(name.strip_prefix("name=").unwrap_or(&name));
            if is_hierarchy(&path, CGROUP_SUPER_MAGIC, magic)? {
                return Ok(Some(path));
            }
        }
        Ok(None)
    }
}

/// Whether a hierarchy of this kind is there for the caller. One that cannot be looked at for another reason is not taken
/// for absent: the container would be without its limits.
fn is_hierarchy(path: &Path, kind: FsType, magic: &dyn Fn(&Path) -> nix::Result<FsType>) -> Result<bool> {
    match magic(path) {
        Ok(found) => Ok(found == kind),
        Err(Errno::ENOENT | Errno::ENOTDIR | Errno::EACCES) => Ok(false),
        Err(errno) => Err(Error::os(errno, format!("statfs {}", path.display()))),
    }
}

/// The runtime's own cgroup below a mount, or the root if the mount does not show it: a mount made in another cgroup
/// namespace starts at a cgroup other than the one that `/proc/self/cgroup` counts from.
fn own_place(mount: &Path, path: &str) -> PathBuf {
    let path = Path::new(path);
    let relative = path.strip_prefix("/").unwrap_or(path);
    let inside = relative.components().all(|c| matches!(c, Component::Normal(_)));
    if relative.as_os_str().is_empty() || !inside || !mount.join(relative).is_dir() {
        return PathBuf::from("/");
    }
    path.to_owned()
}

fn magic(path: &Path) -> nix::Result<FsType> {
    loop {
        match statfs(path) {
            Err(Errno::EINTR) => {}
            other => return other.map(|s| s.filesystem_type()),
        }
    }
}

/// The sizes in the kernel's directory of huge page pools (`hugepages-2048kB`), as hugetlb cgroup files spell them.
fn page_sizes(pools: &Path) -> Result<Vec<String>> {
    let entries = match std::fs::read_dir(pools) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Error::io(&error, format!("read {}", pools.display()))),
    };
    let mut sizes: Vec<u64> = entries
        .filter_map(|entry| {
            let name = entry.ok()?.file_name().into_string().ok()?;
            name.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse().ok()
        })
        .collect();
    sizes.sort_unstable();
    Ok(sizes.into_iter().map(page_size_name).collect())
}

/// The spelling of `mm/hugetlb_cgroup.c`: the largest unit of GB, MB, KB that is not above the size.
fn page_size_name(kib: u64) -> String {
    match kib {
        kib if kib >= 1 << 20 => format!("{}GB", kib >> 20),
        kib if kib >= 1 << 10 => format!("{}MB", kib >> 10),
        kib => format!("{kib}KB"),
    }
}

#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod examples;

#[cfg(test)]
mod tests {
    use super::*;

    fn fake(dir: &Path, membership: &str, trees: &[(&str, FsType)], root: FsType) -> CgroupLayout {
        let file = dir.join("membership");
        std::fs::write(&file, membership).unwrap();
        let magic = |path: &Path| {
            if path == dir {
                return Ok(root);
            }
            let found = trees.iter().find(|(name, _)| dir.join(name) == path);
            found.map(|&(_, kind)| kind).ok_or(Errno::ENOENT)
        };
        CgroupLayout::probe_at(dir, &file, &magic).unwrap()
    }

    #[test]
    fn version_1_finds_lists_single_names_and_named_hierarchies() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        std::fs::create_dir_all(dir.join("memory/user/me")).unwrap();
        let one = CGROUP_SUPER_MAGIC;
        let layout = fake(
            dir,
            "12:cpu,cpuacct:/\n7:net_prio,net_cls:/a\n5:memory:/user/me\n3:rdma:/x\n1:name=systemd:/../b\n",
            &[("cpu,cpuacct", one), ("net_cls,net_prio", one), ("memory", one), ("systemd", one)],
            TMPFS_MAGIC,
        );
        assert_eq!(layout.mode, Mode::V1);
        let seen: Vec<_> = layout.v1.iter().map(|h| (h.mount.clone(), h.own.to_str().unwrap())).collect();
        let expected = vec![
            (dir.join("cpu,cpuacct"), "/"),
            (dir.join("net_cls,net_prio"), "/"), // /a does not exist below the mount
            (dir.join("memory"), "/user/me"),
            (dir.join("systemd"), "/"), // outside of the cgroup namespace
        ];
        assert_eq!(seen, expected, "rdma is not mounted and left out");
        assert_eq!(layout.place("cpuacct", "cpu"), Some(Hierarchy::V1(0)));
        assert_eq!(layout.place("rdma", "rdma"), None);
        assert_eq!(layout.v2, None);
    }

    #[test]
    fn a_hierarchy_that_cannot_be_looked_at_is_not_absent() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        let file = dir.join("membership");
        for (membership, name) in [("0::/\n", "unified"), ("5:memory:/\n", "memory")] {
            std::fs::write(&file, membership).unwrap();
            for (errno, absent) in [(Errno::EACCES, true), (Errno::ENOMEM, false), (Errno::EPERM, false)] {
                let magic = |path: &Path| if path == dir { Ok(TMPFS_MAGIC) } else { Err(errno) };
                match CgroupLayout::probe_at(dir, &file, &magic) {
                    Ok(layout) => assert!(absent && layout.v2.is_none() && layout.v1.is_empty(), "{errno}"),
                    Err(error) => {
                        assert!(!absent && error.to_string().contains(&format!("{}/{name}", dir.display())));
                    }
                }
            }
        }
    }

    #[test]
    fn hybrid_knows_which_tree_has_a_controller() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        std::fs::create_dir_all(dir.join("unified")).unwrap();
        std::fs::write(dir.join("unified/cgroup.controllers"), "hugetlb misc\n").unwrap();
        let trees = [("unified", CGROUP2_SUPER_MAGIC), ("memory", CGROUP_SUPER_MAGIC)];
        let layout = fake(dir, "4:memory:/\n0::/\n", &trees, TMPFS_MAGIC);
        assert_eq!(layout.mode, Mode::Hybrid);
        assert_eq!(layout.place("hugetlb", "hugetlb"), Some(Hierarchy::V2));
        assert_eq!(layout.place("memory", "memory"), Some(Hierarchy::V1(0)));
        assert_eq!(layout.places().collect::<Vec<_>>(), [Hierarchy::V1(0), Hierarchy::V2]);
    }

    #[test]
    fn version_2_reads_its_own_place_and_controllers() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        std::fs::create_dir_all(dir.join("user.slice")).unwrap();
        std::fs::write(dir.join("cgroup.controllers"), "cpu memory\n").unwrap();
        let layout = fake(dir, "0::/user.slice\n", &[], CGROUP2_SUPER_MAGIC);
        let v2 = layout.v2.unwrap();
        assert_eq!((layout.mode, v2.own.to_str()), (Mode::V2, Some("/user.slice")));
        assert_eq!(v2.controllers, ["cpu", "memory"]);
    }

    #[test]
    fn page_sizes_are_spelled_as_the_kernel_does() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["hugepages-2048kB", "hugepages-1048576kB", "hugepages-64kB", "other"] {
            std::fs::create_dir(dir.path().join(name)).unwrap();
        }
        assert_eq!(page_sizes(dir.path()).unwrap(), ["64KB", "2MB", "1GB"]);
    }

    #[test]
    fn this_machine_has_a_layout() {
        let layout = CgroupLayout::probe(None).unwrap();
        assert!(!layout.v1.is_empty() || layout.v2.is_some());
    }
}
