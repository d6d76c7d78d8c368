//! Device rules as `DevicePolicy=` and `DeviceAllow=`.
//!
//! They repeat what the runtime itself loads into the kernel, so that systemd keeps it when it writes its own rules
//! again. For a list that `DeviceAllow=` cannot express there is no policy: then only the runtime's rules are in force.

use super::super::devices::{Class, Rule, Whitelist};
use super::value::{Property, PropertyValue};

/// The properties for a list of rules.
pub(super) fn of(rules: &[Rule]) -> Vec<Property> {
    let allowed = Whitelist::new(rules).ok().and_then(|list| {
        let allowed: Option<Vec<PropertyValue>> = list
            .allowed()?
            .map(|(class, major, minor, access)| {
                Some(PropertyValue::Tuple(vec![
                    PropertyValue::text(node(class, major, minor)?),
                    PropertyValue::text(access.to_string()),
                ]))
            })
            .collect();
        allowed
    });
    let policy = if allowed.is_some() { "strict" } else { "auto" };
    vec![
        Property::new("DevicePolicy", PropertyValue::text(policy)),
        Property::new("DeviceAllow", PropertyValue::Array("(ss)", allowed.unwrap_or_default())),
    ]
}

/// How `DeviceAllow=` names devices; it cannot name one minor number of every major.
fn node(class: Class, major: Option<u32>, minor: Option<u32>) -> Option<String> {
    let class = if class == Class::Block { "block" } else { "char" };
    match (major, minor) {
        (Some(major), Some(minor)) => Some(format!("/dev/{class}/{major}:{minor}")),
        (Some(major), None) => Some(format!("{class}-{major}")),
        (None, None) => Some(format!("{class}-*")),
        (None, Some(_)) => None,
    }
}

#[cfg(test)]
mod tests {
    use oci_spec::runtime::{LinuxDeviceCgroup, LinuxDeviceCgroupBuilder, LinuxDeviceType};

    use super::super::super::devices::rules;
    use super::*;

    fn rule(allow: bool, typ: LinuxDeviceType, numbers: [i64; 2], access: &str) -> LinuxDeviceCgroup {
        let rule = LinuxDeviceCgroupBuilder::default().allow(allow).typ(typ).access(access);
        rule.major(numbers[0]).minor(numbers[1]).build().unwrap()
    }

    #[test]
    fn the_defaults_and_a_device() {
        let list = rules(&[rule(true, LinuxDeviceType::B, [8, -1], "r")]).unwrap();
        insta::assert_debug_snapshot!(of(&list));
    }

    #[test]
    fn what_has_no_name_is_left_to_the_runtimes_own_rules() {
        let auto = [
            Property::new("DevicePolicy", PropertyValue::text("auto")),
            Property::new("DeviceAllow", PropertyValue::Array("(ss)", Vec::new())),
        ];
        assert_eq!(of(&rules(&[rule(true, LinuxDeviceType::A, [-1, -1], "rwm")]).unwrap()), auto);
        assert_eq!(of(&rules(&[rule(true, LinuxDeviceType::C, [-1, 3], "r")]).unwrap()), auto);
        let hole =
            [rule(true, LinuxDeviceType::C, [1, -1], "rw"), rule(false, LinuxDeviceType::C, [1, 3], "w")];
        assert_eq!(of(&rules(&hole).unwrap()), auto);
    }
}
