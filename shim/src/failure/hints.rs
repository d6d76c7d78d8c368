//! What to do on the command line about a failure of the library, which does not know the command line.
//!
//! There is one function for each operation whose failures have such a remedy. It decides by the class of the error and
//! the property of config.json that the error names.

use wharf::{Error, Kind};

use super::Failure;

/// A container that cannot be opened.
pub(crate) fn open(error: Error) -> Failure {
    let hint = match error.kind() {
        Kind::Corrupt => Some("see `wharf delete --force`"),
        // The one state in which a container cannot be opened is that it is still being created.
        Kind::WrongState => Some("`wharf delete --force` ends a creation that does not go on"),
        _ => None,
    };
    with(error, hint)
}

/// A container that cannot be created, run, restored or planned.
pub(crate) fn create(error: Error) -> Failure {
    let driver = error.kind() == Kind::InvalidSpec && error.pointer() == Some("/linux/cgroupsPath");
    with(error, driver.then_some("--systemd-cgroup and --cgroup-manager choose the cgroup driver"))
}

/// A container that cannot be checkpointed.
pub(crate) fn checkpoint(error: Error) -> Failure {
    let parent = error.kind() == Kind::InvalidSpec && error.pointer().is_none();
    with(error, parent.then_some("--parent-path counts from --image-path"))
}

fn with(error: Error, hint: Option<&str>) -> Failure {
    let failure = Failure::from(error);
    match hint {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}
