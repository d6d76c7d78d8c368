//! Standard output, where every failed write counts.

pub(crate) mod columns;

use std::fmt::{Display, Write as _};
use std::io::{self, Write as _};

use serde::Serialize;
use serde_json::ser::{PrettyFormatter, Serializer};

use crate::failure::Failure;

/// Prints a text, which includes any final newline.
pub(crate) fn text(text: &str) -> Result<u8, Failure> {
    bytes(text.as_bytes())
}

/// Prints each value on a line of its own.
pub(crate) fn lines(values: &[impl Display]) -> Result<u8, Failure> {
    let mut text = String::new();
    for value in values {
        // Writing to a string cannot fail.
        writeln!(text, "{value}").ok();
    }
    bytes(text.as_bytes())
}

/// Prints a value as JSON on one line.
pub(crate) fn json_line(value: &impl Serialize) -> Result<u8, Failure> {
    let mut line =
        serde_json::to_vec(value).map_err(|error| Failure::new(format!("encode JSON: {error}")))?;
    line.push(b'\n');
    bytes(&line)
}

/// Prints a value as JSON over several lines.
pub(crate) fn json_pretty(value: &impl Serialize, indent: &str) -> Result<u8, Failure> {
    let mut text = pretty(value, indent)?;
    text.push(b'\n');
    bytes(&text)
}

fn pretty(value: &impl Serialize, indent: &str) -> Result<Vec<u8>, Failure> {
    let mut text = Vec::new();
    let formatter = PrettyFormatter::with_indent(indent.as_bytes());
    value
        .serialize(&mut Serializer::with_formatter(&mut text, formatter))
        .map_err(|error| Failure::new(format!("encode JSON: {error}")))?;
    Ok(text)
}

fn bytes(bytes: &[u8]) -> Result<u8, Failure> {
    let mut out = io::stdout().lock();
    out.write_all(bytes)
        .and_then(|()| out.flush())
        .map(|()| 0)
        .map_err(|error| Failure::new(format!("write to standard output: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_indentation_is_the_one_asked_for() {
        let value = serde_json::json!({"a": [1]});
        assert_eq!(pretty(&value, "    ").unwrap(), b"{\n    \"a\": [\n        1\n    ]\n}");
    }
}
