//! Lines of a file `schemata`: `L3:0=7f0;1=1f`.

use std::collections::BTreeMap;

/// One line: what the domains (caches) of one resource give.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    resource: String,
    domains: BTreeMap<u32, SchemaValue>,
}

/// What one domain gives. The kernel writes numbers in another form than it takes them (leading zeros, spaces), so only
/// their values can be compared.
#[derive(Clone, Debug, PartialEq, Eq)]
enum SchemaValue {
    Number(u64),
    /// Something that a later kernel added.
    Text(String),
}

impl Line {
    /// Parses a line; `None` if it is malformed, or names a domain twice, which the kernel refuses.
    pub(crate) fn parse(line: &str) -> Option<Self> {
        let (resource, rest) = line.split_once(':')?;
        let resource = resource.trim();
        let mut domains = BTreeMap::new();
        for domain in rest.split(';') {
            let (id, value) = domain.split_once('=')?;
            let id = digits(id.trim(), 10)?.try_into().ok()?;
            let value = SchemaValue::parse(resource, value.trim())?;
            if domains.insert(id, value).is_some() {
                return None;
            }
        }
        (!resource.is_empty() && !resource.contains(char::is_whitespace))
            .then(|| Self { resource: resource.to_owned(), domains })
    }

    /// Checks whether a group with these lines gives what this line asks for; the error says what it gives instead.
    /// Domains that this line leaves out do not matter. Bandwidth is rounded up to a multiple of `step`, as in the
    /// kernel.
    pub(crate) fn is_met_by(&self, lines: &[Self], step: u64) -> Result<(), String> {
        let Some(line) = lines.iter().find(|line| line.resource == self.resource) else {
            return Err(format!("it has no {}", self.resource));
        };
        for (id, wanted) in &self.domains {
            let there = line.domains.get(id);
            let rounded = match wanted {
                SchemaValue::Number(number) if self.resource == "MB" => {
                    SchemaValue::Number(number.checked_next_multiple_of(step.max(1)).unwrap_or(*number))
                }
                other => other.clone(),
            };
            if there != Some(wanted) && there != Some(&rounded) {
                let there = there.map_or_else(|| "nothing".to_owned(), |value| value.show(&self.resource));
                return Err(format!(
                    "for {}:{id} it has {there}, not {}",
                    self.resource,
                    wanted.show(&self.resource)
                ));
            }
        }
        Ok(())
    }
}

impl SchemaValue {
    fn parse(resource: &str, text: &str) -> Option<Self> {
        let number = if is_mask(resource) {
            digits(text.strip_prefix("0x").or(text.strip_prefix("0X")).unwrap_or(text), 16)
        } else {
            digits(text, 10)
        };
        match number {
            Some(number) => Some(Self::Number(number)),
            None if matches!(resource, "L3" | "MB") || text.is_empty() => None,
            None => Some(Self::Text(text.to_owned())),
        }
    }

    fn show(&self, resource: &str) -> String {
        match self {
            Self::Number(number) if is_mask(resource) => format!("{number:x}"),
            Self::Number(number) => number.to_string(),
            Self::Text(text) => text.clone(),
        }
    }
}

/// Caches are shared by bit masks: L2, L3, and with code and data prioritization L3CODE and so on.
fn is_mask(resource: &str) -> bool {
    resource.starts_with('L')
}

/// `from_str_radix` without its tolerance for a sign.
fn digits(text: &str, radix: u32) -> Option<u64> {
    text.chars().all(|c| c.is_digit(radix)).then(|| u64::from_str_radix(text, radix).ok()).flatten()
}

/// The lines of a `schemata` file, without malformed ones.
pub(crate) fn lines(file: &str) -> Vec<Line> {
    file.lines().filter_map(Line::parse).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn met(wanted: &str, file: &str) -> Result<(), String> {
        Line::parse(wanted).expect("a line").is_met_by(&lines(file), 10)
    }

    #[test]
    fn lines_are_compared_by_value() {
        let file = "    MB:0= 100;1=  70\n    L3:0=7f0;1=00001f\nL2:0=f\n";
        for same in [
            "L3:0=7f0;1=1f",
            "L3:1=0x1F;0=007f0",
            "L3:1=1f",
            "MB:0=100",
            "MB:1=61;0=91",
            "L2:0=0f",
            " MB : 1 = 70 ",
        ] {
            assert_eq!(met(same, file), Ok(()), "{same}");
        }
        assert_eq!(met("L3:0=7f", file), Err("for L3:0 it has 7f0, not 7f".to_owned()));
        assert_eq!(met("L3:0=7f0;2=1", file), Err("for L3:2 it has nothing, not 1".to_owned()));
        assert_eq!(met("MB:1=71", file), Err("for MB:1 it has 70, not 71".to_owned()));
        assert_eq!(met("L3CODE:0=1", file), Err("it has no L3CODE".to_owned()));
    }

    #[test]
    fn what_is_no_line_is_none() {
        for bad in [
            "",
            "L3",
            "L3:",
            ":0=1",
            "L3:0",
            "L3:0=",
            "L3:a=1",
            "L3:0=g",
            "L3:0=1;0=2",
            "L3:0=1;",
            "MB:0=-1",
            "MB:0=+1",
            "MB:0=0x5",
            "L3:-1=1",
            "L3:4294967296=1",
            "L3:0=1ffffffffffffffff",
            "a b:0=1",
        ] {
            assert_eq!(Line::parse(bad), None, "{bad}");
        }
        assert!(Line::parse("FUTURE:0=max;1=*").is_some());
    }

    proptest! {
        #[test]
        fn no_text_is_too_odd(text in ".{0,60}") {
            drop(lines(&text));
        }

        /// Whatever form the kernel writes it in, a group gives what was written to it.
        #[test]
        fn a_line_meets_itself_in_any_form(
            masks in proptest::collection::btree_map(0u32..64, 1u64..0xfffff, 1..8),
            seed in any::<bool>(),
        ) {
            let one = |(id, mask): (&u32, &u64)| format!("{id}={mask:x}");
            let padded = |(id, mask): (&u32, &u64)| format!("{id:3}={mask:#08x}");
            let given = format!("L3:{}", masks.iter().map(one).collect::<Vec<_>>().join(";"));
            let mut file: Vec<_> = masks.iter().map(padded).collect();
            if seed {
                file.reverse();
            }
            let file = format!("  MB:0=100\n    L3:{}\n", file.join(";"));
            prop_assert_eq!(met(&given, &file), Ok(()));
            let (id, mask) = masks.iter().next().expect("one at least");
            let other = format!("L3:{id}={:x}", mask + 1);
            prop_assert!(met(&other, &file).is_err());
        }

        #[test]
        fn bandwidth_is_rounded_up(wanted in 1u64..1000, step in 1u64..50) {
            let file = lines(&format!("MB:0={}", wanted.next_multiple_of(step)));
            let line = Line::parse(&format!("MB:0={wanted}")).expect("a line");
            prop_assert_eq!(line.is_met_by(&file, step), Ok(()));
        }
    }
}
