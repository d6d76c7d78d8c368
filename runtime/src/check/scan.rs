//! One pass over the text of a document, against the tables of `schema.rs`, without building a tree.
//!
//! It reports every value of the wrong type, every word that the spec does not have, every missing property and every
//! repeated name at once, each with its pointer, and goes on after each of them. Only broken JSON ends it early.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use super::list;
use super::schema::CAPABILITY_NAMES;
use super::shape::{Field, Need, Object, Shape};
use crate::finding::{Finding, escape};

/// After this many findings the rest is not worth the memory: a list of a million wrong values is one mistake.
const MOST_FINDINGS: usize = 200;

/// What [`scan`] saw.
#[derive(Debug, Default)]
pub(crate) struct Scan {
    pub(crate) findings: Vec<Finding>,
    /// The document is valid, but the spec's Rust types would refuse it or misread it.
    pub(crate) needs_repair: bool,
    left_out: bool,
}

/// Scans a document whose top is `object`.
pub(crate) fn scan(text: &str, object: &'static Object) -> Scan {
    let mut scan = Scan::default();
    let mut json = serde_json::Deserializer::from_str(text);
    let top = Shape::Object(object);
    let walk = Walk { scan: &mut scan, shape: &top, at: &Path::Root, nullable: false };
    if let Err(error) = walk.deserialize(&mut json).and_then(|_| json.end()) {
        let reason = half_pair(text, &error).map_or_else(|| error.to_string(), |half| {
            format!("\\u{half} stands for half of a character, and its other half is missing, at line {} column {}",
                error.line(), error.column())
        });
        scan.add(Finding::error("", format!("not valid JSON: {reason}")));
    }
    if scan.left_out {
        scan.findings
            .push(Finding::error("", format!("more than {MOST_FINDINGS} findings; the rest is left out")));
    }
    scan
}

/// The escape of a lone surrogate, if that is what stopped the reader, which reports it as missing digits.
fn half_pair<'t>(text: &'t str, error: &serde_json::Error) -> Option<&'t str> {
    let line = text.lines().nth(error.line().checked_sub(1)?)?;
    // The reader stops inside the escape, or inside the next one, which would be the other half.
    let end = error.column().min(line.len());
    let from = end.saturating_sub(2 * "\\uD800".len());
    let near = line.get(from..(end + "uD800".len()).min(line.len()))?;
    near.match_indices("\\u").find_map(|(at, _)| {
        let digits = near.get(at + 2..at + 6)?;
        u16::from_str_radix(digits, 16).is_ok_and(|code| (0xD800..=0xDFFF).contains(&code)).then_some(digits)
    })
}

impl Scan {
    fn add(&mut self, finding: Finding) {
        if self.findings.len() < MOST_FINDINGS {
            self.findings.push(finding);
        } else {
            self.left_out = true;
        }
    }
}

/// The current position; formatted only if there is something to report.
enum Path<'a> {
    Root,
    Name(&'a Self, &'a str),
    Index(&'a Self, usize),
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => Ok(()),
            Self::Name(parent, name) => write!(f, "{parent}/{}", escape(name)),
            Self::Index(parent, index) => write!(f, "{parent}/{index}"),
        }
    }
}

struct Walk<'a> {
    scan: &'a mut Scan,
    shape: &'a Shape,
    at: &'a Path<'a>,
    /// `null` is allowed for a property here, and every other implementation reads it as "absent".
    nullable: bool,
}

/// What the enclosing object needs to know about a value.
enum Scalar {
    /// Null, or a string that stands for it.
    Null,
    Word(&'static str),
    Other,
}

impl Walk<'_> {
    fn error(&mut self, message: String) {
        self.scan.add(Finding::error(self.at.to_string(), message));
    }

    fn wrong(&mut self, found: fmt::Arguments<'_>) -> Scalar {
        if !matches!(self.shape, Shape::Any) {
            self.error(format!("expected {}, found {found}", self.shape));
        }
        Scalar::Other
    }

    fn integer(&mut self, number: i128) -> Scalar {
        match self.shape {
            Shape::Int(least, most) if (*least..=*most).contains(&number) => Scalar::Other,
            _ => self.wrong(format_args!("{number}")),
        }
    }

