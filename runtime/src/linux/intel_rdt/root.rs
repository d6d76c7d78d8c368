//! Where the resctrl file system is mounted. Only containers that use it pay for the search.

use std::fs;
use std::path::{Path, PathBuf};

use nix::sys::statfs::statfs;

use crate::error::{Error, ErrorKind, Result};

/// Its usual place; the kernel makes the directory if the processor has something to share.
const USUAL: &str = "/sys/fs/resctrl";

/// `RDTGROUP_SUPER_MAGIC` (include/uapi/linux/magic.h).
const MAGIC: u64 = 0x0765_5821;

/// Finds the mount in the runtime's mount namespace.
pub(crate) fn find() -> Result<PathBuf> {
    let usual = Path::new(USUAL);
    if is_resctrl(usual) {
        return Ok(usual.to_owned());
    }
    let known = fs::read_to_string("/proc/filesystems").unwrap_or_default();
    let supported = known.lines().any(|line| line.split_whitespace().last() == Some("resctrl"));
    let table = if supported { fs::read("/proc/thread-self/mountinfo") } else { Ok(Vec::new()) };
    let table = table.map_err(|error| Error::io(&error, "read /proc/thread-self/mountinfo"))?;
    let table = String::from_utf8_lossy(&table);
    table.lines().filter_map(mount_point).find(|path| is_resctrl(path)).ok_or_else(|| {
        let hint = if supported {
            "mount it: mount -t resctrl resctrl /sys/fs/resctrl"
        } else {
            "this kernel or this processor does not support it (Intel RDT, AMD QoS)"
        };
        Error::new(ErrorKind::Unsupported, "intelRdt needs the resctrl file system, which is not mounted")
            .at("/linux/intelRdt")
            .with_hint(hint)
    })
}

fn is_resctrl(path: &Path) -> bool {
    #[allow(clippy::unnecessary_cast, reason = "the type of the field differs between libraries")]
    statfs(path).is_ok_and(|stat| stat.filesystem_type().0 as u64 & 0xffff_ffff == MAGIC)
}

/// The mount point of a line of mountinfo, if the file system is resctrl (`proc_pid_mountinfo(5)`).
fn mount_point(line: &str) -> Option<PathBuf> {
    let (mount, kind) = line.split_once(" - ")?;
    if kind.split(' ').next() != Some("resctrl") {
        return None;
    }
    let path = mount.split(' ').nth(4)?;
    // Characters that would end a field are written in octal.
    let mut plain = String::new();
    let mut rest = path;
    while let Some((before, after)) = rest.split_once('\\') {
        plain.push_str(before);
        let (code, after) = after.split_at_checked(3)?;
        plain.push(u8::from_str_radix(code, 8).ok()? as char);
        rest = after;
    }
    plain.push_str(rest);
    Some(plain.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_elsewhere_is_found_in_the_table() {
        let line = "38 32 0:33 / /mnt/rdt\\040here rw,relatime shared:17 - resctrl resctrl rw";
        assert_eq!(mount_point(line), Some("/mnt/rdt here".into()));
        assert_eq!(mount_point("38 32 0:33 / /sys rw - sysfs sysfs rw"), None);
        assert_eq!(mount_point("garbage"), None);
    }

    #[test]
    fn another_file_system_is_not_taken_for_it() {
        assert!(!is_resctrl(Path::new("/proc")));
        assert!(!is_resctrl(Path::new("/nonexistent")));
        if let Err(error) = find() {
            assert_eq!((error.kind(), error.pointer()), (ErrorKind::Unsupported, Some("/linux/intelRdt")));
        } else {
            println!("skipped in part: this machine has resctrl");
        }
    }
}
