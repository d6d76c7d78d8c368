//! The device rules of a container: what `linux.resources.devices` means, and how version 1 is told.
//!
//! For each permission of an access (read, write, mknod) the *last* rule that names the device and the permission
//! decides. Before the first rule everything is denied but the devices that every container needs, [`DEFAULTS`]. "Deny
//! all" goes back to that, wherever it stands: every engine's list starts with it, and Docker 28 writes its list twice.
//! Rules after it can take a default away. (runc adds its defaults behind the list, where no rule can deny them.)

use std::collections::BTreeMap;
use std::fmt;

use oci_spec::runtime::{LinuxDeviceCgroup, LinuxDeviceType, LinuxResources};

use super::layout::CgroupLayout;
use super::settings::Problem;

/// A set of permissions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Access(u8);

impl Access {
    /// Making a node (`BPF_DEVCG_ACC_MKNOD`).
    pub(crate) const MKNOD: Self = Self(1);
    /// Everything.
    pub(crate) const ALL: Self = Self(7);

    /// The bits as `struct bpf_cgroup_dev_ctx` has them.
    pub(crate) const fn bits(self) -> u8 {
        self.0
    }

    fn parse(text: &str) -> Option<Self> {
        let bit = |c: char| match c {
            'm' => Some(1),
            'r' => Some(2),
            'w' => Some(4),
            _ => None,
        };
        text.chars().try_fold(0, |bits, c| Some(bits | bit(c)?)).map(Self)
    }
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (bit, letter) in [(2, "r"), (4, "w"), (1, "m")] {
            f.write_str(if self.0 & bit != 0 { letter } else { "" })?;
        }
        Ok(())
    }
}

/// Block or character device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Class {
    /// A block device.
    Block,
    /// A character device.
    Char,
}

/// One rule in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rule {
    /// Allow or deny.
    pub(crate) allow: bool,
    /// The class, or both.
    pub(crate) class: Option<Class>,
    /// The major number, or any.
    pub(crate) major: Option<u32>,
    /// The minor number, or any.
    pub(crate) minor: Option<u32>,
    /// The permissions it decides.
    pub(crate) access: Access,
    /// Its index in the configuration; none for a default.
    pub(crate) index: Option<usize>,
}

impl Rule {
    /// Whether it decides everything, so that no rule before it matters.
    pub(crate) fn is_total(&self) -> bool {
        self.class.is_none() && self.major.is_none() && self.minor.is_none() && self.access == Access::ALL
    }
}

const fn default(class: Class, major: Option<u32>, minor: Option<u32>, access: Access) -> Rule {
    Rule { allow: true, class: Some(class), major, minor, access, index: None }
}

/// What a container may use unless a rule denies it.
///
/// The default devices of the runtime-spec, the slaves of its own devpts, and making (not opening) any node, which
/// unpacking an image needs. `/dev/console` is a pty of the container, so the console of the machine (5:1) is not here;
/// tun (10:200) is, as taking it away broke VPN software that never had to ask for it.
pub(crate) const DEFAULTS: [Rule; 11] = [
    default(Class::Char, None, None, Access::MKNOD),
    default(Class::Block, None, None, Access::MKNOD),
    default(Class::Char, Some(1), Some(3), Access::ALL), // null
    default(Class::Char, Some(1), Some(5), Access::ALL), // zero
    default(Class::Char, Some(1), Some(7), Access::ALL), // full
    default(Class::Char, Some(1), Some(8), Access::ALL), // random
    default(Class::Char, Some(1), Some(9), Access::ALL), // urandom
    default(Class::Char, Some(5), Some(0), Access::ALL), // tty
    default(Class::Char, Some(5), Some(2), Access::ALL), // ptmx
    default(Class::Char, Some(136), None, Access::ALL),  // pts/*
    default(Class::Char, Some(10), Some(200), Access::ALL), // net/tun
];

/// The whole rule list of a container: the defaults, then what the configuration says, up to date with what a total
/// rule makes void.
pub(crate) fn rules(configured: &[LinuxDeviceCgroup]) -> Result<Vec<Rule>, Problem> {
    let mut list = DEFAULTS.to_vec();
    for (index, configured) in configured.iter().enumerate() {
        let rule = parse(configured, index)?;
        match rule.is_total() {
            true if rule.allow => list = vec![rule],
            true => list = DEFAULTS.to_vec(),
            false => list.push(rule),
        }
    }
    Ok(list)
}