    fn text(&mut self, text: &str) -> Scalar {
        match self.shape {
            Shape::Any => {}
            Shape::TextOrNone | Shape::Word(_) | Shape::NamedWord(..) if self.nullable && text.is_empty() => {
                return Scalar::Null;
            }
            Shape::Text | Shape::TextOrNone => {
                if text.contains('\0') {
                    self.error("contains a NUL byte, which no system call takes".to_owned());
                }
            }
            Shape::CpuList => {
                self.scan.needs_repair |= text.is_empty() || text.contains(char::is_whitespace);
                if let Err(message) = list::parse(text) {
                    self.error(message);
                }
            }
            Shape::Word(words) => match words.iter().find(|word| **word == text) {
                Some(word) => return Scalar::Word(word),
                None => return self.wrong(format_args!("{}", shown(text))),
            },
            Shape::NamedWord(name, words) => {
                if !words.contains(&text) {
                    self.error(format!("invalid {name} {}: expected {}", shown(text), self.shape));
                }
            }
            Shape::Capability => {
                if !CAPABILITY_NAMES.contains(&text) {
                    self.scan.needs_repair = true;
                    // runc's wording, which tools look for. The same name is in several sets: one warning.
                    let message = format!(
                        "ignoring unknown or unavailable capabilities: [{}]{}",
                        text.escape_debug(),
                        meant(text)
                    );
                    let told = self.scan.findings.iter().any(|finding| finding.message == message);
                    let finding = if told { Finding::note } else { Finding::warning };
                    self.scan.add(finding(self.at.to_string(), message));
                }
            }
            _ => return self.wrong(format_args!("the string {}", shown(text))),
        }
        Scalar::Other
    }

    fn object<'de, A: MapAccess<'de>>(
        mut self,
        object: &'static Object,
        mut map: A,
    ) -> Result<Scalar, A::Error> {
        let mut present = 0_u64;
        let mut typ = None;
        let mut strangers = HashSet::new();
        while let Some(Name(name)) = map.next_key()? {
            let at = Path::Name(self.at, &name);
            let Some((bit, field)) = find(object, &name) else {
                map.next_value_seed(Walk { scan: self.scan, shape: &Shape::Any, at: &at, nullable: true })?;
                self.scan.add(if strangers.contains(&name) {
                    Finding::error(at.to_string(), REPEATED)
                } else {
                    Finding::note(at.to_string(), "not a property of the runtime spec; ignored")
                });
                strangers.insert(name);
                continue;
            };
            if present & bit != 0 {
                self.scan.add(Finding::error(at.to_string(), REPEATED));
            }
            present |= bit;
            let seen =
                map.next_value_seed(Walk { scan: self.scan, shape: &field.shape, at: &at, nullable: true })?;
            match (seen, &field.need) {
                (Scalar::Null, _) => {
                    present &= !bit;
                    self.scan.needs_repair = true;
                }
                (_, Need::Foreign(what)) => {
                    let message = format!("is for {what}, and has no effect on a Linux container");
                    self.scan.add(Finding::warning(at.to_string(), message));
                }
                (Scalar::Word(word), _) if field.name == "type" => typ = Some(word),
                _ => {}
            }
        }
        for (index, field) in object.fields.iter().enumerate() {
            if present & (1 << index) == 0 {
                self.missing(field, typ);
            }
        }
        Ok(Scalar::Other)
    }

    fn missing(&mut self, field: &Field, typ: Option<&str>) {
        match field.need {
            Need::Optional | Need::Foreign(_) => return,
            Need::UnlessType(word) if typ == Some(word) => return,
            Need::Required | Need::UnlessType(_) => {}
            Need::ElseDrop | Need::ElseAssume(_) => {
                self.scan.needs_repair = true;
                return;
            }
        }
        let pointer = Path::Name(self.at, field.name).to_string();
        let message = "required, but missing";
        self.scan.add(match field.shape {
            Shape::NamedWord(name, _) => Finding::error(pointer, format!("invalid {name} \"\": {message}")),
            _ => Finding::error(pointer, message),
        });
    }

    fn exact_number<'de, A: MapAccess<'de>>(mut self, mut map: A) -> Result<Scalar, A::Error> {
        let Some(Name(name)) = map.next_key()? else { return Ok(self.wrong(format_args!("an object"))) };
        if name == EXACT_NUMBER {
            let Name(digits) = map.next_value()?;
            return Ok(match digits.parse() {
                Ok(number) => self.integer(number),
                Err(_) => self.wrong(format_args!("{digits:.64}")),
            });
        }
        self.wrong(format_args!("an object"));
        let at = Path::Name(self.at, &name);
        map.next_value_seed(Walk { scan: self.scan, shape: &Shape::Any, at: &at, nullable: true })?;
        self.members(&Shape::Any, map)
    }

    fn members<'de, A: MapAccess<'de>>(self, value: &Shape, mut map: A) -> Result<Scalar, A::Error> {
        let mut names = HashSet::new();
        while let Some(Name(name)) = map.next_key()? {
            let at = Path::Name(self.at, &name);
            if name.contains('\0') && !matches!(value, Shape::Any) {
                self.scan.add(Finding::error(at.to_string(), "the name contains a NUL byte"));
            }
            if names.contains(&name) {
                self.scan.add(Finding::error(at.to_string(), REPEATED));
            }
            map.next_value_seed(Walk { scan: self.scan, shape: value, at: &at, nullable: false })?;
            names.insert(name);
        }
        Ok(Scalar::Other)
    }
}

