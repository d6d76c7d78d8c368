//! Writes a BPF program from end to start.
//!
//! BPF only jumps forwards, so a program that is written backwards knows every target before it is jumped to. A
//! conditional jump reaches 255 instructions; a more distant target is brought near by a copy, if it is a return, or by
//! an unconditional jump, whose offset has 32 bits.

use super::SockFilter;

// linux/bpf_common.h
const LD_W_ABS: u16 = 0x20;
const ALU_AND_K: u16 = 0x54;
const JMP_JA: u16 = 0x05;
const RET_K: u16 = 0x06;

/// Offset of `nr` in `struct seccomp_data` of linux/seccomp.h.
const DATA_NR: u32 = 0;
/// Offset of `arch`.
const DATA_ARCH: u32 = 4;
/// Offset of `args[0]`.
const DATA_ARGS: u32 = 16;

/// How far a conditional jump reaches.
const REACH: usize = u8::MAX as usize;

/// The comparisons of BPF; all are unsigned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Compare {
    /// Accumulator == operand.
    Equal,
    /// Accumulator > operand.
    Greater,
    /// Accumulator >= operand.
    GreaterEqual,
}

/// A word of `struct seccomp_data`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Word {
    /// The system call's number.
    Number,
    /// The audit token of the architecture.
    Token,
    /// The lower half of an argument.
    Low(u8),
    /// The upper half of an argument.
    High(u8),
}

/// An instruction, counted from the end of the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Label(usize);

/// A program that grows at its front.
#[derive(Debug)]
pub(super) struct Assembler {
    reversed: Vec<SockFilter>,
    /// The latest return of each action; programs have only a few.
    returns: Vec<(u32, Label)>,
    big_endian: bool,
}

impl Assembler {
    /// An empty program for a machine of this byte order.
    pub(super) fn new(big_endian: bool) -> Self {
        Self { reversed: Vec::with_capacity(1024), returns: Vec::with_capacity(8), big_endian }
    }

    /// Returns `action` to the kernel.
    pub(super) fn ret(&mut self, action: u32) -> Label {
        match self.returns.iter().find(|(known, _)| *known == action) {
            Some((_, label)) => *label,
            None => self.new_ret(action),
        }
    }

    /// Compares the accumulator with `k` and goes on at `yes` or `no`.
    pub(super) fn branch(&mut self, compare: Compare, k: u32, yes: Label, no: Label) -> Label {
        if yes == no {
            return yes;
        }
        // Bringing `no` near may add an instruction, which moves this one away from `yes`.
        let yes = self.near(yes, REACH - 1);
        let no = self.near(no, REACH);
        let code = match compare {
            Compare::Equal => 0x15,
            Compare::Greater => 0x25,
            Compare::GreaterEqual => 0x35,
        };
        let (jt, jf) = (self.distance(yes) as u8, self.distance(no) as u8);
        self.push(SockFilter { code, jt, jf, k })
    }

    /// Loads a word into the accumulator and goes on at `next`.
    pub(super) fn load(&mut self, word: Word, next: Label) -> Label {
        let arg = |index: u8, high: bool| {
            DATA_ARGS + 8 * u32::from(index) + if high == self.big_endian { 0 } else { 4 }
        };
        let k = match word {
            Word::Number => DATA_NR,
            Word::Token => DATA_ARCH,
            Word::Low(index) => arg(index, false),
            Word::High(index) => arg(index, true),
        };
        self.near(next, 0);
        self.push(SockFilter { code: LD_W_ABS, jt: 0, jf: 0, k })
    }

    /// Keeps only the bits of `mask` in the accumulator and goes on at `next`.
    pub(super) fn and(&mut self, mask: u32, next: Label) -> Label {
        self.near(next, 0);
        self.push(SockFilter { code: ALU_AND_K, jt: 0, jf: 0, k: mask })
    }

    /// The program, which starts at `first`.
    pub(super) fn finish(mut self, first: Label) -> Vec<SockFilter> {
        self.near(first, 0);
        self.reversed.reverse();
        self.reversed
    }

    fn push(&mut self, instruction: SockFilter) -> Label {
        self.reversed.push(instruction);
        Label(self.reversed.len() - 1)
    }

    fn new_ret(&mut self, action: u32) -> Label {
        let label = self.push(SockFilter { code: RET_K, jt: 0, jf: 0, k: action });
        match self.returns.iter_mut().find(|(known, _)| *known == action) {
            Some(known) => known.1 = label,
            None => self.returns.push((action, label)),
        }
        label
    }

    /// How many instructions the next one would have to skip to reach `target`.
    fn distance(&self, target: Label) -> usize {
        self.reversed.len() - 1 - target.0
    }

    /// A label that does the same as `target` and is at most `max` away from the next instruction.
    fn near(&mut self, target: Label, max: usize) -> Label {
        let distance = self.distance(target);
        if distance <= max {
            return target;
        }
        let there = self.reversed[target.0];
        if there.code == RET_K {
            self.new_ret(there.k)
        } else {
            self.push(SockFilter { code: JMP_JA, jt: 0, jf: 0, k: distance as u32 })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::interpreter::{Data, run};
    use super::*;

    fn data(number: u32) -> Data {
        Data { number, ..Data::default() }
    }

    #[test]
    fn far_targets_stay_reachable() {
        let mut program = Assembler::new(false);
        let far = program.ret(7);
        let far_block = program.load(Word::Token, far);
        // A chain of 600 comparisons, all of which jump to the far ends on a miss.
        let mut next = far_block;
        for k in 0..600 {
            let yes = program.ret(1000 + k % 3);
            next = program.branch(Compare::Equal, k, yes, next);
        }
        let other = program.branch(Compare::Greater, 5000, far, far_block);
        next = program.branch(Compare::GreaterEqual, 1000, other, next);
        let first = program.load(Word::Number, next);
        let program = program.finish(first);
        for k in 0..600 {
            assert_eq!(run(&program, &data(k), false), 1000 + k % 3);
        }
        assert_eq!(run(&program, &data(600), false), 7);
        assert_eq!(run(&program, &data(5001), false), 7);
        assert_eq!(run(&program, &data(1001), false), 7);
    }

    #[test]
    fn equal_targets_need_no_comparison() {
        let mut program = Assembler::new(false);
        let only = program.ret(3);
        assert_eq!(program.branch(Compare::Equal, 1, only, only), only);
        assert_eq!(program.finish(only).len(), 1);
    }
}
