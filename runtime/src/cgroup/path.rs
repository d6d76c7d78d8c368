//! From `linux.cgroupsPath` to one directory per hierarchy.
//!
//! An absolute path lies below the mount of every hierarchy, a relative one below the runtime's own cgroup of that
//! hierarchy, and an absent one is `/ID`, or `ID` for a caller that owns at most its own cgroup: the same value names
//! the same place each time (runtime-spec, config-linux, "Cgroups Path"). Parts like `..` are an error and are not
//! cleaned up: a path that leads elsewhere than it reads is a mistake or an attack.

use std::path::{Component, Path, PathBuf};

use super::layout::{CgroupLayout, Hierarchy, Membership};
use crate::error::{Error, ErrorKind, Result};

/// The pointer of every finding about the path.
const POINTER: &str = "/linux/cgroupsPath";

/// The cgroup of a container, as the configuration names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CgroupPath {
    /// Below the root of each hierarchy; without the leading slash.
    Absolute(PathBuf),
    /// Below the runtime's own cgroup of each hierarchy.
    Relative(PathBuf),
}

impl CgroupPath {
    /// Parses `linux.cgroupsPath` for the cgroupfs driver.
    pub(crate) fn parse(path: Option<&Path>, id: &str, rootless: bool) -> Result<Self> {
        let Some(path) = path.filter(|path| !path.as_os_str().is_empty()) else {
            let id = PathBuf::from(id);
            return Ok(if rootless { Self::Relative(id) } else { Self::Absolute(id) });
        };
        let shown = path.display();
        if path.as_os_str().as_encoded_bytes().iter().any(|&b| b == 0 || b == b'\n') {
            return Err(Error::invalid(
                POINTER,
                format!("cgroup path {shown:?} has a NUL or newline character"),
            ));
        }
        if names_scope(path) {
            return Err(Error::invalid(
                POINTER,
                format!("cgroup path {shown:?} has the form slice:prefix:name of the systemd driver, but the driver is cgroupfs"),
            )
            .with_hint("use the systemd driver, or a path such as /parent/name"));
        }
        let parts = plain_parts(path).ok_or_else(|| {
            Error::invalid(POINTER, format!("cgroup path {shown:?} has a \"..\" component"))
        })?;
        if parts.as_os_str().is_empty() {
            return Err(Error::invalid(
                POINTER,
                format!("cgroup path {shown:?} is the root of the hierarchy"),
            ));
        }
        Ok(if path.is_absolute() { Self::Absolute(parts) } else { Self::Relative(parts) })
    }

    /// The cgroup in one hierarchy, relative to its mount.
    pub(crate) fn inside(&self, layout: &CgroupLayout, place: Hierarchy) -> PathBuf {
        match self {
            Self::Absolute(path) => path.clone(),
            Self::Relative(path) => {
                let own = match place {
                    Hierarchy::V1(index) => layout.v1.get(index).map(|h| h.own.as_path()),
                    Hierarchy::V2 => layout.v2.as_ref().map(|h| h.own.as_path()),
                };
                let own = own.unwrap_or(Path::new("/"));
                own.strip_prefix("/").unwrap_or(own).join(path)
            }
        }
    }
}

/// Whether a path has the form of the systemd driver, `slice:prefix:name`.
pub(crate) fn names_scope(path: &Path) -> bool {
    let text = path.to_string_lossy();
    text.matches(':').count() == 2 && !text.contains('/')
}

/// The value of `exec --cgroup [CTRL[,CTRL]:]PATH`: a cgroup below that of the container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SubCgroup {
    /// The version 1 controllers whose hierarchies it is for; empty means all.
    pub(crate) controllers: Vec<String>,
    /// Relative to the container's cgroup.
    pub(crate) path: PathBuf,
}

impl SubCgroup {
    /// Parses one value of the option; a path never leads out of the container's cgroup.
    pub(crate) fn parse(value: &str) -> Result<Self> {
        let (controllers, path) = value.split_once(':').unwrap_or(("", value));
        let invalid = |what: String| Error::new(ErrorKind::InvalidSpec, what);
        if value.bytes().any(|b| b == 0 || b == b'\n') || (value.contains(':') && controllers.is_empty()) {
            return Err(invalid(format!("invalid cgroup {value:?}"))
                .with_hint("the form is [CONTROLLER[,CONTROLLER]:]PATH"));
        }
        let path = plain_parts(Path::new(path)).ok_or_else(|| {
            invalid(format!("bad sub cgroup path: {value:?} leads out of the container's cgroup"))
        })?;
        let controllers: Vec<String> =
            controllers.split(',').filter(|_| !controllers.is_empty()).map(str::to_owned).collect();
        if controllers.iter().any(String::is_empty) {
            return Err(invalid(format!("cgroup {value:?} names an empty controller")));
        }
        Ok(Self { controllers, path })
    }

