//! Where a shim listens: one socket for each group of containers in a namespace of a containerd.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Component, Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use sha2::{Digest as _, Sha256};

/// The default directory for sockets, which all shims share.
const DIRECTORY: &str = "/run/containerd/s";
/// What `sockaddr_un` has room for, without the final NUL.
const LONGEST: usize = 107;
const SCHEME: &str = "unix://";

/// The path of a group's socket.
pub(crate) fn path(dir: Option<&str>, daemon: &str, namespace: &str, group: &str) -> PathBuf {
    let whole = cleaned(&Path::new(daemon).join(namespace).join(group));
    let digest = Sha256::digest(whole.as_os_str().as_encoded_bytes());
    let name = digest.iter().fold(String::new(), |name, byte| name + &format!("{byte:02x}"));
    Path::new(dir.unwrap_or(DIRECTORY)).join(name)
}

/// The address in the form that the daemon gets.
pub(crate) fn url(path: &Path) -> String {
    format!("{SCHEME}{}", path.display())
}

/// Removes `.` and `..` from a path without looking at the file system, as Go's `filepath.Clean`.
fn cleaned(path: &Path) -> PathBuf {
    let mut clean = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => drop(clean.pop()),
            other => clean.push(other),
        }
    }
    clean
}

/// What serves an address.
#[derive(Debug)]
pub(crate) enum Claim {
    /// It was free; this socket now listens there.
    Ours(UnixListener),
    /// A shim that already serves the group.
    Taken,
}

/// Listens at a path unless a shim already does; an abandoned socket is replaced.
pub(crate) fn claim(path: &Path) -> io::Result<Claim> {
    if path.as_os_str().len() > LONGEST {
        return Err(io::Error::other(format!("a socket path has at most {LONGEST} bytes")));
    }
    let dir = path.parent().unwrap_or(Path::new("/"));
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    // Two shims that find the same abandoned socket must not replace each other's new one.
    let lock = Flock::lock(File::open(dir)?, FlockArg::LockExclusive).map_err(|(_, errno)| errno)?;
    let listener = match bind(path) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            if UnixStream::connect(path).is_ok() {
                return Ok(Claim::Taken);
            }
            if !fs::symlink_metadata(path)?.file_type().is_socket() {
                return Err(error);
            }
            fs::remove_file(path)?;
            bind(path)?
        }
        other => other?,
    };
    drop(lock);
    Ok(Claim::Ours(listener))
}

/// Removes the socket of an address if its shim is gone: nothing else would, for no other shim has the same group.
pub(crate) fn forget(url: &str) -> io::Result<()> {
    let path = Path::new(url.trim().strip_prefix(SCHEME).unwrap_or_default());
    let Some(dir) = path.parent() else { return Ok(()) };
    let gone = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
    let lock = match File::open(dir) {
        Err(error) if gone(&error) => return Ok(()),
        dir => Flock::lock(dir?, FlockArg::LockExclusive).map_err(|(_, errno)| errno)?,
    };
    match UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            // Refused also by a file of another kind.
            let is_socket = fs::symlink_metadata(path)?.file_type().is_socket();
            is_socket.then(|| fs::remove_file(path)).transpose()?;
        }
        Err(error) if !gone(&error) => return Err(error),
        _ => {}
    }
    drop(lock);
    Ok(())
}

fn bind(path: &Path) -> io::Result<UnixListener> {
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_is_the_hash_of_the_cleaned_path() {
        let plain = path(None, "/run/containerd/containerd.sock", "default", "web");
        assert_eq!(plain.parent(), Some(Path::new(DIRECTORY)));
        assert_eq!(plain.file_name().unwrap().len(), 64);
        // printf /run/containerd/containerd.sock/default/web | sha256sum
        assert!(plain.ends_with("2cde4450fa38c74f53603e01d2afd903b315a27a596f12a151414cd59897d883"));
        assert_eq!(path(None, "/run/./containerd/x/../containerd.sock", "default", "web"), plain);
        assert_ne!(path(None, "/run/containerd/containerd.sock", "k8s.io", "web"), plain);
        assert_eq!(path(Some("/s"), "a", "b", "c").parent(), Some(Path::new("/s")));
        assert_eq!(url(Path::new("/run/x")), "unix:///run/x");
    }

    #[test]
    fn a_socket_is_claimed_once_and_an_abandoned_one_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s/socket");
        let Claim::Ours(listener) = claim(&path).unwrap() else { panic!() };
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(dir.path().join("s")).unwrap().permissions().mode() & 0o777, 0o700);
        assert!(matches!(claim(&path).unwrap(), Claim::Taken));
        forget(&url(&path)).unwrap();
        assert!(matches!(claim(&path).unwrap(), Claim::Taken), "a shim that serves keeps its socket");
        drop(listener);
        assert!(matches!(claim(&path).unwrap(), Claim::Ours(_)));
        forget(&url(&path)).unwrap();
        assert!(!path.exists());
        forget(&url(&path)).unwrap();
        forget("").unwrap();
        forget(&url(&dir.path().join("none/socket"))).unwrap();
        fs::write(&path, "").unwrap();
        assert!(claim(&path).is_err(), "a file that is not a socket is left alone");
        forget(&url(&path)).unwrap();
        assert!(path.exists());
        assert!(claim(&dir.path().join("x".repeat(108))).is_err());
    }
}
