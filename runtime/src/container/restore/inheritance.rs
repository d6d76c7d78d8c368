//! What a restored process inherits from criu, as the images do not have it. So criu is started with it.

use std::ffi::CString;

use oci_spec::runtime::{Linux, Process, Spec};

use crate::error::{Error, ErrorKind, Result};
use crate::id::ContainerId;
use crate::linux::{affinity, ioprio, memory_policy, personality};
use crate::sys::process;

/// What a creation gives a process by its configuration and criu does not restore.
#[derive(Debug)]
pub(super) struct Inheritance {
    keyring: CString,
    io_priority: Option<i32>,
    memory_policy: Option<(i32, Vec<u8>)>,
    personality: Option<u64>,
}

impl Inheritance {
    pub(super) fn of(spec: &Spec, id: &ContainerId) -> Result<Self> {
        let keyring = CString::new(format!("_ses.{}", id.as_str()))
            .map_err(|_| Error::new(ErrorKind::InvalidSpec, "the id contains a NUL byte"))?;
        let io_priority = spec
            .process()
            .as_ref()
            .and_then(|process: &Process| process.io_priority().as_ref().map(ioprio::value));
        let linux = spec.linux().as_ref();
        let personality =
            linux.and_then(|linux: &Linux| linux.personality().as_ref()).map(personality::persona);
        let policy = linux.and_then(|linux| linux.memory_policy().as_ref());
        let memory_policy = policy
            .map(|policy| match memory_policy::nodes(policy) {
                Some(nodes) => Ok((memory_policy::mode(policy), nodes)),
                None => Err(memory_policy::malformed()),
            })
            .transpose()?;
        Ok(Self { keyring, io_priority, memory_policy, personality })
    }

    /// Applies it to the calling thread, and so to what that thread starts. Other threads are not affected.
    pub(super) fn take(&self) -> Result<()> {
        // As at a creation: the cgroup decides about the container's CPUs, not the caller's own affinity.
        if let Err(errno) = process::set_affinity(&affinity::ALL_CPUS) {
            log::warn!("{}", Error::os(errno, "reset the CPU affinity to the CPUs of the cgroup"));
        }
        // The caller's keys are not the container's.
        process::join_session_keyring(&self.keyring)
            .map_err(|errno| Error::os(errno, "join a new session keyring"))?;
        if let Some(value) = self.io_priority {
            process::set_thread_io_priority(value)
                .map_err(|errno| Error::os(errno, "set the I/O priority").at("/process/ioPriority"))?;
        }
        if let Some((mode, nodes)) = &self.memory_policy {
            process::set_memory_policy(*mode, nodes)
                .map_err(|errno| Error::os(errno, "set the memory policy").at("/linux/memoryPolicy"))?;
        }
        if let Some(persona) = self.personality {
            process::set_personality(persona)
                .map_err(|errno| Error::os(errno, "set the execution domain").at("/linux/personality"))?;
        }
        Ok(())
    }
}
