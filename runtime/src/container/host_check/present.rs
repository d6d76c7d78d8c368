//! Host files that a configuration names: whether they exist.

use std::io;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};

use oci_spec::runtime::Spec;

use crate::bundle::Bundle;
use crate::finding::Finding;
use crate::linux::mount::options;

pub(super) fn check(bundle: &Bundle, findings: &mut Vec<Finding>) {
    mounts(bundle, findings);
    listener(bundle.spec(), findings);
}

fn mounts(bundle: &Bundle, findings: &mut Vec<Finding>) {
    for (index, mount) in bundle.spec().mounts().iter().flatten().enumerate() {
        let Ok(parsed) = options::parse(mount.options().as_deref().unwrap_or_default()) else { continue };
        if parsed.bind.is_some() {
            let source = mount.source().as_ref().map(|source| bundle.dir().join(source));
            if let Some(source) = source.filter(|source| is_missing(source)) {
                findings.push(missing(format!("/mounts/{index}/source"), &source));
            }
        }
    }
}

/// Only a connection would show whether a process serves the socket, and it would take that for a container's.
fn listener(spec: &Spec, findings: &mut Vec<Finding>) {
    let seccomp = spec.linux().as_ref().and_then(|linux| linux.seccomp().as_ref());
    let Some(path) = seccomp.and_then(|seccomp| seccomp.listener_path().as_deref()) else { return };
    let at = "/linux/seccomp/listenerPath".to_owned();
    if is_missing(path) {
        findings.push(missing(at, path));
    } else if path.metadata().is_ok_and(|metadata| !metadata.file_type().is_socket()) {
        findings.push(Finding::error(at, format!("{} is no socket", path.display())));
    }
}

/// Whether nothing is at a path. What the caller may not see may exist.
pub(super) fn is_missing(path: &Path) -> bool {
    let error = path.metadata().err().map(|error| error.kind());
    matches!(error, Some(io::ErrorKind::NotFound | io::ErrorKind::NotADirectory))
}

pub(super) fn missing(pointer: String, path: &Path) -> Finding {
    let path: PathBuf = path.components().collect();
    Finding::error(pointer, format!("{} does not exist", path.display()))
}
