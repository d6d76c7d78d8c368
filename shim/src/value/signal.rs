//! Signals by name or number, as `kill` takes them.

use std::str::FromStr;

use nix::sys::signal::Signal;

use crate::failure::Failure;

/// The real-time signals that C libraries leave to programs (signal(7)).
const RT_MIN: i32 = 34;
const RT_MAX: i32 = 64;

/// Parses a number, or a name in upper or lower case, with or without `SIG`, or `RTMIN+N` and `RTMAX-N`.
pub(crate) fn parse(text: &str) -> Result<i32, Failure> {
    let unknown = || Failure::new(format!("unknown signal {text:?}"));
    if let Ok(number) = text.parse::<i32>() {
        return if (0..=RT_MAX).contains(&number) { Ok(number) } else { Err(unknown()) };
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let name = match name {
        "IOT" => "ABRT",
        "POLL" => "IO",
        "CLD" => "CHLD",
        "UNUSED" => "SYS",
        other => other,
    };
    if let Some(rest) = name.strip_prefix("RT") {
        return real_time(rest).ok_or_else(unknown);
    }
    Signal::from_str(&format!("SIG{name}")).map(|signal| signal as i32).map_err(|_| unknown())
}

fn real_time(rest: &str) -> Option<i32> {
    let digits = |text: &str| {
        if text.starts_with(|first: char| first.is_ascii_digit()) { text.parse::<i32>().ok() } else { None }
    };
    let number = match rest {
        "MIN" => RT_MIN,
        "MAX" => RT_MAX,
        _ => match rest.strip_prefix("MIN+") {
            Some(offset) => RT_MIN.checked_add(digits(offset)?)?,
            None => RT_MAX.checked_sub(digits(rest.strip_prefix("MAX-")?)?)?,
        },
    };
    (RT_MIN..=RT_MAX).contains(&number).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_spellings_are_known() {
        for (text, number) in [
            ("TERM", 15),
            ("SIGTERM", 15),
            ("sigterm", 15),
            ("kill", 9),
            ("9", 9),
            ("0", 0),
            ("64", 64),
            ("HUP", 1),
            ("SIGWINCH", 28),
            ("IOT", 6),
            ("POLL", 29),
            ("CLD", 17),
            ("RTMIN", 34),
            ("SIGRTMIN+3", 37),
            ("rtmax-1", 63),
            ("SIGRTMAX", 64),
            ("STKFLT", 16),
            ("PWR", 30),
            ("SYS", 31),
        ] {
            assert_eq!(parse(text).unwrap(), number, "{text}");
        }
    }

    #[test]
    fn other_words_are_refused() {
        for text in [
            "",
            "SIG",
            "SIGSIGTERM",
            "65",
            "-1",
            "-9",
            "9x",
            "TERMX",
            "RTMIN+31",
            "RTMAX-31",
            "RTMIN+-1",
            "RTMIN+",
            "RT",
            "4294967305",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn every_classic_signal_has_its_name() {
        for signal in Signal::iterator() {
            assert_eq!(parse(signal.as_str()).unwrap(), signal as i32);
        }
    }
}
