//! Argument checks: from tests on 64-bit values to comparisons of 32-bit words.

use super::assembler::{Assembler, Compare, Label, Word};

/// One condition on one argument: `(argument & mask) compare value`, or its opposite.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Test {
    /// Which argument, 0 to 5.
    pub(super) arg: u8,
    pub(super) compare: Compare,
    /// Holds if the comparison does not: `!=` is "not `==`", `<` is "not `>=`".
    pub(super) negated: bool,
    /// Written as a masked comparison; with a full mask it decides like a plain one, but ranks apart (see `order`).
    pub(super) masked: bool,
    pub(super) mask: u64,
    pub(super) value: u64,
}

impl Test {
    /// The test for an ABI that passes only 32 bits.
    pub(super) fn narrowed(self) -> Self {
        Self { mask: self.mask & 0xffff_ffff, value: self.value & 0xffff_ffff, ..self }
    }

    /// Whether no argument can fail it: nothing of the argument is looked at.
    pub(super) fn is_void(self, wide: bool) -> bool {
        if wide { self.mask == 0 } else { self.mask as u32 == 0 }
    }

    fn is_plain_equality(self, wide: bool) -> bool {
        let all = if wide { u64::MAX } else { u64::from(u32::MAX) };
        self.compare == Compare::Equal && !self.negated && self.mask == all
    }
}

/// An action and the conditions that must all hold for it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Clause {
    pub(super) tests: Vec<Test>,
    pub(super) action: u32,
}

/// The clauses of one call, tried in order.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Chain {
    /// Whether arguments have 64 bits.
    pub(super) wide: bool,
    pub(super) clauses: Vec<Clause>,
}

/// Writes the checks of a chain; if no clause fires, `default` is returned.
pub(super) fn emit(program: &mut Assembler, chain: &Chain, default: u32) -> Label {
    let mut next = program.ret(default);
    let mut rest = chain.clauses.as_slice();
    while let Some((last, before)) = rest.split_last() {
        let alike = before.iter().rev().take_while(|clause| same_word(clause, last, chain.wide)).count();
        let (head, group) = rest.split_at(before.len() - alike);
        next = if alike > 0 {
            emit_any_of(program, group, chain.wide, next)
        } else {
            emit_clause(program, last, chain.wide, next)
        };
        rest = head;
    }
    next
}

/// Whether two clauses differ only in the lower word that one argument must equal.
fn same_word(one: &Clause, other: &Clause, wide: bool) -> bool {
    let ([a], [b]) = (one.tests.as_slice(), other.tests.as_slice()) else { return false };
    one.action == other.action
        && a.is_plain_equality(wide)
        && b.is_plain_equality(wide)
        && a.arg == b.arg
        && a.value >> 32 == b.value >> 32
}

/// One load for a list of values, as most profiles have for personality(2).
fn emit_any_of(program: &mut Assembler, group: &[Clause], wide: bool, no: Label) -> Label {
    let yes = program.ret(group[0].action);
    let mut next = no;
    for clause in group.iter().rev() {
        next = program.branch(Compare::Equal, clause.tests[0].value as u32, yes, next);
    }
    let first = group[0].tests[0];
    let low = program.load(Word::Low(first.arg), next);
    if !wide {
        return low;
    }
    let high = program.branch(Compare::Equal, (first.value >> 32) as u32, low, no);
    program.load(Word::High(first.arg), high)
}

fn emit_clause(program: &mut Assembler, clause: &Clause, wide: bool, no: Label) -> Label {
    let mut next = program.ret(clause.action);
    for test in clause.tests.iter().rev() {
        let (yes, no) = if test.negated { (no, next) } else { (next, no) };
        next = if wide { emit_wide(program, *test, yes, no) } else { emit_low(program, *test, yes, no) };
    }
    next
}

fn emit_low(program: &mut Assembler, test: Test, yes: Label, no: Label) -> Label {
    let compare = program.branch(test.compare, test.value as u32, yes, no);
    load_masked(program, Word::Low(test.arg), test.mask as u32, compare)
}

/// The upper words decide, unless they are equal: then the lower words do.
fn emit_wide(program: &mut Assembler, test: Test, yes: Label, no: Label) -> Label {
    let (high_mask, high) = ((test.mask >> 32) as u32, (test.value >> 32) as u32);
    if high_mask == 0 {
        return emit_low(program, test, yes, no);
    }
    let low = if test.mask as u32 == 0 { yes } else { emit_low(program, test, yes, no) };
    let equal = program.branch(Compare::Equal, high, low, no);
    let compare = match test.compare {
        Compare::Equal => equal,
        Compare::Greater | Compare::GreaterEqual => program.branch(Compare::Greater, high, yes, equal),
    };
    load_masked(program, Word::High(test.arg), high_mask, compare)
}

fn load_masked(program: &mut Assembler, word: Word, mask: u32, next: Label) -> Label {
    let next = if mask == u32::MAX { next } else { program.and(mask, next) };
    program.load(word, next)
}
