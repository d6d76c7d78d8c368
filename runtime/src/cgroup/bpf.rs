//! The device rules as an eBPF program, for version 2, which has no device files.
//!
//! The kernel calls the program at each access with the class, the numbers and the wanted permissions. The program
//! walks the rules backwards and strikes the permissions that a rule allows from those still wanted. If none is left
//! the answer is yes; if a rule denies one of them, it is no. So each permission is decided by the last rule about it.

use super::devices::{Class, Rule};
use crate::sys::bpf::Insn;

// Operations: class | size or source | code (linux/bpf_common.h, linux/bpf.h).
const LOAD_WORD: u8 = 0x61; // BPF_LDX | BPF_W | BPF_MEM
const MOV32_REG: u8 = 0xbc; // BPF_ALU | BPF_MOV | BPF_X
const MOV32_IMM: u8 = 0xb4; // BPF_ALU | BPF_MOV | BPF_K
const AND32_IMM: u8 = 0x54; // BPF_ALU | BPF_AND | BPF_K
const RSH32_IMM: u8 = 0x74; // BPF_ALU | BPF_RSH | BPF_K
const JEQ32_IMM: u8 = 0x16; // BPF_JMP32 | BPF_JEQ | BPF_K
const JNE32_IMM: u8 = 0x56; // BPF_JMP32 | BPF_JNE | BPF_K
const EXIT: u8 = 0x95; // BPF_JMP | BPF_EXIT

// Registers.
const ANSWER: u8 = 0;
const CONTEXT: u8 = 1;
const WANTED: u8 = 2;
const CLASS: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;

/// The program for the rules; none if everything is allowed.
pub(crate) fn device_program(rules: &[Rule]) -> Option<Vec<Insn>> {
    if rules.last().is_some_and(|rule| rule.allow && rule.is_total()) {
        return None;
    }
    // struct bpf_cgroup_dev_ctx { access_type = access << 16 | class; major; minor }
    let mut program = vec![
        Insn::new(LOAD_WORD, WANTED, CONTEXT, 0, 0),
        Insn::new(MOV32_REG, CLASS, WANTED, 0, 0),
        Insn::new(AND32_IMM, CLASS, 0, 0, 0xffff),
        Insn::new(RSH32_IMM, WANTED, 0, 0, 16),
        Insn::new(LOAD_WORD, MAJOR, CONTEXT, 4, 0),
        Insn::new(LOAD_WORD, MINOR, CONTEXT, 8, 0),
    ];
    for rule in rules.iter().rev() {
        append(&mut program, rule);
        if rule.is_total() {
            return Some(program); // the verifier refuses code that is never reached
        }
    }
    program.extend(answer(false));
    Some(program)
}

fn append(program: &mut Vec<Insn>, rule: &Rule) {
    let class = rule.class.map(|class| match class {
        Class::Block => 1, // BPF_DEVCG_DEV_BLOCK
        Class::Char => 2,  // BPF_DEVCG_DEV_CHAR
    });
    let tests = [(CLASS, class), (MAJOR, rule.major), (MINOR, rule.minor)];
    let tests: Vec<_> =
        tests.into_iter().filter_map(|(register, value)| Some((register, value? as i32))).collect();
    let access = i32::from(rule.access.bits());
    let verdict: &[Insn] = if access == 7 {
        &answer(rule.allow)
    } else if rule.allow {
        &[
            Insn::new(AND32_IMM, WANTED, 0, 0, !access & 7),
            Insn::new(JNE32_IMM, WANTED, 0, 2, 0),
            answer(true)[0],
            answer(true)[1],
        ]
    } else {
        &[
            Insn::new(MOV32_REG, ANSWER, WANTED, 0, 0),
            Insn::new(AND32_IMM, ANSWER, 0, 0, access),
            Insn::new(JEQ32_IMM, ANSWER, 0, 2, 0),
            answer(false)[0],
            answer(false)[1],
        ]
    };
    for (index, &(register, value)) in tests.iter().enumerate() {
        let over = tests.len() - index - 1 + verdict.len();
        program.push(Insn::new(JNE32_IMM, register, 0, over as i16, value));
    }
    program.extend_from_slice(verdict);
}

const fn answer(allow: bool) -> [Insn; 2] {
    [Insn::new(MOV32_IMM, ANSWER, 0, 0, allow as i32), Insn::new(EXIT, 0, 0, 0, 0)]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::devices::tests::{Attempt, any_rule, judge, requests};
    use super::super::devices::{DEFAULTS, rules};
    use super::*;

    /// An interpreter for the few operations above, after the kernel's Documentation/bpf/standardization.
    fn run(program: &[Insn], request: Attempt) -> bool {
        let class = if request.class == Class::Block { 1 } else { 2 };
        let context = [u32::from(request.access) << 16 | class, request.major, request.minor];
        let mut registers = [0_u32; 6];
        let mut at = 0;
        for _ in 0..=program.len() {
            let insn = program[at];
            let (dst, imm) = (insn.dst(), insn.imm as u32);
            at += 1;
            let jump = match insn.code {
                LOAD_WORD => {
                    registers[dst] = context[insn.off as usize / 4];
                    false
                }
                MOV32_REG => {
                    registers[dst] = registers[insn.src()];
                    false
                }
                MOV32_IMM => {
                    registers[dst] = imm;
                    false
                }
                AND32_IMM => {
                    registers[dst] &= imm;
                    false
                }
                RSH32_IMM => {
                    registers[dst] >>= imm;
                    false
                }
                JEQ32_IMM => registers[dst] == imm,
                JNE32_IMM => registers[dst] != imm,
                EXIT => return registers[0] == 1,
                code => panic!("operation {code:#x}"),
            };
            if jump {
                at += insn.off as usize;
            }
        }
        panic!("no end");
    }

    /// What the verifier checks first: jumps stay inside, everything is reachable, the last instruction exits.
    fn verify(program: &[Insn]) {
        let mut reached = vec![false; program.len()];
        let mut open = vec![0];
        while let Some(at) = open.pop() {
            if std::mem::replace(&mut reached[at], true) {
                continue;
            }
            match program[at].code {
                EXIT => {}
                JEQ32_IMM | JNE32_IMM => open.extend([at + 1, at + 1 + program[at].off as usize]),
                _ => open.push(at + 1),
            }
        }
        assert!(reached.iter().all(|&r| r), "{program:?}");
    }

    #[test]
    fn everything_allowed_needs_no_program() {
        let all = Rule { allow: true, class: None, major: None, minor: None, ..DEFAULTS[2] };
        assert_eq!(device_program(&[all]), None);
        let deny = Rule { allow: false, ..all };
        assert_eq!(device_program(&[deny]).unwrap().len(), 8);
    }

    #[test]
    fn the_defaults_are_small() {
        let program = device_program(&rules(&[]).unwrap()).unwrap();
        verify(&program);
        assert!(program.len() < 70, "{}", program.len());
    }

    proptest! {
        #[test]
        fn the_program_means_what_the_rules_mean(rules in prop::collection::vec(any_rule(), 0..10)) {
            let program = device_program(&rules);
            if let Some(program) = &program {
                verify(program);
            }
            for request in requests() {
                let answer = program.as_ref().is_none_or(|program| run(program, request));
                prop_assert_eq!(answer, judge(&rules, request), "{:?}", request);
            }
        }
    }
}
