//! Executes the program from a copy that no container can write to.
//!
//! Until its `execve`, a container's first process runs the runtime's program, and so does the process that `exec` puts
//! into a container. A hostile process in there can open `/proc/PID/exe`, wait until the program no longer runs, reopen
//! that descriptor for writing and so replace the runtime on the host (CVE-2019-5736). File permissions do not help, as
//! root inside is root outside. What helps is that the link leads to nothing writable: to a read-only mount that exists
//! only for this process, or else to a sealed memory file.

use std::ffi::{CStr, CString, OsStr, c_char};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;
use std::ptr;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, SealFlag, fcntl, open, readlink};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::stat::Mode;
use nix::sys::statvfs::{FsFlags, fstatvfs};

use super::mount::{self, MountAttr};
use crate::error::{Error, ErrorKind, Result};

const OWN_BINARY: &CStr = c"/proc/self/exe";
/// Set across the one re-execution, so that a failure to recognise the result ends in an error and not in a loop. It is
/// never taken as proof of protection.
const TRIED: &str = "WHARF_OWN_BINARY_TRIED";
/// Linux 6.3: without it, `vm.memfd_noexec=1` makes the file not executable.
const MFD_EXEC: u32 = 0x10;
const SEALS: SealFlag = SealFlag::F_SEAL_SEAL
    .union(SealFlag::F_SEAL_SHRINK)
    .union(SealFlag::F_SEAL_GROW)
    .union(SealFlag::F_SEAL_WRITE);

/// Makes sure that no one can write to the running program through `/proc/PID/exe`, by executing it once more from a
/// read-only copy.
///
/// Returns only in a protected process: the first call starts the program again with the same arguments, environment
/// and process id, and there the same call returns at once. Descriptors that are not close-on-exec stay open. So call
/// this first, before the program has read or printed anything. The library itself never calls it: it belongs in the
/// `main` of a program that creates containers.
///
/// # Errors
///
/// If neither a private read-only mount nor a sealed memory file can be made or executed.
pub fn reexec_read_only() -> Result<()> {
    if is_protected()? {
        return Ok(());
    }
    if std::env::var_os(TRIED).is_some() {
        return Err(Error::new(
            ErrorKind::System,
            "protect the runtime's own binary: the read-only copy is not recognised",
        )
        .with_hint(format!("is /proc mounted? if {TRIED} is set in the environment, remove it")));
    }
    let failed_mount = match read_only_mount() {
        Ok(copy) => execute(&copy),
        Err(errno) => errno,
    };
    // Creating a mount takes CAP_SYS_ADMIN over the mount namespace; and the program may be on a mount outside of it,
    // or on one whose clone is refused because of locked mounts. A memory file needs nothing.
    let copy = sealed_copy().map_err(|error| {
        error.during(format_args!("protect the runtime's own binary (private mount: {failed_mount})"))
    })?;
    Err(Error::os(execute(&copy), "execute a sealed copy of the runtime's own binary"))
}

/// Looks at the file that really runs; arguments and environment from the caller do not count.
fn is_protected() -> Result<bool> {
    let link = readlink(OWN_BINARY).map_err(|errno| {
        Error::os(errno, "read the link /proc/self/exe").with_hint("wharf needs /proc mounted on the host")
    })?;
    // The root of a mount that is attached nowhere is named "/": no program on any reachable path has that name.
    if link == OsStr::new("/") {
        let exe = open(OWN_BINARY, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())
            .map_err(|errno| Error::os(errno, "open /proc/self/exe"))?;
        let stat = fstatvfs(&exe).map_err(|errno| Error::os(errno, "query the mount of /proc/self/exe"))?;
        return Ok(stat.flags().contains(FsFlags::ST_RDONLY));
    }
    if link.as_bytes().starts_with(b"/memfd:") {
        let exe = open(OWN_BINARY, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())
            .map_err(|errno| Error::os(errno, "open /proc/self/exe"))?;
        // EINVAL: not a memory file, whatever its name.
        let seals = fcntl(exe.as_fd(), FcntlArg::F_GET_SEALS).unwrap_or(0);
        return Ok(SealFlag::from_bits_retain(seals).contains(SEALS));
    }
    Ok(false)
}

