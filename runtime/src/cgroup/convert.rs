//! The formulas that convert a version 1 value to version 2.

/// `cpu.shares` (2 to 262144, default 1024) as `cpu.weight` (1 to 10000, default 100).
///
/// A quadratic in the logarithm that maps minimum, default and maximum onto each other. All runtimes moved to it in the
/// year 2025: the linear formula before it gave a container with the default of 1024 shares the weight 39, less than
/// half of what every process outside has.
pub(crate) fn cpu_weight(shares: u64) -> u64 {
    match shares {
        0..=2 => 1,
        262_144.. => 10_000,
        _ => {
            #[expect(clippy::cast_precision_loss, reason = "at most 262144 here")]
            let log = (shares as f64).log2();
            let exponent = (log * log + 125.0 * log) / 612.0 - 7.0 / 34.0;
            10_f64.powf(exponent).ceil() as u64
        }
    }
}

/// `blkio.weight` (10 to 1000) as `io.weight` (1 to 10000); `io.bfq.weight` takes the old value unchanged.
pub(crate) fn io_weight(weight: u16) -> u64 {
    1 + (u64::from(weight).saturating_sub(10)) * 9999 / 990
}

/// Converts the limit of memory plus swap to one of swap alone; none if the sum is below the memory limit.
///
/// Both are in bytes; negative means unlimited.
pub(crate) fn swap_only(memory_and_swap: i64, memory: i64) -> Option<i64> {
    match (memory_and_swap, memory) {
        (..0, _) => Some(-1),
        (_, ..0) => None, // all memory, yet a bound on the sum: the kernel of version 1 refuses that too
        (both, memory) => (both - memory >= 0).then_some(both - memory),
    }
}

/// A limit as version 2 writes it.
pub(crate) fn or_max(limit: i64) -> String {
    if limit < 0 { "max".to_owned() } else { limit.to_string() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn weights_keep_minimum_default_and_maximum() {
        for (shares, weight) in
            [(1, 1), (2, 1), (3, 2), (512, 59), (1024, 100), (2048, 174), (262_144, 10_000)]
        {
            assert_eq!(cpu_weight(shares), weight, "{shares} shares");
        }
        for (old, new) in [(10, 1), (100, 910), (500, 4950), (1000, 10_000)] {
            assert_eq!(io_weight(old), new);
        }
    }

    #[test]
    fn swap_is_the_difference() {
        let cases = [
            (-1, 100, Some(-1)),
            (-1, -1, Some(-1)),
            (300, 100, Some(200)),
            (100, 100, Some(0)),
            (99, 100, None),
            (100, -1, None),
        ];
        for (both, memory, swap) in cases {
            assert_eq!(swap_only(both, memory), swap, "{both} {memory}");
        }
    }

    proptest! {
        #[test]
        fn more_shares_never_weigh_less(a in 0_u64..300_000, b in 0_u64..300_000) {
            let (low, high) = (a.min(b), a.max(b));
            prop_assert!(cpu_weight(low) <= cpu_weight(high));
            prop_assert!((1..=10_000).contains(&cpu_weight(a)));
        }
    }
}
