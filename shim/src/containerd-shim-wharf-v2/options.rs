//! The options of the runtime, in both of their forms.
//!
//! For the runtime type `io.containerd.runc.v2`, and from most clients, they are a message
//! `containerd.runc.v1.Options`. For any other type, containerd's CRI plugin sends `runtimeoptions.v1.Options`: the
//! table in its own configuration as TOML, or the name of a TOML file.

use std::path::{Path, PathBuf};

use containerd_shim_protos::protobuf::well_known_types::any::Any;
use containerd_shim_protos::protobuf::{self, Message as _};
use containerd_shim_protos::shim::oci;
use serde::{Deserialize, Serialize};

use crate::refusal::Refusal;

/// The default of [`Options::root`], where tools look: each namespace's state directory is a directory with its name in
/// it.
const ROOT: &str = "/run/containerd/runc";
/// Where the options are kept for `delete`, which is not given any.
const FILE: &str = "options.json";
/// Where other shims keep the name of the runtime; some tools read it.
const RUNTIME_FILE: &str = "runtime";

/// Options of the runtime besides the configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Options {
    /// Move the root mount instead of pivoting.
    #[serde(skip_serializing_if = "is_default", alias = "NoPivotRoot")]
    pub(crate) no_pivot_root: bool,
    /// Leave the shim's session keyring to the container.
    #[serde(skip_serializing_if = "is_default", alias = "NoNewKeyring")]
    pub(crate) no_new_keyring: bool,
    /// The cgroup for the shim itself.
    #[serde(skip_serializing_if = "is_default", alias = "ShimCgroup")]
    pub(crate) shim_cgroup: String,
    /// The owner of the streams.
    #[serde(skip_serializing_if = "is_default", alias = "IoUid")]
    pub(crate) io_uid: u32,
    /// The group of the streams.
    #[serde(skip_serializing_if = "is_default", alias = "IoGid")]
    pub(crate) io_gid: u32,
    /// The runtime to call: only wharf itself.
    #[serde(skip_serializing_if = "is_default", alias = "BinaryName")]
    pub(crate) binary_name: String,
    /// Where the state of containers is.
    #[serde(skip_serializing_if = "is_default", alias = "Root")]
    pub(crate) root: String,
    /// Let systemd manage the cgroups.
    #[serde(skip_serializing_if = "is_default", alias = "SystemdCgroup")]
    pub(crate) systemd_cgroup: bool,
    /// Where the images of a checkpoint are. Not used here: the daemon names them in the call.
    #[serde(skip_serializing_if = "is_default", alias = "CriuImagePath")]
    pub(crate) criu_image_path: String,
    /// Where CRIU works.
    #[serde(skip_serializing_if = "is_default", alias = "CriuWorkPath")]
    pub(crate) criu_work_path: String,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// `runtimeoptions.v1.Options`.
#[derive(Debug, Default, PartialEq, Eq)]
struct Generic {
    type_url: String,
    config_path: String,
    config_body: Vec<u8>,
}

impl Options {
    /// Parses the message that a daemon sends.
    pub(crate) fn decode(any: &Any) -> Result<Self, Refusal> {
        if any.type_url.is_empty() && any.value.is_empty() {
            return Ok(Self::default());
        }
        let broken = |error: protobuf::Error| {
            Refusal::invalid(format!("the options of type {}: {error}", any.type_url))
        };
        // The part before the last slash names the server of the type's definition.
        match any.type_url.rsplit('/').next().unwrap_or_default() {
            "containerd.runc.v1.Options" => {
                oci::Options::parse_from_bytes(&any.value).map(Self::from).map_err(broken)
            }
            "runtimeoptions.v1.Options" => Self::from_generic(&Generic::parse(&any.value).map_err(broken)?),
            other => Err(Refusal::invalid(format!(
                "the options have the unknown type {other:?}; known types are containerd.runc.v1.Options and runtimeoptions.v1.Options"
            ))),
        }
    }

    fn from_generic(generic: &Generic) -> Result<Self, Refusal> {
        let from_file;
        let (text, origin) = if generic.config_path.is_empty() {
            (generic.config_body.as_slice(), "the options of the runtime")
        } else {
            from_file = std::fs::read(&generic.config_path).map_err(|error| {
                Refusal::invalid(format!(
                    "read the options of the runtime from {}: {error}",
                    generic.config_path
                ))
            })?;
            (from_file.as_slice(), generic.config_path.as_str())
        };
        let text =
            std::str::from_utf8(text).map_err(|error| Refusal::invalid(format!("{origin}: {error}")))?;
        toml::from_str(text).map_err(|error| Refusal::invalid(format!("{origin}: {}", error.message())))
    }

    /// Refuses what this runtime cannot do.
    pub(crate) fn check(&self) -> Result<(), Refusal> {
        let name =
            Path::new(&self.binary_name).file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if !matches!(name, "" | "wharf" | "containerd-shim-wharf-v2") {
            return Err(Refusal::precondition(format!(
                "this shim runs containers itself and cannot call the runtime {:?}: leave BinaryName out, or use another shim",
                self.binary_name
            )));
        }
        for (what, path) in [("root", &self.root), ("working directory of criu", &self.criu_work_path)] {
            if !path.is_empty() && !Path::new(path).is_absolute() {
                return Err(Refusal::invalid(format!("the {what} {path:?} is not an absolute path")));
            }
        }
        Ok(())
    }

    /// The state directory for a namespace.
    pub(crate) fn state_root(&self, namespace: &str) -> PathBuf {
        let root = if self.root.is_empty() { ROOT } else { &self.root };
        Path::new(root).join(namespace)
    }

