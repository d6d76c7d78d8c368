//! The message that introduces a container to the agent behind `listenerPath`.

use std::path::PathBuf;

use oci_spec::runtime::{ContainerProcessState, SECCOMP_FD_NAME, State};

/// Where the listener of a filter goes, and what goes with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Listener {
    /// The agent's `AF_UNIX` stream socket; absolute.
    pub(crate) path: PathBuf,
    /// `listenerMetadata`, passed through as it is.
    pub(crate) metadata: Option<String>,
}

impl Listener {
    /// The listener of a profile in which [`validate`](super::validate) found no mistake.
    pub(crate) fn of(seccomp: &oci_spec::runtime::LinuxSeccomp) -> Option<Self> {
        let path = seccomp.listener_path().clone()?;
        Some(Self { path, metadata: seccomp.listener_metadata().clone() })
    }

    /// The bytes to send with the listener's fd, for the process `pid` of the container described by `state`.
    pub(crate) fn message(&self, state: &State, pid: i32) -> serde_json::Result<Vec<u8>> {
        process_state(state, pid, self.metadata.clone())
    }
}

/// The container process state of the runtime specification, as JSON.
///
/// One connection carries one such object, sent in one message whose `SCM_RIGHTS` array holds exactly the fds that it
/// names: the listener alone. `pid` is the process that loaded the filter, as the runtime sees it; for exec it differs
/// from that in `state`, which stays the container's first process.
fn process_state(state: &State, pid: i32, metadata: Option<String>) -> serde_json::Result<Vec<u8>> {
    let mut message = ContainerProcessState::default();
    message.set_version(state.version().clone());
    message.set_fds(vec![SECCOMP_FD_NAME.to_owned()]);
    message.set_pid(pid);
    message.set_metadata(metadata);
    message.set_state(state.clone());
    serde_json::to_vec(&message)
}

#[cfg(test)]
mod tests {
    use oci_spec::runtime::{ContainerState, LinuxSeccomp};
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn message_is_the_object_of_the_specification() {
        let mut state = State::default();
        state.set_version("1.2.1".to_owned());
        state.set_id("web".to_owned());
        state.set_status(ContainerState::Creating);
        state.set_pid(Some(7));
        state.set_bundle(PathBuf::from("/bundles/web"));
        let seccomp: LinuxSeccomp = serde_json::from_value(json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "listenerPath": "/run/agent.sock",
            "listenerMetadata": "a\"b",
        }))
        .unwrap();
        let listener = Listener::of(&seccomp).unwrap();
        assert_eq!(listener.path, PathBuf::from("/run/agent.sock"));
        let message: Value = serde_json::from_slice(&listener.message(&state, 9).unwrap()).unwrap();
        assert_eq!(
            message,
            json!({
                "ociVersion": "1.2.1",
                "fds": ["seccompFd"],
                "pid": 9,
                "metadata": "a\"b",
                "state": {
                    "ociVersion": "1.2.1", "id": "web", "status": "creating", "pid": 7, "bundle": "/bundles/web",
                },
            })
        );
    }

    #[test]
    fn no_listener_without_a_path() {
        assert_eq!(Listener::of(&LinuxSeccomp::default()), None);
    }
}
