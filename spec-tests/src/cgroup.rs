//! The cgroups of containers as the host shows them, on v1, hybrid and v2 hosts.

use crate::outcome::{Outcome, fail, skip};
use rustix::process::Pid;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{LazyLock, OnceLock};

/// One mounted cgroup hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hierarchy {
    /// Where it is mounted.
    pub mount: PathBuf,
    /// The cgroup that is the root of the mount.
    root: PathBuf,
    /// Its controllers on v1.
    controllers: Vec<String>,
    /// Whether it is the v2 one.
    pub v2: bool,
}

impl Hierarchy {
    /// The hierarchies that this process can see.
    pub fn all() -> Vec<Self> {
        let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        table.lines().filter_map(Self::parse).collect()
    }

    fn parse(line: &str) -> Option<Self> {
        let (left, right) = line.split_once(" - ")?;
        let left: Vec<&str> = left.split(' ').collect();
        let right: Vec<&str> = right.split(' ').collect();
        let kind = *right.first()?;
        let v2 = kind == "cgroup2";
        (v2 || kind == "cgroup").then_some(())?;
        let controllers = if v2 { Vec::new() } else { right.get(2)?.split(',').map(str::to_owned).collect() };
        Some(Self { mount: left.get(4)?.into(), root: left.get(3)?.into(), controllers, v2 })
    }

    /// Whether this v1 hierarchy has the controller, or the v2 one offers it where this user makes cgroups.
    pub(crate) fn has(&self, controller: &str) -> bool {
        if !self.v2 {
            return self.controllers.iter().any(|one| one == controller);
        }
        // Root makes cgroups at the top; another user below its own.
        let top = delegated().unwrap_or_default().trim_start_matches('/');
        let offered = fs::read_to_string(self.mount.join(top).join("cgroup.controllers")).unwrap_or_default();
        offered.split_whitespace().any(|one| one == controller)
    }

    /// The directory of the process whose /proc/PID/cgroup this is.
    fn place(&self, memberships: &str) -> Option<PathBuf> {
        let path = memberships.lines().find_map(|line| {
            let mut fields = line.splitn(3, ':').skip(1);
            let (names, path) = (fields.next()?, fields.next()?);
            let ours = if self.v2 {
                names.is_empty()
            } else {
                names.split(',').any(|name| self.controllers.iter().any(|one| one == name))
            };
            ours.then_some(path)
        })?;
        let below = Path::new(path).strip_prefix(&self.root).ok()?;
        Some(self.mount.join(below))
    }
}

/// A container's cgroup in the hierarchy with a particular controller.
#[derive(Debug, Clone)]
pub struct Cgroup {
    /// Its directory.
    pub dir: PathBuf,
    /// Whether that hierarchy is the v2 one.
    pub v2: bool,
}

impl Cgroup {
    /// A file, without the newline.
    pub fn read(&self, name: &str) -> Outcome<String> {
        let path = self.dir.join(name);
        match fs::read_to_string(&path) {
            Ok(text) => Ok(text.trim().to_owned()),
            Err(error) => fail(format!("{}: {error}", path.display())),
        }
    }
}

/// The hierarchy with a controller, given by its v1 name; skips if there is none.
pub fn hierarchy(controller: &str) -> Outcome<Hierarchy> {
    let all = Hierarchy::all();
    let v1 = all.iter().find(|one| !one.v2 && one.has(controller));
    // Device rules are programs on v2, and the freezer is part of every cgroup.
    let v2_name = match controller {
        "blkio" => "io",
        "cpuacct" => "cpu",
        name => name,
    };
    let v2 = || all.iter().find(|one| one.v2 && one.has(v2_name));
    match v1.or_else(v2) {
        Some(found) => Ok(found.clone()),
        None => skip(format!("no cgroup controller {controller} for this user on this host")),
    }
}

/// The cgroup of a process in the hierarchy with a controller; skips if the host has no such controller.
pub fn of(pid: Pid, controller: &str) -> Outcome<Cgroup> {
    place(pid, &hierarchy(controller)?)
}

