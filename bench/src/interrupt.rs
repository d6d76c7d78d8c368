//! Handles requests to stop, so that containers and cgroups are removed before the end.

use nix::sys::signal::{SigSet, Signal};
use std::sync::atomic::{AtomicBool, Ordering};

static CAME: AtomicBool = AtomicBool::new(false);

/// From now on a separate thread takes SIGINT and SIGTERM. Call this before any other thread is started.
///
/// Programs that are started afterwards have no signal blocked: the standard library sees to that.
///
/// # Errors
///
/// If the signals cannot be blocked.
pub fn watch() -> std::io::Result<()> {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGINT);
    signals.add(Signal::SIGTERM);
    signals.thread_block()?;
    std::thread::spawn(move || {
        while signals.wait().is_ok() {
            CAME.store(true, Ordering::Relaxed);
        }
    });
    Ok(())
}

/// Did one come?
pub fn came() -> bool {
    CAME.load(Ordering::Relaxed)
}
