//! Annotations `org.systemd.property.NAME`: properties of the container's unit, in the text format of `GVariant`.
//!
//! The subset is what unit properties use: booleans, integers with or without a type in front, strings, and arrays and
//! tuples of these. Seconds are accepted as in systemd's documentation: `TimeoutStopSec` is `TimeoutStopUSec` in
//! microseconds.

use std::collections::HashMap;

use super::value::{Property, PropertyValue};
use crate::error::{Error, Result};
use crate::finding::escape;

/// The prefix of the annotations' names.
pub(crate) const PREFIX: &str = "org.systemd.property.";

/// Properties that only say how the container's own unit ends, which every engine may set.
const HARMLESS: [&str; 6] =
    ["CollectMode", "Description", "KillMode", "KillSignal", "TimeoutStopUSec", "SendSIGKILL"];

/// Properties that the unit's definition itself depends on.
const OURS: [&str; 5] = ["PIDs", "PIDFDs", "Slice", "Delegate", "Wants"];

/// Reads the annotations, sorted by name. Annotations that are neither trusted nor harmless are left out, with a
/// warning.
pub(super) fn properties(all: &HashMap<String, String>, trusted: bool) -> Result<Vec<Property>> {
    let mut named: Vec<_> =
        all.iter().filter_map(|(key, value)| Some((key, key.strip_prefix(PREFIX)?, value))).collect();
    named.sort();
    let mut found = Vec::new();
    for (key, name, text) in named {
        let pointer = format!("/annotations/{}", escape(key));
        let fail = |message: String| Error::invalid(pointer.clone(), message);
        let plain = name.len() >= 3
            && name.starts_with(|c: char| c.is_ascii_uppercase())
            && name.bytes().all(|b| b.is_ascii_alphanumeric());
        if !plain {
            return Err(fail(format!("{name:?} is not the name of a systemd property")));
        }
        let mut parser = Parser { rest: text.trim(), depth: 0 };
        let value = parser.value(None).filter(|_| parser.rest.trim_start().is_empty()).ok_or_else(|| {
            fail(format!("{text:?} is not a GVariant value such as 'text', true or uint64 5"))
        })?;
        let (name, value) = match name.strip_suffix("Sec").filter(|stem| !stem.ends_with('U')) {
            Some(stem) => {
                let seconds = seconds(&value)
                    .ok_or_else(|| fail(format!("{name} is a number of seconds, not {text:?}")))?;
                (format!("{stem}USec"), PropertyValue::U64(seconds))
            }
            None => (name.to_owned(), value),
        };
        if OURS.contains(&&*name) {
            return Err(fail(format!("the systemd property {name} is the runtime's to set")));
        }
        if trusted || HARMLESS.contains(&&*name) {
            found.push(Property::new(name, value));
        } else {
            log::warn!(
                "annotation {key} is ignored: systemd properties from annotations can act on the whole machine \
                 (--systemd-annotations honours them)"
            );
        }
    }
    Ok(found)
}

/// Converts seconds to microseconds.
fn seconds(value: &PropertyValue) -> Option<u64> {
    let number = match *value {
        PropertyValue::Byte(n) => u64::from(n),
        PropertyValue::U16(n) => u64::from(n),
        PropertyValue::U32(n) => u64::from(n),
        PropertyValue::U64(n) => n,
        PropertyValue::I16(n) => u64::try_from(n).ok()?,
        PropertyValue::I32(n) => u64::try_from(n).ok()?,
        PropertyValue::I64(n) => u64::try_from(n).ok()?,
        _ => return None,
    };
    number.checked_mul(1_000_000)
}

/// A parser of the text format.
struct Parser<'t> {
    rest: &'t str,
    depth: usize,
}

/// Types that can stand in front of a value, with their signatures.
const TYPES: [(&str, &str); 9] = [
    ("boolean", "b"),
    ("byte", "y"),
    ("int16", "n"),
    ("uint16", "q"),
    ("int32", "i"),
    ("uint32", "u"),
    ("int64", "x"),
    ("uint64", "t"),
    ("string", "s"),
];

/// Signatures of elements that an array can have.
const ELEMENTS: [&str; 12] = ["b", "y", "n", "q", "i", "u", "x", "t", "s", "(ss)", "(st)", "(sb)"];

