//! Device rules in the form that version 1 can hold: one answer, exceptions from it, and the lines for its files.

use std::collections::BTreeMap;

use super::{Access, Class, Rule};
use crate::error::{Error, Result};

/// One line for a file of the devices controller of version 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DeviceWrite {
    /// To `devices.deny` instead of `devices.allow`.
    pub(crate) deny: bool,
    /// For example `c 1:3 rwm`.
    pub(crate) line: String,
    /// The rule in the configuration; none for a default, which a parent cgroup may refuse.
    pub(crate) index: Option<usize>,
}

/// Which devices an exception is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct RuleKey {
    pub(super) class: Class,
    pub(super) major: Option<u32>,
    pub(super) minor: Option<u32>,
}

impl RuleKey {
    pub(super) fn covers(self, other: Self) -> bool {
        let wide = |ours: Option<u32>, theirs: Option<u32>| ours.is_none() || ours == theirs;
        self.class == other.class && wide(self.major, other.major) && wide(self.minor, other.minor)
    }

    fn meets(self, other: Self) -> bool {
        let common = |a: Option<u32>, b: Option<u32>| a.is_none() || b.is_none() || a == b;
        self.class == other.class && common(self.major, other.major) && common(self.minor, other.minor)
    }
}

/// What the version 1 controller can hold: one answer for all devices, and exceptions that all say the opposite.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Whitelist {
    pub(super) allow_all: bool,
    pub(super) exceptions: BTreeMap<RuleKey, (Access, Option<usize>)>,
}

impl Whitelist {
    /// Folds the rules; an error if version 1 cannot express them ("all of these but that one").
    pub(crate) fn new(rules: &[Rule]) -> Result<Self> {
        let mut list = Self { allow_all: false, exceptions: BTreeMap::new() };
        for rule in rules {
            list.apply(rule)?;
        }
        list.widen();
        Ok(list)
    }

    /// What is allowed while all else is denied; none if everything is allowed with exceptions.
    pub(crate) fn allowed(&self) -> Option<impl Iterator<Item = (Class, Option<u32>, Option<u32>, Access)>> {
        let exceptions = self.exceptions.iter();
        (!self.allow_all)
            .then(|| exceptions.map(|(key, &(access, _))| (key.class, key.major, key.minor, access)))
    }

    fn apply(&mut self, rule: &Rule) -> Result<()> {
        if rule.is_total() {
            self.allow_all = rule.allow;
            self.exceptions.clear();
            return Ok(());
        }
        let classes = rule.class.map_or(vec![Class::Block, Class::Char], |class| vec![class]);
        for class in classes {
            let key = RuleKey { class, major: rule.major, minor: rule.minor };
            if rule.allow != self.allow_all {
                let entry = self.exceptions.entry(key).or_insert((Access(0), rule.index));
                entry.0 = Access(entry.0.0 | rule.access.0);
                entry.1 = entry.1.and(rule.index);
                continue;
            }
            for (&old, (access, index)) in &mut self.exceptions {
                let common = Access(access.0 & rule.access.0);
                if common.0 == 0 || !old.meets(key) {
                    continue;
                }
                if key.covers(old) {
                    access.0 &= !rule.access.0;
                } else if common != Access::MKNOD || index.is_some() {
                    return Err(not_on_v1(rule));
                }
                // What is left is a hole in "make any node", a default. Making the node does no harm: the rule still
                // keeps it from being opened.
            }
            self.exceptions.retain(|_, (access, _)| access.0 != 0);
        }
        Ok(())
    }

    /// The kernel wants one exception that grants the whole access, so an exception also includes what wider ones
    /// grant, and if two cross ("all of major 1", "all with minor 3") there is one for their intersection.
    fn widen(&mut self) {
        let keys: Vec<RuleKey> = self.exceptions.keys().copied().collect();
        for (index, a) in keys.iter().enumerate() {
            for b in &keys[index + 1..] {
                if a.meets(*b) && !a.covers(*b) && !b.covers(*a) {
                    let common =
                        RuleKey { class: a.class, major: a.major.or(b.major), minor: a.minor.or(b.minor) };
                    let index = self.exceptions[a].1;
                    self.exceptions.entry(common).or_insert((Access(0), index));
                }
            }
        }
        let all: Vec<(RuleKey, Access)> =
            self.exceptions.iter().map(|(&key, &(access, _))| (key, access)).collect();
        for (key, (access, _)) in &mut self.exceptions {
            access.0 |=
                all.iter().filter(|(wide, _)| wide.covers(*key)).fold(0, |bits, (_, wide)| bits | wide.0);
        }
    }

    /// The lines that bring a cgroup into this state from any other.
    pub(crate) fn writes(&self) -> Vec<DeviceWrite> {
        let first = DeviceWrite { deny: !self.allow_all, line: "a".to_owned(), index: None };
        let exceptions = self.exceptions.iter().map(|(key, &(access, index))| DeviceWrite {
            deny: self.allow_all,
            line: key.line(access),
            index,
        });
        std::iter::once(first).chain(exceptions).collect()
    }

    /// The lines that bring a cgroup into this state from that of another list, without denying for a moment what both
    /// allow, if the kernel can do that: not if one of them allows everything.
    pub(crate) fn changes(&self, from: &Self) -> Vec<DeviceWrite> {
        if self.allow_all || from.allow_all {
            return self.writes();
        }
        let beyond = |list: &Self, other: &Self, deny: bool| -> Vec<DeviceWrite> {
            let lines = list.exceptions.iter().filter_map(|(key, &(access, index))| {
                let known = other.exceptions.get(key).map_or(0, |(access, _)| access.0);
                let more = Access(access.0 & !known);
                (more.0 != 0).then(|| DeviceWrite { deny, line: key.line(more), index })
            });
            lines.collect()
        };
        let mut lines = beyond(self, from, false);
        lines.extend(beyond(from, self, true).into_iter().map(|write| DeviceWrite { index: None, ..write }));
        lines
    }
}

impl RuleKey {
    /// The line for `devices.allow` and `devices.deny`.
    fn line(self, access: Access) -> String {
        let class = if self.class == Class::Block { 'b' } else { 'c' };
        let number = |number: Option<u32>| number.map_or("*".to_owned(), |number| number.to_string());
        format!("{class} {}:{} {access}", number(self.major), number(self.minor))
    }
}

fn not_on_v1(rule: &Rule) -> Error {
    let index = rule.index.unwrap_or_default();
    let message = "cgroup v1 cannot make an exception from an earlier, wider device rule";
    Error::unsupported(format!("/linux/resources/devices/{index}"), message)
        .with_hint("list the devices one by one, or use cgroup v2")
}
