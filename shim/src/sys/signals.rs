//! What a signal does to this process.

use nix::libc;

/// Whether the signal is ignored, as `nohup` and shells arrange for background programs.
pub(crate) fn is_ignored(signal: i32) -> bool {
    let mut action = std::mem::MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: nothing is changed; the answer goes into a structure that outlives the call.
    let asked = unsafe { libc::sigaction(signal, std::ptr::null(), action.as_mut_ptr()) };
    // SAFETY: zeroes are valid, and the call has filled it.
    asked == 0 && unsafe { action.assume_init() }.sa_sigaction == libc::SIG_IGN
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rust_programs_ignore_a_broken_pipe_and_nothing_else() {
        assert!(is_ignored(libc::SIGPIPE) && !is_ignored(libc::SIGUSR2));
    }
}
