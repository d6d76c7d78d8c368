//! Labels of Linux security modules: AppArmor profiles and SELinux contexts.

/// The file below /proc/PID that takes the AppArmor profile for the next execve, and the text to write.
pub(crate) fn apparmor_exec(profile: &str) -> (&'static str, String) {
    ("attr/apparmor/exec", format!("exec {profile}"))
}

/// The file below /proc/PID that takes the SELinux context for the next execve.
pub(crate) const SELINUX_EXEC: &str = "attr/exec";
