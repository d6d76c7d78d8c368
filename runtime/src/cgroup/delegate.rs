//! Hands a container's cgroup over to its user (runtime-spec, config-linux, "Cgroup ownership").

use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::AtFlags;
use nix::unistd::{Uid, fchown, fchownat};
use oci_spec::runtime::{LinuxNamespaceType, Spec};

use super::file;
use crate::error::{Error, Result};

/// What may be handed over if the kernel does not say (before Linux 4.15; runtime-spec lists the same three).
const FALLBACK: &str = "cgroup.procs\ncgroup.subtree_control\ncgroup.threads\n";

/// Whether the container gets its cgroup: it has its own cgroup namespace, and cgroups are mounted writable for it.
///
/// On version 1 ownership never changes; the caller must know that.
pub(crate) fn is_delegated(spec: &Spec) -> bool {
    let namespaces =
        spec.linux().as_ref().and_then(|linux| linux.namespaces().as_deref()).unwrap_or_default();
    let own = namespaces.iter().any(|ns| ns.typ() == LinuxNamespaceType::Cgroup && ns.path().is_none());
    // The last mount on a place is the visible one.
    let mount = spec
        .mounts()
        .iter()
        .flatten()
        .rfind(|mount| mount.destination().components().eq(Path::new("/sys/fs/cgroup").components()));
    own && mount.is_some_and(|mount| {
        let options = mount.options().as_deref().unwrap_or_default();
        options
            .iter()
            .rfind(|option| matches!(option.as_str(), "ro" | "rw"))
            .is_none_or(|option| option == "rw")
    })
}

/// Gives a version 2 cgroup to the process's user, as seen from the host: the directory and the files that the kernel
/// lists as safe. The group stays.
pub(crate) fn delegate(dir: &Path, uid: u32) -> Result<()> {
    delegate_listed(dir, uid, Path::new("/sys/kernel/cgroup/delegate"))
}

fn delegate_listed(dir: &Path, uid: u32, list: &Path) -> Result<()> {
    let owner = Some(Uid::from_raw(uid));
    let fail = |errno: Errno, path: &Path| Error::os(errno, format!("chown {} to {uid}", path.display()));
    let fd = file::open_dir(dir).map_err(|errno| fail(errno, dir))?;
    fchown(&fd, owner, None).map_err(|errno| fail(errno, dir))?;
    let names = std::fs::read_to_string(list).unwrap_or_else(|_| FALLBACK.to_owned());
    for name in names.lines().filter(|name| !name.is_empty() && !name.contains('/') && *name != "..") {
        match fchownat(&fd, name, owner, None, AtFlags::AT_SYMLINK_NOFOLLOW) {
            // A file of a controller that is not enabled here.
            Ok(()) | Err(Errno::ENOENT) => {}
            Err(errno) => return Err(fail(errno, &dir.join(name))),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    fn spec(namespace: &str, mounts: &str) -> Spec {
        serde_json::from_str(&format!(
            r#"{{"ociVersion":"1.2.0","linux":{{"namespaces":[{namespace}]}},"mounts":[{mounts}]}}"#
        ))
        .unwrap()
    }

    #[test]
    fn only_a_writable_mount_in_a_new_namespace_counts() {
        let new = r#"{"type":"cgroup"}"#;
        let joined = r#"{"type":"cgroup","path":"/proc/1/ns/cgroup"}"#;
        let mount = |options: &str| {
            format!(
                r#"{{"destination":"/sys/fs/cgroup","type":"cgroup","source":"cgroup","options":[{options}]}}"#
            )
        };
        let cases = [
            (new, mount(r#""nosuid","rw""#), true),
            (new, mount(""), true),
            (new, mount(r#""ro""#), false),
            (new, mount(r#""ro","rw""#), true),
            (new, format!("{},{}", mount(r#""rw""#), mount(r#""ro""#)), false),
            (joined, mount(""), false),
            (r#"{"type":"mount"}"#, mount(""), false),
            (new, String::new(), false),
        ];
        for (namespace, mounts, answer) in cases {
            assert_eq!(is_delegated(&spec(namespace, &mounts)), answer, "{namespace} {mounts}");
        }
    }

    #[test]
    fn the_listed_files_change_hands_and_no_other() {
        if !nix::unistd::geteuid().is_root() {
            eprintln!("skipped: chown needs root");
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let cgroup = dir.path().join("c");
        std::fs::create_dir(&cgroup).unwrap();
        for name in ["cgroup.procs", "cgroup.threads", "memory.max", "memory.oom.group"] {
            std::fs::write(cgroup.join(name), "").unwrap();
        }
        let uid = |name: &str| std::fs::metadata(cgroup.join(name)).unwrap().uid();
        delegate_listed(&cgroup, 1234, &dir.path().join("missing")).unwrap();
        assert_eq!([uid(""), uid("cgroup.procs"), uid("cgroup.threads")], [1234; 3]);
        assert_eq!([uid("memory.max"), uid("memory.oom.group")], [0; 2]);
        let list = dir.path().join("list");
        std::fs::write(&list, "cgroup.procs\nmemory.oom.group\nnot.there\n").unwrap();
        delegate_listed(&cgroup, 77, &list).unwrap();
        assert_eq!([uid("cgroup.procs"), uid("memory.oom.group"), uid("cgroup.threads")], [77, 77, 1234]);
    }
}
