//! CPU and node lists: "0-3,7" as a bit mask (cpuset(7), List format).

/// As many CPUs as any kernel can have.
pub(crate) const ALL_CPUS: [u8; 8192 / 8] = [0xff; 8192 / 8];

/// The mask for a list, in whole 8-byte words; `None` if the text is not a list. Numbers above 65,535 are not valid.
pub(crate) fn mask(list: &str) -> Option<Vec<u8>> {
    let mut mask = Vec::new();
    for part in list.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (number(first)?, number(last)?);
        if first > last {
            return None;
        }
        let bytes = (usize::from(last) / 64 + 1) * 8;
        if mask.len() < bytes {
            mask.resize(bytes, 0);
        }
        for bit in first..=last {
            mask[usize::from(bit) / 8] |= 1 << (bit % 8);
        }
    }
    Some(mask)
}

fn number(digits: &str) -> Option<u16> {
    let digits = digits.trim();
    (!digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()))
        .then(|| digits.parse().ok())
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::mask;

    #[test]
    fn lists_become_masks() {
        assert_eq!(mask("0-3,7"), Some(vec![0b1000_1111, 0, 0, 0, 0, 0, 0, 0]));
        assert_eq!(mask("64").map(|mask| mask.len()), Some(16));
        for bad in ["", "a", "3-1", "1,,2", "-1", "1-", "70000"] {
            assert_eq!(mask(bad), None, "{bad}");
        }
    }
}
