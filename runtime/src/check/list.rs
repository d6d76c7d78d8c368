//! Lists of CPUs and memory nodes: `0-3,7`.

use std::ops::RangeInclusive;

/// No machine has more CPUs or memory nodes than this (the kernel's `CONFIG_NR_CPUS` ends at 8192).
const MOST: u32 = 65_535;

/// Parses the list format of cpuset(7): numbers and ranges, separated by commas. Spaces around them are allowed, as in
/// the spec's JSON schema. An empty list is `Ok` and empty.
pub(crate) fn parse(list: &str) -> Result<Vec<RangeInclusive<u32>>, String> {
    if list.trim_ascii().is_empty() {
        return Ok(Vec::new());
    }
    list.split(',').map(|part| range(part.trim_ascii())).collect()
}

/// How many numbers are in a list, each counted once.
pub(crate) fn count(mut ranges: Vec<RangeInclusive<u32>>) -> usize {
    ranges.sort_by_key(|range| *range.start());
    let mut next = 0;
    ranges.into_iter().fold(0, |count, range| {
        let fresh = next.max(*range.start())..range.end() + 1;
        next = next.max(fresh.end);
        count + fresh.len()
    })
}

fn range(part: &str) -> Result<RangeInclusive<u32>, String> {
    let (first, last) = match part.split_once('-') {
        Some((first, last)) => (number(first, part)?, number(last, part)?),
        None => (number(part, part)?, number(part, part)?),
    };
    if first > last { Err(format!("the range {part} ends before it begins")) } else { Ok(first..=last) }
}

fn number(digits: &str, part: &str) -> Result<u32, String> {
    // `str::parse` accepts a leading plus sign.
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(format!("{part:?} is neither a number nor a range like 0-3"));
    }
    match digits.parse() {
        Ok(number) if number <= MOST => Ok(number),
        _ => Err(format!("{digits} is more than {MOST}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists() {
        assert_eq!(parse("0-3,7"), Ok(vec![0..=3, 7..=7]));
        assert_eq!(parse(" 0 , 2-2 "), Ok(vec![0..=0, 2..=2]));
        assert_eq!(parse(""), Ok(vec![]));
        for bad in
            [",", "0,", "-", "1-", "-1", "3-1", "a", "0-3:2", "+1", "1 2", "0x1", "٣", "65536", "99999999999"]
        {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn what_is_named_twice_counts_once() {
        for (list, wanted) in [("", 0), ("0-7", 8), ("3,0-7,2-9,9", 10), ("65535", 1), ("5,1-2", 3)] {
            assert_eq!(count(parse(list).unwrap()), wanted, "{list}");
        }
    }
}
