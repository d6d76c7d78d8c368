//! Sources of bind mounts that a container gets as the links that they are.

use std::path::{Path, PathBuf};

use oci_spec::runtime::Mount;

use crate::linux::mount::options;

/// Where the sources lead that are links, of the mounts with the option `copy-symlink`. Another source is bound.
pub(super) fn links(mounts: &[Mount], bundle: &Path) -> Vec<(PathBuf, PathBuf)> {
    let copies = |mount: &&Mount| {
        options::parse(mount.options().as_deref().unwrap_or_default()).is_ok_and(|parsed| parsed.copy_symlink)
    };
    let sources = mounts.iter().filter(copies).filter_map(|mount| mount.source().as_ref());
    sources
        .filter_map(|source| {
            let source = bundle.join(source);
            let target = std::fs::read_link(&source).ok()?;
            Some((source, target))
        })
        .collect()
}
