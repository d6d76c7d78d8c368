//! A procfs of a pid namespace with foreign processes in it, on kernels that give one only to a process in there
//! (before Linux 6.18).
//!
//! A process that can see such a process may make it use its rights. So it is born in an empty root directory, in a
//! user namespace of its own where its rights reach nothing, with one socket and without the caller's memory; and it
//! only opens the context. Mounting that happens outside, in a process that has the rights.

use std::ffi::{c_int, c_void};
use std::os::fd::{AsRawFd as _, BorrowedFd, OwnedFd, RawFd};

use super::bare;
use crate::sys::memory::Code;
use crate::sys::{Result, clone, mount, pidfd, process, socket};

/// Opens the context of a procfs that shows the pid namespace.
pub(crate) fn open_in(pid_namespace: BorrowedFd<'_>) -> Result<OwnedFd> {
    let (code, namespace) = (Code::of_this_program(), pid_namespace.as_raw_fd());
    bare::have(|socket| prepare(socket, namespace).and_then(|()| send_one_in(code, socket)))
        .map(|(_, context)| context)
}

/// Drops everything of the host except the rights over the namespace, and joins that for the child.
fn prepare(socket: RawFd, pid_namespace: RawFd) -> Result<()> {
    process::set_not_dumpable()?;
    clone::setns(pid_namespace, libc::CLONE_NEWPID)?;
    bare::enter_empty_root()?;
    bare::keep_only(socket, 0)
}

/// Makes the visible process and waits for its end: as an orphan it would be left to a process of the container.
fn send_one_in(code: &Code, socket: RawFd) -> Result<()> {
    let flags = libc::CLONE_NEWUSER | libc::CLONE_NEWNS;
    // SAFETY: `open` never returns, and its argument is the number of the socket.
    let (_, pidfd) = unsafe { bare::bear(code, flags, open, socket) }?;
    let _ = pidfd::wait(pidfd, 0);
    Ok(())
}

extern "C" fn open(argument: *mut c_void) -> c_int {
    let socket = argument as usize as RawFd;
    match mount::fsopen(c"proc") {
        Ok(context) => drop(socket::send(socket, &0i32.to_ne_bytes(), context)),
        Err(errno) => bare::refuse(socket, errno),
    }
    clone::exit_now(0)
}

#[cfg(test)]
#[allow(clippy::expect_used, reason = "a test runs in the parent")]
mod tests {
    use std::fs::File;
    use std::os::fd::{AsFd as _, FromRawFd as _};
    use std::os::unix::process::CommandExt as _;
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn the_context_shows_the_namespace_that_it_was_opened_in() {
        if !nix::unistd::geteuid().is_root() {
            return println!("skipped: joining namespaces needs root");
        }
        let unshare = || clone::unshare(libc::CLONE_NEWPID).map_err(std::io::Error::from);
        // SAFETY: one system call between fork and exec; what is born next is in the new namespace.
        let (pids, holder) = unsafe {
            let mut shell = Command::new("sh");
            shell.args(["-c", "sleep 100 & echo $!; wait"]).stdout(Stdio::piped()).pre_exec(unshare);
            let mut holder = shell.spawn().expect("sh");
            // The shell's first child is the first process of the namespace.
            let link = format!("/proc/{}/ns/pid_for_children", holder.id());
            let mut line = String::new();
            let mut output = std::io::BufReader::new(holder.stdout.take().expect("piped"));
            std::io::BufRead::read_line(&mut output, &mut line).expect("a line");
            (File::open(link).expect("its namespace"), holder)
        };
        let context = open_in(pids.as_fd()).expect("a context");
        mount::fsconfig_create(context.as_raw_fd()).expect("a superblock");
        let mounted = mount::fsmount(context.as_raw_fd(), 0).expect("a mount");
        // SAFETY: fsmount has just returned the descriptor.
        let mounted = unsafe { OwnedFd::from_raw_fd(mounted) };
        let entries =
            std::fs::read_dir(format!("/proc/self/fd/{}", mounted.as_raw_fd())).expect("the procfs");
        let mut seen: Vec<String> = entries
            .flatten()
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .filter(|name| name.parse::<u32>().is_ok())
            .collect();
        seen.sort();
        end(holder);
        assert_eq!(seen, ["1"], "only the first process of that namespace");
    }

    fn end(mut holder: std::process::Child) {
        let children = format!("/proc/{0}/task/{0}/children", holder.id());
        for child in std::fs::read_to_string(children).unwrap_or_default().split_whitespace() {
            let _ = process::kill(child.parse().expect("a pid"), libc::SIGKILL);
        }
        holder.kill().expect("it is ours");
        holder.wait().expect("it is ours");
    }
}
