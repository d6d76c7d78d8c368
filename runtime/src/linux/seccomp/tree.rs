//! From verdicts to the program: ranges of numbers, and a binary search over them.

use super::arch::{ARM_PRIVATE, Abi, X32_BIT, X86_64};
use super::args::{self, Chain};
use super::assembler::{Assembler, Compare, Label, Word};
use super::features::{ERRNO, KILL_THREAD};
use super::rules::{Rules, Verdict, Verdicts};

/// ENOSYS, on the architectures where it is 38.
const ENOSYS: u32 = 38;

/// At most this many single numbers are tested one by one within a range: each saves an instruction, and costs a step.
const MAX_EXCEPTIONS: usize = 3;

/// All numbers of one audit token.
#[derive(Debug)]
pub(super) struct Section {
    token: u32,
    ranges: NumberRanges,
}

/// What to do from each number on, ascending from 0; neighbours differ.
#[derive(Debug, Default)]
struct NumberRanges(Vec<(u32, Verdict)>);

/// A range whose verdict holds except for a few numbers.
#[derive(Debug)]
struct Leaf {
    start: u32,
    verdict: Verdict,
    exceptions: Vec<(u32, Verdict)>,
}

/// Decides all numbers of all ABIs; with `stub`, unknown new ones get ENOSYS.
pub(super) fn sections(rules: &mut Rules, abis: &[Abi], default: u32, stub: bool) -> Vec<Section> {
    let mut sections = Vec::with_capacity(abis.len());
    for abi in abis {
        if abi.token != X86_64 {
            let verdicts = rules.verdicts(*abi);
            let mut ranges = NumberRanges::default();
            let enosys = stub.then_some(ERRNO | enosys_of(*abi));
            if let Some(enosys) = enosys.filter(|_| abi.unknown_is_zero() && verdicts.largest.is_some()) {
                ranges.push(0, Verdict::Return(enosys));
                ranges.fill(1, u32::MAX, &verdicts, default, Some(enosys));
            } else if abi.has_private_calls() {
                ranges.fill(0, ARM_PRIVATE - 1, &verdicts, default, enosys);
                ranges.fill(ARM_PRIVATE, u32::MAX, &verdicts, default, None);
            } else {
                ranges.fill(0, u32::MAX, &verdicts, default, enosys);
            }
            sections.push(Section { token: abi.token, ranges });
        } else if sections.iter().all(|section| section.token != X86_64) {
            // The first of x86_64 and x32 makes the section for both.
            let find = |x32| abis.iter().find(|abi| abi.token == X86_64 && abi.is_x32() == x32);
            let (plain, x32) = (find(false), find(true));
            sections.push(Section { token: X86_64, ranges: x86(rules, plain, x32, default, stub) });
        }
    }
    sections
}

/// The numbers of `x86_64` below the marker bit, those of x32 from it on.
fn x86(rules: &mut Rules, plain: Option<&Abi>, x32: Option<&Abi>, default: u32, stub: bool) -> NumberRanges {
    let enosys = stub.then_some(ERRNO | ENOSYS);
    let mut ranges = NumberRanges::default();
    if let Some(abi) = plain {
        ranges.fill(0, X32_BIT - 1, &rules.verdicts(*abi), default, enosys);
    } else {
        ranges.push(0, Verdict::Return(KILL_THREAD));
    }
    if let Some(abi) = x32 {
        ranges.fill(X32_BIT, u32::MAX, &rules.verdicts(*abi), default, enosys);
    } else {
        ranges.push(X32_BIT, Verdict::Return(KILL_THREAD));
        // A tracer skips a call by setting its number to -1, and filters see that since Linux 4.8.
        ranges.push(u32::MAX, Verdict::Return(default));
    }
    ranges
}

/// `asm/errno.h` has different numbers on MIPS and PA-RISC.
fn enosys_of(abi: Abi) -> u32 {
    match abi.token & 0xffff {
        0x08 => 89,
        0x0f => 251,
        _ => ENOSYS,
    }
}

impl NumberRanges {
    fn push(&mut self, start: u32, verdict: Verdict) {
        if self.0.last().is_none_or(|last| last.1 != verdict) {
            self.0.push((start, verdict));
        }
    }

