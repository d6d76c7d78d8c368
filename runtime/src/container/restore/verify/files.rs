//! Open files and directories of restored processes: none from the host, except the streams that the caller gave.

use std::collections::BTreeSet;
use std::ffi::CString;
use std::fs;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use super::super::super::checkpoint::mount_id;
use super::{Policy, list, refuse};
use crate::error::{Error, Result};
use crate::linux::mountinfo;
use crate::sys::path;

/// Compares one process.
pub(super) fn verify(pid: i32, policy: &Policy<'_>) -> Result<()> {
    let table = |process: &str| {
        let file = format!("/proc/{process}/mountinfo");
        let table = fs::read(&file).map_err(|error| Error::io(&error, format!("read {file}")))?;
        Ok::<_, Error>(mountinfo::parse(&table))
    };
    let own: BTreeSet<u64> = table(&pid.to_string())?.iter().map(|mount| mount.id).collect();
    let host: BTreeSet<u64> =
        [table("self")?, table(policy.criu)?].iter().flatten().map(|mount| mount.id).collect();
    for name in ["cwd", "root", "exe"] {
        let link = format!("/proc/{pid}/{name}");
        let text = CString::new(link.as_str()).unwrap_or_default();
        let fd = path::open_path(&text).map_err(|errno| Error::os(errno, format!("open {link}")))?;
        let mount = mount_id(&format!("/proc/self/fdinfo/{}", fd.as_raw_fd()))?;
        // An executable in memory is on no mount at all.
        if mount.is_none_or(|id| !own.contains(&id) && (name != "exe" || host.contains(&id))) {
            return Err(refuse(format_args!("its {name} is not in the container"), "/root"));
        }
    }
    for fd in list(&format!("/proc/{pid}/fd"))? {
        let link = format!("/proc/{pid}/fd/{fd}");
        let Some(id) = mount_id(&format!("/proc/{pid}/fdinfo/{fd}"))?.filter(|id| !own.contains(id)) else {
            continue;
        };
        // Not on a host mount: pipes, sockets and files in memory are on kernel-internal mounts.
        if !host.contains(&id) {
            continue;
        }
        let Ok(file) = fs::metadata(Path::new(&link)) else { continue };
        if !policy.streams.contains(&(file.dev(), file.ino())) {
            return Err(refuse(format_args!("its descriptor {fd} is a file of the host"), "/root"));
        }
    }
    Ok(())
}
