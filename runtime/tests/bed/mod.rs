//! A place for the containers of one test: root file system, state directory and ids of its own, all gone afterwards.
#![allow(dead_code, reason = "every test program uses another part of it")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tempfile::TempDir;
use wharf::{Bundle, Container, ContainerId, CreateOptions, Delete, Runtime};

/// Where the cgroup hierarchies are mounted.
const CGROUPS: &str = "/sys/fs/cgroup";

/// Removes what is left of the test's containers when it is dropped, also by a panic.
pub(crate) struct Bed {
    dir: TempDir,
    runtime: Runtime,
    tag: String,
}

impl Bed {
    /// Makes the place; none, with the reason printed, where containers cannot be made.
    pub(crate) fn new(name: &str) -> Option<Self> {
        if !nix::unistd::geteuid().is_root() {
            println!("skipped: making containers needs root");
            return None;
        }
        let Some(busybox) = static_busybox() else {
            println!("skipped: no static busybox (Debian: apt-get install busybox-static)");
            return None;
        };
        let dir = tempfile::tempdir().expect("a temporary directory");
        // The ids of a user namespace must be able to reach the root file system.
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o711)).expect("chmod");
        let rootfs = dir.path().join("rootfs");
        for name in ["bin", "proc", "sys", "dev", "etc", "tmp", "data", "mnt", "work"] {
            fs::create_dir_all(rootfs.join(name)).expect("mkdir");
        }
        fs::copy(busybox, rootfs.join("bin/busybox")).expect("copy busybox");
        fs::write(rootfs.join("etc/passwd"), "root:x:0:0::/root:/bin/sh\nweb:x:33:33::/work:/bin/sh\n")
            .expect("write");
        fs::write(rootfs.join("data/file"), "from the image\n").expect("write");
        let runtime = Runtime::builder().root(dir.path().join("state")).build().expect("a runtime");
        let tag = format!("wharf-{name}-{}", std::process::id());
        Some(Self { dir, runtime, tag })
    }

    /// The runtime, which has its state directory for itself.
    pub(crate) fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// The bundle directory.
    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// A word that is in the name of every container and cgroup of this test, and of no other.
    pub(crate) fn tag(&self) -> &str {
        &self.tag
    }

    /// An id of this test.
    pub(crate) fn id(&self, name: impl std::fmt::Display) -> ContainerId {
        ContainerId::new(&format!("{}-{name}", self.tag)).expect("a valid id")
    }

    /// A bundle from a configuration, which gets a cgroup of its own.
    pub(crate) fn bundle(&self, id: &ContainerId, mut config: Value) -> Bundle {
        config["linux"]["cgroupsPath"] = format!("/{}", id.as_str()).into();
        Bundle::from_bytes(config.to_string().as_bytes(), self.path()).expect("a bundle")
    }

    /// Creates a container.
    pub(crate) fn create(&self, id: &ContainerId, config: Value, options: CreateOptions) -> Container {
        self.runtime.create(id, &self.bundle(id, config), options).expect("create")
    }

    /// What is left of this test's containers: state directories, cgroups, processes.
    pub(crate) fn leftovers(&self) -> Vec<String> {
        let mut left: Vec<_> = entries(self.runtime.root());
        left.extend(self.cgroups());
        left.extend(processes_with(&self.tag).into_iter().map(|(pid, why)| format!("process {pid}: {why}")));
        left
    }

    /// The cgroups of this test, in every hierarchy.
    pub(crate) fn cgroups(&self) -> Vec<String> {
        let mut hierarchies = entries(Path::new(CGROUPS));
        hierarchies.push(CGROUPS.to_owned());
        let all = hierarchies.iter().flat_map(|hierarchy| entries(Path::new(hierarchy)));
        all.filter(|path| path.contains(&self.tag)).collect()
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        for path in entries(self.runtime.root()) {
            let name = Path::new(&path).file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if let Ok(id) = ContainerId::new(name)
                && let Err(error) = self.runtime.delete(&id, Delete::Force)
            {
                println!("cannot delete {name}: {error}");
            }
        }
    }
}

fn entries(dir: &Path) -> Vec<String> {
    let found = fs::read_dir(dir).into_iter().flatten().flatten();
    found.map(|entry| entry.path().display().to_string()).collect()
}

/// A configuration with the namespaces and mounts of an ordinary container.
pub(crate) fn config(args: &[&str]) -> Value {
    json!({
        "ociVersion": "1.2.0",
        "root": {"path": "rootfs"},
        "process": {
            "user": {"uid": 0, "gid": 0}, "cwd": "/", "args": args, "env": ["PATH=/bin"],
            "capabilities": {"bounding": ["CAP_KILL"], "permitted": ["CAP_KILL"], "effective": ["CAP_KILL"]},
        },
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]},
            {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
             "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]},
        ],
        "linux": {"namespaces": [{"type": "pid"}, {"type": "mount"}, {"type": "ipc"}, {"type": "uts"}]},
    })
}

/// A process for an exec.
pub(crate) fn process(args: &[&str]) -> oci_spec::runtime::Process {
    let text = json!({"user": {"uid": 0, "gid": 0}, "cwd": "/", "args": args, "env": ["PATH=/bin"]});
    serde_json::from_value(text).expect("a process")
}

/// The processes that carry a word in their arguments, environment or cgroup; not this one, and no zombies.
pub(crate) fn processes_with(word: &str) -> Vec<(i32, String)> {
    let own = std::process::id().to_string();
    let pids = fs::read_dir("/proc").expect("/proc").flatten().filter_map(|entry| {
        entry.file_name().into_string().ok().filter(|name| name.parse::<i32>().is_ok() && *name != own)
    });
    pids.filter_map(|pid| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let (_, rest) = stat.rsplit_once(") ")?;
        if rest.starts_with(['Z', 'X']) {
            return None;
        }
        ["cmdline", "environ", "cgroup"].into_iter().find_map(|file| {
            let bytes = fs::read(format!("/proc/{pid}/{file}")).ok()?;
            let text = String::from_utf8_lossy(&bytes).replace('\0', " ");
            text.contains(word).then(|| (pid.parse().unwrap_or(0), format!("{file} {}", text.trim())))
        })
    })
    .collect()
}

/// A busybox that needs no loader and no library.
fn static_busybox() -> Option<PathBuf> {
    ["/bin/busybox", "/usr/bin/busybox"].iter().map(PathBuf::from).find(|path| is_static(path))
}

/// Whether a 64-bit ELF file has no `PT_INTERP` header (elf(5)).
fn is_static(path: &Path) -> bool {
    const PT_INTERP: u32 = 3;
    let Ok(bytes) = fs::read(path) else { return false };
    let number = |at: usize, size: usize| {
        let field = bytes.get(at..at + size).unwrap_or_default();
        field.iter().rev().fold(0usize, |sum, byte| sum << 8 | usize::from(*byte))
    };
    let (start, size, count) = (number(32, 8), number(54, 2), number(56, 2));
    bytes.starts_with(b"\x7fELF\x02")
        && count > 0
        && (0..count).all(|index| number(start + index * size, 4) != PT_INTERP as usize)
}
