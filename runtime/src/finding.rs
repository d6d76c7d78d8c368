//! One thing that is wrong with, or worth knowing about, a property of a document.

use std::fmt;

use serde::Serialize;

use crate::error::Error;

/// How much a [`Finding`] matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Severity {
    /// The container cannot be created.
    Error,
    /// The container is created, but the property has no effect, or an effect that its author may not expect.
    Warning,
    /// The container is created as asked, and few readers need to know this. A runtime should log it rather than print it
    /// on the container's streams, where some managers would take it for a warning.
    Note,
}

/// A problem with one property of `config.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Finding {
    /// Whether the container can be created in spite of it.
    pub severity: Severity,
    /// The property, as a JSON pointer (RFC 6901). Empty for the document as a whole.
    pub pointer: String,
    /// What is wrong, as one sentence without a full stop.
    pub message: String,
}

impl Finding {
    pub(crate) fn error(pointer: impl Into<String>, message: impl Into<String>) -> Self {
        Self { severity: Severity::Error, pointer: pointer.into(), message: message.into() }
    }

    pub(crate) fn warning(pointer: impl Into<String>, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, pointer: pointer.into(), message: message.into() }
    }

    pub(crate) fn note(pointer: impl Into<String>, message: impl Into<String>) -> Self {
        Self { severity: Severity::Note, pointer: pointer.into(), message: message.into() }
    }

    /// Logs a finding that is not an error.
    pub(crate) fn log(&self) {
        let level = if self.severity == Severity::Note { log::Level::Debug } else { log::Level::Warn };
        log::log!(level, "{}", self.sentence());
    }

    /// The message and its place.
    pub(crate) fn sentence(&self) -> String {
        let Self { pointer, message, .. } = self;
        if pointer.is_empty() { message.clone() } else { format!("{message} (config.json {pointer})") }
    }

    pub(crate) fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

impl From<Finding> for Error {
    fn from(finding: Finding) -> Self {
        Self::invalid(finding.pointer, finding.message)
    }
}

impl From<Error> for Finding {
    fn from(error: Error) -> Self {
        Self::error(error.pointer().unwrap_or_default(), error.sentence(None))
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Note => "note",
        })
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.severity)?;
        if !self.pointer.is_empty() {
            write!(f, "{}: ", one_line(&self.pointer))?;
        }
        f.write_str(&one_line(&self.message))
    }
}

/// A name from the document may contain a newline; a finding must stay on one line.
fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() { line.extend(c.escape_default()) } else { line.push(c) }
    }
    line
}

/// Turns findings into the error that ends an operation: the message is the first error's, and the others are counted.
///
/// Returns the warnings if there is no error.
pub(crate) fn into_result(findings: Vec<Finding>) -> crate::Result<Vec<Finding>> {
    let others = findings.iter().filter(|finding| finding.is_error()).count().saturating_sub(1);
    let Some(first) = findings.iter().find(|finding| finding.is_error()) else {
        return Ok(findings);
    };
    let error = Error::from(first.clone());
    if others == 0 {
        return Err(error);
    }
    let plural = if others == 1 { "" } else { "s" };
    Err(error.with_hint(format!("{others} more error{plural} in this document")))
}

/// The findings of one document while it is checked.
#[derive(Debug, Default)]
pub(crate) struct Report {
    findings: Vec<Finding>,
}

impl Report {
    pub(crate) fn error(&mut self, pointer: impl Into<String>, message: impl Into<String>) {
        self.findings.push(Finding::error(pointer, message));
    }

    pub(crate) fn warning(&mut self, pointer: impl Into<String>, message: impl Into<String>) {
        self.findings.push(Finding::warning(pointer, message));
    }

    pub(crate) fn into_findings(self) -> Vec<Finding> {
        self.findings
    }
}

/// One reference token of a JSON pointer (RFC 6901 section 3).
pub(crate) fn escape(token: &str) -> String {
    token.replace('~', "~0").replace('/', "~1")
}

/// Entries of a JSON map, sorted by key: `HashMap` has no order, and two runs must report alike.
pub(crate) fn sorted<'m, K: Ord, V, I>(entries: I) -> Vec<(&'m K, &'m V)>
where
    I: IntoIterator<Item = (&'m K, &'m V)>,
{
    let mut entries: Vec<_> = entries.into_iter().collect();
    entries.sort_by(|a, b| a.0.cmp(b.0));
    entries
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn reads_as_one_line_and_as_json() {
        let finding = Finding::error("/mounts/3/options/1", "unknown");
        assert_eq!(finding.to_string(), "error: /mounts/3/options/1: unknown");
        assert_eq!(Finding::warning("", "odd").to_string(), "warning: odd");
        assert_eq!(Finding::error("/a\nerror: b", "x").to_string(), "error: /a\\nerror: b: x");
        assert_eq!(
            serde_json::to_string(&finding).unwrap(),
            r#"{"severity":"error","pointer":"/mounts/3/options/1","message":"unknown"}"#
        );
    }

    #[test]
    fn the_first_error_speaks_for_all() {
        let warning = Finding::warning("/a", "w");
        assert_eq!(into_result(vec![warning.clone()]).unwrap(), vec![warning.clone()]);
        let error = into_result(vec![
            warning,
            Finding::error("/b", "first"),
            Finding::error("/c", "second"),
            Finding::error("/d", "third"),
        ])
        .unwrap_err();
        assert_eq!(error.to_string(), "first (config.json /b); 2 more errors in this document");
        assert_eq!(error.kind(), ErrorKind::InvalidSpec);
    }

    #[test]
    fn tokens_are_escaped() {
        assert_eq!(escape("net/ipv4~x"), "net~1ipv4~0x");
    }
}
