//! The environment of a process: each name once, and a home directory.

use std::collections::HashSet;

/// The entries of `process.env` and of the runtime's own, in order, and whether `HOME` must still be found.
///
/// Of several entries with one name, the last stays: callers append overrides, while getenv(3) would find the first,
/// and most shells the last. An empty `HOME` counts as none, as callers of runc expect.
pub(crate) fn environment<'a>(entries: impl DoubleEndedIterator<Item = &'a [u8]>) -> (Vec<&'a [u8]>, bool) {
    let mut names = HashSet::new();
    let mut env: Vec<&[u8]> = entries.rev().filter(|entry| names.insert(name(entry))).collect();
    env.reverse();
    env.retain(|entry| *entry != b"HOME=");
    let has_home = env.iter().any(|entry| entry.starts_with(b"HOME="));
    (env, !has_home)
}

/// The name with its `=`, so that an entry without one is not a variable of that name.
fn name(entry: &[u8]) -> &[u8] {
    entry.iter().position(|byte| *byte == b'=').and_then(|at| entry.get(..=at)).unwrap_or(entry)
}

#[cfg(test)]
mod tests {
    use super::environment;

    fn of(entries: &[&'static str]) -> (Vec<&'static str>, bool) {
        let (env, needs_home) = environment(entries.iter().map(|entry| entry.as_bytes()));
        (env.into_iter().map(|entry| std::str::from_utf8(entry).unwrap()).collect(), needs_home)
    }

    #[test]
    fn the_last_of_equal_names_stays_in_its_place() {
        assert_eq!(of(&["A=1", "B=2", "A=", "HOME=/x", "B=2=3"]), (vec!["A=", "HOME=/x", "B=2=3"], false));
        assert_eq!(of(&["AB=1", "A=1", "A", "=x", ""]), (vec!["AB=1", "A=1", "A", "=x", ""], true));
    }

    #[test]
    fn an_empty_home_is_none() {
        assert_eq!(of(&["HOME=", "A=1"]), (vec!["A=1"], true));
        assert_eq!(of(&["HOME=/x", "HOME="]), (vec![], true));
        assert_eq!(of(&["HOME=", "HOME=/x"]), (vec!["HOME=/x"], false));
        assert_eq!(of(&[]), (vec![], true));
    }
}
