//! How a worker creates a container: the mounts of its root file system, and the container.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use containerd_shim_protos::types::mount::Mount;
use oci_spec::runtime::{LinuxNamespaceType, Spec};
use serde::{Deserialize, Serialize};
use wharf::{Console, ContainerId, CreateOptions, Delete, Runtime, Stdio};

use super::{Answer, Workers};
use crate::options::Options;
use crate::refusal::Refusal;
use crate::rootfs;
use crate::sandbox::containers::open_bundle;
use crate::sandbox::files::Files;

/// What the worker reports about a container that it created.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Created {
    /// The pid of the first process; 0 if there is none before the start.
    pub(crate) pid: i32,
    /// Whether the kernel ends all processes when the first one ends.
    pub(crate) owns_pids: bool,
}

/// What the worker needs to create a container.
pub(crate) struct Creation {
    pub(crate) runtime: Runtime,
    pub(crate) id: ContainerId,
    pub(crate) bundle: PathBuf,
    /// The files of the pod, if it has a sandbox.
    pub(crate) files: Option<Files>,
    pub(crate) mounts: Vec<Mount>,
    pub(crate) options: Options,
    pub(crate) terminal: bool,
    /// The standard streams; without them only the root file system is set up, for a container that is still in a
    /// checkpoint.
    pub(crate) streams: Option<[OwnedFd; 3]>,
}

impl Creation {
    /// Runs in the worker: creates the container, or leaves nothing of it.
    pub(crate) fn perform(mut self) -> Result<Answer, Refusal> {
        let rootfs = self.bundle.join("rootfs");
        rootfs::mount_all(&self.mounts, &rootfs)?;
        let mounted = !self.mounts.is_empty();
        self.make().inspect_err(|_| {
            if mounted && let Err(reason) = rootfs::unmount(&rootfs) {
                log::warn!("{reason}");
            }
        })
    }

    fn make(&mut self) -> Result<Answer, Refusal> {
        let during = |refusal: Refusal| refusal.during("OCI runtime create failed");
        let bundle = open_bundle(&self.bundle, self.files.as_ref()).map_err(during)?;
        let owns_pids = owns_pids(bundle.spec());
        let Some(streams) = self.streams.take() else { return told(0, owns_pids, None) };
        let options = CreateOptions::new()
            .stdio(Stdio::Fds(streams))
            .console(if self.terminal { Console::Keep } else { Console::None })
            .no_pivot(self.options.no_pivot_root)
            .new_keyring(!self.options.no_new_keyring)
            .sibling(true);
        let made = self.runtime.create(&self.id, &bundle, options);
        let mut container = made.map_err(|error| during(error.into()))?;
        let pid = container.pid().unwrap_or(0);
        if let Err(refusal) = write_pid(&self.bundle, "init.pid", pid) {
            if let Err(error) = self.runtime.delete(&self.id, Delete::Force) {
                log::warn!("{error}");
            }
            return Err(refusal);
        }
        told(pid, owns_pids, container.take_console())
    }
}

fn told(pid: i32, owns_pids: bool, descriptor: Option<OwnedFd>) -> Result<Answer, Refusal> {
    let bytes = serde_json::to_vec(&Created { pid, owns_pids })
        .map_err(|error| Refusal::io("encode the answer of a worker", error))?;
    Ok(Answer { bytes, descriptor })
}

/// Removes what is left by a worker that was killed while it created a container.
pub(crate) async fn clean_up(workers: &Workers, runtime: &Runtime, id: &ContainerId, bundle: &Path) {
    let (runtime, id, rootfs) = (runtime.clone(), id.clone(), bundle.join("rootfs"));
    let cleaned = workers.run(&[], move || {
        runtime.delete(&id, Delete::Force)?;
        rootfs::unmount(&rootfs).map_err(Refusal::unknown)?;
        Ok(Answer::default())
    });
    if let Err(refusal) = cleaned.await {
        log::warn!("clean up after a worker that was killed: {refusal}");
    }
}

/// Whether the kernel ends all processes of a container when its init ends, as in a pid namespace of its own.
fn owns_pids(spec: &Spec) -> bool {
    let namespaces = spec.linux().as_ref().and_then(|linux| linux.namespaces().as_ref());
    namespaces.into_iter().flatten().any(|namespace| {
        namespace.typ() == LinuxNamespaceType::Pid
            && namespace.path().as_ref().is_none_or(|path| path.as_os_str().is_empty())
    })
}

/// Read by `delete`, and by other programs.
pub(crate) fn write_pid(bundle: &Path, file: &str, pid: i32) -> Result<(), Refusal> {
    let path = bundle.join(file);
    std::fs::write(&path, pid.to_string())
        .map_err(|error| Refusal::io(format_args!("write {}", path.display()), error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pid_namespace_of_its_own_has_no_path() {
        let spec = |namespaces: &str| -> Spec {
            let text = format!(r#"{{"ociVersion":"1.0.0","linux":{{"namespaces":[{namespaces}]}}}}"#);
            serde_json::from_str(&text).unwrap()
        };
        assert!(owns_pids(&spec(r#"{"type":"mount"},{"type":"pid"}"#)));
        assert!(!owns_pids(&spec(r#"{"type":"pid","path":"/proc/1/ns/pid"}"#)));
        assert!(!owns_pids(&spec(r#"{"type":"mount"}"#)));
    }
}
