//! What the runtime needs to know about the machine and its own rights: probed once, a plain value that tests can
//! build.

use crate::error::{Error, ErrorKind, Result};
use crate::sys::process;

/// The oldest kernel with everything that wharf uses without a fallback (`mount_setattr` of 5.12, and 5.14 for the
/// fixes of id-mapped mounts and for `cgroup.kill`).
const OLDEST_KERNEL: (u32, u32) = (5, 14);

/// The inode of the initial user namespace (`include/linux/proc_ns.h`, `PROC_USER_INIT_INO`).
const INITIAL_USER_NAMESPACE: u64 = 0xEFFF_FFFD;

const CAP_SETGID: u32 = 6;
const CAP_SETUID: u32 = 7;
const CAP_NET_ADMIN: u32 = 12;
const CAP_SYS_ADMIN: u32 = 21;
const CAP_SYS_RESOURCE: u32 = 24;
const CAP_MKNOD: u32 = 27;

/// Facts about the machine and the runtime's own process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Host {
    /// Effective user id of the runtime.
    pub(crate) euid: u32,
    /// Effective group id of the runtime.
    pub(crate) egid: u32,
    /// Capabilities that the runtime can pass on: those in its permitted set.
    pub(crate) grantable: u64,
    /// Capabilities that the runtime can use in its own user namespace.
    pub(crate) effective: u64,
    /// Whether the runtime is in the user namespace that the machine booted with.
    pub(crate) initial_user_namespace: bool,
}

impl Host {
    /// Probes the machine. Cheap: five system calls.
    pub(crate) fn probe() -> Result<Self> {
        let kernel =
            nix::sys::utsname::uname().map_err(|errno| Error::os(errno, "ask for the kernel's release"))?;
        let release = kernel.release().to_string_lossy();
        if parse_release(&release).is_some_and(|version| version < OLDEST_KERNEL) {
            let (major, minor) = OLDEST_KERNEL;
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!("wharf needs Linux {major}.{minor} or later, and this is Linux {release}"),
            ));
        }
        let sets = process::capabilities()
            .map_err(|errno| Error::os(errno, "ask for the runtime's capabilities"))?;
        // A kernel without user namespaces has no such file: then there is only the initial one.
        let initial_user_namespace = nix::sys::stat::stat("/proc/self/ns/user")
            .map_or(true, |namespace| namespace.st_ino == INITIAL_USER_NAMESPACE);
        Ok(Self {
            euid: nix::unistd::geteuid().as_raw(),
            egid: nix::unistd::getegid().as_raw(),
            grantable: sets.permitted,
            effective: sets.effective,
            initial_user_namespace,
        })
    }

    /// Root of the initial user namespace with every capability: the default host that plans are made for.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) const fn of_root() -> Self {
        let all = u64::MAX >> 23;
        Self { euid: 0, egid: 0, grantable: all, effective: all, initial_user_namespace: true }
    }

    const fn has(self, capability: u32) -> bool {
        self.effective >> capability & 1 == 1
    }

    /// Whether the runtime may mount, and enter namespaces, on behalf of a container: it is root of its own user
    /// namespace. Otherwise the child does all of it, as root of the container's user namespace.
    pub(crate) const fn is_admin(self) -> bool {
        self.has(CAP_SYS_ADMIN)
    }

    /// Whether the runtime may take network devices out of its namespace, and enter another to set them up.
    pub(crate) const fn moves_devices(self) -> bool {
        self.is_admin() && self.has(CAP_NET_ADMIN)
    }

    /// Whether the runtime may write any id map. If not, it may map only its own ids, and newuidmap(1) does the rest.
    pub(crate) const fn maps_ids(self) -> bool {
        self.has(CAP_SETUID) && self.has(CAP_SETGID)
    }

    /// Whether the runtime may make device nodes, which takes the initial user namespace.
    pub(crate) const fn makes_devices(self) -> bool {
        self.initial_user_namespace && self.has(CAP_MKNOD)
    }

    /// Whether the runtime may raise hard resource limits.
    pub(crate) const fn raises_limits(self) -> bool {
        self.initial_user_namespace && self.has(CAP_SYS_RESOURCE)
    }

    /// Whether the caller does not own the machine: it is an ordinary user, root of a user namespace, or root with as
    /// few capabilities as in a container.
    pub(crate) const fn is_rootless(self) -> bool {
        !self.is_admin() || !self.initial_user_namespace
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