    /// Keeps the options in a bundle, for [`Options::load`].
    pub(crate) fn save(&self, bundle: &Path) -> std::io::Result<()> {
        write_private(&bundle.join(FILE), &serde_json::to_vec(self)?)?;
        write_private(&bundle.join(RUNTIME_FILE), self.binary_name.as_bytes())
    }

    /// The saved options; the defaults if there are none.
    pub(crate) fn load(bundle: &Path) -> Self {
        std::fs::read(bundle.join(FILE))
            .ok()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .unwrap_or_default()
    }
}

impl From<oci::Options> for Options {
    fn from(message: oci::Options) -> Self {
        Self {
            no_pivot_root: message.no_pivot_root,
            no_new_keyring: message.no_new_keyring,
            shim_cgroup: message.shim_cgroup,
            io_uid: message.io_uid,
            io_gid: message.io_gid,
            binary_name: message.binary_name,
            root: message.root,
            systemd_cgroup: message.systemd_cgroup,
            criu_image_path: message.criu_image_path,
            criu_work_path: message.criu_work_path,
        }
    }
}

impl Generic {
    fn parse(bytes: &[u8]) -> protobuf::Result<Self> {
        let mut generic = Self::default();
        let mut input = protobuf::CodedInputStream::from_bytes(bytes);
        while let Some(tag) = input.read_raw_tag_or_eof()? {
            match tag {
                // The field's number and the wire type "length-delimited".
                0x0a => generic.type_url = input.read_string()?,
                0x12 => generic.config_path = input.read_string()?,
                0x1a => generic.config_body = input.read_bytes()?,
                other => protobuf::rt::skip_field_for_tag(other, &mut input)?,
            }
        }
        Ok(generic)
    }
}

fn write_private(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut file = std::fs::File::options().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn any(type_url: &str, value: Vec<u8>) -> Any {
        let mut any = Any::new();
        type_url.clone_into(&mut any.type_url);
        any.value = value;
        any
    }

    /// Field 1, 2 or 3 of a message, as protobuf encodes short strings.
    fn field(number: u8, text: &str) -> Vec<u8> {
        [&[number << 3 | 2, text.len() as u8], text.as_bytes()].concat()
    }

    #[test]
    fn options_of_the_runc_type() {
        let mut message = oci::Options::new();
        message.root = "/run/x".to_owned();
        message.io_uid = 7;
        message.systemd_cgroup = true;
        let bytes = message.write_to_bytes().unwrap();
        for url in ["containerd.runc.v1.Options", "types.googleapis.com/containerd.runc.v1.Options"] {
            let options = Options::decode(&any(url, bytes.clone())).unwrap();
            assert_eq!((options.root.as_str(), options.io_uid, options.systemd_cgroup), ("/run/x", 7, true));
            assert_eq!(options.state_root("k8s.io"), Path::new("/run/x/k8s.io"));
        }
        assert_eq!(Options::decode(&Any::new()).unwrap(), Options::default());
        assert_eq!(Options::default().state_root("a"), Path::new("/run/containerd/runc/a"));
    }

    #[test]
    fn options_as_toml() {
        let body = "BinaryName = \"/usr/bin/wharf\"\nNoPivotRoot = true\nIoGid = 5\nUnknown = 1\n";
        let bytes = [field(1, "x"), field(3, body)].concat();
        let options = Options::decode(&any("runtimeoptions.v1.Options", bytes)).unwrap();
        assert_eq!(
            (options.binary_name.as_str(), options.no_pivot_root, options.io_gid),
            ("/usr/bin/wharf", true, 5)
        );

        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "Root = \"/run/y\"\n").unwrap();
        let bytes = [field(2, file.path().to_str().unwrap()), field(3, body)].concat();
        let options = Options::decode(&any("runtimeoptions.v1.Options", bytes)).unwrap();
        assert_eq!((options.root.as_str(), options.binary_name.as_str()), ("/run/y", ""), "the file wins");
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        assert!(Options::decode(&any("some.other.Options", vec![])).is_err());
        assert!(Options::decode(&any("containerd.runc.v1.Options", vec![0xff])).is_err());
        assert!(Options::decode(&any("runtimeoptions.v1.Options", field(3, "Root = 7"))).is_err());
        assert!(Options::decode(&any("runtimeoptions.v1.Options", field(2, "/nonexistent/x"))).is_err());
        let named = |name: &str| Options { binary_name: name.to_owned(), ..Options::default() };
        assert!(named("runc").check().is_err());
        assert!(named("/usr/local/bin/wharf").check().is_ok() && named("").check().is_ok());
        assert!(Options { root: "relative".to_owned(), ..Options::default() }.check().is_err());
        assert!(Options { criu_work_path: "relative".to_owned(), ..Options::default() }.check().is_err());
    }

    #[test]
    fn delete_finds_what_create_kept() {
        let bundle = tempfile::tempdir().unwrap();
        assert_eq!(Options::load(bundle.path()), Options::default());
        Options::default().save(bundle.path()).unwrap();
        assert_eq!(std::fs::read(bundle.path().join(FILE)).unwrap(), b"{}");
        let options = Options { root: "/r".to_owned(), io_uid: 3, ..Options::default() };
        options.save(bundle.path()).unwrap();
        assert_eq!(std::fs::read(bundle.path().join(FILE)).unwrap(), br#"{"io_uid":3,"root":"/r"}"#);
        assert_eq!(Options::load(bundle.path()), options);
    }
}
