//! The verbs, each in its own file: its line of the table, and the function that performs it.

mod check;
mod checkpoint;
mod completion;
mod create;
mod delete;
mod events;
mod exec;
mod explain;
mod features;
mod kill;
mod list;
mod manual;
mod mounts;
mod pause;
mod ps;
mod restore;
mod resume;
mod run;
mod spec;
mod start;
mod state;
mod update;

use crate::cli::Verb;

/// The table, in the order of the help.
pub(crate) const VERBS: &[Verb] = &[
    check::VERB,
    checkpoint::VERB,
    completion::VERB,
    create::VERB,
    delete::VERB,
    events::VERB,
    exec::VERB,
    explain::VERB,
    features::VERB,
    kill::VERB,
    list::VERB,
    manual::VERB,
    mounts::VERB,
    pause::VERB,
    ps::VERB,
    restore::VERB,
    resume::VERB,
    run::VERB,
    spec::VERB,
    start::VERB,
    state::VERB,
    update::VERB,
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::options::GLOBALS;
    use std::collections::BTreeSet;

    #[test]
    fn names_are_unique_and_sorted() {
        assert!(VERBS.is_sorted_by_key(|verb| verb.name));
        for options in VERBS.iter().map(|verb| verb.options).chain([GLOBALS]) {
            let longs: BTreeSet<_> = options.iter().map(|option| option.long).collect();
            assert_eq!(longs.len(), options.len());
            let letters: Vec<_> = options.iter().filter_map(|option| option.short).collect();
            assert_eq!(letters.iter().collect::<BTreeSet<_>>().len(), letters.len());
        }
    }

    #[test]
    fn no_cluster_of_letters_reads_like_a_long_option() {
        // `-no-subreaper` is a long option; so `-it` must not be the name of one.
        for verb in VERBS {
            let letters: Vec<_> = verb.options.iter().filter_map(|option| option.short).collect();
            for option in verb.options {
                assert!(!option.long.chars().all(|c| letters.contains(&c)), "{} -{}", verb.name, option.long);
            }
        }
    }
}
