//! Where the program of a process may be: its path, or every directory of PATH (execvp(3)).

/// The search path where the environment has none (glibc's confstr(_`CS_PATH`)).
const DEFAULT_PATH: &str = "/bin:/usr/bin";

/// The paths to try, and whether the configuration named one itself.
pub(crate) fn candidates(program: &str, env: &[&str]) -> (Vec<String>, bool) {
    if program.contains('/') {
        return (vec![program.to_owned()], true);
    }
    let path = env.iter().rev().find_map(|entry| entry.strip_prefix("PATH=")).unwrap_or(DEFAULT_PATH);
    let directories = path.split(':').map(|directory| if directory.is_empty() { "." } else { directory });
    (directories.map(|directory| format!("{}/{program}", directory.trim_end_matches('/'))).collect(), false)
}

#[cfg(test)]
mod tests {
    use super::candidates;

    #[test]
    fn last_path_wins_and_empty_parts_are_here() {
        let env = ["PATH=/x", "A=b", "PATH=/usr/bin/::/"];
        assert_eq!(
            candidates("sh", &env),
            (vec!["/usr/bin/sh".to_owned(), "./sh".to_owned(), "/sh".to_owned()], false)
        );
        assert_eq!(candidates("./sh", &env), (vec!["./sh".to_owned()], true));
        assert_eq!(candidates("sh", &[]).0, ["/bin/sh", "/usr/bin/sh"]);
    }
}
