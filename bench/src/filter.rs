//! Two seccomp filters of the floor with the size of Docker's default profile for one architecture.
//!
//! Which calls they refuse is of the size and shape of that profile, but is not the profile itself: the cost of loading
//! a filter depends on the number of its instructions.

/// Numbers of the system calls that Docker's profile does not allow on `x86_64`.
const REFUSED: [u32; 42] = [
    134, 136, 139, 153, 154, 155, 156, 159, 161, 163, 164, 165, 166, 167, 168, 169, 170, 172, 173, 174, 175,
    176, 177, 178, 179, 180, 181, 183, 184, 185, 246, 248, 249, 250, 272, 278, 279, 298, 304, 308, 313, 321,
];
/// The last call that the filters know.
const LAST: u32 = 335;

const LOAD_WORD: u16 = 0x20;
const JUMP_EQUAL: u16 = 0x15;
const JUMP_ABOVE: u16 = 0x35;
const JUMP: u16 = 0x05;
const RETURN: u16 = 0x06;
const ALLOW: u32 = 0x7fff_0000;
const REFUSE: u32 = 0x0005_0001;

/// code, jt, jf, k
type Instruction = (u16, u8, u8, u32);

fn bytes(instructions: &[Instruction]) -> Vec<u8> {
    let one =
        |(code, jt, jf, k): &Instruction| [&code.to_ne_bytes()[..], &[*jt, *jf], &k.to_ne_bytes()].concat();
    instructions.iter().flat_map(one).collect()
}

/// One comparison and one return for each allowed call, for three architectures: as the usual library writes it.
pub(super) fn linear() -> Vec<u8> {
    let mut all = vec![(LOAD_WORD, 0, 0, 0)];
    for _architecture in 0..3 {
        for number in (0..=LAST).filter(|number| !REFUSED.contains(number)).take(166) {
            all.extend([(JUMP_EQUAL, 0, 1, number), (RETURN, 0, 0, ALLOW)]);
        }
    }
    all.push((RETURN, 0, 0, ALLOW));
    bytes(&all)
}

/// A binary search over ranges with the same answer.
pub(super) fn search() -> Vec<u8> {
    let mut starts: Vec<(u32, u32)> = Vec::new();
    for number in 0..=LAST {
        let answer = if REFUSED.contains(&number) { REFUSE } else { ALLOW };
        if starts.last().is_none_or(|(_, last)| *last != answer) {
            starts.push((number, answer));
        }
    }
    starts.push((LAST + 1, ALLOW));
    let mut all = vec![(LOAD_WORD, 0, 0, 0)];
    emit(&starts, &mut all);
    bytes(&all)
}

fn emit(ranges: &[(u32, u32)], all: &mut Vec<Instruction>) {
    match ranges {
        [] => {}
        [(_, answer)] => all.push((RETURN, 0, 0, *answer)),
        _ => {
            let (low, high) = ranges.split_at(ranges.len() / 2);
            let mut below = Vec::new();
            emit(low, &mut below);
            // At or above the middle: past the lower half, with a long jump since a short one only reaches 255.
            let above = high.first().map_or(0, |(start, _)| *start);
            all.push((JUMP_ABOVE, 0, 1, above));
            all.push((JUMP, 0, 0, u32::try_from(below.len()).unwrap_or(0)));
            all.extend(below);
            emit(high, all);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the filter answers to a system call.
    fn answer(filter: &[u8], number: u32) -> u32 {
        let mut at = 0;
        loop {
            let one = &filter[at * 8..at * 8 + 8];
            let code = u16::from_ne_bytes(one[..2].try_into().expect("two bytes"));
            let k = u32::from_ne_bytes(one[4..].try_into().expect("four bytes"));
            let skip = |yes: bool| usize::from(if yes { one[2] } else { one[3] });
            at += 1 + match code {
                JUMP_EQUAL => skip(number == k),
                JUMP_ABOVE => skip(number >= k),
                JUMP => k as usize,
                RETURN => return k,
                _ => 0,
            };
        }
    }

    #[test]
    fn the_search_decides_as_the_list_says() {
        let filter = search();
        for number in 0..=LAST + 5 {
            let wanted = if REFUSED.contains(&number) { REFUSE } else { ALLOW };
            assert_eq!(answer(&filter, number), wanted, "{number}");
        }
        assert!(linear().len() / 8 > 900 && filter.len() / 8 < 600);
    }
}
