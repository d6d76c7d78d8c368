//! What a container of the pod gets from it: the files that its own configuration does not have.

use std::path::Path;

use serde_json::Value;

use super::files::Files;
use crate::refusal::Refusal;

impl Files {
    /// The configuration of a container in this bundle with the pod's files; none if it has everything already.
    pub(crate) fn amended(&self, bundle: &Path) -> Result<Option<Vec<u8>>, Refusal> {
        let path = bundle.join("config.json");
        let failed = |error: String| Refusal::io(format_args!("read {}", path.display()), error);
        let bytes = std::fs::read(&path).map_err(|error| failed(error.to_string()))?;
        // What is malformed is for the library to refuse, with the place and in its words.
        let Ok(mut config) = serde_json::from_slice::<Value>(&bytes) else { return Ok(None) };
        let read_only = config["root"]["readonly"] == true;
        let Some(mounts) = config
            .as_object_mut()
            .map(|config| config.entry("mounts").or_insert_with(|| Value::Array(Vec::new())))
        else {
            return Ok(None);
        };
        if mounts.is_null() {
            *mounts = Value::Array(Vec::new());
        }
        let Some(mounts) = mounts.as_array_mut() else { return Ok(None) };
        // Every configuration of containerd's has this: it stands for the pod's.
        mounts.retain(|mount| !is_default_shm(mount));
        let added = self.mounts_for(mounts, read_only);
        mounts.extend(added);
        serde_json::to_vec(&config).map(Some).map_err(|error| Refusal::io("write a configuration", error))
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
