//! What a container of the pod gets from it: the files that its own configuration does not have.

use std::path::Path;

use serde_json::Value;
use wharf::Bundle;

use super::files::Files;
use crate::refusal::Refusal;

/// Opens the bundle of a container; in a pod with files, with those that the container does not have.
pub(crate) fn open_bundle(directory: &Path, files: Option<&Files>) -> Result<Bundle, Refusal> {
    let bundle = Bundle::open(directory)?;
    let Some(files) = files else { return Ok(bundle) };
    // It has been parsed once, so it is a well-formed object without repeated names.
    let amended = files.amended(bundle.config_bytes());
    let amended =
        amended.map_err(|error| Refusal::io("add the files of the pod to a configuration", error))?;
    Ok(Bundle::from_bytes(&amended, directory)?)
}

impl Files {
    /// The configuration with the files that it does not have.
    fn amended(&self, config: &[u8]) -> serde_json::Result<Vec<u8>> {
        let mut config: Value = serde_json::from_slice(config)?;
        let read_only = config["root"]["readonly"] == true;
        let mut mounts = match config["mounts"].take() {
            Value::Array(mounts) => mounts,
            _ => Vec::new(),
        };
        // Every configuration of containerd's has this: it stands for the pod's.
        mounts.retain(|mount| !is_default_shm(mount));
        mounts.extend(self.mounts_for(&mounts, read_only));
        config["mounts"] = mounts.into();
        serde_json::to_vec(&config)
    }
}

/// The shared memory that containerd's default configuration gives to each container.
fn is_default_shm(mount: &Value) -> bool {
    mount["destination"] == "/dev/shm" && mount["type"] == "tmpfs" && mount["source"] == "shm"
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_the_default_stands_for_the_pod() {
        let mount =
            |typ: &str, source: &str| json!({"destination": "/dev/shm", "type": typ, "source": source});
        assert!(is_default_shm(&mount("tmpfs", "shm")));
        assert!(!is_default_shm(&mount("bind", "/var/lib/kubelet/shm")));
        assert!(!is_default_shm(&json!({"destination": "/tmp", "type": "tmpfs", "source": "shm"})));
    }
}
