//! A process that holds the pod's namespaces.

use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};

use super::PodNamespaces;
use crate::child::holder::{self, Held};
use crate::error::{Error, ErrorKind, Result};
use crate::host::Host;
use crate::linux::idmap::IdMaps;
use crate::spawn::id_map;
use crate::sys::{clone, namespace, process};

/// The process that holds the namespaces.
#[derive(Debug)]
pub struct Holder {
    pid: i32,
    pidfd: OwnedFd,
}

impl PodNamespaces {
    /// Makes a process that holds the namespaces until the other end of the pipe `life` is closed, or it is killed. It
    /// becomes a child of the next subreaper above the caller ([`crate::worker::reap`] tells of its end). In a pid
    /// namespace of the pod, it is the first process, and the kernel reaps what others leave to it.
    ///
    /// Nothing of the caller is left in it: no memory, no right, no descriptor but the pipe, an empty root directory, and
    /// a filter of the two system calls that it makes.
    ///
    /// **Call it in a copy of the program** ([`crate::worker::fork`]): the calling process ends up in the pod's
    /// namespaces, without a way back.
    ///
    /// # Errors
    ///
    /// Those of [`PodNamespaces::check`]; otherwise the failure of the kernel. Then there is no holder.
    pub fn hold(&self, life: BorrowedFd<'_>) -> Result<Holder> {
        let network = self.checked_network()?;
        let user = self.user_namespace(network.as_ref().map(AsFd::as_fd))?;
        let root = self.root();
        let held = Held {
            new: self.new_flags(),
            network: network.as_ref().map(AsFd::as_fd),
            user: user.as_ref().map(|user| (user.as_fd(), root)),
            life,
        };
        let (pid, pidfd) =
            holder::make(&held).map_err(|errno| Error::os(errno, "make the process that holds a pod"))?;
        let holder = Holder { pid, pidfd };
        let network = network.map_or(0, |_| libc::CLONE_NEWNET);
        let users = user.map_or(0, |_| libc::CLONE_NEWUSER);
        let joined = self.new_flags() & !libc::CLONE_NEWPID | network;
        self.set_up(&holder, joined, users, root).inspect_err(|_| holder.kill())?;
        Ok(holder)
    }

    /// Sets the parameters from inside.
    fn set_up(&self, holder: &Holder, joined: i32, users: i32, [uid, gid]: [u32; 2]) -> Result<()> {
        let failed = |errno| Error::os(errno, "join the namespaces of the pod");
        if joined | users != 0 {
            clone::setns(holder.pidfd.as_raw_fd(), joined | users).map_err(failed)?;
        }
        if users != 0 {
            // The kernel asks who the owner of the parameters is, not for capabilities (ipc/ipc_sysctl.c).
            process::set_gid(gid).and_then(|()| process::set_uid(uid)).map_err(failed)?;
        }
        self.set_parameters()
    }

    /// The owner of the network namespace or, without one, a new user namespace.
    fn user_namespace(&self, network: Option<BorrowedFd<'_>>) -> Result<Option<OwnedFd>> {
        let Some((uids, gids)) = &self.user else { return Ok(None) };
        if let Some(network) = network {
            let failed = |errno| Error::os(errno, "find the user namespace of the pod's network");
            let owner = namespace::owner(network).map_err(failed)?;
            // Its containers would have no rights over it.
            if namespace::is_own_user_namespace(owner.as_fd()).map_err(failed)? {
                let sentence = "the network namespace of the pod belongs to the user namespace of the host";
                return Err(Error::new(ErrorKind::InvalidSpec, sentence));
            }
            return Ok(Some(owner));
        }
        id_map::open(&IdMaps { uids: uids.clone(), gids: gids.clone() }, Host::probe()?).map(Some)
    }

    /// The user and the group that are root in the user namespace.
    fn root(&self) -> [u32; 2] {
        let (uids, gids) = self.user.clone().unwrap_or_default();
        let (uid, gid) = IdMaps { uids, gids }.root();
        [uid, gid]
    }
}

impl Holder {
    /// Its pid.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    fn kill(&self) {
        let _ = crate::sys::pidfd::send_signal(self.pidfd.as_fd(), libc::SIGKILL);
    }
}
