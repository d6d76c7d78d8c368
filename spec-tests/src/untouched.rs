//! What no test may change: the caller's mounts, and the host's device nodes.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

/// Nodes whose inodes containers come close to, and whether their times stay the same: writing to a terminal changes
/// them.
const NODES: [(&str, bool); 7] = [
    ("/dev/null", true),
    ("/dev/zero", true),
    ("/dev/full", true),
    ("/dev/random", true),
    ("/dev/urandom", true),
    ("/dev/tty", false),
    ("/dev/ptmx", false),
];

/// How long something transient may take to go away, such as a mount of a test that runs beside this one.
const PATIENCE: Duration = Duration::from_secs(2);

/// Whether criu has made this mount to try out the kernel. It does so in its caller's mount namespace, the first time after
/// a boot, and leaves it there if it is killed at that moment. The criu of a test that runs beside this one may do so too.
fn is_probe_of_criu(point: &Path) -> bool {
    point.to_string_lossy().starts_with("/tmp/.criu.")
}

/// The surroundings of a test, as they were before it.
#[derive(Debug, PartialEq, Eq)]
pub struct Untouched {
    mounts: Vec<String>,
    nodes: Vec<String>,
}

impl Untouched {
    /// Records them. Below `work` the other tests have their own mounts; those of this test are below `own`.
    pub fn now(work: &Path, own: &Path) -> Self {
        let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let is_others = |line: &&str| {
            let point = Path::new(line.split(' ').nth(4).unwrap_or_default());
            point.starts_with(work) && !point.starts_with(own) || is_probe_of_criu(point)
        };
        let mounts = table.lines().filter(|line| !is_others(line)).map(str::to_owned).collect();
        Self { mounts, nodes: NODES.iter().map(|(path, times)| node(path, *times)).collect() }
    }

    /// What has changed by now, and stays so.
    pub fn changes(&self, work: &Path, own: &Path) -> Vec<String> {
        let end = Instant::now() + PATIENCE;
        loop {
            let now = Self::now(work, own);
            if now == *self {
                return Vec::new();
            }
            if Instant::now() > end {
                return self.difference(&now);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn difference(&self, now: &Self) -> Vec<String> {
        let missing = |from: &[String], other: &[String]| -> Vec<String> {
            from.iter().filter(|line| !other.contains(line)).cloned().collect()
        };
        let mut found = Vec::new();
        let (gone, new) = (missing(&self.mounts, &now.mounts), missing(&now.mounts, &self.mounts));
        if !gone.is_empty() || !new.is_empty() {
            found.push(format!(
                "{} of {} mounts of the caller changed: {:?}, now {:?}",
                gone.len(),
                self.mounts.len(),
                &gone[..gone.len().min(3)],
                &new[..new.len().min(3)]
            ));
        } else if self.mounts != now.mounts {
            found.push("the mounts of the caller stand in another order".to_owned());
        }
        let nodes = self.nodes.iter().zip(&now.nodes).filter(|(before, after)| before != after);
        found.extend(nodes.map(|(before, after)| format!("a device node was {before}, is {after}")));
        found
    }
}

/// A node's type, number, owner, mode and extended attributes, and its times except for that of the last read.
fn node(path: &str, times: bool) -> String {
    let Ok(meta) = fs::symlink_metadata(path) else { return format!("{path}: none") };
    let mut text = format!("{path}: {:o} {} {} {:x}", meta.mode(), meta.uid(), meta.gid(), meta.rdev());
    // Only root has its own nodes here; other programs use the machine's, too.
    if times && rustix::process::geteuid().is_root() {
        let (modified, changed) = ((meta.mtime(), meta.mtime_nsec()), (meta.ctime(), meta.ctime_nsec()));
        let _ = write!(text, " {modified:?} {changed:?}");
    }
    let mut names = [0_u8; 1024];
    if let Ok(length) = rustix::fs::llistxattr(path, &mut names[..]) {
        let _ = write!(text, " {:?}", String::from_utf8_lossy(&names[..length]));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let before = Untouched::now(dir.path(), dir.path());
        assert!(!before.mounts.is_empty());
        assert_eq!(before.nodes.len(), NODES.len());
        let mut other = Untouched::now(dir.path(), dir.path());
        let gone = other.mounts.remove(0);
        other.nodes[0] = "/dev/null: 20000".to_owned();
        let told = before.difference(&other);
        assert!(told[0].contains(&format!("{gone:?}")) && told[1].contains("20000"), "{told:?}");
    }
}
