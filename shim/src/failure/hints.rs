//! What to do on the command line about a failure of the library, which does not know the command line.
//!
//! There is one function for each operation whose failures have such a remedy. It decides by the class of the error and
//! the property of config.json that the error names.

use wharf::{Error, ErrorKind};

use super::Failure;

/// A container that cannot be opened.
pub(crate) fn open(error: Error) -> Failure {
    // The one state in which a container cannot be opened is that it is still being created.
    let broken = matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::WrongState);
    with(error, broken.then_some("use `wharf delete --force`"))
}

/// A container that cannot be created, run, restored or planned.
pub(crate) fn create(error: Error) -> Failure {
    let driver = error.kind() == ErrorKind::InvalidSpec && error.pointer() == Some("/linux/cgroupsPath");
    with(error, driver.then_some("--systemd-cgroup and --cgroup-manager choose the cgroup driver"))
}

/// A container that cannot be checkpointed.
pub(crate) fn checkpoint(error: Error) -> Failure {
    let parent = error.kind() == ErrorKind::InvalidSpec && error.pointer().is_none();
    with(error, parent.then_some("--parent-path counts from --image-path"))
}

fn with(error: Error, hint: Option<&str>) -> Failure {
    let failure = Failure::from(error);
    match hint {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_that_cannot_be_read_is_for_a_forced_deletion() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("web")).unwrap();
        let runtime = wharf::Runtime::builder().root(root.path().to_owned()).build().unwrap();
        let opened = |id: &str| {
            let Err(error) = runtime.open(&wharf::ContainerId::new(id).unwrap()) else {
                panic!("opened {id}")
            };
            open(error).message().to_owned()
        };
        assert!(opened("web").ends_with("; use `wharf delete --force`"), "{}", opened("web"));
        assert!(!opened("other").contains("--force"), "{}", opened("other"));
    }
}