    /// Whether it is meant for a hierarchy with these controllers.
    pub(crate) fn is_for(&self, controllers: &[String]) -> bool {
        self.controllers.is_empty()
            || self.controllers.iter().any(|wanted| {
                controllers.iter().any(|c| c == wanted || c.strip_prefix("name=") == Some(wanted.as_str()))
            })
    }
}

/// The unified cgroup in the text of a `/proc/PID/cgroup`.
pub(super) fn unified_membership(text: &str) -> Option<&str> {
    text.lines().filter_map(Membership::parse).find(Membership::is_unified).map(|m| m.path)
}

/// The path without its leading slash and `.` parts; none if a part is `..`.
fn plain_parts(path: &Path) -> Option<PathBuf> {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => plain.push(name),
            Component::RootDir | Component::CurDir => {}
            Component::ParentDir | Component::Prefix(_) => return None,
        }
    }
    Some(plain)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::layout::examples::{v1, v2};
    use super::*;

    fn parse(path: &str) -> Result<CgroupPath> {
        CgroupPath::parse(Some(Path::new(path)), "id", false)
    }

    #[test]
    fn absolute_relative_and_absent() {
        let one = v1(&["memory"]);
        let two = v2(&["memory"]);
        let cases = [
            ("/a/b", "a/b", "a/b"),
            ("a/b", "own/a/b", "user.slice/a/b"),
            ("./a", "own/a", "user.slice/a"),
            ("//a/./b/", "a/b", "a/b"),
            ("/..a/b..", "..a/b..", "..a/b.."),
            ("/x:y:z", "x:y:z", "x:y:z"),
        ];
        for (path, in_one, in_two) in cases {
            let path = parse(path).unwrap();
            assert_eq!(path.inside(&one, Hierarchy::V1(0)), Path::new(in_one));
            assert_eq!(path.inside(&two, Hierarchy::V2), Path::new(in_two));
        }
        assert_eq!(CgroupPath::parse(None, "web", false).unwrap(), CgroupPath::Absolute("web".into()));
    }

    #[test]
    fn refused_paths() {
        let cases = [
            ("/a/../b", "\"..\""),
            ("..", "\"..\""),
            ("../x", "\"..\""),
            ("/", "root"),
            (".", "root"),
            ("/a\0b", "NUL"),
            ("system.slice:docker:abc", "systemd driver"),
            (":crio:abc", "systemd driver"),
        ];
        for (path, word) in cases {
            let error = parse(path).unwrap_err();
            assert_eq!(error.pointer(), Some("/linux/cgroupsPath"));
            assert!(error.to_string().contains(word), "{path:?}: {error}");
        }
    }

    #[test]
    fn sub_cgroups() {
        let sub = SubCgroup::parse("cpu,memory:a/b").unwrap();
        assert_eq!((sub.controllers.len(), sub.path.to_str()), (2, Some("a/b")));
        assert!(sub.is_for(&["cpu".to_owned(), "cpuacct".to_owned()]));
        assert!(!sub.is_for(&["pids".to_owned()]));
        assert!(SubCgroup::parse("systemd:x").unwrap().is_for(&["name=systemd".to_owned()]));
        assert_eq!(SubCgroup::parse("/").unwrap().path, Path::new(""));
        assert_eq!(SubCgroup::parse("/a").unwrap().path, Path::new("a"));
        for bad in ["..", "../x", "a/../../x", "cpu:../x", ":x", "cpu,:x", "a\0"] {
            SubCgroup::parse(bad).unwrap_err();
        }
        SubCgroup::parse("../foo-suffix").unwrap_err();
        SubCgroup::parse("..foo").unwrap();
    }

    proptest! {
        #[test]
        fn a_parsed_path_never_climbs(text in "[a-c./:]{0,12}") {
            let plain = |path: &Path| path.components().all(|c| matches!(c, Component::Normal(_)));
            if let Ok(sub) = SubCgroup::parse(&text) {
                prop_assert!(plain(&sub.path));
            }
            if let Ok(CgroupPath::Absolute(path) | CgroupPath::Relative(path)) = parse(&text) {
                prop_assert!(plain(&path) && path.components().count() > 0);
            }
        }
    }
}
