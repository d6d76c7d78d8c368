//! The end of criu's log: the only place where it says why it failed.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};

/// How much of a log's end is examined.
const WINDOW: u64 = 256 << 10;
/// How many lines before the first error are quoted: criu does not mark every reason as an error.
const BEFORE: usize = 4;
/// How many lines are quoted.
const LINES: usize = 10;
/// How long a quoted line may be.
const LONGEST: usize = 200;
/// What criu always reports as an error to callers without `CAP_SYS_RESOURCE`, although it is none.
const HARMLESS: &str = "Can't setup RLIMIT_NOFILE for self";

/// The errors at the end of a log with the lines that led to them, or its last lines if there are none; empty if it is
/// not readable.
pub(super) fn tail(log: &mut File) -> String {
    let length = log.metadata().map_or(0, |metadata| metadata.len());
    let mut bytes = Vec::new();
    if log.seek(SeekFrom::Start(length.saturating_sub(WINDOW))).is_err()
        || log.take(WINDOW).read_to_end(&mut bytes).is_err()
    {
        return String::new();
    }
    quote(&String::from_utf8_lossy(&bytes))
}

pub(super) fn quote(text: &str) -> String {
    let lines: Vec<&str> = text.lines().filter(|line| !line.contains(HARMLESS)).collect();
    let is_error = |line: &&str| line.contains("Error (");
    let first = lines.iter().position(is_error);
    let (before, after) = lines.split_at(first.unwrap_or(lines.len()));
    let before = before.iter().skip(before.len().saturating_sub(BEFORE));
    let quoted = before.chain(after.iter().filter(|line| is_error(line))).take(LINES);
    let shown = quoted.map(|line| {
        // "(00.012345)   1234: Error (criu/mount.c:1): ...": time and process are of no use here.
        let words = line.split_once(") ").map_or(*line, |(_, words)| words);
        words.trim().chars().take(LONGEST).collect::<String>()
    });
    shown.collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_quoted_with_what_led_to_them() {
        let log = "(00.1) far away\n(00.1) a\n(00.1) b\n(00.2) c\n(00.2)   7: d\n\
            (00.2)   7: Error (b.c:2): first\n(00.3) pie: fine\n(00.4) Error (c.c:3): last\n";
        assert_eq!(quote(log), "a; b; c; 7: d; 7: Error (b.c:2): first; Error (c.c:3): last");
        assert_eq!(quote("(00.0) one\n(00.1) two\n"), "one; two");
        assert_eq!(
            quote("(00.0) Error (criu/util.c:1533): rlimit: Can't setup RLIMIT_NOFILE for self: no\n"),
            ""
        );
        let many: Vec<String> = (0..20).map(|n| format!("(0) Error (x.c:{n}): e")).collect();
        assert!(quote(&many.join("\n")).ends_with("Error (x.c:9): e"));
    }
}
