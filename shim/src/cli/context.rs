//! What the global options say, as far as verbs need it.

use std::fs::{self, DirBuilder, Permissions};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::unistd::geteuid;
use wharf::{CgroupDriver, Container, ContainerId, Runtime};

use crate::cli::call::Given;
use crate::cli::inherited::Inherited;
use crate::failure::{Failure, hints};

/// The context of a verb.
pub(crate) struct Context {
    root: PathBuf,
    root_is_named: bool,
    driver: CgroupDriver,
    systemd_annotations: bool,
    rootless: Option<bool>,
    criu: Option<PathBuf>,
    inherited: Inherited,
}

impl Context {
    /// Reads the global options.
    pub(crate) fn new(globals: &Given, inherited: Inherited) -> Result<Self, Failure> {
        // The words of Go's strconv.ParseBool, as in runc.
        let rootless = match globals.text("rootless")? {
            None | Some("auto") => None,
            Some("true" | "1" | "t" | "T" | "TRUE" | "True") => Some(true),
            Some("false" | "0" | "f" | "F" | "FALSE" | "False") => Some(false),
            Some(other) => {
                return Err(Failure::new(format!(
                    "invalid value {other:?} for --rootless: not true, false or auto"
                )));
            }
        };
        let named = globals.path("root")?;
        let root_is_named = named.is_some();
        let root = match named {
            // The library must not depend on a working directory.
            Some(root) => std::path::absolute(root)
                .map_err(|error| Failure::new(format!("make --root {} absolute: {error}", root.display())))?,
            None => default_root()?,
        };
        let driver = match (globals.text("cgroup-manager")?, globals.flag("systemd-cgroup")) {
            (None | Some("systemd"), true) | (Some("systemd"), false) => CgroupDriver::Systemd,
            (None | Some("cgroupfs"), false) => CgroupDriver::Cgroupfs,
            (Some("disabled"), false) => CgroupDriver::Disabled,
            (Some(other), true) => {
                return Err(Failure::new(format!("--systemd-cgroup contradicts --cgroup-manager={other}")));
            }
            (Some(other), false) => {
                return Err(Failure::new(format!(
                    "invalid value {other:?} for --cgroup-manager: not cgroupfs, systemd or disabled"
                )));
            }
        };
        let systemd_annotations = globals.flag("systemd-annotations");
        let criu = globals.path("criu")?.map(Path::to_owned);
        Ok(Self { root, root_is_named, driver, systemd_annotations, rootless, criu, inherited })
    }

    /// The state directory, absolute.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Whether the caller named the state directory, which should then exist.
    pub(crate) fn root_is_named(&self) -> bool {
        self.root_is_named
    }

    /// The program for checkpoints, if it is named.
    pub(crate) fn criu(&self) -> Option<&Path> {
        self.criu.as_deref()
    }

    /// The caller's descriptors that are passed on.
    pub(crate) fn inherited(&self) -> &Inherited {
        &self.inherited
    }

    /// The library. The cgroup driver is for new containers; the state of existing ones names theirs.
    pub(crate) fn runtime(&self) -> Result<Runtime, Failure> {
        let builder = Runtime::builder().root(self.root.clone()).cgroup_driver(self.driver);
        let builder = builder.systemd_annotations(self.systemd_annotations);
        let builder = match self.rootless {
            Some(rootless) => builder.rootless_cgroups(rootless),
            None => builder,
        };
        Ok(builder.build()?)
    }

    /// An existing container.
    pub(crate) fn open(&self, id: &ContainerId) -> Result<Container, Failure> {
        self.runtime()?.open(id).map_err(hints::open)
    }
}

fn default_root() -> Result<PathBuf, Failure> {
    match std::env::var_os("XDG_RUNTIME_DIR") {
        Some(dir) if !dir.is_empty() && without_privileges() => {
            let root = Path::new(&dir).join("wharf");
            make_lasting(&root).map_err(|error| {
                Failure::new(format!("create state directory {}: {error}", root.display()))
            })?;
            Ok(root)
        }
        _ => Ok("/run/wharf".into()),
    }
}

/// Whether the caller is an ordinary user, or became root in a user namespace of its own.
fn without_privileges() -> bool {
    if !geteuid().is_root() {
        return true;
    }
    let whole = |map: String| map.split_ascii_whitespace().eq(["0", "0", "4294967295"]);
    let in_user_namespace = fs::read_to_string("/proc/self/uid_map").is_ok_and(|map| !whole(map));
    // With USER=root this is taken for a container, where root owns /run.
    in_user_namespace && std::env::var_os("USER").is_none_or(|user| user != "root")
}

/// The sticky bit keeps programs that clean up `$XDG_RUNTIME_DIR` away (XDG Base Directory Specification).
fn make_lasting(root: &Path) -> std::io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(root)?;
    fs::set_permissions(root, Permissions::from_mode(0o1700))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::parse::parse;
    use crate::verb::VERBS;

    fn context(words: &[&str]) -> Result<Context, Failure> {
        let words = ["wharf"].iter().chain(words).map(std::ffi::OsString::from);
        Context::new(&parse(VERBS, words).globals, Inherited::default())
    }

    #[test]
    fn a_relative_root_becomes_absolute() {
        let here = std::env::current_dir().unwrap();
        assert_eq!(context(&["--root", "a/b"]).unwrap().root(), here.join("a/b"));
        assert_eq!(context(&["--root", "/x"]).unwrap().root(), Path::new("/x"));
    }

    #[test]
    fn two_options_name_the_cgroup_driver() {
        let driver =
            |words: &[&str]| context(&[&["--root", "/x"], words].concat()).map(|context| context.driver);
        assert_eq!(driver(&[]).unwrap(), CgroupDriver::Cgroupfs);
        assert_eq!(driver(&["--systemd-cgroup"]).unwrap(), CgroupDriver::Systemd);
        assert_eq!(driver(&["--cgroup-manager", "systemd"]).unwrap(), CgroupDriver::Systemd);
        assert_eq!(driver(&["--cgroup-manager=systemd", "--systemd-cgroup"]).unwrap(), CgroupDriver::Systemd);
        assert_eq!(driver(&["--cgroup-manager=cgroupfs"]).unwrap(), CgroupDriver::Cgroupfs);
        assert_eq!(driver(&["--cgroup-manager=disabled"]).unwrap(), CgroupDriver::Disabled);
        for words in [&["--cgroup-manager=none"][..], &["--cgroup-manager=cgroupfs", "--systemd-cgroup"]] {
            assert!(driver(words).is_err());
        }
    }

    #[test]
    fn rootless_takes_three_words() {
        for word in ["true", "false", "auto"] {
            assert!(context(&["--root", "/x", "--rootless", word]).is_ok());
        }
        assert!(context(&["--root", "/x", "--rootless=maybe"]).is_err());
    }

    #[test]
    fn the_directory_of_a_user_is_private_and_lasting() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("a/wharf");
        make_lasting(&root).unwrap();
        make_lasting(&root).unwrap();
        assert_eq!(fs::metadata(&root).unwrap().permissions().mode() & 0o7777, 0o1700);
    }
}
