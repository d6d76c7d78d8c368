//! Finds criu, and checks whether it can do what is needed on this kernel.

use std::fmt;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::message::{CriuFeatures, CriuRequest, RequestType};
use super::session::{CriuLaunch, Session};
use crate::error::{Error, ErrorKind, Result};

/// The oldest version that takes a configuration file and joins external network namespaces.
const OLDEST: CriuVersion = CriuVersion(3, 11, 0);

/// Directories to search if PATH is not set.
const DIRECTORIES: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Major, minor and sub-level.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct CriuVersion(pub(crate) i32, pub(crate) i32, pub(crate) i32);

impl fmt::Display for CriuVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0, self.1)?;
        if self.2 == 0 { Ok(()) } else { write!(f, ".{}", self.2) }
    }
}

/// A working criu.
#[derive(Clone, Debug)]
pub(crate) struct CriuProgram {
    path: PathBuf,
    version: CriuVersion,
}

impl CriuProgram {
    /// Finds criu and asks for its version; without a name, searches for `criu` in the absolute directories of PATH.
    pub(crate) fn find(name: Option<&Path>) -> Result<Self> {
        let name = name.unwrap_or(Path::new("criu"));
        let directories = std::env::var_os("PATH").unwrap_or_else(|| DIRECTORIES.into());
        let path = locate(name, &directories).ok_or_else(|| {
            Error::new(
                ErrorKind::Unsupported,
                format!("{} is not there, which checkpoint and restore need", name.display()),
            )
            .with_hint("install the package criu, version 3.11 or later")
        })?;
        let mut program = Self { path, version: OLDEST };
        let mut session = Session::start(&program.path, CriuLaunch::default())?;
        let response = session.ask(&CriuRequest::new(RequestType::Version), &mut |_, _, _| Ok(()))?;
        let Some(version) = response.version.filter(|_| response.success) else {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!("{} does not tell its version", program.path.display()),
            ));
        };
        program.version = CriuVersion(version.major, version.minor, version.sublevel.unwrap_or(0));
        program.needs(OLDEST, "checkpoint and restore")?;
        Ok(program)
    }

    /// Its path.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Refuses a version that is too old for a feature.
    pub(crate) fn needs(&self, oldest: CriuVersion, what: &str) -> Result<()> {
        if self.version >= oldest {
            return Ok(());
        }
        let (path, version) = (self.path.display(), self.version);
        let sentence = format!("{path} has version {version}, and {what} needs at least {oldest}");
        Err(Error::new(ErrorKind::Unsupported, sentence))
    }

    /// Whether it has at least this version.
    pub(crate) fn has(&self, version: CriuVersion) -> bool {
        self.version >= version
    }

    /// Has it check the kernel: refuses one on which it cannot work at all, or which lacks a wanted feature.
    pub(crate) fn examine_kernel(&self, wanted: CriuFeatures) -> Result<()> {
        let mut session = Session::start(&self.path, CriuLaunch::default())?;
        let mut request = CriuRequest::new(RequestType::FeatureCheck);
        request.features = Some(CriuFeatures { mem_track: Some(true), lazy_pages: Some(true) });
        let answer = session.ask(&request, &mut |_, _, _| Ok(()));
        let said = session.end();
        let found = match answer {
            Ok(response) if response.success => response.features.unwrap_or_default(),
            _ => {
                let path = self.path.display();
                let reason =
                    said.lines().find(|line| line.contains("Error")).unwrap_or("it does not say why").trim();
                let sentence = format!("{path} {} does not work on this kernel: {reason}", self.version);
                return Err(Error::new(ErrorKind::Unsupported, sentence).with_hint("see criu check"));
            }
        };
        for (name, wanted, found) in [
            ("memory tracking (mem_track)", wanted.mem_track, found.mem_track),
            ("lazy pages (userfaultfd)", wanted.lazy_pages, found.lazy_pages),
        ] {
            if wanted == Some(true) && found != Some(true) {
                return Err(Error::new(ErrorKind::Unsupported, format!("criu is missing features: {name}"))
                    .with_hint("see criu check"));
            }
        }
        Ok(())
    }
}

/// The program, if it can be executed. With a relative entry in PATH, the working directory would choose it.
fn locate(name: &Path, directories: &std::ffi::OsStr) -> Option<PathBuf> {
    let executable = |path: &PathBuf| {
        std::fs::metadata(path).is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
    };
    if name.components().count() > 1 || name.is_absolute() {
        return std::path::absolute(name).ok().filter(executable);
    }
    std::env::split_paths(directories)
        .filter(|directory| directory.is_absolute())
        .map(|directory| directory.join(name))
        .find(executable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_by_number() {
        assert!(CriuVersion(3, 9, 0) < OLDEST && CriuVersion(4, 2, 0) > CriuVersion(3, 17, 1));
        assert_eq!(CriuVersion(4, 1, 1).to_string(), "4.1.1");
        assert_eq!(CriuVersion(4, 2, 0).to_string(), "4.2");
    }

    #[test]
    fn only_an_executable_file_in_an_absolute_directory_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let place = |name: &str, mode| {
            let path = dir.path().join(name);
            std::fs::write(&path, "").unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        place("plain", 0o644);
        place("tool", 0o755);
        std::fs::create_dir(dir.path().join("folder")).unwrap();
        let path = std::env::join_paths([Path::new("."), Path::new(""), dir.path()]).unwrap();
        assert_eq!(locate(Path::new("tool"), &path), Some(dir.path().join("tool")));
        for absent in ["plain", "folder", "none"] {
            assert_eq!(locate(Path::new(absent), &path), None, "{absent}");
        }
        assert_eq!(locate(&dir.path().join("tool"), std::ffi::OsStr::new("")), Some(dir.path().join("tool")));
    }

    #[test]
    fn an_absent_program_is_told_by_name() {
        let error = CriuProgram::find(Some(Path::new("/nonexistent/criu"))).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.to_string().contains("/nonexistent/criu"), "{error}");
    }
}
