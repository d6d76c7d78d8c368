//! Which boot of the machine a record belongs to. Processes, cgroups and mounts end with a boot, but records of them on
//! disk do not, and pids, pidfs inode numbers and mount ids are then assigned afresh.

use crate::sys::proc_file;

/// The id of this boot; none if the kernel does not report it. Read each time: a process that was saved and restored
/// may have seen more than one boot.
pub(super) fn current() -> Option<String> {
    let mut buffer = [0; 64];
    let text = proc_file::read("/proc/sys/kernel/random/boot_id", &mut buffer).ok()?;
    let text = std::str::from_utf8(text).ok()?.trim_end();
    (!text.is_empty()).then(|| text.to_owned())
}

/// Whether that boot is over. An unknown boot counts as this one.
pub(super) fn is_over(boot: Option<&str>) -> bool {
    boot.is_some_and(|boot| current().is_some_and(|now| now != boot))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_another_known_boot_is_over() {
        let now = current().expect("every Linux has it");
        assert!(!is_over(Some(&now)) && !is_over(None));
        assert!(is_over(Some("00000000-0000-0000-0000-000000000000")));
    }
}
