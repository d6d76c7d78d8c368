//! Bind sources that are symbolic links and that a container gets as links.

use std::path::{Path, PathBuf};

use oci_spec::runtime::Mount;

use crate::linux::mount::options;

/// The link targets of mounts with the option `copy-symlink` whose source is a link. Other sources are bound.
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
