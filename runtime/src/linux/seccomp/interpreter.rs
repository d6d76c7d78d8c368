//! Runs a program as the kernel would, for tests.

use super::SockFilter;

/// `struct seccomp_data` without the instruction pointer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Data {
    pub(super) number: u32,
    pub(super) token: u32,
    pub(super) args: [u64; 6],
}

/// The value that `program` returns; panics on anything that the kernel's checker would refuse.
pub(super) fn run(program: &[SockFilter], data: &Data, big_endian: bool) -> u32 {
    let mut accumulator = None;
    let mut at = 0;
    loop {
        let SockFilter { code, jt, jf, k } = program[at];
        at += 1;
        let mut branch = |holds: bool| at += usize::from(if holds { jt } else { jf });
        match code {
            0x20 => accumulator = Some(load(data, k, big_endian)),
            0x54 => accumulator = Some(accumulator.expect("and before load") & k),
            0x05 => at += k as usize,
            0x06 => return k,
            0x15 => branch(accumulator.expect("jeq before load") == k),
            0x25 => branch(accumulator.expect("jgt before load") > k),
            0x35 => branch(accumulator.expect("jge before load") >= k),
            other => panic!("operation {other:#x}"),
        }
    }
}

/// Whether the kernel would load the program: it has known operations, and every jump lands inside.
pub(super) fn check(program: &[SockFilter]) {
    assert!(
        !program.is_empty() && program.len() <= super::MAX_INSTRUCTIONS,
        "{} instructions",
        program.len()
    );
    for (at, instruction) in program.iter().enumerate() {
        let left = program.len() - at - 1;
        match instruction.code {
            0x20 => assert!(instruction.k % 4 == 0 && instruction.k < 64 && left > 0),
            0x54 => assert!(left > 0),
            0x05 => assert!((instruction.k as usize) < left),
            0x06 => {}
            0x15 | 0x25 | 0x35 => assert!(usize::from(instruction.jt.max(instruction.jf)) < left),
            other => panic!("operation {other:#x}"),
        }
    }
}

fn load(data: &Data, offset: u32, big_endian: bool) -> u32 {
    match offset {
        0 => data.number,
        4 => data.token,
        16..64 => {
            let value = data.args[(offset as usize - 16) / 8];
            let high = (offset % 8 == 4) != big_endian;
            (if high { value >> 32 } else { value }) as u32
        }
        other => panic!("load from {other}"),
    }
}
