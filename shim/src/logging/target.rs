//! Where the log goes: standard error, a file, the journal, or the system log.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::Path;

use log::Level;

use crate::failure::Failure;

/// Where the journal takes messages in its native protocol (`systemd.io/JOURNAL_NATIVE_PROTOCOL`).
const JOURNAL: &str = "/run/systemd/journal/socket";
/// Where the system log takes messages (syslog(3)).
const SYSLOG: &str = "/dev/log";
/// The facility `LOG_USER` (syslog(3)).
const USER: u8 = 1 << 3;

/// An open destination.
#[derive(Debug)]
pub(crate) enum Target {
    /// Standard error.
    Stderr,
    /// A file, to which lines are appended.
    File(File),
    /// The journal, with the identifier of the messages.
    Journal(UnixDatagram, String),
    /// The system log, likewise.
    Syslog(UnixDatagram, String),
}

impl Target {
    /// Opens what `--log` names: `[file:]PATH`, `journald:[IDENTIFIER]` or `syslog:[IDENTIFIER]`.
    pub(crate) fn open(name: &Path) -> Result<Self, Failure> {
        let identifier = |text: &str| if text.is_empty() { "wharf".to_owned() } else { text.to_owned() };
        match name.to_str().and_then(|name| name.split_once(':')) {
            Some(("journald", rest)) => Ok(Self::Journal(connect(JOURNAL)?, identifier(rest))),
            Some(("syslog", rest)) => Ok(Self::Syslog(connect(SYSLOG)?, identifier(rest))),
            Some(("file", rest)) => append_to(Path::new(rest)),
            _ => append_to(name),
        }
    }

    /// Whether the log goes to standard error.
    pub(crate) fn is_stderr(&self) -> bool {
        matches!(self, Self::Stderr)
    }

    /// Writes one message; `line` is its form in a file. A full disk, or a journal that is gone, must not stop a
    /// container, so failures are ignored.
    pub(crate) fn write(&self, level: Level, message: &str, line: &str) {
        let written = match self {
            // One write per line: several processes append to the same file.
            Self::Stderr => std::io::stderr().write_all(line.as_bytes()),
            Self::File(file) => {
                let mut file = file;
                file.write_all(line.as_bytes())
            }
            Self::Journal(socket, identifier) => {
                socket.send(&journal_entry(level, message, identifier)).map(drop)
            }
            Self::Syslog(socket, identifier) => {
                socket.send(syslog_line(level, message, identifier).as_bytes()).map(drop)
            }
        };
        written.ok();
    }
}

fn append_to(path: &Path) -> Result<Target, Failure> {
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o644)
        .open(path)
        .map(Target::File)
        .map_err(|error| Failure::new(format!("open log file {}: {error}", path.display())))
}

fn connect(path: &str) -> Result<UnixDatagram, Failure> {
    UnixDatagram::unbound()
        .and_then(|socket| socket.connect(path).map(|()| socket))
        .map_err(|error| Failure::new(format!("open log socket {path}: {error}")))
}

/// The severities of syslog(3).
fn severity(level: Level) -> u8 {
    match level {
        Level::Error => 3,
        Level::Warn => 4,
        Level::Info => 6,
        Level::Debug | Level::Trace => 7,
    }
}

/// One entry in the native protocol. The message is in the form with a length, as it may have several lines.
fn journal_entry(level: Level, message: &str, identifier: &str) -> Vec<u8> {
    let mut entry =
        format!("PRIORITY={}\nSYSLOG_IDENTIFIER={identifier}\nMESSAGE\n", severity(level)).into_bytes();
    entry.extend((message.len() as u64).to_le_bytes());
    entry.extend(message.as_bytes());
    entry.push(b'\n');
    entry
}

/// A message without a time: the daemon adds its own.
fn syslog_line(level: Level, message: &str, identifier: &str) -> String {
    format!("<{}>{identifier}[{}]: {message}", USER | severity(level), std::process::id())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_choose_the_target() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a:log");
        for name in [path.display().to_string(), format!("file:{}", path.display())] {
            let target = Target::open(Path::new(&name)).unwrap();
            assert!(!target.is_stderr());
            target.write(Level::Info, "text", "line\n");
        }
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "line\nline\n");
        let failure = Target::open(Path::new("file:/nonexistent/log")).unwrap_err();
        assert!(failure.message().starts_with("open log file /nonexistent/log: "), "{}", failure.message());
    }

    #[test]
    fn the_journal_gets_lines_as_one_message() {
        let entry = journal_entry(Level::Warn, "one\ntwo", "web");
        assert_eq!(entry, b"PRIORITY=4\nSYSLOG_IDENTIFIER=web\nMESSAGE\n\x07\0\0\0\0\0\0\0one\ntwo\n");
    }

    #[test]
    fn the_system_log_gets_priority_and_identifier() {
        let line = syslog_line(Level::Error, "text", "web");
        assert_eq!(line, format!("<11>web[{}]: text", std::process::id()));
        assert!(syslog_line(Level::Debug, "", "web").starts_with("<15>web["));
    }
}
