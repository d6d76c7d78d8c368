//! From the entries of a profile to one verdict per number.

use std::collections::{HashMap, HashSet};

use oci_spec::runtime::{LinuxSeccomp, LinuxSeccompArg, LinuxSeccompOperator};

use super::arch::{ARM_PRIVATE, Abi, Row, Target, lookup_from};
use super::args::{Chain, Clause, Test};
use super::assembler::Compare;
use super::order::{Candidate, Conflict, arrange};
use super::{action_word, mistake, note};
use crate::finding::Finding;

/// More rules than this are refused unread: no filter could hold them, and sorting them would take long.
const MAX_RULES: usize = 1 << 18;

/// What happens to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The same for all arguments: a `SECCOMP_RET_*` value.
    Return(u32),
    /// Depends on the arguments: an index into [`Rules::chains`].
    Check(usize),
}

/// The verdicts of one ABI.
#[derive(Debug)]
pub(super) struct Verdicts {
    /// By number, ascending; an unlisted number gets the default action.
    pub(super) list: Vec<(u32, Verdict)>,
    /// The largest ordinary number that the profile mentions, with any action.
    pub(super) largest: Option<u32>,
}

/// The entries of a profile, and what was found out along the way.
#[derive(Debug)]
pub(super) struct Rules {
    clauses: Vec<Clause>,
    mentions: Vec<Mention>,
    /// Each list of argument checks once, however many calls and ABIs share it.
    pub(super) chains: Vec<Chain>,
    chain_index: HashMap<Chain, usize>,
    /// The first contradiction: the profile cannot be used.
    pub(super) contradiction: Option<Finding>,
    /// Parts of the profile without effect.
    pub(super) notes: Vec<Finding>,
    /// What has been reported: the next ABI finds the same again.
    reported: HashSet<(u32, u32)>,
}

/// One name in an entry, and the rules that the entry became.
#[derive(Debug)]
struct Mention {
    entry: usize,
    row: &'static Row,
    rules: std::ops::Range<usize>,
}

/// A rule that applies to a number.
#[derive(Clone, Copy, Debug)]
struct Hit {
    number: u32,
    mention: u32,
    rule: u32,
    /// The call's number within a multiplexer.
    call: Option<u32>,
}

impl Rules {
    /// Looks up the names and expands the entries; `default` is the value of the default action.
    pub(super) fn expand(seccomp: &LinuxSeccomp, default: u32) -> Result<Self, Finding> {
        let mut all = Self {
            clauses: Vec::new(),
            mentions: Vec::new(),
            chains: Vec::new(),
            chain_index: HashMap::new(),
            contradiction: None,
            notes: Vec::new(),
            reported: HashSet::new(),
        };
        let mut skipped = Vec::new();
        let mut size = 0_usize;
        let mut before = 0;
        for (entry, syscall) in seccomp.syscalls().iter().flatten().enumerate() {
            let action = action_word(syscall.action(), syscall.errno_ret());
            let first = all.clauses.len();
            if action == default {
                skipped.push(entry);
            } else {
                let args = syscall.args().as_deref().unwrap_or_default();
                all.note_masks(entry, args);
                all.clauses.extend(alternatives(args).map(|tests| Clause { tests, action }));
            }
            let rules = first..all.clauses.len();
            size = size.saturating_add(syscall.names().len().saturating_mul(rules.len().max(1)));
            if size > MAX_RULES {
                let at = format!("/syscalls/{entry}");
                return Err(mistake(at, format!("more than {MAX_RULES} rules are too many")));
            }
            for (index, name) in syscall.names().iter().enumerate() {
                if let Some((at, row)) = lookup_from(before, name) {
                    before = at;
                    all.mentions.push(Mention { entry, row, rules: rules.clone() });
                } else {
                    let at = format!("/syscalls/{entry}/names/{index}");
                    all.notes.push(note(at, format!("unknown system call {name:?} is skipped")));
                }
            }
        }
        all.note_skipped(&skipped);
        Ok(all)
    }

    /// Decides every number of an ABI that the profile mentions.
    pub(super) fn verdicts(&mut self, abi: Abi) -> Verdicts {
        let (hits, largest) = self.hits(abi);
        let hits = by_number(hits);
        let mut list = Vec::with_capacity(hits.len());
        for same in hits.chunk_by(|one, other| one.number == other.number) {
            let verdict = self.decide(abi, same);
            list.push((same[0].number, verdict));
        }
        Verdicts { list, largest }
    }

    fn hits(&self, abi: Abi) -> (Vec<Hit>, Option<u32>) {
        let mut hits = Vec::with_capacity(self.mentions.len() + 64);
        let mut largest = None;
        for (mention, Mention { row, rules, .. }) in self.mentions.iter().enumerate() {
            for target in abi.targets(row).into_iter().flatten() {
                let (number, call) = match target {
                    Target::Direct(number) => (number, None),
                    Target::Multiplexed(number, call) => (number, Some(call)),
                };
                if number < ARM_PRIVATE || !abi.has_private_calls() {
                    largest = largest.max(Some(number));
                }
                let mention = mention as u32;
                hits.extend(rules.clone().map(|rule| Hit { number, mention, rule: rule as u32, call }));
            }
        }
        (hits, largest)
    }

