//! The log in the two formats that callers of runc read, and the final message of a failed command.

mod target;

use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::OnceLock;

use jiff::Timestamp;
use log::{Level, LevelFilter, Log, Metadata, Record};

use crate::cli::Given;
use crate::failure::Failure;
use target::Target;

static LOGGER: OnceLock<Logger> = OnceLock::new();

/// Where log lines go, and how they look.
struct Logger {
    target: Target,
    format: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Text,
    Json,
}

/// Applies `--log`, `--log-format`, `--log-level` and `--debug`.
pub(crate) fn set_up(globals: &Given) -> Result<(), Failure> {
    let format = match globals.text("log-format")? {
        None | Some("text") => Format::Text,
        Some("json") => Format::Json,
        Some(other) => return Err(Failure::new(format!("unknown log-format {other:?}: not text or json"))),
    };
    let level = match globals.text("log-level")? {
        _ if globals.flag("debug") => LevelFilter::Debug,
        None | Some("info") => LevelFilter::Info,
        Some("error") => LevelFilter::Error,
        Some("warning" | "warn") => LevelFilter::Warn,
        Some("debug") => LevelFilter::Debug,
        Some(other) => {
            return Err(Failure::new(format!(
                "unknown log-level {other:?}: not error, warning, info or debug"
            )));
        }
    };
    let target = globals.path("log")?.map_or(Ok(Target::Stderr), Target::open)?;
    let logger = LOGGER.get_or_init(|| Logger { target, format });
    log::set_max_level(level);
    log::set_logger(logger).map_err(|error| Failure::new(error.to_string()))
}

/// Reports the one error of a failed command: in the log and, if the log is elsewhere, in plain words on standard
/// error.
pub(crate) fn error(message: &str) {
    let stderr = |text: &str| {
        // If standard error is gone too, only the exit code is left.
        std::io::stderr().write_all(text.as_bytes()).ok();
    };
    match LOGGER.get() {
        Some(logger) => {
            logger.write(Level::Error, message);
            if !logger.target.is_stderr() {
                stderr(&format!("{message}\n"));
            }
        }
        None => stderr(&line(Format::Text, Level::Error, message, Timestamp::now())),
    }
}

impl Logger {
    fn write(&self, level: Level, message: &str) {
        self.target.write(level, message, &line(self.format, level, message, Timestamp::now()));
    }
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            self.write(record.level(), &record.args().to_string());
        }
    }

    fn flush(&self) {}
}

fn line(format: Format, level: Level, message: &str, time: Timestamp) -> String {
    let level = match level {
        Level::Error => "error",
        Level::Warn => "warning",
        Level::Info => "info",
        Level::Debug => "debug",
        Level::Trace => "trace",
    };
    let time = time.strftime("%Y-%m-%dT%H:%M:%SZ");
    match format {
        // The keys are in runc's order.
        Format::Json => {
            let message = serde_json::Value::from(message);
            format!("{{\"level\":\"{level}\",\"msg\":{message},\"time\":\"{time}\"}}\n")
        }
        Format::Text => format!("time=\"{time}\" level={level} msg={}\n", quoted(message)),
    }
}

/// Quotes as runc's logger does: only words with characters other than these.
fn quoted(message: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._/@^+".contains(c);
    if !message.is_empty() && message.chars().all(plain) {
        return message.to_owned();
    }
    let mut text = String::with_capacity(message.len() + 2);
    text.push('"');
    for c in message.chars() {
        match c {
            '"' | '\\' => text.extend(['\\', c]),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\t' => text.push_str("\\t"),
            c if c.is_control() => {
                // Writing to a string cannot fail.
                write!(text, "\\u{:04x}", u32::from(c)).ok();
            }
            c => text.push(c),
        }
    }
    text.push('"');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time() -> Timestamp {
        "2026-01-02T03:04:05.678Z".parse().unwrap()
    }

    #[test]
    fn a_json_line_is_what_containerd_and_podman_parse() {
        assert_eq!(
            line(Format::Json, Level::Error, "exec: \"nope\": not\nfound", time()),
            "{\"level\":\"error\",\"msg\":\"exec: \\\"nope\\\": not\\nfound\",\"time\":\"2026-01-02T03:04:05Z\"}\n"
        );
    }

    #[test]
    fn a_text_line_is_quoted_only_where_needed() {
        assert_eq!(
            line(Format::Text, Level::Warn, "a \"b\"\\\n\u{1b}", time()),
            "time=\"2026-01-02T03:04:05Z\" level=warning msg=\"a \\\"b\\\"\\\\\\n\\u001b\"\n"
        );
        assert_eq!(
            line(Format::Text, Level::Debug, "ready", time()),
            "time=\"2026-01-02T03:04:05Z\" level=debug msg=ready\n"
        );
    }

    #[test]
    fn lines_are_appended() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        for message in ["one", "two"] {
            let logger = Logger { target: Target::open(&path).unwrap(), format: Format::Json };
            logger.write(Level::Error, message);
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 2);
        assert_eq!((&lines[0]["msg"], &lines[1]["level"]), (&"one".into(), &"error".into()));
        let mode = std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(&path).unwrap());
        assert_eq!(mode & 0o133, 0, "{mode:o}");
    }
}
