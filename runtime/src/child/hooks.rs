//! Hooks that run inside the container: createContainer and startContainer.

use std::ffi::{c_char, c_void};
use std::os::fd::RawFd;

use nix::errno::Errno;

use super::message::Detail;
use super::{Child, Failure, Outcome, PathBuffer};
use crate::program::{Slot, Text};
use crate::sys::{clone, path, pidfd, process, socket};

/// What the hook's process needs, in the memory of the child that waits for it.
struct HookLaunch {
    path: *const c_char,
    argv: *const *const c_char,
    envp: *const *const c_char,
    input: RawFd,
    output: RawFd,
    /// A seccomp filter, and its flags.
    filter: Option<(*const u8, usize, u32)>,
    errno: i32,
}

/// Room for the few calls between vfork and execve.
const STACK: usize = 16 * 1024;

impl Child<'_> {
    /// Runs hooks in order; the first failure ends that. What each prints goes into a memory file, which a failure
    /// passes on.
    pub(super) fn run_hooks(&mut self, first: u16, count: u16, state: (Text, Text)) -> Outcome {
        if !self.in_working_directory {
            // Before the pivot the working directory is still the caller's; hooks start in the container's root.
            path::change_directory_to(self.slot(Slot::ROOT))?;
        }
        let hooks = self.program.hooks.get(first as usize..).unwrap_or_default();
        for (number, hook) in (0..count).zip(hooks) {
            // A new file for each: what an earlier hook printed is not part of a later one's failure.
            path::close(self.hook_output);
            self.hook_output = path::memfd(c"hook-output")?;
            let input = self.state_document(state)?;
            let mut launch = HookLaunch {
                path: self.cstr(hook.path).as_ptr(),
                argv: self.list(hook.argv),
                envp: self.list(hook.envp),
                input,
                output: self.hook_output,
                filter: hook.filter.map(|(filter, flags)| {
                    let filter = self.bytes(filter);
                    (filter.as_ptr(), filter.len(), flags)
                }),
                errno: 0,
            };
            let result = run(&mut launch, hook.timeout);
            path::close(input);
            result.map_err(|failure| Failure { hook: number, fd: self.hook_output, ..failure })?;
        }
        Ok(())
    }

    /// The container's state as the hook's standard input, with the pid that the hook can see.
    #[inline(never)]
    fn state_document(&self, (before, after): (Text, Text)) -> Outcome<RawFd> {
        let fd = path::memfd(c"state")?;
        let mut pid = PathBuffer::new();
        pid.push_number(process::pid() as u32)?;
        path::write_once(fd, self.bytes(before))?;
        path::write_once(fd, pid.as_bytes())?;
        path::write_once(fd, self.bytes(after))?;
        path::seek(fd, 0)?;
        Ok(fd)
    }
}

#[inline(never)]
fn run(launch: &mut HookLaunch, timeout: i32) -> Outcome {
    let mut stack = [0u8; STACK];
    // SAFETY: start() makes system calls only and ends with exec or exit; launch and stack outlive the suspension.
    let (pid, pidfd) = unsafe { clone::vfork_with(&mut stack, start, std::ptr::from_mut(launch).cast()) }?;
    let ended = socket::wait_readable([pidfd], timeout);
    let timed_out = matches!(ended, Ok([false]));
    if timed_out {
        // The hook leads a process group: what it started ends with it.
        let _ = process::kill(-pid, libc::SIGKILL);
    }
    let status = pidfd::wait(pidfd, 0);
    path::close(pidfd);
    if launch.errno != 0 {
        return Err(Errno::from_raw(launch.errno).into());
    }
    if timed_out {
        return Err(Failure::with(Errno::ETIMEDOUT, Detail::HookTimeout));
    }
    match status? {
        Some((libc::CLD_EXITED, 0)) => Ok(()),
        Some((libc::CLD_EXITED, code)) => {
            Err(Failure { errno: code, detail: Detail::HookExit, hook: 0, fd: -1 })
        }
        Some((_, signal)) => Err(Failure { errno: signal, detail: Detail::HookSignal, hook: 0, fd: -1 }),
        None => Err(Errno::ECHILD.into()),
    }
}

/// The hook's process, in the memory of its waiting parent.
extern "C" fn start(argument: *mut c_void) -> libc::c_int {
    // SAFETY: the parent passes its Launch and does not run in the meantime.
    let launch = unsafe { &mut *argument.cast::<HookLaunch>() };
    let streams = || {
        process::new_process_group()?;
        path::duplicate_to(launch.input, 0)?;
        path::duplicate_to(launch.output, 1)?;
        path::duplicate_to(launch.output, 2)?;
        // This process has its own descriptor table; that of the waiting one stays as it is.
        path::close_range(3, u32::MAX)?;
        // This process also has its own filter: it applies to the hook's calls and not to the waiting process'.
        if let Some((filter, length, flags)) = launch.filter {
            // SAFETY: the bytes are part of the program, which outlives this process.
            process::load_seccomp(unsafe { std::slice::from_raw_parts(filter, length) }, flags)?;
        }
        Ok::<(), Errno>(())
    };
    launch.errno = match streams() {
        // SAFETY: the lists are null-terminated.
        Ok(()) => (unsafe { clone::execve(launch.path, launch.argv, launch.envp) }) as i32,
        Err(errno) => errno as i32,
    };
    clone::exit_now(127)
}
