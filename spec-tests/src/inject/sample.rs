//! A few of many, chosen by a seed: as many of each command as of the others, as far as there are.

use super::{Point, VERBS};

/// At most `count` points; the same seed chooses the same ones.
pub fn sample(points: Vec<Point<'_>>, count: usize, seed: u64) -> Vec<Point<'_>> {
    let mut lists: Vec<Vec<Point<'_>>> = VERBS
        .iter()
        .map(|(_, verb)| points.iter().filter(|point| point.verb() == *verb).copied().collect())
        .collect();
    let mut random = Random::new(seed);
    let mut chosen = Vec::new();
    while chosen.len() < count && lists.iter().any(|list| !list.is_empty()) {
        for list in lists.iter_mut().filter(|list| !list.is_empty()) {
            if chosen.len() < count {
                let at = random.below(list.len());
                chosen.push(list.swap_remove(at));
            }
        }
    }
    chosen
}

/// Marsaglia's xorshift.
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        // A state of 0 would stay 0.
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 16).unwrap_or(0) % limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_chooses_the_same_numbers() {
        let numbers = |seed| -> Vec<usize> {
            let mut random = Random::new(seed);
            (0..8).map(|_| random.below(1000)).collect()
        };
        assert_eq!(numbers(3), numbers(3));
        assert_ne!(numbers(3), numbers(4));
        assert!(numbers(0).iter().any(|number| *number != 0));
    }
}
