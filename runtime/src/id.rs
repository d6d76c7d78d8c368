//! The name of a container, safe to use as a single path component.

use std::fmt;

use crate::error::{Error, ErrorKind, Result};

/// The longest accepted id. A path component has at most 255 bytes (`NAME_MAX`), but runc accepts 1024, and the create
/// call reports what the file system refuses, with its errno.
const MAX: usize = 1024;

/// The id of a container: letters, digits, `_`, `+`, `-` and `.`, not starting with `.`.
///
/// The id becomes the name of a directory and of cgroups. The alphabet has no `/`, and no id starts with a dot, so an
/// id can name neither `.` nor `..` nor a hidden file.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ContainerId(Box<str>);

impl ContainerId {
    /// Accepts `[A-Za-z0-9_+-][A-Za-z0-9_+.-]*` of at most 1024 bytes.
    ///
    /// ```
    /// use wharf::ContainerId;
    /// assert_eq!(ContainerId::new("web-1")?.as_str(), "web-1");
    /// assert!(ContainerId::new("../web").is_err());
    /// # Ok::<(), wharf::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::InvalidId`] for every other string.
    pub fn new(id: &str) -> Result<Self> {
        let hint = if id.is_empty() {
            "it is empty"
        } else if id.len() > MAX {
            "it is longer than 1024 bytes"
        } else if id.starts_with('.') {
            "it starts with a dot"
        } else if !id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_+-.".contains(&byte)) {
            "allowed are letters, digits, `_`, `+`, `-` and `.`"
        } else {
            return Ok(Self(id.into()));
        };
        // A hostile id must not flood the log or forge lines in it: cut it and escape control characters.
        let shown: String = id.chars().take(64).collect();
        Err(Error::new(ErrorKind::InvalidId, format!("invalid container id format: {shown:?}"))
            .with_hint(hint))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl AsRef<str> for ContainerId {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_what_managers_use() {
        for id in ["a", "web", "web-1", "_x", "+x", "-x", "a.b", "A_b+c-d.e", "0123", &"x".repeat(MAX)] {
            assert_eq!(ContainerId::new(id).unwrap().as_str(), id);
        }
    }

    #[test]
    fn refuses_everything_else() {
        let long = "x".repeat(MAX + 1);
        for id in ["", ".", "..", ".a", "a/b", "../a", "a b", "a\n", "a\0", "ä", "a:b", "a@b", long.as_str()]
        {
            let error = ContainerId::new(id).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidId, "{id:?}");
            assert!(error.to_string().contains("invalid container id format"), "{error}");
            assert!(error.to_string().len() < 300);
        }
    }
}
