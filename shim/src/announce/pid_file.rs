//! The file that holds the pid for a manager.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

use crate::failure::Failure;

/// Writes `pid` in decimal without a newline: a reader sees the whole number or no file.
pub(crate) fn write(path: &Path, pid: i32) -> Result<(), Failure> {
    let failed = |error: io::Error| Failure::new(format!("write pid file {}: {error}", path.display()));
    let name =
        path.file_name().ok_or_else(|| Failure::new(format!("pid file {} has no name", path.display())))?;
    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(name);
    let temporary = path.with_file_name(hidden);
    let create = || OpenOptions::new().write(true).create_new(true).open(&temporary);
    let mut file = match create() {
        // Left by a runtime that was killed at this point.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            fs::remove_file(&temporary).map_err(failed)?;
            create()
        }
        other => other,
    }
    .map_err(failed)?;
    let written = file
        .write_all(pid.to_string().as_bytes())
        .and_then(|()| fs::rename(&temporary, path))
        .map_err(failed);
    if written.is_err() {
        // The first error is the one to report.
        fs::remove_file(&temporary).ok();
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_stands_alone_and_nothing_else_is_left() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pid");
        fs::write(dir.path().join(".pid"), "left over").unwrap();
        write(&path, 4711).unwrap();
        write(&path, 4712).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "4712");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_failure_names_the_file() {
        let failure = write(Path::new("/nonexistent/dir/pid"), 1).unwrap_err();
        assert!(failure.message().contains("/nonexistent/dir/pid"), "{}", failure.message());
        assert!(write(Path::new("/"), 1).is_err());
    }
}
