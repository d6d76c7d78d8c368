//! What to blame when a step fails: the words and the place in `config.json`, worked out only then.

use std::fmt::Write as _;

use super::{Program, Text};

/// A place in `config.json`, kept as its parts so that making a plan builds no strings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Place {
    base: &'static str,
    index: Option<u32>,
    tail: &'static str,
    sub_index: Option<u32>,
}

impl Place {
    /// No property is responsible.
    pub(crate) const NONE: Self = Self { base: "", index: None, tail: "", sub_index: None };

    /// A property with a fixed pointer.
    pub(crate) const fn of(base: &'static str) -> Self {
        Self { base, index: None, tail: "", sub_index: None }
    }

    /// An element of an array.
    pub(crate) const fn item(base: &'static str, index: usize) -> Self {
        Self { base, index: Some(index as u32), tail: "", sub_index: None }
    }

    /// A property of this element.
    pub(crate) const fn property(mut self, tail: &'static str) -> Self {
        self.tail = tail;
        self
    }

    /// An element of an array that is a property of this element.
    pub(crate) const fn element(mut self, tail: &'static str, index: usize) -> Self {
        self.tail = tail;
        self.sub_index = Some(index as u32);
        self
    }

    /// The JSON pointer, if a property is responsible.
    pub(crate) fn pointer(self) -> Option<String> {
        if self.base.is_empty() {
            return None;
        }
        let mut pointer = self.base.to_owned();
        for (index, tail) in [(self.index, self.tail), (self.sub_index, "")] {
            if let Some(index) = index {
                let _ = write!(pointer, "/{index}");
            }
            pointer.push_str(tail);
        }
        Some(pointer)
    }
}

/// What a step does, to what, and which property asked for it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Blame {
    verb: &'static str,
    object: Option<Text>,
    joint: &'static str,
    second: Option<Text>,
    pub(crate) place: Place,
}

impl Blame {
    /// A step without operands.
    pub(crate) const fn new(verb: &'static str, place: Place) -> Self {
        Self { verb, object: None, joint: "", second: None, place }
    }

    /// Adds the operand.
    pub(crate) const fn on(mut self, object: Text) -> Self {
        self.object = Some(object);
        self
    }

    /// Adds a second operand with the word between them: "mount `proc` *on* `/proc`".
    pub(crate) const fn and(mut self, joint: &'static str, second: Text) -> Self {
        self.joint = joint;
        self.second = Some(second);
        self
    }

    /// The first operand.
    pub(crate) fn operand(&self, program: &Program) -> String {
        self.object.map(|object| program.show(object).into_owned()).unwrap_or_default()
    }

    /// The sentence: verb and operands.
    pub(crate) fn sentence(&self, program: &Program) -> String {
        let mut sentence = self.verb.to_owned();
        if let Some(object) = self.object {
            sentence.push(' ');
            sentence.push_str(&program.show(object));
        }
        if let Some(second) = self.second {
            let _ = write!(sentence, " {} {}", self.joint, program.show(second));
        }
        sentence
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pointers_follow_rfc_6901() {
        assert_eq!(Place::NONE.pointer(), None);
        assert_eq!(Place::of("/hostname").pointer().as_deref(), Some("/hostname"));
        assert_eq!(
            Place::item("/mounts", 3).element("/options", 1).pointer().as_deref(),
            Some("/mounts/3/options/1")
        );
        assert_eq!(
            Place::item("/linux/devices", 0).property("/path").pointer().as_deref(),
            Some("/linux/devices/0/path")
        );
    }
}
