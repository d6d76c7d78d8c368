//! The calling process moves into the pod's namespaces, and back.

use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::Path;
use std::process::Command;

use nix::errno::Errno;

use super::PodNamespaces;
use crate::error::{Error, ErrorKind, Result};
use crate::sys::{clone, namespace, worker};

/// The namespaces that a process came from.
#[derive(Debug)]
pub struct Home {
    /// With the `CLONE_NEW*` flag of each.
    namespaces: Vec<(OwnedFd, i32)>,
}

impl PodNamespaces {
    /// Moves the calling thread into the namespaces, and sets the host name and the kernel parameters in them. They
    /// last as long as a process is in them.
    ///
    /// # Errors
    ///
    /// Those of [`PodNamespaces::check`]; [`ErrorKind::WrongState`] if a process of its own must hold the namespaces;
    /// otherwise the failure of the kernel. Then the caller is where it was.
    pub fn enter(&self) -> Result<Home> {
        if self.needs_holder() {
            let sentence = "the caller cannot be in the pid namespace or the user namespace of a pod";
            return Err(Error::new(ErrorKind::WrongState, sentence));
        }
        let network = self.checked_network()?;
        let home = Home::of(self.new_flags() | network.as_ref().map_or(0, |_| libc::CLONE_NEWNET))?;
        let entered = network
            .map_or(Ok(()), |network| clone::setns(network.as_raw_fd(), libc::CLONE_NEWNET))
            .map_err(|errno| Error::os(errno, "join the network namespace of the pod"))
            .and_then(|()| {
                clone::unshare(self.new_flags())
                    .map_err(|errno| Error::os(errno, "make the namespaces of the pod"))
            })
            .and_then(|()| self.set_parameters());
        match entered {
            Ok(()) => Ok(home),
            Err(error) => {
                home.go_back()?;
                Err(error)
            }
        }
    }
}

impl Home {
    fn of(flags: i32) -> Result<Self> {
        let kinds = [("net", libc::CLONE_NEWNET), ("ipc", libc::CLONE_NEWIPC), ("uts", libc::CLONE_NEWUTS)];
        let open = |(name, flag): (&str, i32)| {
            let path = format!("/proc/thread-self/ns/{name}");
            namespace::open(Path::new(&path))
                .map(|namespace| (namespace, flag))
                .map_err(|errno: Errno| Error::os(errno, format!("open {path}")))
        };
        let own = kinds.into_iter().filter(|(_, flag)| flags & flag != 0);
        Ok(Self { namespaces: own.map(open).collect::<Result<_>>()? })
    }

    /// Moves the calling thread back.
    ///
    /// # Errors
    ///
    /// If the kernel refuses, for lack of a privilege.
    pub fn go_back(&self) -> Result<()> {
        for (namespace, flag) in &self.namespaces {
            clone::setns(namespace.as_raw_fd(), *flag)
                .map_err(|errno| Error::os(errno, "go back to the namespaces of the host"))?;
        }
        Ok(())
    }

    /// Lets a command start in these namespaces, whatever namespaces the caller is in.
    ///
    /// # Errors
    ///
    /// If the descriptors cannot be copied.
    pub fn start_here(&self, command: &mut Command) -> Result<()> {
        let copy = |(namespace, flag): &(OwnedFd, i32)| Ok((namespace.try_clone()?, *flag));
        let copies = self.namespaces.iter().map(copy).collect::<std::io::Result<_>>();
        let copies = copies.map_err(|error| Error::io(&error, "copy the descriptors of namespaces"))?;
        worker::join_on_exec(command, copies);
        Ok(())
    }

    /// The descriptors of the namespaces, for a copy of this process to keep.
    pub fn descriptors(&self) -> Vec<i32> {
        self.namespaces.iter().map(|(namespace, _)| namespace.as_raw_fd()).collect()
    }
}
