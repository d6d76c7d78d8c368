//! Offsets of a new time namespace (`time_namespaces(7)`).

use std::collections::HashMap;
use std::fmt::Write as _;

use oci_spec::runtime::LinuxTimeOffset;

/// The text for /`proc/PID/timens_offsets`: "clock seconds nanoseconds" per line, sorted by clock.
pub(crate) fn text(offsets: &HashMap<String, LinuxTimeOffset>) -> String {
    let mut clocks: Vec<_> = offsets.iter().collect();
    clocks.sort_by_key(|(clock, _)| clock.as_str());
    clocks.into_iter().fold(String::new(), |mut text, (clock, offset)| {
        let _ = writeln!(text, "{clock} {} {}", offset.secs().unwrap_or(0), offset.nanosecs().unwrap_or(0));
        text
    })
}
