//! What the containers of a pod share, without a container that holds it.
//!
//! A pod is a group of containers in the same network, IPC and UTS namespaces, and sometimes in the same pid and user
//! namespaces. The usual way to have these namespaces before the first container is one more container whose program
//! does nothing. [`PodNamespaces`] makes them without it, in one of two ways:
//!
//! * [`PodNamespaces::enter`]: the calling process moves into them. It must have one thread, and nothing of it may
//!   depend on the namespaces of the host; where something does, it goes back with [`Home::go_back`] in a copy of itself
//!   ([`crate::worker::fork`]). This costs no process.
//! * [`PodNamespaces::hold`]: a process that does nothing but hold them. A pid namespace or a user namespace of the pod
//!   needs it.
//!
//! The containers join the namespaces by their paths below `/proc/PID/ns`, as `linux.namespaces` has them.
//!
//! Bind mounts of those files would keep the namespaces without a process. They are not used: each is one more mount of
//! the host, which every later copy of its mount namespace pays for, that is, every container; and they stay after a
//! crash, while the namespaces of a process go with it. The program `pod-namespaces` of the benchmarks compares the
//! three ways. Beside 100 pods with two bind mounts each, one copy of the mount namespace took 10 ms rather than 0.1 ms. A
//! process that only holds the namespaces takes 100 kB, of the kernel's memory and its own; the others 25 to 30.

mod enter;
mod hold;
mod parameters;

use std::collections::BTreeMap;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use oci_spec::runtime::LinuxIdMapping;

use crate::cgroup::Stats;
use crate::error::{Error, ErrorKind, Result};
use crate::sys::namespace;

pub use enter::Home;
pub use hold::Holder;

/// What a pod uses, by its cgroup: a path below the root of each hierarchy, or the name of a slice of systemd.
///
/// # Errors
///
/// [`ErrorKind::InvalidSpec`] if it is neither; [`ErrorKind::NotFound`] if there is no such cgroup.
pub fn stats(cgroup: &str) -> Result<Stats> {
    crate::cgroup::named::stats(cgroup)
}

/// The longest host name that the kernel takes (`__NEW_UTS_LEN` of linux/utsname.h).
const LONGEST_NAME: usize = 64;

/// The namespaces of a pod.
///
/// ```no_run
/// let namespaces = wharf::pod::PodNamespaces::new().network("/run/netns/blue").ipc(true).uts(true).hostname("blue");
/// let home = namespaces.enter()?;
/// // Here /proc/self/ns/uts is the pod's.
/// home.go_back()?;
/// # Ok::<(), wharf::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodNamespaces {
    network: Option<PathBuf>,
    ipc: bool,
    uts: bool,
    pid: bool,
    user: Option<(Vec<LinuxIdMapping>, Vec<LinuxIdMapping>)>,
    hostname: Option<String>,
    sysctls: BTreeMap<String, String>,
}

impl PodNamespaces {
    /// No namespace: everything is the host's.
    pub fn new() -> Self {
        Self::default()
    }

    /// The path of the network namespace, which exists already; with a user namespace, that is the one that owns it.
    #[must_use]
    pub fn network(mut self, path: impl Into<PathBuf>) -> Self {
        self.network = Some(path.into());
        self
    }

    /// Whether the pod has an IPC namespace of its own.
    #[must_use]
    pub fn ipc(mut self, own: bool) -> Self {
        self.ipc = own;
        self
    }

    /// Whether the pod has a UTS namespace of its own.
    #[must_use]
    pub fn uts(mut self, own: bool) -> Self {
        self.uts = own;
        self
    }

    /// Whether the containers share a pid namespace. Only [`PodNamespaces::hold`] can make it.
    #[must_use]
    pub fn pid(mut self, own: bool) -> Self {
        self.pid = own;
        self
    }

    /// The maps of the pod's user namespace. Only [`PodNamespaces::hold`] can make it.
    #[must_use]
    pub fn user(mut self, uids: Vec<LinuxIdMapping>, gids: Vec<LinuxIdMapping>) -> Self {
        self.user = Some((uids, gids));
        self
    }

    /// The host name in the UTS namespace.
    #[must_use]
    pub fn hostname(mut self, name: impl Into<String>) -> Self {
        self.hostname = Some(name.into());
        self
    }

    /// A kernel parameter of one of the namespaces, as `linux.sysctl` has it.
    #[must_use]
    pub fn sysctl(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.sysctls.insert(name.into(), value.into());
        self
    }

