//! `spec`: writes a config.json to start from.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::Path;

use nix::sys::statfs::{CGROUP2_SUPER_MAGIC, statfs};
use nix::unistd::{getegid, geteuid};

use crate::cli::options::BUNDLE;
use crate::cli::{Call, Context, Count, Opt, Verb};
use crate::failure::Failure;

/// Its line in the table.
pub(crate) const VERB: Verb =
    Verb::new("spec", "", Count::Exactly(0), "write a config.json to start from", run)
        .details("An existing file is not overwritten.")
        .options(&[
            BUNDLE,
            Opt::value("file", "FILE", "write FILE instead of config.json in the bundle").short('f'),
            Opt::switch("rootless", "for a container without privileges on the host"),
        ]);

/// Byte for byte what runc writes on a host with version 2 cgroups: scripts edit it.
const DEFAULT: &str = include_str!("spec/default.json");
/// The same without privileges: a user namespace instead of a network namespace and resources, no `gid=` that is not
/// mapped, and the host's sysfs, which cannot be mounted anew without a network namespace of one's own.
const ROOTLESS: &str = include_str!("spec/rootless.json");

/// The entry in the list of namespaces that runc writes only if all cgroups are of version 2.
const CGROUP_NAMESPACE: &str = ",\n\t\t\t{\n\t\t\t\t\"type\": \"cgroup\"\n\t\t\t}";

/// Refuses to overwrite a file.
fn run(_context: &Context, call: &Call) -> Result<u8, Failure> {
    let text = if call.options.flag("rootless") {
        rootless(geteuid().as_raw(), getegid().as_raw())
    } else {
        DEFAULT.to_owned()
    };
    let unified = statfs("/sys/fs/cgroup").is_ok_and(|fs| fs.filesystem_type() == CGROUP2_SUPER_MAGIC);
    let text = if unified { text } else { text.replace(CGROUP_NAMESPACE, "") };
    let bundle = call.options.path("bundle")?.unwrap_or(Path::new("."));
    write(&bundle.join(call.options.path("file")?.unwrap_or(Path::new("config.json"))), &text)?;
    Ok(0)
}

fn rootless(uid: u32, gid: u32) -> String {
    ROOTLESS.replace("\"UID\"", &uid.to_string()).replace("\"GID\"", &gid.to_string())
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let file = OpenOptions::new().write(true).create_new(true).open(path);
    let written = file.and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => {
            Failure::new(format!("File {} exists. Remove it first", path.display()))
        }
        _ => Failure::new(format!("write {}: {error}", path.display())),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn parsed(text: &str) -> Value {
        // The types of the specification parse it too.
        serde_json::from_str::<oci_spec::runtime::Spec>(text).unwrap();
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn the_default_is_that_of_runc_with_a_cgroup_namespace() {
        let spec = parsed(DEFAULT);
        assert_eq!(spec["process"]["terminal"], true);
        assert_eq!(spec["ociVersion"], crate::cli::version::SPEC);
        let namespaces: Vec<_> =
            spec["linux"]["namespaces"].as_array().unwrap().iter().map(|ns| &ns["type"]).collect();
        assert_eq!(namespaces, ["pid", "network", "ipc", "uts", "mount", "cgroup"]);
        assert_eq!(spec["hostname"], "runc");
        assert!(
            DEFAULT.starts_with("{\n\t\"ociVersion\"") && DEFAULT.ends_with('}') && !DEFAULT.contains("  ")
        );
    }

    #[test]
    fn the_cgroup_namespace_can_be_left_out_of_both() {
        for text in [DEFAULT.to_owned(), rootless(1000, 100)] {
            let mut expected = parsed(&text);
            let namespaces = expected["linux"]["namespaces"].as_array_mut().unwrap();
            namespaces.retain(|namespace| namespace["type"] != "cgroup");
            assert_eq!(parsed(&text.replace(CGROUP_NAMESPACE, "")), expected);
        }
    }

    #[test]
    fn rootless_differs_where_it_must() {
        let mut expected = parsed(DEFAULT);
        let linux = expected["linux"].as_object_mut().unwrap();
        linux.remove("resources");
        linux.insert("uidMappings".to_owned(), json!([{"containerID": 0, "hostID": 1000, "size": 1}]));
        linux.insert("gidMappings".to_owned(), json!([{"containerID": 0, "hostID": 100, "size": 1}]));
        let namespaces = linux["namespaces"].as_array_mut().unwrap();
        namespaces.retain(|namespace| namespace["type"] != "network");
        namespaces.push(json!({"type": "user"}));
        for mount in expected["mounts"].as_array_mut().unwrap() {
            if mount["destination"] == "/sys" {
                *mount = json!({"destination": "/sys", "type": "none", "source": "/sys",
                    "options": ["rbind", "nosuid", "noexec", "nodev", "ro"]});
            }
            if let Some(options) = mount.get_mut("options").and_then(Value::as_array_mut) {
                options.retain(|option| option != "gid=5");
            }
        }
        assert_eq!(parsed(&rootless(1000, 100)), expected);
    }

    #[test]
    fn a_file_is_not_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        write(&dir.path().join("config.json"), "one").unwrap();
        let failure = write(&dir.path().join("config.json"), "two").unwrap_err();
        assert!(failure.message().contains("exists. Remove it first"));
        assert_eq!(std::fs::read_to_string(dir.path().join("config.json")).unwrap(), "one");
        assert!(
            write(Path::new("/nonexistent/config.json"), "")
                .unwrap_err()
                .message()
                .contains("/nonexistent/config.json")
        );
    }
}
