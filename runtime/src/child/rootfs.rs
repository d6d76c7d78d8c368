//! The container's root: holds it, closes it off from the host, and covers paths inside it.

use std::ffi::CStr;
use std::os::fd::RawFd;

use nix::errno::Errno;

use super::message::Detail;
use super::mount_point::PROC_SUPER_MAGIC;
use super::streams::is_null_device;
use super::{Child, Failure, Outcome, PathBuffer, peers};
use crate::program::{List, Slot, Text};
use crate::sys::mount::{self, MountAttr};
use crate::sys::mount_id;
use crate::sys::path::{self, RESOLVE_BENEATH, RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS, RESOLVE_NO_XDEV};
use crate::sys::process;

/// As many mounts may lie on the caller's root.
const MOST_COVERS: usize = 1000;

impl Child<'_> {
    /// Clones the root file system with everything mounted below it, and attaches the clone over the original, since
    /// `pivot_root` needs a mount. From here on the descriptor of the clone is the root: no path leads to it again.
    ///
    /// The clone gets its propagation types before it is visible, the tree first.
    pub(super) fn open_root(&mut self, text: Text, tree: u32, root: u32) -> Outcome {
        let fd = mount::clone_tree(libc::AT_FDCWD, self.cstr(text), true)?;
        self.fill(Slot::ROOT, fd);
        for (kind, recursive) in [(tree, true), (root, false)] {
            if kind != 0 {
                let attr = MountAttr { propagation: u64::from(kind), ..MountAttr::default() };
                mount::set_attributes(fd, &attr, recursive)?;
            }
        }
        Ok(mount::attach_at(fd, self.cstr(text))?)
    }

    /// Opens a detached procfs of the process' pid namespace, so that no mount of the container, an image or a volume
    /// can stand in for one of its files (CVE-2019-16884, CVE-2025-52881).
    pub(super) fn open_proc(&mut self) -> Outcome {
        let fd = match fresh_proc() {
            // Inside a container whose own /proc is partly covered, the kernel refuses new instances; a clone of the
            // one that this process sees is just as private.
            Err(Errno::EPERM | Errno::EBUSY) => mount::clone_tree(libc::AT_FDCWD, c"/proc", false)?,
            other => other?,
        };
        self.fill(Slot::PROC, fd);
        if path::filesystem_magic(fd)? == PROC_SUPER_MAGIC {
            Ok(())
        } else {
            Err(Failure::with(Errno::EINVAL, Detail::WrongFilesystem))
        }
    }

    /// Writes to a file below the private procfs, following no links.
    #[inline(never)]
    pub(super) fn write_proc(&self, name: &[u8], bytes: &[u8]) -> Outcome {
        let mut buffer = PathBuffer::new();
        buffer.push(name)?;
        let strict = RESOLVE_BENEATH | RESOLVE_NO_XDEV | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
        let fd = path::openat2(self.slot(Slot::PROC), buffer.as_cstr(), libc::O_WRONLY, 0, strict)?;
        let result = path::write_once(fd, bytes);
        path::close(fd);
        Ok(result?)
    }

    /// As [`Child::write_proc`], to a file of this process.
    #[inline(never)]
    pub(super) fn write_own_proc(&self, name: &[u8], bytes: &[u8]) -> Outcome {
        let mut path = PathBuffer::new();
        path.push_number(process::pid() as u32)?;
        path.push(b"/")?;
        path.push(name)?;
        self.write_proc(path.as_bytes(), bytes)
    }

    /// Makes a file system of the kernel, or clones the host's if the kernel refuses: a sysfs shows a network
    /// namespace, and a procfs a pid namespace, that the user namespace does not own, or the runtime is in a container
    /// with parts of its own covered.
    ///
    /// All mounts of the clone are read-only before any other process can see it: below /sys, for example, there is a
    /// cgroup tree that the user may write to (CVE-2023-25809). Their flags are locked, so none is cleared.
    pub(super) fn make_or_clone(&mut self, fs: Text, source: Text, attributes: u32, host: Text) -> Outcome {
        let made = mount::fsopen(self.cstr(fs)).and_then(|context| {
            let made = mount::fsconfig_string(context, c"source", self.cstr(source))
                .and_then(|()| mount::fsconfig_create(context))
                .and_then(|()| mount::fsmount(context, attributes));
            path::close(context);
            made
        });
        let fd = match made {
            Err(Errno::EPERM) => {
                let fd = mount::clone_tree(libc::AT_FDCWD, self.cstr(host), true)?;
                self.fill(Slot::MOUNT, fd);
                let set = u64::from(attributes) | libc::MOUNT_ATTR_RDONLY;
                return Ok(mount::set_attributes(fd, &MountAttr { set, ..MountAttr::default() }, true)?);
            }
            other => other?,
        };
        self.fill(Slot::MOUNT, fd);
        Ok(())
    }

    /// Takes a detached bind mount of the host's null device. The container's own could be anything (CVE-2025-31133).
    ///
    /// Read-only, or root in the container could change mode and owner of the host's node through any mask.
    pub(super) fn null_device(&mut self) -> Outcome {
        let fd = mount::clone_tree(libc::AT_FDCWD, c"/dev/null", false)?;
        self.fill(Slot::NULL_DEVICE, fd);
        if !is_null_device(&path::fstat(fd)?) {
            return Err(Failure::with(Errno::ENODEV, Detail::OtherDevice));
        }
        let set = mount::HOST_NODE | libc::MOUNT_ATTR_NOEXEC;
        Ok(mount::set_attributes(fd, &MountAttr { set, ..MountAttr::default() }, false)?)
    }

    /// Applies superblock parameters to an existing mount.
    pub(super) fn reconfigure(&self, on: Slot, options: List) -> Outcome {
        let fs = mount::fspick(self.slot(on))?;
        let mut texts = self.texts(options);
        let mut result = Ok(());
        while let (Ok(()), Some(key)) = (result, texts.next()) {
            let value = texts.next().map(|value| self.cstr(value)).unwrap_or_default();
            result = if value.is_empty() {
                mount::fsconfig_flag(fs, self.cstr(key))
            } else {
                mount::fsconfig_string(fs, self.cstr(key), value)
            };
        }
        let result = result.and_then(|()| mount::fsconfig_reconfigure(fs));
        path::close(fs);
        Ok(result?)
    }

    /// Makes the root the root of the mount namespace. With both arguments ".", `pivot_root` stacks the old root over
    /// the new one, and one lazy unmount removes it with everything below it (`pivot_root(2)`, NOTES).
    pub(super) fn pivot(&self) -> Outcome {
        path::change_directory_to(self.slot(Slot::ROOT))?;
        let old = if cfg!(debug_assertions) {
            path::openat(libc::AT_FDCWD, c"/", libc::O_PATH | libc::O_DIRECTORY, 0)?
        } else {
            -1
        };
        let own = mount_id::current(self.slot(Slot::ROOT), c"")?;
        mount::pivot_here()?;
        peers::assert_none(old, old, c"proc/self/mountinfo")?;
        path::close(old);
        // The old root lies on the new one now, and on the old one whatever covered it: a caller may have been in its root
        // before another was mounted over that. Each call takes the uppermost away, and ".." of the root shows what is left.
        for _ in 0..MOST_COVERS {
            mount::detach(c".")?;
            if mount_id::current(libc::AT_FDCWD, c"/..")? == own {
                return Ok(path::change_directory(c"/")?);
            }
        }
        Err(Errno::ELOOP.into())
    }

    /// Moves the root mount over "/" and enters it, if `pivot_root` is impossible because the host's root is a ramfs.
    /// The host's tree stays below, so its procfs and sysfs go first: a process that found its way down there must not
    /// find them unmasked.
    pub(super) fn move_root(&self) -> Outcome {
        for host in [c"/sys", c"/proc"] {
            if cfg!(debug_assertions)
                && let Ok(held) = path::openat(libc::AT_FDCWD, host, libc::O_PATH, 0)
            {
                let checked = peers::assert_none(held, held, c"/proc/self/mountinfo");
                path::close(held);
                checked?;
            }
            match mount::detach(host) {
                Ok(()) | Err(Errno::EINVAL | Errno::ENOENT) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        path::change_directory_to(self.slot(Slot::ROOT))?;
        mount::attach_at(self.slot(Slot::ROOT), c"/")?;
        path::change_root(c".")?;
        Ok(path::change_directory(c"/")?)
    }

    /// Covers a path with a read-only clone of itself.
    pub(super) fn read_only_path(&self, text: Text) -> Outcome {
        let target = match path::open_in_root(self.slot(Slot::ROOT), self.cstr(text), libc::O_PATH, 0) {
            // The spec: a path that does not exist needs no protection.
            Err(Errno::ENOENT | Errno::ENOTDIR) => return Ok(()),
            other => other?,
        };
        let attr = MountAttr { set: libc::MOUNT_ATTR_RDONLY, ..MountAttr::default() };
        // What covered the root would bring every masked path to light.
        if self.is_root(target)? {
            path::close(target);
            return Ok(mount::set_attributes(self.slot(Slot::ROOT), &attr, false)?);
        }
        let clone = mount::clone_tree(target, c"", true)?;
        let result = mount::set_attributes(clone, &attr, true).and_then(|()| mount::attach(clone, target));
        path::close(clone);
        path::close(target);
        Ok(result?)
    }

    /// Covers a path: a directory with an empty read-only tmpfs, anything else with the null device.
    ///
    /// The path is looked up first; a failed mount would wait for a grace period of the kernel.
    pub(super) fn mask_path(&mut self, text: Text, label: Option<Text>) -> Outcome {
        let target = match path::open_in_root(self.slot(Slot::ROOT), self.cstr(text), libc::O_PATH, 0) {
            Err(Errno::ENOENT | Errno::ENOTDIR) => return Ok(()),
            other => other?,
        };
        if self.is_root(target)? {
            return Err(Failure::with(Errno::EBUSY, Detail::LinkOnTheWay));
        }
        let source = if path::fstat(target)?.st_mode & libc::S_IFMT == libc::S_IFDIR {
            if self.slot(Slot::EMPTY) < 0 {
                let fd = empty_directory(label.map(|label| self.cstr(label)))?;
                self.fill(Slot::EMPTY, fd);
            }
            Slot::EMPTY
        } else {
            Slot::NULL_DEVICE
        };
        let result = self.attach_mask(source, target);
        path::close(target);
        result
    }

    /// The first path gets the source itself and the others get clones of it: closing a mount that was never attached
    /// waits for a grace period of the kernel.
    fn attach_mask(&mut self, source: Slot, target: RawFd) -> Outcome {
        let fd = self.slot(source);
        let Some(attached) = self.attached.get_mut(source.0 as usize).filter(|attached| !**attached) else {
            let clone = mount::clone_tree(fd, c"", false)?;
            let result = mount::attach(clone, target);
            path::close(clone);
            return Ok(result?);
        };
        mount::attach(fd, target)?;
        *attached = true;
        Ok(())
    }
}

fn fresh_proc() -> crate::sys::Result<i32> {
    let fs = mount::fsopen(c"proc")?;
    let result = mount::fsconfig_create(fs).and_then(|()| mount::fsmount(fs, 0));
    path::close(fs);
    result
}

fn empty_directory(label: Option<&CStr>) -> crate::sys::Result<i32> {
    let fs = mount::fsopen(c"tmpfs")?;
    let attributes =
        libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV | libc::MOUNT_ATTR_NOEXEC;
    let result = mount::fsconfig_string(fs, c"nr_inodes", c"2")
        .and_then(|()| label.map_or(Ok(()), |label| mount::fsconfig_string(fs, c"context", label)))
        .and_then(|()| mount::fsconfig_create(fs))
        .and_then(|()| mount::fsmount(fs, attributes as u32));
    path::close(fs);
    result
}