fn parse(rule: &LinuxDeviceCgroup, index: usize) -> Result<Rule, Problem> {
    let at = |name: &str| format!("/linux/resources/devices/{index}/{name}");
    let class = match rule.typ() {
        None | Some(LinuxDeviceType::A) => None,
        Some(LinuxDeviceType::B) => Some(Class::Block),
        Some(LinuxDeviceType::C) => Some(Class::Char),
        Some(other) => {
            return Err(Problem::invalid(
                at("type"),
                format!("a device rule is for type a, b or c, not {:?}", other.as_str()),
            ));
        }
    };
    let number = |number: Option<i64>, name: &str| match number {
        None | Some(-1) => Ok(None),
        Some(value) => u32::try_from(value)
            .map(Some)
            .map_err(|_| Problem::invalid(at(name), format!("{value} is no device number; -1 is any"))),
    };
    let text = rule.access().as_deref().unwrap_or_default();
    let access = match text {
        "" => Access::ALL,
        text => Access::parse(text)
            .ok_or_else(|| Problem::invalid(at("access"), format!("{text:?} is not made of r, w and m")))?,
    };
    let (major, minor) = (number(rule.major(), "major")?, number(rule.minor(), "minor")?);
    Ok(Rule { allow: rule.allow(), class, major, minor, access, index: Some(index) })
}

/// Everything that is wrong with the rules on this machine.
pub(crate) fn check(resources: &LinuxResources, layout: &CgroupLayout) -> Option<Problem> {
    let configured = resources.devices().as_deref().unwrap_or_default();
    let on_v1 = layout.v1.iter().any(|h| h.controllers.iter().any(|c| c == "devices"));
    match rules(configured) {
        Err(problem) => Some(problem),
        Ok(list) if on_v1 => Whitelist::new(&list).err(),
        Ok(_) if layout.v2.is_some() || configured.is_empty() => None,
        Ok(_) => Some(Problem::unsupported(
            "/linux/resources/devices",
            "the devices controller of cgroup v1 is not available on this machine",
        )),
    }
}

/// One line for a file of the devices controller of version 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DeviceWrite {
    /// To `devices.deny` instead of `devices.allow`.
    pub(crate) deny: bool,
    /// For example `c 1:3 rwm`.
    pub(crate) line: String,
    /// The rule in the configuration; none for a default, which a parent cgroup may well refuse.
    pub(crate) index: Option<usize>,
}

/// Which devices an exception is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    class: Class,
    major: Option<u32>,
    minor: Option<u32>,
}

impl Key {
    fn covers(self, other: Self) -> bool {
        let wide = |ours: Option<u32>, theirs: Option<u32>| ours.is_none() || ours == theirs;
        self.class == other.class && wide(self.major, other.major) && wide(self.minor, other.minor)
    }

    fn meets(self, other: Self) -> bool {
        let common = |a: Option<u32>, b: Option<u32>| a.is_none() || b.is_none() || a == b;
        self.class == other.class && common(self.major, other.major) && common(self.minor, other.minor)
    }
}

/// What the controller of version 1 can hold: one answer for all devices, and exceptions that all say the opposite.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Whitelist {
    allow_all: bool,
    exceptions: BTreeMap<Key, (Access, Option<usize>)>,
}

impl Whitelist {
    /// Folds the rules; an error where version 1 has no way to say what they say ("all of these but that one").
    pub(crate) fn new(rules: &[Rule]) -> Result<Self, Problem> {
        let mut list = Self { allow_all: false, exceptions: BTreeMap::new() };
        for rule in rules {
            list.apply(rule)?;
        }
        list.widen();
        Ok(list)
    }

    /// What is allowed where all else is denied; none where everything is allowed with exceptions.
    pub(crate) fn allowed(&self) -> Option<impl Iterator<Item = (Class, Option<u32>, Option<u32>, Access)>> {
        let exceptions = self.exceptions.iter();
        (!self.allow_all)
            .then(|| exceptions.map(|(key, &(access, _))| (key.class, key.major, key.minor, access)))
    }