impl<'t> Parser<'t> {
    /// The next value; `wanted` is its signature if something before it has given it.
    fn value(&mut self, wanted: Option<&'static str>) -> Option<PropertyValue> {
        // Deeper than any property goes: no text can exhaust the stack.
        if self.depth > 4 {
            return None;
        }
        self.rest = self.rest.trim_start();
        match self.rest.chars().next()? {
            '\'' | '"' => {
                self.string().map(PropertyValue::Str).filter(|_| wanted.is_none_or(|sig| sig == "s"))
            }
            '[' => self.array(wanted),
            '(' => self.tuple(),
            '@' => self.annotated(),
            c if c.is_ascii_digit() || c == '-' || c == '+' => self.number(wanted.unwrap_or("i")),
            _ => {
                let word = self.word();
                match word {
                    "true" => Some(PropertyValue::Bool(true)).filter(|_| wanted.is_none_or(|sig| sig == "b")),
                    "false" => {
                        Some(PropertyValue::Bool(false)).filter(|_| wanted.is_none_or(|sig| sig == "b"))
                    }
                    word => {
                        let (_, signature) = TYPES.iter().find(|(name, _)| *name == word)?;
                        self.value(Some(signature))
                    }
                }
            }
        }
    }

    fn word(&mut self) -> &'t str {
        let end = self.rest.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        word
    }

    fn eat(&mut self, expected: char) -> bool {
        self.rest = self.rest.trim_start();
        let after = self.rest.strip_prefix(expected);
        self.rest = after.unwrap_or(self.rest);
        after.is_some()
    }

    fn string(&mut self) -> Option<String> {
        let mut characters = self.rest.char_indices();
        let (_, quote) = characters.next()?;
        let mut text = String::new();
        while let Some((at, c)) = characters.next() {
            match c {
                c if c == quote => {
                    self.rest = &self.rest[at + c.len_utf8()..];
                    return Some(text);
                }
                '\0' => return None,
                '\\' => match characters.next()?.1 {
                    'n' => text.push('\n'),
                    't' => text.push('\t'),
                    c @ ('\\' | '\'' | '"') => text.push(c),
                    _ => return None,
                },
                c => text.push(c),
            }
        }
        None
    }

    fn number(&mut self, signature: &str) -> Option<PropertyValue> {
        let end = self
            .rest
            .find(|c: char| !(c.is_ascii_alphanumeric() || c == '-' || c == '+'))
            .unwrap_or(self.rest.len());
        let (text, rest) = self.rest.split_at(end);
        self.rest = rest;
        let (negative, digits) = match text.strip_prefix('-') {
            Some(digits) => (true, digits),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        let magnitude = match digits.strip_prefix("0x") {
            Some(hex) => i128::from(u64::from_str_radix(hex, 16).ok()?),
            None => i128::from(digits.parse::<u64>().ok()?),
        };
        let number = if negative { -magnitude } else { magnitude };
        Some(match signature {
            "y" => PropertyValue::Byte(number.try_into().ok()?),
            "n" => PropertyValue::I16(number.try_into().ok()?),
            "q" => PropertyValue::U16(number.try_into().ok()?),
            "i" => PropertyValue::I32(number.try_into().ok()?),
            "u" => PropertyValue::U32(number.try_into().ok()?),
            "x" => PropertyValue::I64(number.try_into().ok()?),
            "t" => PropertyValue::U64(number.try_into().ok()?),
            _ => return None,
        })
    }

    /// `@as []`: preceded by a signature.
    fn annotated(&mut self) -> Option<PropertyValue> {
        self.rest = &self.rest[1..];
        let end = self.rest.find(char::is_whitespace)?;
        let (signature, rest) = self.rest.split_at(end);
        self.rest = rest;
        match signature.strip_prefix('a') {
            Some(element) => {
                let element = ELEMENTS.iter().find(|known| **known == element)?;
                self.rest = self.rest.trim_start();
                self.items('[', ']', Some(element)).map(|items| PropertyValue::Array(element, items))
            }
            None => self.value(Some(TYPES.iter().find(|(_, known)| *known == signature)?.1)),
        }
    }

    fn array(&mut self, wanted: Option<&'static str>) -> Option<PropertyValue> {
        if wanted.is_some() {
            return None;
        }
        let items = self.items('[', ']', None)?;
        let element = ELEMENTS.iter().find(|known| items.iter().all(|item| signature(item) == **known))?;
        // An empty array has no type of its own.
        (!items.is_empty()).then_some(PropertyValue::Array(element, items))
    }

    fn tuple(&mut self) -> Option<PropertyValue> {
        let items = self.items('(', ')', None)?;
        (!items.is_empty()).then_some(PropertyValue::Tuple(items))
    }

    /// Values separated by commas. In an array, the type of the first counts for all.
    fn items(&mut self, open: char, close: char, wanted: Option<&'static str>) -> Option<Vec<PropertyValue>> {
        if !self.eat(open) {
            return None;
        }
        self.depth += 1;
        let mut items: Vec<PropertyValue> = Vec::new();
        let scalar =
            |signature: &str| TYPES.iter().find(|(_, known)| *known == signature).map(|(_, known)| *known);
        while !self.eat(close) {
            if !items.is_empty() && !self.eat(',') {
                return None;
            }
            if open == '(' && self.eat(close) {
                break;
            }
            let wanted = match (wanted, items.first()) {
                (Some(wanted), _) => scalar(wanted),
                (None, Some(first)) if open == '[' => scalar(&signature(first)),
                _ => None,
            };
            items.push(self.value(wanted)?);
        }
        self.depth -= 1;
        Some(items)
    }
}

