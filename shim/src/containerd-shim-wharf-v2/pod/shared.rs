//! The process that is in the namespaces of a pod: this one, or a holder.

use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::rc::Rc;

use wharf::pod::{Home, PodNamespaces};

use crate::refusal::Refusal;
use crate::worker::{Answer, Workers};

/// Who is in the pod's namespaces.
#[derive(Debug)]
pub(crate) enum Shared {
    /// This process.
    Server(Rc<Home>),
    /// A process that ends when the descriptor is closed.
    Holder { pid: i32, _life: OwnedFd },
}

impl Shared {
    /// Makes the namespaces.
    pub(crate) async fn make(workers: &Workers, namespaces: PodNamespaces) -> Result<Self, Refusal> {
        if !namespaces.needs_holder() {
            let home = Rc::new(namespaces.enter()?);
            workers.set_home(Some(home.clone()));
            return Ok(Self::Server(home));
        }
        let (theirs, ours) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)
            .map_err(|errno| Refusal::io("make a pipe to the process that holds the pod", errno))?;
        let keep = [theirs.as_raw_fd()];
        let answer = workers.run(&keep, move || {
            let holder = namespaces.hold(theirs.as_fd())?;
            Ok(Answer { bytes: holder.pid().to_le_bytes().to_vec(), descriptor: None })
        });
        let answer = answer.await?;
        let pid = answer.bytes.try_into().map(i32::from_le_bytes);
        let pid = pid.map_err(|_| Refusal::unknown("a worker did not tell the pid of the holder"))?;
        Ok(Self::Holder { pid, _life: ours })
    }

    /// The process that is in the namespaces.
    pub(crate) fn pid(&self) -> u32 {
        match self {
            Self::Server(_) => std::process::id(),
            Self::Holder { pid, .. } => *pid as u32,
        }
    }

    pub(crate) fn is_holder(&self, of: i32) -> bool {
        matches!(self, Self::Holder { pid, .. } if *pid == of)
    }

    /// Lets go of them.
    pub(crate) fn leave(self, workers: &Workers) -> Result<(), Refusal> {
        match self {
            Self::Server(home) => {
                home.go_back()?;
                workers.set_home(None);
                Ok(())
            }
            Self::Holder { .. } => Ok(()),
        }
    }
}