    fn decide(&mut self, abi: Abi, hits: &[Hit]) -> Verdict {
        let unconditional =
            |hit: &&Hit| hit.call.is_none() && self.rule(hit).tests.iter().all(|test| test.is_void(abi.wide));
        if let Some(winner) = hits.iter().find(unconditional) {
            let action = self.rule(winner).action;
            for hit in hits {
                if self.rule(hit).action != action {
                    self.report_covered(hit, winner);
                }
            }
            return Verdict::Return(action);
        }
        let candidates = hits
            .iter()
            .enumerate()
            .map(|(origin, hit)| Candidate { clause: self.clause(abi, hit), origin })
            .collect();
        let (mut kept, conflicts) = arrange(candidates, abi.wide);
        for conflict in conflicts {
            match conflict {
                Conflict::Shadow { winner, loser } => self.report_covered(&hits[loser], &hits[winner]),
                Conflict::Contradiction { winner, loser } if hits[loser].call.is_some() => {
                    let action = self.rule(&hits[loser]).action;
                    for candidate in kept.iter_mut().filter(|candidate| candidate.origin == winner) {
                        candidate.clause.action = stricter(candidate.clause.action, action);
                    }
                }
                Conflict::Contradiction { winner, loser } => {
                    self.report_contradiction(&hits[loser], &hits[winner]);
                }
            }
        }
        for hit in hits {
            self.report_unreadable(hit);
        }
        self.check(Chain { wide: abi.wide, clauses: kept.into_iter().map(|kept| kept.clause).collect() })
    }

    fn rule(&self, hit: &Hit) -> &Clause {
        &self.clauses[hit.rule as usize]
    }

    /// The rule in a form that the ABI can check.
    fn clause(&self, abi: Abi, hit: &Hit) -> Clause {
        let rule = self.rule(hit);
        let mut tests = Vec::with_capacity(rule.tests.len() + 1);
        if let Some(call) = hit.call {
            tests.push(Test {
                arg: 0,
                compare: Compare::Equal,
                negated: false,
                masked: false,
                mask: u64::MAX,
                value: u64::from(call),
            });
        }
        let readable = |test: &&Test| !test.is_void(abi.wide) && (hit.call.is_none() || test.arg != 0);
        tests.extend(rule.tests.iter().filter(readable));
        if !abi.wide {
            tests = tests.into_iter().map(Test::narrowed).collect();
        }
        Clause { tests, action: rule.action }
    }

    fn check(&mut self, chain: Chain) -> Verdict {
        let next = self.chains.len();
        let index = *self.chain_index.entry(chain).or_insert_with_key(|chain| {
            self.chains.push(chain.clone());
            next
        });
        Verdict::Check(index)
    }

    fn note_masks(&mut self, entry: usize, args: &[LinuxSeccompArg]) {
        for (index, arg) in args.iter().enumerate() {
            let value = arg.value_two().unwrap_or(0);
            if arg.op() == LinuxSeccompOperator::ScmpCmpMaskedEq && value & !arg.value() != 0 {
                self.notes.push(note(
                    format!("/syscalls/{entry}/args/{index}/valueTwo"),
                    format!("{value:#x} has bits outside the mask {:#x}, which are ignored", arg.value()),
                ));
            }
        }
    }

    /// An entry with the default action is not an exception from another entry, although it looks like one.
    fn note_skipped(&mut self, skipped: &[usize]) {
        if skipped.is_empty() {
            return;
        }
        let effective: HashMap<&str, usize> = self
            .mentions
            .iter()
            .rev()
            .filter(|mention| !mention.rules.is_empty())
            .map(|mention| (mention.row.0, mention.entry))
            .collect();
        for mention in &self.mentions {
            if !mention.rules.is_empty() || skipped.binary_search(&mention.entry).is_err() {
                continue;
            }
            if let Some(other) = effective.get(mention.row.0) {
                self.notes.push(note(
                    format!("/syscalls/{}", mention.entry),
                    format!(
                        "has no effect on {}: its action is the default one, and /linux/seccomp/syscalls/{other} stays in force",
                        mention.row.0
                    ),
                ));
            }
        }
    }

    fn report_covered(&mut self, loser: &Hit, winner: &Hit) {
        let (loser, winner) = (loser.mention, winner.mention);
        if self.reported.insert((loser, winner)) {
            let (lost, won) = (&self.mentions[loser as usize], &self.mentions[winner as usize]);
            self.notes.push(note(
                format!("/syscalls/{}", lost.entry),
                format!(
                    "has no effect on {} on at least one architecture: /linux/seccomp/syscalls/{} comes first",
                    lost.row.0, won.entry
                ),
            ));
        }
    }

