use std::collections::BTreeMap;

use oci_spec::runtime::LinuxDeviceCgroupBuilder;
use proptest::prelude::*;

use super::whitelist::RuleKey;
use super::*;
use crate::error::ErrorKind;

/// One access of a process to a device, as the kernel sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attempt {
    pub(crate) class: Class,
    pub(crate) major: u32,
    pub(crate) minor: u32,
    pub(crate) access: u8,
}

/// The meaning of a list of rules, by definition.
pub(crate) fn judge(rules: &[Rule], request: Attempt) -> bool {
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
fn judge_v1(list: &Whitelist, request: Attempt) -> bool {
    let key = RuleKey { class: request.class, major: Some(request.major), minor: Some(request.minor) };
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
    (any::<bool>(), class, number(), number(), 1_u8..8).prop_map(|(allow, class, major, minor, access)| {
        Rule { allow, class, major, minor, access: Access(access), index: Some(0) }
    })
}

pub(crate) fn requests() -> impl Iterator<Item = Attempt> {
    let classes = [Class::Block, Class::Char].into_iter();
    let numbers =
        classes.flat_map(|class| (0..4).flat_map(move |major| (0..4).map(move |m| (class, major, m))));
    numbers
        .flat_map(|(class, major, minor)| (1..8).map(move |access| Attempt { class, major, minor, access }))
}

fn configured(
    allow: bool,
    typ: Option<LinuxDeviceType>,
    numbers: [i64; 2],
    access: &str,
) -> LinuxDeviceCgroup {
    let rule =
        LinuxDeviceCgroupBuilder::default().allow(allow).access(access).major(numbers[0]).minor(numbers[1]);
    match typ {
        Some(typ) => rule.typ(typ).build().unwrap(),
        None => rule.build().unwrap(),
    }
}

fn null(access: u8) -> Attempt {
    Attempt { class: Class::Char, major: 1, minor: 3, access }
}

#[test]
fn deny_all_goes_back_to_the_defaults() {
    let deny = configured(false, None, [-1, -1], "rwm");
    let disk = configured(true, Some(LinuxDeviceType::B), [8, 0], "r");
    let list = rules(&[deny.clone(), deny.clone(), disk.clone()]).unwrap();
    assert!(
        judge(&list, null(6))
            && !judge(&list, Attempt { class: Class::Block, major: 8, minor: 1, access: 2 })
    );
    assert!(judge(&list, Attempt { class: Class::Block, major: 8, minor: 0, access: 3 }));
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
        (configured(true, None, [1, 1], "x"), "access"),
    ];
    for (rule, property) in cases {
        let error = rules(&[rule]).unwrap_err();
        assert_eq!(error.pointer().unwrap(), format!("/linux/resources/devices/0/{property}"));
    }
    let hole = [
        configured(true, Some(LinuxDeviceType::C), [1, -1], "rw"),
        configured(false, Some(LinuxDeviceType::C), [1, 3], "w"),
    ];
    let error = Whitelist::new(&rules(&hole).unwrap()).unwrap_err();
    assert_eq!((error.pointer(), error.kind()), (Some("/linux/resources/devices/1"), ErrorKind::Unsupported));
}

/// What the kernel makes of lines: an exception has the permissions that were allowed and not denied since.
fn after(mut list: BTreeMap<String, String>, lines: &[DeviceWrite]) -> BTreeMap<String, String> {
    for write in lines {
        if write.line == "a" {
            list.clear();
            continue;
        }
        let (device, access) = write.line.rsplit_once(' ').unwrap();
        let entry = list.entry(device.to_owned()).or_default();
        let kept = ['r', 'w', 'm']
            .into_iter()
            .filter(|&letter| if access.contains(letter) { !write.deny } else { entry.contains(letter) });
        *entry = kept.collect();
        list.retain(|_, access| !access.is_empty());
    }
    list
}

proptest! {
    #[test]
    fn an_update_of_version_1_reaches_the_other_list_and_denies_nothing_that_both_allow(
        old in prop::collection::vec(any_rule(), 0..6), new in prop::collection::vec(any_rule(), 0..6)
    ) {
        if let (Ok(old), Ok(new)) = (Whitelist::new(&old), Whitelist::new(&new)) && !old.allow_all && !new.allow_all {
            let (from, to) = (after(BTreeMap::new(), &old.writes()), after(BTreeMap::new(), &new.writes()));
            let lines = new.changes(&old);
            prop_assert_eq!(&after(from.clone(), &lines), &to);
            for count in 0..=lines.len() {
                let now = after(from.clone(), &lines[..count]);
                for (device, access) in &from {
                    let both = access.chars().filter(|&a| to.get(device).is_some_and(|access| access.contains(a)));
                    for letter in both {
                        prop_assert!(now.get(device).is_some_and(|access| access.contains(letter)));
                    }
                }
            }
        }
    }

    #[test]
    fn version_1_means_the_same_or_says_that_it_cannot(rules in prop::collection::vec(any_rule(), 0..8)) {
        if let Ok(list) = Whitelist::new(&rules) {
            for request in requests() {
                prop_assert_eq!(judge_v1(&list, request), judge(&rules, request), "{:?} {:?}", request, list);
            }
        }
    }
}
