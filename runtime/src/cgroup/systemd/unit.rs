//! `linux.cgroupsPath` as the systemd driver reads it: `slice:prefix:name`.

use std::path::{Path, PathBuf};

use super::Instance;
use crate::error::{Error, Result};

const POINTER: &str = "/linux/cgroupsPath";

/// The longest name of a unit (systemd.unit(5)).
const LONGEST: usize = 255;

/// A scope by name, and the slice that it is in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ScopeName {
    slice: String,
    unit: String,
}

impl ScopeName {
    /// Parses the path. An absent one, and empty parts, stand for the defaults: the instance's slice, `wharf`, the
    /// container's id. The id may have a character that is not valid in unit names, which systemd writes as `\x2b`.
    pub(crate) fn parse(path: Option<&Path>, id: &str, instance: &Instance) -> Result<Self> {
        let text = path.map(Path::to_string_lossy).unwrap_or_default();
        let parts: Vec<&str> =
            if text.is_empty() { vec!["", "wharf", ""] } else { text.split(':').collect() };
        let &[slice, prefix, name] = &parts[..] else {
            let message = format!(
                "expected cgroupsPath to be of format \"slice:prefix:name\" for systemd cgroups, got {text:?} instead"
            );
            return Err(Error::invalid(POINTER, message)
                .with_hint("use the cgroupfs driver for a path in the cgroup file system"));
        };
        let slice = if slice.is_empty() { instance.default_slice() } else { slice };
        let slice = if slice == "-" { "-.slice" } else { slice };
        let escaped = id.replace('+', "\\x2b");
        let name = if name.is_empty() { &*escaped } else { name };
        let has_suffix = |suffix: &str| Path::new(name).extension().is_some_and(|end| end == suffix);
        if has_suffix("slice") {
            let message = format!("{name:?} is a slice, which cannot hold the processes of a container");
            return Err(Error::invalid(POINTER, message));
        }
        let unit = match prefix {
            "" if has_suffix("scope") => name.to_owned(),
            "" => format!("{name}.scope"),
            prefix => format!("{prefix}-{name}.scope"),
        };
        for part in [slice, &unit] {
            if !is_unit_name(part) {
                let message = format!("{part:?} cannot be the name of a systemd unit");
                return Err(Error::invalid(POINTER, message)
                    .with_hint("letters, digits and :-_.\\@ are allowed, 255 at most"));
            }
        }
        expand(slice)?;
        Ok(Self { slice: slice.to_owned(), unit })
    }

    /// The name of the slice, which `Slice=` takes.
    pub(crate) fn slice(&self) -> &str {
        &self.slice
    }

    /// The name of the scope.
    pub(crate) fn unit(&self) -> &str {
        &self.unit
    }

    /// The cgroup, relative to that of the instance.
    pub(crate) fn inside(&self) -> PathBuf {
        expand(&self.slice).unwrap_or_default().join(&self.unit)
    }
}

fn is_unit_name(name: &str) -> bool {
    name.len() <= LONGEST
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b":-_.\\@".contains(&byte))
}

/// The cgroup of a slice, relative to that of the instance. None for text that cannot be the name of a unit, as it could
/// be a path that leads elsewhere.
pub(crate) fn slice_path(slice: &str) -> Option<PathBuf> {
    is_unit_name(slice).then(|| expand(slice).ok())?.filter(|path| !path.as_os_str().is_empty())
}

/// `a-b.slice` lies in `a.slice`: a dash is a step down (systemd.slice(5)).
fn expand(slice: &str) -> Result<PathBuf> {
    let invalid = || Error::invalid(POINTER, format!("invalid slice name: {slice}"));
    let stem = slice.strip_suffix(".slice").filter(|stem| !stem.is_empty()).ok_or_else(invalid)?;
    let mut path = PathBuf::new();
    if stem == "-" {
        return Ok(path);
    }
    let mut end = 0;
    for part in stem.split('-') {
        if part.is_empty() {
            return Err(invalid());
        }
        end += part.len();
        path.push(format!("{}.slice", &stem[..end]));
        end += 1;
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<ScopeName> {
        ScopeName::parse(Some(Path::new(text)), "web", &Instance::System)
    }

    #[test]
    fn places_of_scopes() {
        let cases = [
            ("system.slice:docker:abc", "system.slice/docker-abc.scope"),
            (":crio:abc", "system.slice/crio-abc.scope"),
            ("a-b-c.slice:p:n", "a.slice/a-b.slice/a-b-c.slice/p-n.scope"),
            ("-.slice:p:n", "p-n.scope"),
            ("-:p:n", "p-n.scope"),
            ("::n", "system.slice/n.scope"),
            ("::n.scope", "system.slice/n.scope"),
            (":p:", "system.slice/p-web.scope"),
            ("", "system.slice/wharf-web.scope"),
            (
                "kubepods-pod1_2.slice:cri-containerd:0a",
                "kubepods.slice/kubepods-pod1_2.slice/cri-containerd-0a.scope",
            ),
        ];
        for (text, place) in cases {
            assert_eq!(parse(text).unwrap().inside(), Path::new(place), "{text}");
        }
        let user = Instance::User { uid: 1, runtime_dir: None, address: None };
        let name = ScopeName::parse(None, "web", &user).unwrap();
        assert_eq!((name.slice(), name.unit()), ("user.slice", "wharf-web.scope"));
        for path in [None, Some(Path::new(":wharf:"))] {
            let name = ScopeName::parse(path, "a_1+b-.c", &user).unwrap();
            assert_eq!(name.unit(), "wharf-a_1\\x2bb-.c.scope");
        }
    }

    #[test]
    fn no_slice_leads_out() {
        assert_eq!(slice_path("a-b.slice").as_deref(), Some(Path::new("a.slice/a-b.slice")));
        let long = format!("{}.slice", "n".repeat(LONGEST));
        for text in
            ["", "a", "-.slice", "a--b.slice", "/a.slice", "/1/.+m-\n-web.slice", "a/../../b.slice", &long]
        {
            assert_eq!(slice_path(text), None, "{text}");
        }
    }

    #[test]
    fn refused_names() {
        let cases = [
            ("/a/b", "slice:prefix:name"),
            ("a:b", "slice:prefix:name"),
            ("a:b:c:d", "slice:prefix:name"),
            ("system:p:n", "invalid slice name"),
            (".slice:p:n", "invalid slice name"),
            ("a--b.slice:p:n", "invalid slice name"),
            ("-a.slice:p:n", "invalid slice name"),
            ("a/b.slice:p:n", "name of a systemd unit"),
            (":p:../x", "name of a systemd unit"),
            (":p:a b", "name of a systemd unit"),
            (":p:a+b", "name of a systemd unit"),
            (":p:n.slice", "cannot hold the processes"),
        ];
        for (text, word) in cases {
            let error = parse(text).unwrap_err();
            assert_eq!(error.pointer(), Some(POINTER));
            assert!(error.to_string().contains(word), "{text}: {error}");
        }
        parse(&format!(":p:{}", "n".repeat(250))).unwrap_err();
    }
}