fn signature(value: &PropertyValue) -> String {
    match value {
        PropertyValue::Bool(_) => "b".to_owned(),
        PropertyValue::Byte(_) => "y".to_owned(),
        PropertyValue::I16(_) => "n".to_owned(),
        PropertyValue::U16(_) => "q".to_owned(),
        PropertyValue::I32(_) => "i".to_owned(),
        PropertyValue::U32(_) => "u".to_owned(),
        PropertyValue::I64(_) => "x".to_owned(),
        PropertyValue::U64(_) => "t".to_owned(),
        PropertyValue::Str(_) => "s".to_owned(),
        PropertyValue::Array(element, _) => format!("a{element}"),
        PropertyValue::Tuple(items) => format!("({})", items.iter().map(signature).collect::<String>()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn one(name: &str, text: &str, trusted: bool) -> Result<Vec<Property>> {
        properties(&HashMap::from([(format!("{PREFIX}{name}"), text.to_owned())]), trusted)
    }

    #[test]
    fn values() {
        let text = |text: &str| PropertyValue::text(text);
        let cases = [
            ("true", PropertyValue::Bool(true)),
            ("7", PropertyValue::I32(7)),
            ("-0x10", PropertyValue::I32(-16)),
            ("uint64 123456789", PropertyValue::U64(123_456_789)),
            ("@t 5", PropertyValue::U64(5)),
            ("byte 255", PropertyValue::Byte(255)),
            ("'a\\'b'", text("a'b")),
            ("\"it's\"", text("it's")),
            ("string 'x'", text("x")),
            ("['a', 'b']", PropertyValue::Array("s", vec![text("a"), text("b")])),
            ("[uint32 1, 2]", PropertyValue::Array("u", vec![PropertyValue::U32(1), PropertyValue::U32(2)])),
            ("@as []", PropertyValue::Array("s", Vec::new())),
            (
                "[('/dev/sda', uint64 5)]",
                PropertyValue::Array(
                    "(st)",
                    vec![PropertyValue::Tuple(vec![text("/dev/sda"), PropertyValue::U64(5)])],
                ),
            ),
        ];
        for (given, value) in cases {
            assert_eq!(one("Xyz", given, true).unwrap(), [Property::new("Xyz", value)], "{given}");
        }
    }

    #[test]
    fn what_is_no_value_is_refused_where_it_stands() {
        for text in [
            "",
            "tru",
            "'a",
            "[",
            "[]",
            "['a', 1]",
            "5 6",
            "uint64 -1",
            "byte 256",
            "uint64 'x'",
            "((((((1))))))",
        ] {
            let error = one("Xyz", text, true).unwrap_err();
            assert_eq!(error.pointer(), Some("/annotations/org.systemd.property.Xyz"), "{text}");
        }
        for name in ["", "ab", "lower", "With.Dot", "With/Slash"] {
            one(name, "1", true).unwrap_err();
        }
        one("Slice", "'a.slice'", true).unwrap_err();
    }

    #[test]
    fn seconds_become_microseconds() {
        let expected = [Property::new("TimeoutStopUSec", PropertyValue::U64(5_000_000))];
        assert_eq!(one("TimeoutStopSec", "uint64 5", false).unwrap(), expected);
        assert_eq!(one("TimeoutStopSec", "5", false).unwrap(), expected);
        assert_eq!(one("TimeoutStopUSec", "uint64 5000000", false).unwrap(), expected);
        one("TimeoutStopSec", "'5s'", false).unwrap_err();
        one("TimeoutStopSec", "-5", false).unwrap_err();
    }

    #[test]
    fn what_reaches_beyond_the_unit_needs_trust() {
        assert_eq!(one("SuccessAction", "'poweroff-force'", false).unwrap(), []);
        assert_eq!(one("SuccessAction", "'poweroff-force'", true).unwrap().len(), 1);
        assert_eq!(one("CollectMode", "'inactive'", false).unwrap().len(), 1);
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[\\[\\](),@'\"a-u0-9 \\\\-]{0,40}") {
            drop(one("Xyz", &text, true));
        }
    }
}
