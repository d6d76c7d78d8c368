//! Facts about this machine: the reasons why a test may have to be skipped.

use crate::cgroup::Hierarchy;
use crate::outcome::{Outcome, skip};
use crate::rootless::Ids;
use std::fs;
use std::path::{Path, PathBuf};

/// How cgroups are mounted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CgroupMode {
    /// None found.
    None,
    /// Only v1 hierarchies.
    V1,
    /// v1 hierarchies beside a v2 one.
    Hybrid,
    /// Only v2.
    V2,
}

impl CgroupMode {
    /// In words.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "no cgroups",
            Self::V1 => "cgroup v1",
            Self::Hybrid => "cgroup v1 and v2",
            Self::V2 => "cgroup v2",
        }
    }
}

/// Facts about the host, read once.
#[derive(Debug, Clone)]
pub struct Host {
    /// Whether we are root in the first user namespace.
    pub root: bool,
    /// How cgroups are mounted.
    pub cgroups: CgroupMode,
    /// Mount points of all hierarchies.
    pub hierarchies: Vec<PathBuf>,
    /// (major, minor) of the kernel.
    pub kernel: (u32, u32),
    /// Our own bounding set.
    pub bounding: u64,
    /// What this user may map, unless it is root.
    pub ids: Option<Ids>,
    /// Whether the device nodes in /dev are this run's own, which a runtime may damage without harm to the machine.
    pub own_devices: bool,
    /// Runtimes that refused the host for having v1 and v2 cgroups; the v2 hierarchy has been hidden since.
    pub refused_hybrid: Vec<PathBuf>,
}

impl Host {
    /// Probes the host.
    pub fn probe() -> Self {
        let found = Hierarchy::all();
        let hierarchies = found.iter().map(|one| one.mount.clone()).collect();
        let (v1, v2) = (found.iter().any(|one| !one.v2), found.iter().any(|one| one.v2));
        let cgroups = match (v1, v2) {
            (true, true) => CgroupMode::Hybrid,
            (true, false) => CgroupMode::V1,
            (false, true) => CgroupMode::V2,
            (false, false) => CgroupMode::None,
        };
        let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let mut numbers = release.split(['.', '-']).map_while(|word| word.parse().ok());
        let kernel = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let bounding = status
            .lines()
            .find_map(|line| u64::from_str_radix(line.strip_prefix("CapBnd:")?.trim(), 16).ok())
            .unwrap_or(0);
        let root = rustix::process::geteuid().is_root();
        Self {
            root,
            ids: (!root).then(Ids::of_user),
            cgroups,
            hierarchies,
            kernel,
            bounding,
            own_devices: false,
            refused_hybrid: Vec::new(),
        }
    }

    /// Skips unless we are root.
    pub fn needs_root(&self) -> Outcome {
        if self.root { Ok(()) } else { skip("needs root") }
    }

    /// Skips unless we are root, with the reason.
    pub fn needs_root_because(&self, reason: &str) -> Outcome {
        if self.root { Ok(()) } else { skip(format!("needs root: {reason}")) }
    }

    /// The directory of a v1 controller; skips if there is none.
    pub fn v1(&self, controller: &str) -> Outcome<PathBuf> {
        let found = Hierarchy::all().into_iter().find(|one| !one.v2 && one.has(controller));
        found.map_or_else(|| skip(format!("no cgroup v1 hierarchy with {controller}")), |one| Ok(one.mount))
    }

    /// Skips unless this is a pure cgroup v2 host.
    pub fn needs_v2(&self) -> Outcome {
        if self.cgroups == CgroupMode::V2 {
            Ok(())
        } else {
            skip(format!("needs cgroup v2, this host has {:?}", self.cgroups))
        }
    }

    /// Skips unless the kernel is at least this.
    pub fn needs_kernel(&self, major: u32, minor: u32) -> Outcome {
        if self.kernel >= (major, minor) { Ok(()) } else { skip(format!("needs Linux {major}.{minor}")) }
    }

    /// Skips if an attack on the host's device nodes would hit the machine's own.
    pub fn needs_own_devices(&self) -> Outcome {
        if self.own_devices { Ok(()) } else { skip("this run has no device nodes of its own to attack") }
    }

    /// Skips unless this path exists.
    pub fn needs_path(&self, path: &str) -> Outcome {
        if Path::new(path).exists() { Ok(()) } else { skip(format!("this machine has no {path}")) }
    }
}
