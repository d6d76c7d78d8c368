//! The order in which the conditional entries of a call are tried.
//!
//! The order matters only if entries with different actions match the same arguments. The specification does not define
//! it; profiles rely on what libseccomp does, which is roughly "the more specific first" and never the order of the
//! profile:
//!
//! * Clauses are compared by their conditions, in the order of their arguments.
//! * A condition on a later argument comes before one on an earlier argument.
//! * `==`, `!=` and masked equality come before `<` and `<=`, these before `>` and `>=`.
//! * Of `<` and `<=` the smaller value comes first, of all others the larger one; upper words first, if arguments have
//!   two. Masks do not count: if only they differ, the first in the profile comes first, and a full mask is not the
//!   same as none.
//! * A clause whose conditions are the beginning of another's comes before it, so the longer one never fires.
//!
//! libseccomp refuses a profile in which two entries have the same conditions and different actions, and so do we. It
//! also refuses some profiles (but, depending on the order of entries, accepts others) in which one entry's conditions
//! are the beginning of another's; we accept all of them and warn.
//!
//! One difference remains on 64-bit ABIs, in 1 of 1,700 random profiles: of "`>= 2`" and "`>= 3` and another argument",
//! the longer one comes first here for all values. libseccomp compares the upper word first, finds that both entries
//! test the same there, and takes the shorter one for values from 2^32 on, and the longer one for the others.

use std::collections::HashMap;

use super::args::{Clause, Test};
use super::assembler::Compare;

/// A clause with the number of its origin, which only the caller interprets.
#[derive(Clone, Debug)]
pub(super) struct Candidate {
    pub(super) clause: Clause,
    pub(super) origin: usize,
}

/// Two candidates that cannot both apply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Conflict {
    /// Same conditions, different actions.
    Contradiction { winner: usize, loser: usize },
    /// The loser's conditions begin with all of the winner's, and its action differs.
    Shadow { winner: usize, loser: usize },
}

/// Sorts the candidates, given in the order of the profile, and drops those that cannot fire.
pub(super) fn arrange(candidates: Vec<Candidate>, wide: bool) -> (Vec<Candidate>, Vec<Conflict>) {
    let mut seen = SeenTests::default();
    let mut keyed: Vec<(Vec<CompareKey>, Candidate)> = candidates
        .into_iter()
        .map(|candidate| (seen.keys(&candidate.clause.tests, wide), candidate))
        .collect();
    keyed.sort_by(|one, other| one.0.cmp(&other.0));
    let mut kept: Vec<Candidate> = Vec::with_capacity(keyed.len());
    let mut conflicts = Vec::new();
    for (_, candidate) in keyed {
        // All clauses that begin with the same conditions are together, the shortest first.
        let Some(last) = kept.last().filter(|last| candidate.clause.tests.starts_with(&last.clause.tests))
        else {
            kept.push(candidate);
            continue;
        };
        if last.clause.action != candidate.clause.action {
            let (winner, loser) = (last.origin, candidate.origin);
            conflicts.push(if last.clause.tests == candidate.clause.tests {
                Conflict::Contradiction { winner, loser }
            } else {
                Conflict::Shadow { winner, loser }
            });
        }
    }
    (kept, conflicts)
}

/// The rank of one comparison of words: argument, kind of comparison, value, first appearance.
type CompareKey = (u8, u8, u32, u32);

/// First appearance of each comparison of words.
#[derive(Default)]
struct SeenTests(HashMap<(u8, Compare, bool, u32, u32), u32>);

impl SeenTests {
    fn keys(&mut self, tests: &[Test], wide: bool) -> Vec<CompareKey> {
        let mut keys = Vec::with_capacity(2 * tests.len());
        for test in tests {
            if wide {
                // On the upper word `>=` is tested as `>`, then as `==`.
                let compare = if test.compare == Compare::Equal { Compare::Equal } else { Compare::Greater };
                keys.push(self.key(test, true, compare));
            }
            keys.push(self.key(test, false, test.compare));
        }
        keys
    }

    fn key(&mut self, test: &Test, high: bool, compare: Compare) -> CompareKey {
        let (mask, value) = if high {
            ((test.mask >> 32) as u32, (test.value >> 32) as u32)
        } else {
            (test.mask as u32, test.value as u32)
        };
        let (class, ascending) = match (test.compare, test.negated) {
            (Compare::Equal, _) => (0, false),
            (Compare::Greater | Compare::GreaterEqual, true) => (1, true),
            (Compare::Greater | Compare::GreaterEqual, false) => (2, false),
        };
        let place = 11 - (2 * test.arg.min(5) + u8::from(high));
        let next = self.0.len() as u32;
        let appearance = *self.0.entry((place, compare, test.masked, mask, value)).or_insert(next);
        (place, class, if ascending { value } else { !value }, appearance)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn test(arg: u8, compare: Compare, negated: bool, value: u64) -> Test {
        Test { arg, compare, negated, masked: false, mask: u64::MAX, value }
    }

    fn equal(arg: u8, value: u64) -> Test {
        test(arg, Compare::Equal, false, value)
    }

    fn order(clauses: &[(&[Test], u32)]) -> (Vec<usize>, Vec<Conflict>) {
        let candidates = clauses
            .iter()
            .enumerate()
            .map(|(origin, (tests, action))| Candidate {
                clause: Clause { tests: tests.to_vec(), action: *action },
                origin,
            })
            .collect();
        let (kept, conflicts) = arrange(candidates, true);
        (kept.into_iter().map(|candidate| candidate.origin).collect(), conflicts)
    }

    #[test]
    fn specific_before_general() {
        let (kept, conflicts) = order(&[
            (&[test(0, Compare::Greater, false, 5)], 1),
            (&[test(0, Compare::Greater, false, 9)], 2),
            (&[test(0, Compare::GreaterEqual, true, 3)], 3),
            (&[equal(0, 7)], 4),
            (&[equal(1, 1)], 5),
        ]);
        assert_eq!(kept, [4, 3, 2, 1, 0]);
        assert!(conflicts.is_empty());
    }

    #[test]
    fn equal_conditions_with_different_actions_contradict() {
        let (kept, conflicts) = order(&[(&[equal(0, 1)], 1), (&[equal(0, 1)], 2), (&[equal(0, 1)], 1)]);
        assert_eq!(kept, [0]);
        assert_eq!(conflicts, [Conflict::Contradiction { winner: 0, loser: 1 }]);
    }

    #[test]
    fn a_full_mask_is_another_condition() {
        let masked = Test { masked: true, ..equal(0, 1) };
        let (kept, conflicts) = order(&[(&[equal(0, 1), equal(1, 2)], 1), (&[masked], 2)]);
        assert_eq!(kept, [0, 1]);
        assert!(conflicts.is_empty());
    }

    #[test]
    fn a_longer_clause_is_shadowed() {
        let (kept, conflicts) =
            order(&[(&[equal(0, 1), equal(1, 2)], 1), (&[equal(0, 1)], 2), (&[equal(1, 2)], 3)]);
        assert_eq!(kept, [2, 1]);
        assert_eq!(conflicts, [Conflict::Shadow { winner: 1, loser: 0 }]);
    }
}