    fn apply(&mut self, rule: &Rule) -> Result<(), Problem> {
        if rule.is_total() {
            self.allow_all = rule.allow;
            self.exceptions.clear();
            return Ok(());
        }
        let classes = rule.class.map_or(vec![Class::Block, Class::Char], |class| vec![class]);
        for class in classes {
            let key = Key { class, major: rule.major, minor: rule.minor };
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
                // What is left is a hole in "make any node", a default. That the node can be made does no harm: the
                // rule still keeps it from being opened.
            }
            self.exceptions.retain(|_, (access, _)| access.0 != 0);
        }
        Ok(())
    }

    /// The kernel wants one exception that grants the whole access, so an exception also says what wider ones say, and
    /// where two cross ("all of major 1", "all with minor 3") there is one for what they have in common.
    fn widen(&mut self) {
        let keys: Vec<Key> = self.exceptions.keys().copied().collect();
        for (index, a) in keys.iter().enumerate() {
            for b in &keys[index + 1..] {
                if a.meets(*b) && !a.covers(*b) && !b.covers(*a) {
                    let common =
                        Key { class: a.class, major: a.major.or(b.major), minor: a.minor.or(b.minor) };
                    let index = self.exceptions[a].1;
                    self.exceptions.entry(common).or_insert((Access(0), index));
                }
            }
        }
        let all: Vec<(Key, Access)> =
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

    /// The lines that bring a cgroup into this state from that of another list, without a moment in which something is
    /// denied that both allow, if the kernel can have it so: not where one of them allows everything.
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

impl Key {
    /// The line for `devices.allow` and `devices.deny`.
    fn line(self, access: Access) -> String {
        let class = if self.class == Class::Block { 'b' } else { 'c' };
        let number = |number: Option<u32>| number.map_or("*".to_owned(), |number| number.to_string());
        format!("{class} {}:{} {access}", number(self.major), number(self.minor))
    }
}

fn not_on_v1(rule: &Rule) -> Problem {
    let index = rule.index.unwrap_or_default();
    let message = "cgroup v1 cannot make an exception from an earlier, wider device rule";
    Problem::unsupported(format!("/linux/resources/devices/{index}"), message)
        .hint("list the devices one by one, or use cgroup v2")
}

#[cfg(test)]
pub(crate) mod tests {
    use oci_spec::runtime::LinuxDeviceCgroupBuilder;
    use proptest::prelude::*;

    use super::*;

    /// One access of a process to a device, as the kernel sees it.
    #[derive(Clone, Copy, Debug)]
    pub(crate) struct Request {
        pub(crate) class: Class,
        pub(crate) major: u32,
        pub(crate) minor: u32,
        pub(crate) access: u8,
    }

    /// The meaning of a rule list, by its definition.
    pub(crate) fn judge(rules: &[Rule], request: Request) -> bool {
        [1, 2, 4].into_iter().filter(|bit| request.access & bit != 0).all(|bit| {
            let decides = |rule: &&Rule| {
                rule.access.0 & bit != 0
                    && rule.class.is_none_or(|class| class == request.class)
                    && rule.major.is_none_or(|major| major == request.major)
                    && rule.minor.is_none_or(|minor| minor == request.minor)
            };
            rules.iter().rev().find(decides).is_some_and(|rule| rule.allow)
        })
    }

    /// The devices controller of version 1 (`security/device_cgroup.c`), fed line by line.
    fn judge_v1(list: &Whitelist, request: Request) -> bool {
        let key = Key { class: request.class, major: Some(request.major), minor: Some(request.minor) };
        let mut touching = list.exceptions.iter().filter(|(exception, _)| exception.covers(key));
        if list.allow_all {
            !touching.any(|(_, (access, _))| access.0 & request.access != 0)
        } else {
            touching.any(|(_, (access, _))| access.0 & request.access == request.access)
        }
    }

    pub(crate) fn any_rule() -> impl Strategy<Value = Rule> {
        let class = prop_oneof![Just(None), Just(Some(Class::Block)), Just(Some(Class::Char))];
        let number = || prop_oneof![Just(None), (0_u32..3).prop_map(Some)];
        (any::<bool>(), class, number(), number(), 1_u8..8).prop_map(
            |(allow, class, major, minor, access)| Rule {
                allow,
                class,
                major,
                minor,
                access: Access(access),
                index: Some(0),
            },
        )
    }

    pub(crate) fn requests() -> impl Iterator<Item = Request> {
        let classes = [Class::Block, Class::Char].into_iter();
        let numbers =
            classes.flat_map(|class| (0..4).flat_map(move |major| (0..4).map(move |m| (class, major, m))));
        numbers.flat_map(|(class, major, minor)| {
            (1..8).map(move |access| Request { class, major, minor, access })
        })
    }

    fn configured(
        allow: bool,
        typ: Option<LinuxDeviceType>,
        numbers: [i64; 2],
        access: &str,
    ) -> LinuxDeviceCgroup {
        let rule = LinuxDeviceCgroupBuilder::default()
            .allow(allow)
            .access(access)
            .major(numbers[0])
            .minor(numbers[1]);
        match typ {
            Some(typ) => rule.typ(typ).build().unwrap(),
            None => rule.build().unwrap(),
        }
    }

    fn null(access: u8) -> Request {
        Request { class: Class::Char, major: 1, minor: 3, access }
    }

    #[test]
    fn deny_all_goes_back_to_the_defaults() {
        let deny = configured(false, None, [-1, -1], "rwm");
        let disk = configured(true, Some(LinuxDeviceType::B), [8, 0], "r");
        let list = rules(&[deny.clone(), deny.clone(), disk.clone()]).unwrap();
        assert!(
            judge(&list, null(6))
                && !judge(&list, Request { class: Class::Block, major: 8, minor: 1, access: 2 })
        );
        assert!(judge(&list, Request { class: Class::Block, major: 8, minor: 0, access: 3 }));
        let all = configured(true, None, [-1, -1], "rwm");
        assert_eq!(rules(&[disk.clone(), all, deny.clone()]).unwrap(), DEFAULTS);
        let twice = rules(&[deny.clone(), disk.clone(), deny.clone(), disk.clone()]).unwrap();
        assert_eq!(twice.len(), DEFAULTS.len() + 1);
        assert_eq!(rules(&[]).unwrap(), DEFAULTS);
    }

    #[test]
    fn a_rule_can_take_a_default_away() {
        let rule = configured(false, Some(LinuxDeviceType::C), [1, 3], "w");
        let list = rules(&[rule]).unwrap();
        assert!(!judge(&list, null(4)) && judge(&list, null(2)));
        assert!(!judge_v1(&Whitelist::new(&list).unwrap(), null(4)));
        assert!(judge_v1(&Whitelist::new(&list).unwrap(), null(2)));
    }

    #[test]
    fn the_list_of_an_engine_becomes_one_deny_and_allows() {
        let c = Some(LinuxDeviceType::C);
        let list = [
            configured(false, None, [-1, -1], "rwm"),
            configured(true, c, [1, 5], "rwm"),
            configured(true, c, [5, 1], "rwm"),
            configured(false, c, [10, 229], "rwm"),
        ];
        let writes = Whitelist::new(&rules(&list).unwrap()).unwrap().writes();
        let lines: Vec<_> = writes.iter().map(|w| w.line.as_str()).collect();
        let expected = [
            "a",
            "b *:* m",
            "c *:* m",
            "c 1:3 rwm",
            "c 1:5 rwm",
            "c 1:7 rwm",
            "c 1:8 rwm",
            "c 1:9 rwm",
            "c 5:0 rwm",
            "c 5:1 rwm",
            "c 5:2 rwm",
            "c 10:200 rwm",
            "c 136:* rwm",
        ];
        assert_eq!(lines, expected);
        assert!(writes[0].deny && writes[1..].iter().all(|w| !w.deny));
        assert_eq!(writes[9].index, Some(2));
        assert_eq!(writes[4].index, None, "a default that is listed again stays a default");
    }

    #[test]
    fn privileged_is_one_line() {
        let list = rules(&[configured(true, None, [-1, -1], "rwm")]).unwrap();
        let writes = Whitelist::new(&list).unwrap().writes();
        assert_eq!(writes, [DeviceWrite { deny: false, line: "a".to_owned(), index: None }]);
    }

    #[test]
    fn rules_that_cannot_be() {
        let cases = [
            (configured(true, Some(LinuxDeviceType::P), [1, 1], "r"), "type"),
            (configured(true, None, [-2, 1], "r"), "major"),
            (configured(true, None, [1, 1 << 33], "r"), "minor"),
            (configured(true, None, [1, 1], "rx"), "access"),
        ];
        for (rule, property) in cases {
            let problem = rules(&[rule]).unwrap_err();
            assert_eq!(problem.pointer, format!("/linux/resources/devices/0/{property}"));
        }
        let hole = [
            configured(true, Some(LinuxDeviceType::C), [1, -1], "rw"),
            configured(false, Some(LinuxDeviceType::C), [1, 3], "w"),
        ];
        let problem = Whitelist::new(&rules(&hole).unwrap()).unwrap_err();
        assert_eq!((problem.pointer.as_str(), problem.unsupported), ("/linux/resources/devices/1", true));
    }

    proptest! {
        #[test]
        fn version_1_means_the_same_or_says_that_it_cannot(rules in prop::collection::vec(any_rule(), 0..8)) {
            if let Ok(list) = Whitelist::new(&rules) {
                for request in requests() {
                    prop_assert_eq!(judge_v1(&list, request), judge(&rules, request), "{:?} {:?}", request, list);
                }
            }
        }
    }
}
