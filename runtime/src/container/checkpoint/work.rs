//! Where criu logs, and the file with more options for it.

use std::fs::{DirBuilder, File};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use oci_spec::runtime::Spec;

use super::options::CriuOptions;
use crate::criu::image::ImageDirectory;
use crate::error::{Error, ErrorKind, Result};

/// Where criu logs: a directory of its own, or that of the images.
pub(crate) struct WorkDirectory<'i> {
    images: &'i ImageDirectory,
    own: Option<ImageDirectory>,
}

impl<'i> WorkDirectory<'i> {
    /// Makes the directory if it does not exist. A file with the name of the log must not lead elsewhere.
    pub(crate) fn make(options: &CriuOptions, images: &'i ImageDirectory, log: &str) -> Result<Self> {
        let own = options.work.as_deref().map(make_work).transpose()?;
        let all = Self { images, own };
        all.directory().examine_file(log)?;
        Ok(all)
    }

    /// The directory, if it is not that of the images.
    pub(crate) fn own(&self) -> Option<&ImageDirectory> {
        self.own.as_ref()
    }

    fn directory(&self) -> &ImageDirectory {
        self.own.as_ref().unwrap_or(self.images)
    }

    /// The log, opened for reading.
    pub(crate) fn log(&self, name: &str) -> Option<File> {
        self.directory().open_log(name)
    }

    /// The path of the log.
    pub(crate) fn log_path(&self, name: &str) -> PathBuf {
        self.directory().path().join(name)
    }
}

fn make_work(path: &Path) -> Result<ImageDirectory> {
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            Err(Error::io(&error, format!("make the directory {}", path.display())))
        }
        _ => ImageDirectory::open(path),
    }
}

/// Adds the path of criu's log.
pub(crate) fn with_log(error: Error, work: &WorkDirectory<'_>, log: &str) -> Error {
    error.with_hint(format!("see {}", work.log_path(log).display()))
}

/// A file with more options for criu: the annotation `org.criu.config`, or else the host's file for runtimes. An empty
/// annotation means none.
///
/// Such a file can name scripts, so root must own it.
pub(crate) fn config_file(spec: &Spec) -> Result<Option<String>> {
    let annotation = spec.annotations().as_ref().and_then(|all| all.get("org.criu.config"));
    let pointer = "/annotations/org.criu.config";
    let path = match annotation.map(String::as_str) {
        Some("") => return Ok(None),
        Some(path) if !path.starts_with('/') => {
            return Err(
                Error::new(ErrorKind::InvalidSpec, format!("{path:?} is not an absolute path")).at(pointer)
            );
        }
        Some(path) => path,
        None => match ["/etc/criu/wharf.conf", "/etc/criu/runc.conf"]
            .into_iter()
            .find(|path| Path::new(path).exists())
        {
            Some(path) => path,
            None => return Ok(None),
        },
    };
    match std::fs::metadata(path) {
        Err(error) => Err(Error::io(&error, format!("find criu's configuration file {path}")).at(pointer)),
        Ok(file) if file.is_file() && file.uid() == 0 && file.mode() & 0o022 == 0 => {
            Ok(Some(path.to_owned()))
        }
        Ok(_) => {
            let sentence = format!("criu's configuration file {path} is not root's alone to write");
            Err(Error::new(ErrorKind::Permission, sentence).at(pointer))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_file_of_criu_must_be_roots() {
        let with = |path: &str| {
            let spec = serde_json::json!({"ociVersion": "1.2.0", "annotations": {"org.criu.config": path}});
            config_file(&serde_json::from_value(spec).expect("valid"))
        };
        assert_eq!(with("").expect("none"), None);
        assert_eq!(with("relative").unwrap_err().kind(), ErrorKind::InvalidSpec);
        assert_eq!(with("/nonexistent/criu.conf").unwrap_err().errno(), Some(libc::ENOENT));
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("criu.conf");
        std::fs::write(&file, "").unwrap();
        std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o666)).unwrap();
        assert_eq!(with(file.to_str().unwrap()).unwrap_err().kind(), ErrorKind::Permission);
    }
}
