//! Labels of Linux security modules: AppArmor profiles and SELinux contexts.
//!
//! Processes get them through files below /proc/PID/attr (lsm(7)), mounts through an option of their file system.

use std::path::Path;

use oci_spec::runtime::{Linux, Process};

use crate::error::{Error, ErrorKind, Result};

/// The file below /proc/PID for the AppArmor profile of the next execve, and the text to write. It is AppArmor's own,
/// so it works beside other modules, unlike `attr/exec` (Linux 5.8).
pub(crate) fn apparmor_exec(profile: &str) -> (&'static str, String) {
    ("attr/apparmor/exec", format!("exec {profile}"))
}

/// The file below /proc/PID for the SELinux context of the next execve.
pub(crate) const SELINUX_EXEC: &str = "attr/exec";

/// The file for the SELinux context of keys that the process makes; a newline resets it.
pub(crate) const SELINUX_KEYS: &str = "/proc/thread-self/attr/keycreate";

/// The option of a file system that gives all of its files one SELinux context.
pub(crate) const CONTEXT: &str = "context";

/// Options with which a mount chooses its SELinux contexts itself.
pub(crate) const CONTEXTS: [&str; 4] = [CONTEXT, "fscontext", "defcontext", "rootcontext"];

/// Whether mounts of this type get the mount label: the files of procfs and sysfs have contexts from the policy.
pub(crate) fn labels_mounts_of(fs: &str) -> bool {
    !matches!(fs, "proc" | "sysfs")
}

/// The AppArmor profile of a process; callers write an empty one for none.
pub(crate) fn apparmor_profile(process: &Process) -> Option<&str> {
    process.apparmor_profile().as_deref().filter(|profile| !profile.is_empty())
}

/// Whether a kernel without AppArmor satisfies this profile: engines write it for privileged containers on every host.
pub(crate) fn is_unconfined(profile: &str) -> bool {
    profile == "unconfined"
}

/// The SELinux context of a process; an empty one is none.
pub(crate) fn selinux_label(process: &Process) -> Option<&str> {
    process.selinux_label().as_deref().filter(|label| !label.is_empty())
}

/// The SELinux context of the container's mounts; an empty one is none.
pub(crate) fn mount_label(linux: Option<&Linux>) -> Option<&str> {
    linux.and_then(|linux| linux.mount_label().as_deref()).filter(|label| !label.is_empty())
}

/// The error for a text that does not have the form of an SELinux context.
pub(crate) const NO_CONTEXT: &str =
    "not an SELinux label, which has the form user:role:type or user:role:type:level";

/// Whether a text has the form of an SELinux context: USER:ROLE:TYPE, often with a level. Only the policy knows whether
/// it is valid.
pub(crate) fn is_context(label: &str) -> bool {
    label.split(':').take(3).filter(|part| !part.is_empty()).count() == 3
}

/// Refuses labels for a security module that the kernel does not have. `at` is the pointer of the process object.
///
/// # Errors
///
/// `ErrorKind::Unsupported` at the property that asks for the module.
pub(crate) fn refuse_absent(process: Option<&Process>, at: &str, linux: Option<&Linux>) -> Result<()> {
    let wanted = [
        (
            process.and_then(apparmor_profile).filter(|name| !is_unconfined(name)),
            format!("{at}/apparmorProfile"),
            Module::AppArmor,
        ),
        (process.and_then(selinux_label), format!("{at}/selinuxLabel"), Module::SeLinux),
        (mount_label(linux), "/linux/mountLabel".to_owned(), Module::SeLinux),
    ];
    for (label, pointer, module) in wanted {
        let Some(label) = label else { continue };
        if !module.runs(Path::new("/")) {
            let message = format!("{label:?} cannot be applied: this kernel runs without {}", module.name());
            return Err(Error::new(ErrorKind::Unsupported, message).at(pointer));
        }
    }
    Ok(())
}

#[derive(Clone, Copy, Debug)]
enum Module {
    AppArmor,
    SeLinux,
}

impl Module {
    const fn name(self) -> &'static str {
        match self {
            Self::AppArmor => "AppArmor",
            Self::SeLinux => "SELinux",
        }
    }

    /// Whether the kernel below this root directory enforces, or at least loads, the module's policies.
    fn runs(self, root: &Path) -> bool {
        let read = |path: &str| std::fs::read_to_string(root.join(path)).unwrap_or_default();
        match self {
            Self::AppArmor => read("sys/module/apparmor/parameters/enabled").starts_with('Y'),
            // The file system is registered only if the module was not disabled at boot.
            Self::SeLinux => read("proc/filesystems")
                .lines()
                .any(|line| line.split_whitespace().last() == Some("selinuxfs")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_runs_where_the_kernel_says_so() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        assert!(!Module::AppArmor.runs(root) && !Module::SeLinux.runs(root));
        std::fs::create_dir_all(root.join("sys/module/apparmor/parameters")).unwrap();
        std::fs::create_dir(root.join("proc")).unwrap();
        std::fs::write(root.join("sys/module/apparmor/parameters/enabled"), "N\n").unwrap();
        std::fs::write(root.join("proc/filesystems"), "nodev\tsysfs\n\text4\n").unwrap();
        assert!(!Module::AppArmor.runs(root) && !Module::SeLinux.runs(root));
        std::fs::write(root.join("sys/module/apparmor/parameters/enabled"), "Y\n").unwrap();
        std::fs::write(root.join("proc/filesystems"), "nodev\tselinuxfs\n\text4\n").unwrap();
        assert!(Module::AppArmor.runs(root) && Module::SeLinux.runs(root));
    }

    #[test]
    fn an_empty_label_asks_for_nothing() {
        let process: Process = serde_json::from_str(
            r#"{"user":{"uid":0,"gid":0},"cwd":"/","args":["x"],"apparmorProfile":"","selinuxLabel":""}"#,
        )
        .unwrap();
        assert!(refuse_absent(Some(&process), "/process", None).is_ok());
    }
}
