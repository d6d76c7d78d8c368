//! What `--version` prints.

use std::path::Path;

/// The version of wharf.
pub(crate) const NUMBER: &str = env!("CARGO_PKG_VERSION");
/// The version of the runtime specification.
pub(crate) const SPEC: &str = "1.3.0";
const COMMIT: Option<&str> = option_env!("WHARF_COMMIT");

/// Three lines, in the form that all versions of go-runc and Docker parse: older go-runc wants exactly three.
pub(crate) fn text() -> String {
    text_as(&program_name())
}

fn text_as(name: &str) -> String {
    format!("{name} version {NUMBER}\ncommit: {}\nspec: {SPEC}\n", COMMIT.unwrap_or("unknown"))
}

/// Newer go-runc reads the version only after the word `runc`. If a caller cannot configure the runtime's name, wharf
/// stands in for runc under a file or link of that name, so it then uses that name.
pub(crate) fn program_name() -> String {
    let called = std::env::args_os().next();
    let called = called.as_deref().and_then(|path| Path::new(path).file_name());
    if called.is_some_and(|name| name == "runc") { "runc".to_owned() } else { "wharf".to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn go_runc_and_docker_can_parse_it() {
        let text = text_as("runc");
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 3);
        assert_eq!(lines[0].strip_prefix("runc version "), Some(NUMBER));
        assert!(lines[1].strip_prefix("commit: ").is_some_and(|commit| !commit.is_empty()));
        assert_eq!(lines[2].strip_prefix("spec: "), Some("1.3.0"));
        // Older go-runc splits each line at its separator and wants two parts.
        assert_eq!(text_as("wharf").lines().next().unwrap().split("version ").count(), 2);
        assert!(lines[1..].iter().all(|line| line.split(": ").count() == 2));
    }
}
