//! A signal that arrives while something is being made cancels it, and everything made so far is undone.

use std::os::fd::{AsFd as _, OwnedFd};

use nix::errno::Errno;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use wharf::{Error, ErrorKind};

use crate::failure::Failure;
use crate::sys::signals::is_ignored;

/// The signals that ask this program to end, held back from the moment this is made.
pub(crate) struct Interruption(SignalFd);

impl Interruption {
    /// Holds them back until the program ends. Signals that the caller made us ignore stay ignored.
    pub(crate) fn hold() -> Result<Self, Failure> {
        let failed = |errno: Errno| Failure::new(format!("block signals: {errno}"));
        let mut wanted = SigSet::empty();
        for signal in [Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT, Signal::SIGTERM] {
            if !is_ignored(signal as i32) {
                wanted.add(signal);
            }
        }
        wanted.thread_block().map_err(failed)?;
        SignalFd::with_flags(&wanted, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
            .map(Self)
            .map_err(failed)
    }

    /// A descriptor that becomes readable with the first of them.
    pub(crate) fn descriptor(&self) -> Result<OwnedFd, Failure> {
        let copy = self.0.as_fd().try_clone_to_owned();
        copy.map_err(|error| Failure::new(format!("duplicate a descriptor: {error}")))
    }

    /// The failure of the operation. If a signal cancelled it, the exit code is that of a program that the signal
    /// ended; `otherwise` words any other failure.
    pub(crate) fn explain(&self, error: Error, otherwise: impl FnOnce(Error) -> Failure) -> Failure {
        if error.kind() != ErrorKind::Cancelled {
            return otherwise(error);
        }
        let signal = self.0.read_signal().ok().flatten().map_or(0, |info| info.ssi_signo as i32);
        let name = Signal::try_from(signal).map_or("a signal", Signal::as_str);
        Failure::new(format!("interrupted by {name}; everything made so far was undone"))
            .with_code(u8::try_from(128 + signal).unwrap_or(u8::MAX))
    }
}
