//! Bundles: a directory with config.json and a rootfs with the probe.

use crate::PROBE;
use crate::outcome::Outcome;
use crate::rootless::{self, Ids};
use crate::spec::Spec;
use rustix::process::Pid;
use serde_json::Value;
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

/// A bundle on disk, and the id that its container will have.
#[derive(Debug, Clone)]
pub struct Bundle {
    /// The container's id.
    pub id: String,
    /// Where config.json is.
    pub dir: PathBuf,
    /// The container's root file system.
    pub rootfs: PathBuf,
    ids: Option<Ids>,
}

impl Bundle {
    /// Makes the directories, the probe and config.json; `ids` are those of a user other than root.
    pub fn make(dir: PathBuf, id: String, spec: &Spec, ids: Option<Ids>) -> Outcome<Self> {
        let rootfs = dir.join("rootfs");
        for name in ["proc", "sys", "dev", "tmp", "etc", "run", "mnt", "data"] {
            fs::create_dir_all(rootfs.join(name))?;
        }
        fs::set_permissions(rootfs.join("tmp"), fs::Permissions::from_mode(0o1777))?;
        let bundle = Self { id, dir, rootfs, ids };
        bundle.program("probe")?;
        bundle.write_spec(spec)?;
        Ok(bundle)
    }

    /// Rewrites config.json so that this user can run it.
    pub fn write_spec(&self, spec: &Spec) -> Outcome {
        match &self.ids {
            Some(ids) => self.write_raw(&rootless::adapt(spec, ids)?),
            None => self.write_raw(spec),
        }
    }

    /// Rewrites config.json, word for word.
    pub fn write_raw(&self, spec: &Spec) -> Outcome {
        fs::write(self.dir.join("config.json"), serde_json::to_vec_pretty(&spec.0)?)?;
        Ok(())
    }

    /// config.json as it stands.
    pub fn spec(&self) -> io::Result<Value> {
        Ok(serde_json::from_slice(&fs::read(self.dir.join("config.json"))?)?)
    }

    /// The mounts in its directory, as this process sees them; a mount on another one comes after that.
    pub fn mounts(&self) -> Vec<String> {
        let dir = self.dir.to_string_lossy();
        let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let targets = table.lines().filter_map(|line| line.split(' ').nth(4));
        targets.filter(|target| target.starts_with(&*dir)).map(str::to_owned).collect()
    }

    /// Processes that run its probe.
    pub fn processes(&self) -> Vec<Pid> {
        let Ok(program) = fs::metadata(self.rootfs.join("probe")) else { return Vec::new() };
        let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
        entries
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok())
            .filter(|pid| {
                fs::metadata(format!("/proc/{pid}/exe"))
                    .is_ok_and(|exe| (exe.dev(), exe.ino()) == (program.dev(), program.ino()))
            })
            .filter_map(Pid::from_raw)
            .collect()
    }

    /// A copy of the probe inside the rootfs; each is a separate inode, by which its processes are found.
    pub fn program(&self, path: &str) -> io::Result<()> {
        write_program(&self.rootfs.join(path))
    }

    /// A file inside the rootfs.
    pub fn file(&self, path: &str, contents: &str) -> io::Result<()> {
        let path = self.rootfs.join(path);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(path, contents)
    }

    /// A directory inside the rootfs.
    pub fn directory(&self, path: &str) -> io::Result<()> {
        fs::create_dir_all(self.rootfs.join(path))
    }

    /// A symbolic link inside the rootfs, in place of whatever was there.
    pub fn link(&self, path: &str, target: impl AsRef<Path>) -> io::Result<()> {
        let path = self.rootfs.join(path);
        if path.is_dir() {
            fs::remove_dir_all(&path)?;
        } else if path.symlink_metadata().is_ok() {
            fs::remove_file(&path)?;
        }
        symlink(target, path)
    }
}

/// Writes the probe to a file and makes it executable.
pub fn write_program(path: &Path) -> io::Result<()> {
    fs::write(path, PROBE)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))
}
