//! Where a process' program may be: its path, or every directory of PATH (execvp(3)).

/// The search path if the environment has none (glibc's confstr(_`CS_PATH`)).
const DEFAULT_PATH: &[u8] = b"/bin:/usr/bin";

/// The paths to try, and whether the configuration named one itself.
pub(crate) fn candidates(program: &[u8], env: &[&[u8]]) -> (Vec<Vec<u8>>, bool) {
    if program.contains(&b'/') {
        return (vec![program.to_owned()], true);
    }
    let path = env.iter().rev().find_map(|entry| entry.strip_prefix(b"PATH=")).unwrap_or(DEFAULT_PATH);
    let in_directory = |directory: &[u8]| {
        let end = directory.iter().rposition(|byte| *byte != b'/').map_or(0, |last| last + 1);
        let directory = if directory.is_empty() { b"." } else { directory.get(..end).unwrap_or_default() };
        [directory, b"/", program].concat()
    };
    (path.split(|byte| *byte == b':').map(in_directory).collect(), false)
}

#[cfg(test)]
mod tests {
    use super::candidates;

    #[test]
    fn last_path_wins_and_empty_parts_are_here() {
        let env = ["PATH=/x", "A=b", "PATH=/usr/bin/::/"].map(str::as_bytes);
        let found = |program: &str, env: &[&[u8]]| {
            let (paths, named) = candidates(program.as_bytes(), env);
            (paths.into_iter().map(|path| String::from_utf8(path).unwrap()).collect::<Vec<_>>(), named)
        };
        assert_eq!(
            found("sh", &env),
            (vec!["/usr/bin/sh".to_owned(), "./sh".to_owned(), "/sh".to_owned()], false)
        );
        assert_eq!(found("./sh", &env), (vec!["./sh".to_owned()], true));
        assert_eq!(found("sh", &[]).0, ["/bin/sh", "/usr/bin/sh"]);
    }
}