/// A clone of the mount of this very file, read-only and attached nowhere.
///
/// The execution must close the descriptor: with its last close the clone leaves its anonymous mount namespace. From
/// then on, `mount_setattr(2)` by a process inside a container, which could otherwise remove the read-only attribute,
/// fails with EINVAL.
fn read_only_mount() -> Result<OwnedFd, Errno> {
    let tree = mount::clone_source_owned(OWN_BINARY, false, true)?;
    let attr = MountAttr { set: libc::MOUNT_ATTR_RDONLY, ..MountAttr::default() };
    mount::set_attributes(tree.as_raw_fd(), &attr, false)?;
    Ok(tree)
}

/// A copy of this very file in memory, sealed against any change.
fn sealed_copy() -> Result<OwnedFd> {
    let mut source = File::open(Path::new(OsStr::from_bytes(OWN_BINARY.to_bytes())))
        .map_err(|error| Error::io(&error, "open /proc/self/exe for reading"))?;
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    let copy = match memfd_create(c"wharf", flags | MFdFlags::from_bits_retain(MFD_EXEC)) {
        // Kernels before 6.3 do not know the flag and need none.
        Err(Errno::EINVAL) => memfd_create(c"wharf", flags),
        other => other,
    };
    let mut copy = File::from(copy.map_err(|errno| Error::os(errno, "create a memory file"))?);
    // On Linux this is copy_file_range(2) or sendfile(2).
    io::copy(&mut source, &mut copy)
        .map_err(|error| Error::io(&error, "copy the runtime's own binary into memory"))?;
    fcntl(&copy, FcntlArg::F_ADD_SEALS(SEALS))
        .map_err(|errno| Error::os(errno, "seal the copy of the runtime's own binary"))?;
    Ok(copy.into())
}

/// Replaces this process with the program behind `fd`; returns only the errno of a failure.
fn execute(fd: &OwnedFd) -> Errno {
    let arguments = std::env::args_os().map(|argument| CString::new(argument.into_vec()));
    let environment = std::env::vars_os()
        .map(|(name, value)| CString::new([name.as_bytes(), value.as_bytes()].join(&b'=')))
        .chain([CString::new(format!("{TRIED}=1"))]);
    // The strings came from C strings, so none holds a NUL byte.
    let (Ok(arguments), Ok(environment)) =
        (arguments.collect::<Result<Vec<_>, _>>(), environment.collect::<Result<Vec<_>, _>>())
    else {
        return Errno::EINVAL;
    };
    let (argv, envp) = (null_terminated(&arguments), null_terminated(&environment));
    // SAFETY: both arrays end with a null pointer and point to C strings that live until the call returns.
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            fd.as_raw_fd(),
            c"".as_ptr(),
            argv.as_ptr(),
            envp.as_ptr(),
            libc::AT_EMPTY_PATH,
        );
    }
    Errno::last()
}

fn null_terminated(strings: &[CString]) -> Vec<*const c_char> {
    strings.iter().map(|string| string.as_ptr()).chain([ptr::null()]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::OpenOptions;
    use std::io::Write;

    #[test]
    fn an_ordinary_program_is_not_protected() {
        assert!(!is_protected().unwrap());
    }

    #[test]
    fn the_private_mount_refuses_writers() {
        let tree = match read_only_mount() {
            Ok(tree) => tree,
            Err(Errno::EPERM) => {
                println!("skipped: cloning a mount needs CAP_SYS_ADMIN");
                return;
            }
            Err(errno) => panic!("{errno}"),
        };
        // Opening it for writing would fail with ETXTBSY first, as the program is running; a change of mode shows the
        // reason that remains after the program ends.
        let path = format!("/proc/self/fd/{}", tree.as_raw_fd());
        let mode = std::fs::metadata(&path).unwrap().permissions();
        let error = std::fs::set_permissions(&path, mode).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EROFS));
        assert!(OpenOptions::new().read(true).open(&path).is_ok());
    }

    #[test]
    fn the_sealed_copy_is_whole_and_cannot_change() {
        let copy = sealed_copy().unwrap();
        let original = std::fs::read("/proc/self/exe").unwrap();
        let path = format!("/proc/self/fd/{}", copy.as_raw_fd());
        assert!(std::fs::read(&path).unwrap() == original);
        let mut file = OpenOptions::new().write(true).open(&path).unwrap();
        assert_eq!(file.write(b"x").unwrap_err().raw_os_error(), Some(libc::EPERM));
        assert_eq!(file.set_len(0).unwrap_err().raw_os_error(), Some(libc::EPERM));
        assert!(fcntl(&copy, FcntlArg::F_ADD_SEALS(SealFlag::F_SEAL_WRITE)).is_err());
    }
}
