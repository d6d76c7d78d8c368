//! A bundle: a directory with a `config.json` and, usually, the root file system.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use libc::{O_NOCTTY, O_NONBLOCK};
use oci_spec::runtime::Spec;

use crate::check::document;
use crate::error::{Error, ErrorKind, Result};
use crate::finding::{Finding, into_result};
use crate::sys::regular_file;

/// The name that the specification gives the configuration.
const CONFIG: &str = "config.json";

/// The largest configuration that is read: 16 MiB. The largest real ones, with a long seccomp profile and hundreds of
/// mounts, have 200 KiB, and the kernel takes at most 6 MiB of arguments and environment.
const LARGEST: u64 = 16 << 20;

/// A well-formed configuration, and the directory that its relative paths start from.
///
/// The file is read once, when the bundle is opened; later changes to it have no effect.
#[derive(Clone, Debug)]
pub struct Bundle {
    dir: PathBuf,
    config: Vec<u8>,
    spec: Spec,
    warnings: Vec<Finding>,
}

impl Bundle {
    /// Opens a bundle directory and reads its `config.json`.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidSpec`] if the file is missing, is not a regular file, is larger than 16 MiB or is malformed:
    /// broken JSON, a repeated name in one object, a value of the wrong type, a missing property. What the values mean
    /// is not checked here.
    pub fn open(dir: impl AsRef<Path>) -> Result<Self> {
        Self::open_config(dir, CONFIG)
    }

    /// Opens a bundle directory with another configuration file, given by its path relative to the directory.
    ///
    /// # Errors
    /// As [`Bundle::open`].
    pub fn open_config(dir: impl AsRef<Path>, config_file: impl AsRef<Path>) -> Result<Self> {
        let dir = resolve(dir.as_ref())?;
        let config = read(&dir, config_file.as_ref())?;
        Self::parse(config, dir)
    }

    /// Takes a configuration that the caller made; the directory must exist.
    ///
    /// # Errors
    /// As [`Bundle::open`].
    pub fn from_spec(spec: &Spec, dir: impl AsRef<Path>) -> Result<Self> {
        Self::parse(document::write_config(spec)?, resolve(dir.as_ref())?)
    }

    /// Takes the text of a configuration; the directory must exist.
    ///
    /// # Errors
    /// As [`Bundle::open`].
    pub fn from_bytes(config: &[u8], dir: impl AsRef<Path>) -> Result<Self> {
        Self::parse(config.to_vec(), resolve(dir.as_ref())?)
    }

    /// Opens a bundle as [`Bundle::open_config`] does, but returns *all* findings about the shape of the configuration.
    /// Without a bundle, at least one of them is an error; with one, they are its warnings.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn inspect(
        dir: impl AsRef<Path>,
        config_file: impl AsRef<Path>,
    ) -> Result<(Option<Self>, Vec<Finding>)> {
        let dir = resolve(dir.as_ref())?;
        let config = read(&dir, config_file.as_ref())?;
        let (spec, findings) = document::read_config(&config);
        let bundle = spec.map(|spec| Self { dir, config, spec, warnings: findings.clone() });
        Ok((bundle, findings))
    }

    /// The configuration.
    pub fn spec(&self) -> &Spec {
        &self.spec
    }

    /// The absolute path of the directory, without symbolic links.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The configuration as it was read.
    pub fn config_bytes(&self) -> &[u8] {
        &self.config
    }

    /// Warnings about the configuration's shape, such as an unknown capability.
    pub fn warnings(&self) -> &[Finding] {
        &self.warnings
    }

    /// The configuration that was saved at creation. The directory may be gone by now.
    pub(crate) fn saved(config: Vec<u8>, dir: PathBuf) -> Result<Self> {
        Self::parse(config, dir)
    }

    fn parse(config: Vec<u8>, dir: PathBuf) -> Result<Self> {
        let (spec, findings) = document::read_config(&config);
        let warnings = into_result(findings)?;
        match spec {
            Some(spec) => Ok(Self { dir, config, spec, warnings }),
            None => Err(Error::new(ErrorKind::InvalidSpec, "the configuration cannot be read")),
        }
    }
}

/// Resolves a path without changing the caller's working directory.
fn resolve(dir: &Path) -> Result<PathBuf> {
    let failed = |error| Error::io(&error, format!("open bundle {}", dir.display()));
    let resolved = fs::canonicalize(dir).map_err(failed)?;
    if !fs::metadata(&resolved).map_err(failed)?.is_dir() {
        return Err(Error::new(
            ErrorKind::InvalidSpec,
            format!("bundle {} is not a directory", dir.display()),
        ));
    }
    if resolved.to_str().is_none() {
        let sentence = format!("the path of bundle {} is not valid UTF-8", resolved.display());
        return Err(Error::new(ErrorKind::Unsupported, sentence)
            .with_hint("hooks and the state document hold it as JSON, which has no other bytes"));
    }
    Ok(resolved)
}