    /// Covers `first..=last`: listed numbers, `default` between them, `beyond` after the largest one mentioned.
    fn fill(&mut self, first: u32, last: u32, verdicts: &Verdicts, default: u32, beyond: Option<u32>) {
        let default = Verdict::Return(default);
        let end =
            beyond.and_then(|action| Some((verdicts.largest?.checked_add(1)?, Verdict::Return(action))));
        let mut next = Some(first);
        for (number, verdict) in verdicts.list.iter().filter(|listed| (first..=last).contains(&listed.0)) {
            self.gap(next, *number, default, end);
            self.push(*number, *verdict);
            next = number.checked_add(1);
        }
        if next.is_some_and(|next| next <= last) {
            self.gap(next, u32::MAX, default, end);
        }
    }

    /// Covers the unlisted numbers from `start` up to `until`, which may be none.
    fn gap(&mut self, start: Option<u32>, until: u32, default: Verdict, end: Option<(u32, Verdict)>) {
        let Some(start) = start.filter(|start| *start < until) else { return };
        match end {
            Some((from, beyond)) if from <= start => self.push(start, beyond),
            Some((from, beyond)) if from < until => {
                self.push(start, default);
                self.push(from, beyond);
            }
            _ => self.push(start, default),
        }
    }

    /// Repeatedly joins a range, a single number and a range like the first into one leaf.
    fn leaves(&self) -> Vec<Leaf> {
        let ranges = &self.0;
        let mut leaves = Vec::with_capacity(ranges.len());
        let mut at = 0;
        while let Some((start, verdict)) = ranges.get(at) {
            let mut leaf = Leaf { start: *start, verdict: *verdict, exceptions: Vec::new() };
            while let Some([(single, other), (after, back)]) = ranges.get(at + 1..at + 3) {
                let alone = single.checked_add(1) == Some(*after);
                if !alone || back != verdict || leaf.exceptions.len() == MAX_EXCEPTIONS {
                    break;
                }
                leaf.exceptions.push((*single, *other));
                at += 2;
            }
            leaves.push(leaf);
            at += 1;
        }
        leaves
    }
}

/// Writes the whole program.
pub(super) fn emit(
    program: Assembler,
    sections: &[Section],
    chains: &[Chain],
    default: u32,
) -> Vec<super::SockFilter> {
    let mut emitter = Emitter { program, chains, places: vec![None; chains.len()], default };
    let mut next = emitter.program.ret(KILL_THREAD);
    // Backwards, so that the machine's own architecture is tested first and its section is nearest.
    for section in sections.iter().rev() {
        let search = emitter.search(&section.ranges.leaves());
        let start = emitter.program.load(Word::Number, search);
        next = emitter.program.branch(Compare::Equal, section.token, start, next);
    }
    let first = emitter.program.load(Word::Token, next);
    emitter.program.finish(first)
}

struct Emitter<'a> {
    program: Assembler,
    chains: &'a [Chain],
    /// The place of each chain, once it has one.
    places: Vec<Option<Label>>,
    default: u32,
}

impl Emitter<'_> {
    fn search(&mut self, leaves: &[Leaf]) -> Label {
        match leaves {
            [] => self.program.ret(self.default),
            [leaf] => self.leaf(leaf),
            _ => {
                let (left, right) = leaves.split_at(leaves.len() / 2);
                let start = right[0].start;
                let right = self.search(right);
                let left = self.search(left);
                self.program.branch(Compare::GreaterEqual, start, right, left)
            }
        }
    }

    fn leaf(&mut self, leaf: &Leaf) -> Label {
        let mut next = self.verdict(leaf.verdict);
        for (number, verdict) in leaf.exceptions.iter().rev() {
            let yes = self.verdict(*verdict);
            next = self.program.branch(Compare::Equal, *number, yes, next);
        }
        next
    }

    fn verdict(&mut self, verdict: Verdict) -> Label {
        let index = match verdict {
            Verdict::Return(action) => return self.program.ret(action),
            Verdict::Check(index) => index,
        };
        if let Some(place) = self.places[index] {
            return place;
        }
        let place = args::emit(&mut self.program, &self.chains[index], self.default);
        self.places[index] = Some(place);
        place
    }
}