/// The cgroup of a process in the v2 hierarchy; skips if the host has none.
pub fn unified_of(pid: Pid) -> Outcome<Cgroup> {
    match Hierarchy::all().iter().find(|one| one.v2) {
        Some(found) => place(pid, found),
        None => skip("this host has no cgroup v2"),
    }
}

fn place(pid: Pid, hierarchy: &Hierarchy) -> Outcome<Cgroup> {
    let memberships = fs::read_to_string(format!("/proc/{}/cgroup", pid.as_raw_pid()))?;
    match hierarchy.place(&memberships) {
        Some(dir) => Ok(Cgroup { dir, v2: hierarchy.v2 }),
        None => {
            fail(format!("pid {} is outside {}: {memberships}", pid.as_raw_pid(), hierarchy.mount.display()))
        }
    }
}

/// Cgroups below these mount points whose name has this word.
pub(crate) fn named(hierarchies: &[PathBuf], word: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for hierarchy in hierarchies {
        search(hierarchy, word, &mut found);
    }
    found
}

fn search(dir: &Path, word: &str, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for entry in entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        if entry.file_name().to_string_lossy().contains(word) {
            found.push(entry.path());
        } else {
            search(&entry.path(), word, found);
        }
    }
}

/// Processes in a cgroup itself.
pub(crate) fn members(path: &Path) -> Vec<Pid> {
    let text = fs::read_to_string(path.join("cgroup.procs")).unwrap_or_default();
    text.lines().filter_map(|line| Pid::from_raw(line.parse().ok()?)).collect()
}

/// Removes a cgroup and those below it, as far as they are empty.
pub fn remove(path: &Path) {
    if let Ok(entries) = fs::read_dir(path) {
        for entry in entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
            remove(&entry.path());
        }
        let _busy = fs::remove_dir(path);
    }
}

/// The cgroup below which this run makes its containers.
pub fn parent() -> &'static str {
    static PARENT: LazyLock<String> = LazyLock::new(|| {
        let above = delegated().unwrap_or_default().trim_end_matches('/');
        format!("{above}/wharf-suite-{}", crate::session::own_number())
    });
    &PARENT
}

static BY_SYSTEMD: OnceLock<()> = OnceLock::new();

/// Says, before anything else is asked, that systemd makes the cgroups of containers: a user's are then below the
/// user's systemd, and not below the user's own cgroup.
pub fn by_systemd() {
    BY_SYSTEMD.get_or_init(|| ());
}

/// The v2 cgroup that belongs to this user, if the user is not root; none if there is none.
pub fn delegated() -> Option<&'static str> {
    static DELEGATED: LazyLock<Option<String>> = LazyLock::new(|| {
        if rustix::process::geteuid().is_root() {
            return None;
        }
        let all = Hierarchy::all();
        let unified = all.iter().find(|one| one.v2)?;
        let place = if BY_SYSTEMD.get().is_some() {
            let uid = rustix::process::geteuid().as_raw();
            unified.mount.join(format!("user.slice/user-{uid}.slice/user@{uid}.service"))
        } else {
            unified.place(&fs::read_to_string("/proc/self/cgroup").ok()?)?
        };
        crate::rootless::own_cgroup(&unified.mount, &place)
    });
    DELEGATED.as_deref()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_of_a_part_of_the_hierarchy_is_translated() {
        let line = "36 31 0:32 /pod /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory";
        let hierarchy = Hierarchy::parse(line).unwrap();
        assert_eq!(
            hierarchy.place("3:cpu:/x\n4:memory:/pod/a\n0::/y\n"),
            Some(PathBuf::from("/sys/fs/cgroup/memory/a"))
        );
        assert_eq!(hierarchy.place("4:memory:/other\n"), None);
    }

    #[test]
    fn the_v2_hierarchy_is_the_line_without_names() {
        let line = "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw";
        let hierarchy = Hierarchy::parse(line).unwrap();
        assert_eq!(
            hierarchy.place("9:name=systemd:/s\n0::/u/v\n"),
            Some(PathBuf::from("/sys/fs/cgroup/unified/u/v"))
        );
    }

    #[test]
    fn other_file_systems_are_no_hierarchies() {
        assert_eq!(Hierarchy::parse("31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw"), None);
    }
}
