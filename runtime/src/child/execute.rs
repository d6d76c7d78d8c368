//! The last steps: working directory, choice of the program, execve, and why it failed.

use std::ffi::CStr;

use nix::errno::Errno;

use super::message::{Detail, MessageKind};
use super::{Child, Failure, Outcome};
use crate::program::{List, Text};
use crate::sys::path::{self, RESOLVE_NO_MAGICLINKS};
use crate::sys::process::SchedAttr;
use crate::sys::{clone, process};

impl Child<'_> {
    /// Enters the working directory. The first attempt has the runtime's capabilities, the last the user's: only one of
    /// them may be allowed in (a directory of root, or one on a network file system that root may not enter).
    pub(super) fn working_directory(&mut self, text: Text, last: bool) -> Outcome {
        if self.in_working_directory {
            return Ok(());
        }
        match path::change_directory(self.cstr(text)) {
            Err(Errno::EACCES) if !last => return Ok(()),
            other => other?,
        }
        // A directory that the kernel cannot name from the root is on the host (CVE-2024-21626).
        if !path::working_directory_is_reachable()? {
            return Err(Failure::with(Errno::ENOENT, Detail::Unreachable));
        }
        self.in_working_directory = true;
        Ok(())
    }

    /// Sets the scheduler from the bytes of a `SchedAttr`.
    pub(super) fn scheduler(&self, text: Text) -> Outcome {
        let bytes = self.bytes(text);
        if bytes.len() != size_of::<SchedAttr>() {
            return Err(Errno::EINVAL.into());
        }
        // SAFETY: the length was checked, and every bit pattern is a valid SchedAttr.
        let attr = unsafe { bytes.as_ptr().cast::<SchedAttr>().read_unaligned() };
        Ok(process::set_scheduler(0, &attr)?)
    }

    /// Chooses the first candidate that is an executable file. If `named`, the configuration gave a path, and the
    /// reason why it cannot be executed is reported; in a search, as in execvp(3), what cannot be executed is skipped.
    pub(super) fn find_program(&mut self, candidates: List, named: bool) -> Outcome {
        for candidate in self.texts(candidates) {
            match executable(self.cstr(candidate)) {
                Ok(()) => {
                    self.chosen = Some(candidate);
                    return Ok(());
                }
                Err(failure) if named => return Err(failure),
                Err(_) => {}
            }
        }
        Err(Failure::with(Errno::ENOENT, Detail::NotInPath))
    }

    /// Becomes the container's program. On failure the plain errno is sent first, and then the reason as far as it can
    /// be found out: a seccomp filter may end this process for looking.
    pub(super) fn execute(&mut self, index: u32) -> Outcome {
        let (Some(program), Some(argv), Some(envp)) = (self.chosen, self.program.argv, self.program.envp)
        else {
            return Err(Failure::with(Errno::EINVAL, Detail::NoProcess));
        };
        let path = self.cstr(program);
        // SAFETY: the parent ended both lists with a null pointer.
        let errno = unsafe { clone::execve(path.as_ptr(), self.list(argv), self.list(envp)) };
        self.report(MessageKind::Failed, index, errno.into());
        let detail = match errno {
            Errno::ENOENT => missing_interpreter(path),
            Errno::ENOEXEC => Detail::UnknownFormat,
            Errno::EACCES if on_noexec_mount(path) => Detail::NoExecMount,
            _ => Detail::None,
        };
        // The last operation: what is returned here is sent as a second message, which replaces the first.
        Err(Failure::with(errno, detail))
    }
}

/// Whether a path is a program. Magic links are not followed: /proc/self/exe is the runtime's own binary, and
/// /proc/self/fd/N whatever the runtime has open (CVE-2019-5736, CVE-2024-21626).
fn executable(path: &CStr) -> Outcome {
    let fd = path::openat2(libc::AT_FDCWD, path, libc::O_PATH, 0, RESOLVE_NO_MAGICLINKS)?;
    let stat = path::fstat(fd);
    path::close(fd);
    match stat?.st_mode & libc::S_IFMT {
        libc::S_IFREG => Ok(path::may_execute(path)?),
        libc::S_IFDIR => Err(Failure::with(Errno::EISDIR, Detail::IsDirectory)),
        _ => Err(Errno::EACCES.into()),
    }
}

/// The file exists, but execve returns ENOENT: its interpreter is missing.
fn missing_interpreter(path: &CStr) -> Detail {
    let Ok(fd) = path::openat(libc::AT_FDCWD, path, libc::O_RDONLY | libc::O_NONBLOCK | libc::O_NOCTTY, 0)
    else {
        return Detail::None;
    };
    let mut start = [0u8; 4];
    let length = path::read(fd, &mut start);
    path::close(fd);
    match start {
        _ if length.is_err() => Detail::None,
        [b'#', b'!', ..] => Detail::NoScriptInterpreter,
        [0x7f, b'E', b'L', b'F'] => Detail::NoElfInterpreter,
        _ => Detail::None,
    }
}

fn on_noexec_mount(path: &CStr) -> bool {
    let Ok(fd) = path::openat(libc::AT_FDCWD, path, libc::O_PATH, 0) else { return false };
    let noexec = path::mount_flags(fd).is_ok_and(|flags| flags & libc::ST_NOEXEC as libc::c_ulong != 0);
    path::close(fd);
    noexec
}
