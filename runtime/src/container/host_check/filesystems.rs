//! Types of file systems and their options: which ones this kernel may know.

use oci_spec::runtime::Spec;

use crate::finding::Finding;
use crate::linux::mount::{filesystem, options};

pub(super) fn check(spec: &Spec, findings: &mut Vec<Finding>) {
    let known = std::fs::read_to_string("/proc/filesystems").unwrap_or_default();
    let known = |typ: &str| known.lines().any(|line| line.rsplit('\t').next() == Some(typ));
    for (index, mount) in spec.mounts().iter().flatten().enumerate() {
        let words = mount.options().as_deref().unwrap_or_default();
        let (Ok(parsed), Some(typ)) = (options::parse(words), mount.typ().as_deref()) else { continue };
        if parsed.bind.is_some() || parsed.remount || !parsed.propagation.is_empty() || typ.is_empty() {
            continue;
        }
        if !matches!(typ, "cgroup" | "cgroup2" | "bind" | "none") && !known(typ) {
            // A module that provides it may be loaded on demand.
            findings.push(Finding::warning(
                format!("/mounts/{index}/type"),
                format!("the kernel does not know the file system {typ:?} (yet)"),
            ));
        }
        for (key, _) in &parsed.data {
            if filesystem::takes(typ, key) == Some(false) {
                let word = words.iter().position(|word| word.split('=').next() == Some(key));
                let at = word.map_or_else(String::new, |word| format!("/{word}"));
                // A later kernel may have it.
                findings.push(Finding::warning(
                    format!("/mounts/{index}/options{at}"),
                    format!(
                        "{key:?} is no known option of {typ}, so mounting {} will fail",
                        mount.destination().display()
                    ),
                ));
            }
        }
    }
}
