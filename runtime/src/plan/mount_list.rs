//! The mounts of a configuration, and the defaults.

use oci_spec::runtime::{Mount, Spec};

use crate::error::{Error, ErrorKind, Result};
use crate::plan::mount::entry::Entry;
use crate::program::blame::Place;

/// The mounts of a container: those listed or, if the configuration says nothing about mounts at all, the file systems
/// that the spec promises (config-linux.md, Default Filesystems). A list that leaves one out does so on purpose.
pub(crate) fn mounts_of(spec: &Spec) -> Vec<Mount> {
    spec.mounts().clone().unwrap_or_else(default_mounts)
}

fn default_mounts() -> Vec<Mount> {
    let text = r#"[
        {"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "noexec", "nodev"]},
        {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]},
        {"destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]},
        {"destination": "/dev/shm", "type": "tmpfs", "source": "shm", "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]},
        {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"]}
    ]"#;
    serde_json::from_str(text).unwrap_or_default()
}

/// One of them, with its options parsed.
pub(super) fn understand(mount: &Mount, index: usize) -> Result<Entry<'_>> {
    let place = Place::item("/mounts", index);
    Entry::new(mount, place).map_err(|(option, message)| {
        let pointer = place.element("/options", option).pointer().unwrap_or_default();
        Error::new(ErrorKind::InvalidSpec, message).at(pointer)
    })
}
