//! What the runtime needs to know of the machine and of its own rights: probed once, a plain value that tests write.

use crate::error::{Error, Kind, Result};
use crate::sys::process;

/// The oldest kernel with everything that wharf uses without a fallback (`mount_setattr` of 5.12, and 5.14 for the
/// fixes of id-mapped mounts and `cgroup.kill`).
const OLDEST_KERNEL: (u32, u32) = (5, 14);

/// Facts about the machine and the runtime's own process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Host {
    /// Effective user id of the runtime.
    pub(crate) euid: u32,
    /// Capabilities that the runtime can hand on: those in its permitted set.
    pub(crate) grantable: u64,
}

impl Host {
    /// Looks at the machine. Cheap: three system calls.
    pub(crate) fn probe() -> Result<Self> {
        let kernel =
            nix::sys::utsname::uname().map_err(|errno| Error::os(errno, "ask for the kernel's release"))?;
        let release = kernel.release().to_string_lossy();
        if parse_release(&release).is_some_and(|version| version < OLDEST_KERNEL) {
            let (major, minor) = OLDEST_KERNEL;
            return Err(Error::new(
                Kind::Unsupported,
                format!("wharf needs Linux {major}.{minor} or later, and this is Linux {release}"),
            ));
        }
        let sets = process::capabilities()
            .map_err(|errno| Error::os(errno, "ask for the runtime's capabilities"))?;
        Ok(Self { euid: nix::unistd::geteuid().as_raw(), grantable: sets.permitted })
    }
}

fn parse_release(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_of_distributions_are_understood() {
        assert_eq!(parse_release("6.18.44-fc-v657"), Some((6, 18)));
        assert_eq!(parse_release("5.10.0-9-amd64"), Some((5, 10)));
        assert_eq!(parse_release("6.1"), Some((6, 1)));
        assert_eq!(parse_release("unknown"), None);
    }
}
