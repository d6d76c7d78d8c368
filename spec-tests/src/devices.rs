//! Device nodes of the run's own in place of the machine's, so that a runtime that lets a container damage the host's
//! nodes does no harm; and what can be observed of a damaged node.

use crate::outcome::{Outcome, same};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};
use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The nodes that every container has.
pub const NAMES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];

/// Covers the machine's nodes, in the private mount namespace of this process.
pub(crate) fn replace() -> io::Result<()> {
    let dir = tempfile::Builder::new().prefix("wharf-suite-dev-").tempdir()?;
    mount(Some("devices"), dir.path(), Some("tmpfs"), MsFlags::MS_NOSUID, Some("mode=755,size=64k"))?;
    let done = NAMES.into_iter().try_for_each(|name| replace_one(dir.path(), name));
    // The bound nodes keep it alive.
    umount2(dir.path(), MntFlags::MNT_DETACH)?;
    done
}

fn replace_one(dir: &Path, name: &str) -> io::Result<()> {
    let original = place(name);
    let metadata = fs::metadata(&original)?;
    if !metadata.file_type().is_char_device() {
        return Err(io::Error::other(format!("{} is no device", original.display())));
    }
    let own = dir.join(name);
    let number = metadata.rdev();
    let device = makedev(rustix::fs::major(number), rustix::fs::minor(number));
    mknodat(CWD, &own, FileType::CharacterDevice, Mode::from_raw_mode(0o666), device)?;
    fs::set_permissions(&own, fs::Permissions::from_mode(0o666))?;
    if name == "null" {
        // Refused if devices do not work on file systems that are mounted here.
        fs::File::open(&own)?;
    }
    Ok(mount(Some(&own), &original, None::<&str>, MsFlags::MS_BIND, None::<&str>)?)
}

fn place(name: &str) -> PathBuf {
    Path::new("/dev").join(name)
}

/// What `chmod`, `chown`, `touch` and `setxattr` would have changed about the nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nodes(Vec<(&'static str, u32, u32, u32, [i64; 4])>);

impl Nodes {
    /// Their current state.
    pub fn look() -> Outcome<Self> {
        let look = |name| {
            let now = fs::metadata(place(name))?;
            // Any of the four also changes the time of the inode.
            let times = [now.mtime(), now.mtime_nsec(), now.ctime(), now.ctime_nsec()];
            Ok((name, now.mode(), now.uid(), now.gid(), times))
        };
        NAMES.into_iter().map(look).collect::<Outcome<_>>().map(Self)
    }

    /// Passes if they are still the same; otherwise makes them usable again for the tests that follow.
    pub fn unchanged(&self, after: &str) -> Outcome {
        let now = Self::look()?;
        if now != *self {
            for name in NAMES {
                std::os::unix::fs::chown(place(name), Some(0), Some(0))?;
                fs::set_permissions(place(name), fs::Permissions::from_mode(0o666))?;
            }
        }
        for (before, now) in self.0.iter().zip(&now.0) {
            same(
                &format!("the host's /dev/{} after {after} (mode, owner, group, times)", before.0),
                now,
                before,
            )?;
        }
        Ok(())
    }
}
