//! Sizes in bytes with the suffixes that callers of `update` use: `512m`, `1.5GiB`, `1073741824`.

use crate::failure::Failure;

/// Parses a size; units are powers of 1024, and `-1` means unlimited.
pub(crate) fn parse(option: &str, text: &str) -> Result<i64, Failure> {
    if text == "-1" {
        return Ok(-1);
    }
    bytes(text).ok_or_else(|| {
        Failure::new(format!(
            "invalid value {text:?} for --{option}: a size is a number with one of the suffixes b, k, m, g, t, p, or -1"
        ))
    })
}

fn bytes(text: &str) -> Option<i64> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let suffix = suffix.trim_start().to_ascii_lowercase();
    let shift = match suffix.as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        "p" | "pb" | "pib" => 50,
        _ => return None,
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() || fraction.contains('.') || fraction.len() > 18 || number.ends_with('.') {
        return None;
    }
    let scale = 10_u128.pow(u32::try_from(fraction.len()).ok()?);
    let digits: u128 = if fraction.is_empty() {
        whole.parse().ok()?
    } else {
        whole.parse::<u128>().ok()?.checked_mul(scale)?.checked_add(fraction.parse().ok()?)?
    };
    i64::try_from(digits.checked_mul(1 << shift)? / scale).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suffixes_are_powers_of_1024() {
        for (text, size) in [
            ("0", 0),
            ("4096", 4096),
            ("10b", 10),
            ("10k", 10_240),
            ("10K", 10_240),
            ("10kb", 10_240),
            ("10KiB", 10_240),
            ("32m", 33_554_432),
            ("1g", 1 << 30),
            ("1 g", 1 << 30),
            ("2T", 2 << 40),
            ("1p", 1 << 50),
            ("1.5g", 3 << 29),
            ("0.5k", 512),
            ("-1", -1),
            ("9223372036854775807", i64::MAX),
        ] {
            assert_eq!(parse("memory", text).unwrap(), size, "{text}");
        }
    }

    #[test]
    fn nonsense_is_refused_and_named() {
        for text in [
            "",
            "m",
            "-2",
            "10x",
            "10mm",
            "1.2.3",
            ".5g",
            "5.",
            "1e6",
            "0x10",
            "9223372036854775808",
            "8192p",
            "10 20",
            "+5",
            "١",
        ] {
            let failure = parse("memory", text).unwrap_err();
            assert!(failure.message().contains("--memory"), "{text}");
        }
    }
}