    fn report_contradiction(&mut self, loser: &Hit, winner: &Hit) {
        let (loser, winner) = (loser.mention, winner.mention);
        if self.reported.insert((loser, winner)) {
            let (lost, won) = (&self.mentions[loser as usize], &self.mentions[winner as usize]);
            let message = format!(
                "contradicts /linux/seccomp/syscalls/{}: same conditions on {}, other action",
                won.entry, lost.row.0
            );
            self.contradiction.get_or_insert(mistake(format!("/syscalls/{}", lost.entry), message));
        }
    }

    /// A condition that a multiplexer hides.
    fn report_unreadable(&mut self, hit: &Hit) {
        if hit.call.is_none() || self.rule(hit).tests.is_empty() {
            return;
        }
        if self.reported.insert((hit.mention, u32::MAX)) {
            let mention = &self.mentions[hit.mention as usize];
            self.notes.push(note(
                format!("/syscalls/{}/args", mention.entry),
                format!(
                    "cannot be checked where {} is made through socketcall or ipc: there the arguments are in memory",
                    mention.row.0
                ),
            ));
        }
    }
}

/// The conditions of an entry: one list of tests that must all hold, or several of which one must.
fn alternatives(args: &[LinuxSeccompArg]) -> impl Iterator<Item = Vec<Test>> {
    let mut tests: Vec<Test> = args.iter().map(test).collect();
    let mut used = 0_u8;
    let mut repeated = false;
    for test in &tests {
        repeated |= used & (1 << test.arg) != 0;
        used |= 1 << test.arg;
    }
    let (each, together) = if repeated {
        (tests, None)
    } else {
        tests.sort_by_key(|test| test.arg);
        (Vec::new(), Some(tests))
    };
    each.into_iter().map(|test| vec![test]).chain(together)
}

fn test(arg: &LinuxSeccompArg) -> Test {
    let (compare, negated) = match arg.op() {
        LinuxSeccompOperator::ScmpCmpEq | LinuxSeccompOperator::ScmpCmpMaskedEq => (Compare::Equal, false),
        LinuxSeccompOperator::ScmpCmpNe => (Compare::Equal, true),
        LinuxSeccompOperator::ScmpCmpGt => (Compare::Greater, false),
        LinuxSeccompOperator::ScmpCmpLe => (Compare::Greater, true),
        LinuxSeccompOperator::ScmpCmpGe => (Compare::GreaterEqual, false),
        LinuxSeccompOperator::ScmpCmpLt => (Compare::GreaterEqual, true),
    };
    let masked = arg.op() == LinuxSeccompOperator::ScmpCmpMaskedEq;
    let (mask, value) = if masked {
        (arg.value(), arg.value_two().unwrap_or(0) & arg.value())
    } else {
        (u64::MAX, arg.value())
    };
    // validate() has refused a larger index.
    Test { arg: arg.index().min(5) as u8, compare, negated, masked, mask, value }
}

/// Sorts hits by number; the hits of one number stay in the order of the profile.
fn by_number(hits: Vec<Hit>) -> Vec<Hit> {
    let numbers = || hits.iter().map(|hit| hit.number);
    let (Some(low), Some(high)) = (numbers().min(), numbers().max()) else { return hits };
    let span = (high - low) as usize;
    if span > 4 * hits.len() + 1024 {
        // A few numbers are far from the others, such as ARM's private ones. Plain integers sort fastest.
        let mut order: Vec<u64> =
            numbers().zip(0..).map(|(number, at)| u64::from(number) << 32 | at).collect();
        order.sort_unstable();
        return order.iter().map(|key| hits[*key as u32 as usize]).collect();
    }
    // The start of each number's hits: after all the places that smaller numbers need.
    let mut starts = vec![0_usize; span + 2];
    for number in numbers() {
        starts[(number - low) as usize + 1] += 1;
    }
    for at in 1..starts.len() {
        starts[at] += starts[at - 1];
    }
    let mut sorted = vec![hits[0]; hits.len()];
    for hit in &hits {
        let place = &mut starts[(hit.number - low) as usize];
        sorted[*place] = *hit;
        *place += 1;
    }
    sorted
}

/// The one of two actions that the kernel would choose between two filters: the smaller signed number.
fn stricter(one: u32, other: u32) -> u32 {
    if (other as i32) < (one as i32) { other } else { one }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hits_are_sorted_and_keep_their_order_however_far_apart_they_are() {
        for numbers in [&[][..], &[7], &[3, 1, 3, 2, 1, 3], &[9, 0xf_0002, 9, 1, 0xf_0002], &[u32::MAX, 0, 5]]
        {
            let hits: Vec<Hit> = numbers
                .iter()
                .zip(0..)
                .map(|(number, mention)| Hit { number: *number, mention, rule: 0, call: None })
                .collect();
            let mut expected: Vec<_> = hits.iter().map(|hit| (hit.number, hit.mention)).collect();
            expected.sort_unstable();
            let sorted: Vec<_> = by_number(hits).iter().map(|hit| (hit.number, hit.mention)).collect();
            assert_eq!(sorted, expected);
        }
    }
}
