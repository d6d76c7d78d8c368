//! Joined namespaces: their kind, and whether one is the runtime's own.

use std::fs::File;
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use nix::sys::statfs::{FsType, fstatfs};
use oci_spec::runtime::Spec;

use super::present::{is_missing, missing};
use crate::error::{Error, ErrorKind, Result};
use crate::finding::Finding;
use crate::linux::namespace::Namespaces;
use crate::linux::sysctl;
use crate::sys::namespace;

/// Magic number of the file system of namespaces (statfs(2)).
const NSFS_MAGIC: FsType = FsType(0x6e73_6673);

pub(super) fn check(spec: &Spec, findings: &mut Vec<Finding>) {
    let list = spec.linux().as_ref().and_then(|linux| linux.namespaces().as_deref()).unwrap_or_default();
    for (index, namespace) in list.iter().enumerate() {
        let Some(path) = namespace.path() else { continue };
        let at = format!("/linux/namespaces/{index}/path");
        if is_missing(path) {
            findings.push(missing(at, path));
            continue;
        }
        let Some(file) = open(path) else { continue };
        if fstatfs(&file).is_ok_and(|stat| stat.filesystem_type() != NSFS_MAGIC) {
            findings.push(Finding::error(at, format!("{} is no namespace", path.display())));
        } else if let Ok(kind) = namespace::kind(file.as_fd())
            && kind != namespace.typ() as i32
            && !findings.iter().any(|finding| finding.pointer == at)
        {
            let typ = namespace.typ();
            findings.push(Finding::error(at, format!("{} is not a {typ} namespace", path.display())));
        }
    }
    if let Err(error) = refuse_host_sysctls(spec, &Namespaces::of(spec.linux().as_ref())) {
        super::add(findings, [error]);
    }
}

/// A joined namespace may be the runtime's own: then its parameters are the host's.
pub(in super::super) fn refuse_host_sysctls(spec: &Spec, namespaces: &Namespaces) -> Result<()> {
    let sysctls = spec.linux().as_ref().and_then(|linux| linux.sysctl().as_ref());
    for key in sysctls.into_iter().flat_map(std::collections::HashMap::keys) {
        let (origin, own) = match sysctl::path(key).as_deref().and_then(sysctl::scope) {
            Some(sysctl::Scope::Net) => (&namespaces.network, "/proc/self/ns/net"),
            Some(sysctl::Scope::Ipc) => (&namespaces.ipc, "/proc/self/ns/ipc"),
            Some(sysctl::Scope::Uts) => (&namespaces.uts, "/proc/self/ns/uts"),
            Some(sysctl::Scope::User) => (&namespaces.user, "/proc/self/ns/user"),
            None => continue,
        };
        if let Some(joined) = origin.joined()
            && is_own(joined, own)
        {
            let what = format!(
                "sysctl {key:?} is not allowed in the host's own namespace, which {} is",
                joined.display()
            );
            return Err(Error::new(ErrorKind::InvalidSpec, what).at("/linux/sysctl"));
        }
    }
    Ok(())
}

/// Opens what may be a namespace, if the caller can.
pub(super) fn open(path: &Path) -> Option<File> {
    // Opening a pipe or device there would have side effects.
    let options = File::options().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).clone();
    let plain = path.metadata().is_ok_and(|metadata| metadata.is_file());
    plain.then(|| options.open(path).ok()).flatten()
}

/// Whether a path leads to the runtime's own namespace, as far as can be found out.
pub(super) fn is_own(joined: &Path, own: &str) -> bool {
    let inode = |path: &Path| path.metadata().map(|metadata| (metadata.dev(), metadata.ino()));
    match inode(joined) {
        Ok(joined) => inode(Path::new(own)).is_ok_and(|own| own == joined),
        // Without privileges, the namespaces of other users' processes are not visible. The files of a network
        // namespace are, and each has its own inodes: those of /proc/PID/net.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            let process = joined.to_str().and_then(|path| path.strip_suffix("/ns/net"));
            process.is_some_and(|process| {
                let joined = inode(&Path::new(process).join("net/dev"));
                joined
                    .is_ok_and(|joined| inode(Path::new("/proc/self/net/dev")).is_ok_and(|own| own == joined))
            })
        }
        Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd as _;

    use serde_json::json;

    use super::*;

    fn found(typ: &str, path: &str) -> Vec<String> {
        let namespaces = json!([{"type": typ, "path": path}]);
        let spec = json!({"ociVersion": "1.2.0", "linux": {"namespaces": namespaces}});
        let mut findings = Vec::new();
        check(&serde_json::from_value(spec).unwrap(), &mut findings);
        findings.into_iter().map(|finding| finding.message).collect()
    }

    #[test]
    fn the_kind_of_an_open_namespace_is_told_whatever_its_name() {
        let file = File::open("/proc/self/ns/uts").unwrap();
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        assert_eq!(found("uts", &path), [""; 0]);
        assert_eq!(found("ipc", &path), [format!("{path} is not a ipc namespace")]);
        assert_eq!(found("ipc", "/etc/hostname"), ["/etc/hostname is no namespace"]);
        assert_eq!(found("ipc", "/none"), ["/none does not exist"]);
    }

    #[test]
    fn parameters_of_the_own_namespace_are_refused_also_by_the_files_of_another_process() {
        assert!(is_own(Path::new("/proc/self/ns/net"), "/proc/self/ns/net"));
        assert!(!is_own(Path::new("/proc/self/ns/net"), "/proc/self/ns/uts"));
        assert!(!is_own(Path::new("/none/ns/net"), "/proc/self/ns/net"));
    }
}