    /// Whether a process of its own must hold them.
    pub fn needs_holder(&self) -> bool {
        self.pid || self.user.is_some()
    }

    /// Looks for mistakes, without a change to anything.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidSpec`] for a network namespace that is none, a host name that is too long or has no namespace of
    /// its own, and a kernel parameter that none of the namespaces has.
    pub fn check(&self) -> Result<()> {
        self.checked_network().map(drop)
    }

    /// The network namespace, if nothing is wrong.
    fn checked_network(&self) -> Result<Option<OwnedFd>> {
        let wrong = |sentence: String| Err(Error::new(ErrorKind::InvalidSpec, sentence));
        if let Some(name) = &self.hostname {
            if !self.uts {
                return wrong(format!("the host name {name:?} needs a UTS namespace of the pod"));
            }
            if name.len() > LONGEST_NAME || name.contains('\0') {
                return wrong(format!("the host name {name:?} is longer than {LONGEST_NAME} bytes"));
            }
        }
        self.parameters()?;
        self.network.as_deref().map(open_network).transpose()
    }

    /// The `CLONE_NEW*` flags of the namespaces that are made, except for that of users.
    fn new_flags(&self) -> i32 {
        [(self.ipc, libc::CLONE_NEWIPC), (self.uts, libc::CLONE_NEWUTS), (self.pid, libc::CLONE_NEWPID)]
            .into_iter()
            .filter(|(own, _)| *own)
            .fold(0, |all, (_, flag)| all | flag)
    }
}

fn open_network(path: &Path) -> Result<OwnedFd> {
    let what = || format!("open the network namespace {}", path.display());
    let opened = namespace::open(path).map_err(|errno| match errno {
        Errno::EINVAL => Error::new(ErrorKind::InvalidSpec, format!("{} is not a namespace", path.display())),
        other => Error::os(other, what()).with_kind(ErrorKind::InvalidSpec),
    })?;
    let kind = namespace::kind(opened.as_fd()).map_err(|errno| Error::os(errno, what()))?;
    if kind != libc::CLONE_NEWNET {
        return Err(Error::new(
            ErrorKind::InvalidSpec,
            format!("{} is not a network namespace", path.display()),
        ));
    }
    Ok(opened)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistakes_are_found_before_anything_changes() {
        let pod = PodNamespaces::new;
        for (namespaces, sentence) in [
            (
                pod().network("/nonexistent"),
                "open the network namespace /nonexistent: no such file or directory",
            ),
            (pod().network("/proc/self/ns/uts"), "/proc/self/ns/uts is not a network namespace"),
            (pod().network("/proc/self/status"), "/proc/self/status is not a namespace"),
            (pod().hostname("a"), "the host name \"a\" needs a UTS namespace of the pod"),
            (
                pod().sysctl("kernel.shmmax", "1"),
                "sysctl \"kernel.shmmax\" is not allowed in the hosts ipc namespace",
            ),
            (
                pod().sysctl("net.core.somaxconn", "1"),
                "sysctl \"net.core.somaxconn\" not allowed in host network namespace",
            ),
            (
                pod().sysctl("vm.swappiness", "1"),
                "sysctl \"vm.swappiness\" is not in a separate kernel namespace",
            ),
            (
                pod().sysctl("kernel.hostname", "1").uts(true),
                "sysctl \"kernel.hostname\" is not in a separate kernel namespace",
            ),
            (pod().sysctl("net", "1"), "\"net\" is not the name of a sysctl"),
        ] {
            let error = namespaces.check().unwrap_err();
            assert_eq!((error.kind(), error.to_string().as_str()), (ErrorKind::InvalidSpec, sentence));
        }
        let long = "x".repeat(65);
        assert!(pod().uts(true).hostname(long).check().is_err());
        let right = pod().ipc(true).uts(true).network("/proc/self/ns/net").hostname("blue");
        right.sysctl("kernel.shmmax", "65536").sysctl("net.core.somaxconn", "9").check().unwrap();
    }

    #[test]
    fn pids_and_users_need_a_process() {
        let pod = PodNamespaces::new().ipc(true).uts(true).network("/n");
        assert!(!pod.needs_holder());
        assert!(pod.clone().pid(true).needs_holder() && pod.user(Vec::new(), Vec::new()).needs_holder());
    }
}