fn read(dir: &Path, config_file: &Path) -> Result<Vec<u8>> {
    let path = dir.join(config_file);
    let shown = path.display();
    let failed = |error| Error::io(&error, format!("read {shown}"));
    // Symbolic links are allowed: some managers make them. O_NONBLOCK, so that a fifo without a writer does not block
    // us.
    let opened = OpenOptions::new().read(true).custom_flags(O_NONBLOCK | O_NOCTTY).open(&path);
    let file = match opened {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            // runc's wording, which callers look for.
            let what = format!("JSON specification file {} not found: {shown}", config_file.display());
            return Err(Error::io(&error, what).with_kind(ErrorKind::InvalidSpec));
        }
        Err(error) => return Err(failed(error)),
    };
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() {
        return Err(Error::new(ErrorKind::InvalidSpec, format!("{shown} is not a regular file")));
    }
    let too_large = || Error::new(ErrorKind::InvalidSpec, format!("{shown} is larger than 16 MiB"));
    if metadata.len() > LARGEST {
        return Err(too_large());
    }
    // The file may grow while it is read: reading one byte more than allowed shows it.
    let config = regular_file::read(&file, metadata.len(), LARGEST + 1).map_err(failed)?;
    if config.len() as u64 > LARGEST { Err(too_large()) } else { Ok(config) }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::unix::fs::symlink;

    use super::*;

    const MINIMAL: &str = r#"{"ociVersion":"1.0.0","root":{"path":"rootfs"}}"#;

    fn bundle(config: &str) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(CONFIG), config).unwrap();
        dir
    }

    #[test]
    fn opens_and_keeps_the_bytes() {
        let dir = bundle(MINIMAL);
        let bundle = Bundle::open(dir.path()).unwrap();
        assert_eq!(bundle.config_bytes(), MINIMAL.as_bytes());
        assert_eq!(bundle.spec().version(), "1.0.0");
        assert!(bundle.warnings().is_empty());
        assert!(bundle.spec().mounts().is_none(), "absent stays absent");

        symlink(dir.path().join(CONFIG), dir.path().join("link.json")).unwrap();
        assert!(Bundle::open_config(dir.path(), "link.json").is_ok());
        assert!(Bundle::open_config("/", dir.path().join(CONFIG)).is_ok());
    }

    #[test]
    fn the_directory_becomes_absolute() {
        let before = std::env::current_dir().unwrap();
        let bundle = Bundle::from_bytes(MINIMAL.as_bytes(), ".").unwrap();
        assert_eq!(bundle.dir(), before);
        assert_eq!(std::env::current_dir().unwrap(), before);
        let dir = tempfile::tempdir().unwrap();
        let real = dir.path().canonicalize().unwrap();
        symlink(&real, real.join("link")).unwrap();
        assert_eq!(Bundle::from_bytes(MINIMAL.as_bytes(), real.join("./link/.")).unwrap().dir(), real);
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let error = Bundle::open(dir.path()).unwrap_err();
        assert!(error.to_string().starts_with("JSON specification file config.json not found: "), "{error}");
        assert_eq!((error.kind(), error.errno()), (ErrorKind::InvalidSpec, Some(libc::ENOENT)));

        let error = Bundle::open(dir.path().join("no")).unwrap_err();
        assert!(error.to_string().starts_with("open bundle "), "{error}");

        fs::create_dir(dir.path().join("dir.json")).unwrap();
        nix::unistd::mkfifo(&dir.path().join("fifo.json"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        for name in ["dir.json", "fifo.json", "/dev/zero", "/dev/tty"] {
            let error = Bundle::open_config(dir.path(), name).unwrap_err();
            assert!(
                error.to_string().contains("is not a regular file") || error.errno() == Some(libc::ENXIO),
                "{error}"
            );
        }
        let huge = File::create(dir.path().join("huge.json")).unwrap();
        huge.set_len(LARGEST + 1).unwrap();
        let error = Bundle::open_config(dir.path(), "huge.json").unwrap_err();
        assert!(error.to_string().contains("larger than 16 MiB"), "{error}");
        let error = Bundle::open(dir.path().join("huge.json")).unwrap_err();
        assert!(error.to_string().contains("is not a directory"), "{error}");
    }

    #[test]
    fn the_first_error_is_returned_and_inspect_has_all() {
        let dir = bundle(r#"{"ociVersion":1,"root":{},"extra":0}"#);
        let error = Bundle::open(dir.path()).unwrap_err();
        assert_eq!(error.pointer(), Some("/ociVersion"));
        assert!(error.to_string().ends_with("; 1 more error in this document"), "{error}");
        let (bundle, findings) = Bundle::inspect(dir.path(), CONFIG).unwrap();
        assert!(bundle.is_none());
        let pointers: Vec<_> = findings.iter().map(|finding| finding.pointer.as_str()).collect();
        assert_eq!(pointers, ["/ociVersion", "/root/path", "/extra"]);
    }

    #[test]
    fn a_spec_value_survives_the_round_trip() {
        let spec = Spec::default();
        let bundle = Bundle::from_spec(&spec, "/").unwrap();
        assert_eq!(*bundle.spec(), spec);
        let again = Bundle::from_bytes(bundle.config_bytes(), "/").unwrap();
        assert_eq!(*again.spec(), spec);
    }
}