/// How `serde_json` presents a number if any crate in the program enables its feature `arbitrary_precision`: as an
/// object with this single member.
const EXACT_NUMBER: &str = "$serde_json::private::Number";

const REPEATED: &str = "the name occurs twice in this object";

fn find<'o>(object: &'o Object, name: &str) -> Option<(u64, &'o Field)> {
    debug_assert!(object.fields.len() <= 64, "one bit for each field");
    let index = object.fields.iter().position(|field| field.name == name)?;
    Some((1 << index, &object.fields[index]))
}

/// A printable form of a string that may be long or full of control characters.
fn shown(text: &str) -> String {
    let cut: String = text.chars().take(64).collect();
    if cut.len() < text.len() { format!("{cut:?}...") } else { format!("{cut:?}") }
}

/// A hint for a capability with a nearly correct name; a guess grants nothing.
fn meant(text: &str) -> String {
    let upper = text.to_ascii_uppercase();
    let name = if upper.starts_with("CAP_") { upper } else { format!("CAP_{upper}") };
    if CAPABILITY_NAMES.contains(&name.as_str()) { format!("; write it as {name}") } else { String::new() }
}

/// The name of a member, borrowed from the document if it has no escapes.
struct Name<'de>(Cow<'de, str>);

impl<'de> Deserialize<'de> for Name<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NameVisitor;
        impl<'de> Visitor<'de> for NameVisitor {
            type Value = Name<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name")
            }
            fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Self::Value, E> {
                Ok(Name(Cow::Borrowed(name)))
            }
            fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
                Ok(Name(Cow::Owned(name.to_owned())))
            }
        }
        deserializer.deserialize_str(NameVisitor)
    }
}

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = Scalar;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Scalar, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = Scalar;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.shape)
    }

    fn visit_unit<E>(mut self) -> Result<Scalar, E> {
        Ok(if self.nullable { Scalar::Null } else { self.wrong(format_args!("null")) })
    }

    fn visit_bool<E>(mut self, value: bool) -> Result<Scalar, E> {
        Ok(if matches!(self.shape, Shape::Bool) {
            Scalar::Other
        } else {
            self.wrong(format_args!("{value}"))
        })
    }

    fn visit_i64<E>(mut self, value: i64) -> Result<Scalar, E> {
        Ok(self.integer(value.into()))
    }

    fn visit_u64<E>(mut self, value: u64) -> Result<Scalar, E> {
        Ok(self.integer(value.into()))
    }

    /// A fraction, an exponent, or a number beyond 64 bits.
    fn visit_f64<E>(mut self, value: f64) -> Result<Scalar, E> {
        Ok(self.wrong(format_args!("{value:?}")))
    }

    fn visit_str<E>(mut self, value: &str) -> Result<Scalar, E> {
        Ok(self.text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut list: A) -> Result<Scalar, A::Error> {
        let element = if let Shape::List(element) = self.shape {
            element
        } else {
            self.wrong(format_args!("a list"));
            // Walk on, for repeated names further in.
            &Shape::Any
        };
        let mut index = 0;
        loop {
            let at = Path::Index(self.at, index);
            let walk = Walk { scan: self.scan, shape: element, at: &at, nullable: false };
            if list.next_element_seed(walk)?.is_none() {
                return Ok(Scalar::Other);
            }
            index += 1;
        }
    }

    fn visit_map<A: MapAccess<'de>>(mut self, map: A) -> Result<Scalar, A::Error> {
        match self.shape {
            Shape::Object(object) => self.object(object, map),
            Shape::Map(value) => self.members(value, map),
            Shape::Int(..) => self.exact_number(map),
            _ => {
                self.wrong(format_args!("an object"));
                self.members(&Shape::Any, map)
            }
        }
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("any value"),
            Self::Bool => f.write_str("true or false"),
            Self::Text | Self::TextOrNone => f.write_str("a string"),
            Self::CpuList => f.write_str("a list of CPUs like 0-3,7"),
            Self::Capability => f.write_str("the name of a capability"),
            Self::Int(least, most) => write!(f, "a whole number from {least} to {most}"),
            Self::List(_) => f.write_str("a list"),
            Self::Map(_) | Self::Object(_) => f.write_str("an object"),
            Self::Word(words) | Self::NamedWord(_, words) => {
                f.write_str("one of ")?;
                for (index, word) in words.iter().enumerate() {
                    write!(f, "{}{word}", if index == 0 { "" } else { ", " })?;
                }
                Ok(())
            }
        }
    }
}
