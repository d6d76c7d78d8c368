//! The log: lines as logrus writes them, on standard error, which is the daemon's log fifo.
//!
//! The fifo is non-blocking. Lines that the daemon does not read in time are lost, and the next line that fits reports
//! the loss: a daemon that hangs must not stop containers.

use std::io::Write as _;
use std::sync::atomic::{AtomicU32, Ordering};

struct Lines;

static LOST: AtomicU32 = AtomicU32::new(0);

impl log::Log for Lines {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.target().starts_with("wharf") || metadata.target().starts_with("containerd_shim_wharf")
    }

    fn log(&self, record: &log::Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let level = match record.level() {
            log::Level::Error => "error",
            log::Level::Warn => "warning",
            log::Level::Info => "info",
            log::Level::Debug => "debug",
            log::Level::Trace => "trace",
        };
        let lost = LOST.load(Ordering::Relaxed);
        let note = if lost == 0 { String::new() } else { format!(" lost={lost}") };
        let message = record.args().to_string();
        let line = format!(
            "time=\"{}\" level={level} msg={message:?} runtime=wharf{note}\n",
            jiff::Timestamp::now()
        );
        match std::io::stderr().write_all(line.as_bytes()) {
            Ok(()) => LOST.store(0, Ordering::Relaxed),
            Err(_) => drop(LOST.fetch_add(1, Ordering::Relaxed)),
        }
    }

    fn flush(&self) {}
}

/// Sets up the log.
pub(crate) fn set_up(debug: bool) {
    // It fails only if it was already done.
    if log::set_logger(&Lines).is_ok() {
        log::set_max_level(if debug { log::LevelFilter::Debug } else { log::LevelFilter::Info });
    }
}
