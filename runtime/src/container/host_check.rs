//! What `check` can tell of the host without changing it: whether the things that a configuration names are there.
//!
//! The host may change before a container is created, so a creation does not ask: it tries.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use nix::sys::statfs::{FsType, statfs};
use oci_spec::runtime::Spec;

use crate::bundle::Bundle;
use crate::check::finding::Finding;
use crate::hook::HookKind;
use crate::linux::mount::options;

/// Magic number of the file system of namespaces (statfs(2)).
const NSFS_MAGIC: FsType = FsType(0x6e73_6673);

/// Everything of the bundle's configuration that is not there.
pub(super) fn check(bundle: &Bundle, findings: &mut Vec<Finding>) {
    let spec = bundle.spec();
    mounts(bundle, findings);
    hooks(spec, findings);
    namespaces(spec, findings);
}

fn mounts(bundle: &Bundle, findings: &mut Vec<Finding>) {
    let known = std::fs::read_to_string("/proc/filesystems").unwrap_or_default();
    let known = |typ: &str| known.lines().any(|line| line.rsplit('\t').next() == Some(typ));
    for (index, mount) in bundle.spec().mounts().iter().flatten().enumerate() {
        let Ok(parsed) = options::parse(mount.options().as_deref().unwrap_or_default()) else { continue };
        if parsed.bind.is_some() {
            let source = mount.source().as_ref().map(|source| bundle.dir().join(source));
            if let Some(source) = source.filter(|source| is_missing(source)) {
                findings.push(missing(format!("/mounts/{index}/source"), &source));
            }
        } else if let Some(typ) = mount.typ().as_deref()
            && !typ.is_empty()
            && !parsed.remount
            && parsed.propagation.is_empty()
            && !matches!(typ, "cgroup" | "cgroup2" | "bind" | "none")
            && !known(typ)
        {
            // A module that makes it known may be loaded on demand.
            findings.push(Finding::warning(
                format!("/mounts/{index}/type"),
                format!("the kernel does not know the file system {typ:?} (yet)"),
            ));
        }
    }
}

fn hooks(spec: &Spec, findings: &mut Vec<Finding>) {
    let Some(hooks) = spec.hooks().as_ref() else { return };
    // startContainer hooks are looked up in the container.
    for kind in HookKind::ALL.into_iter().filter(|kind| *kind != HookKind::StartContainer) {
        for (index, hook) in kind.of(hooks).iter().enumerate() {
            if hook.path().is_absolute() && is_missing(hook.path()) {
                findings.push(missing(format!("/hooks/{kind}/{index}/path"), hook.path()));
            }
        }
    }
}

fn namespaces(spec: &Spec, findings: &mut Vec<Finding>) {
    let list = spec.linux().as_ref().and_then(|linux| linux.namespaces().as_deref()).unwrap_or_default();
    for (index, namespace) in list.iter().enumerate() {
        let Some(path) = namespace.path() else { continue };
        let at = format!("/linux/namespaces/{index}/path");
        if is_missing(path) {
            findings.push(missing(at, path));
        } else if statfs(path).is_ok_and(|stat| stat.filesystem_type() != NSFS_MAGIC) {
            findings.push(Finding::error(at, format!("{} is no namespace", path.display())));
        }
    }
}

/// Whether a path leads to nothing. What the caller may not see may be there.
fn is_missing(path: &Path) -> bool {
    let error = path.metadata().err().map(|error| error.kind());
    matches!(error, Some(ErrorKind::NotFound | ErrorKind::NotADirectory))
}

fn missing(pointer: String, path: &Path) -> Finding {
    let path: PathBuf = path.components().collect();
    Finding::error(pointer, format!("{} does not exist", path.display()))
}
