//! A container's device rules: what `linux.resources.devices` means, and how to express it to version 1.
//!
//! For each permission of an access (read, write, mknod), the *last* rule that names the device and the permission
//! decides. Before the first rule, everything is denied except the devices that every container needs, [`DEFAULTS`].
//! "Deny all" goes back to that, wherever it stands: every engine's list starts with it, and Docker 28 writes its list
//! twice. Rules after it can deny a default. (runc adds its defaults after the list, where no rule can deny them.)

mod whitelist;

use std::fmt;

use oci_spec::runtime::{LinuxDeviceCgroup, LinuxDeviceType, LinuxResources};

pub(crate) use self::whitelist::{DeviceWrite, Whitelist};
use super::layout::CgroupLayout;
use crate::error::{Error, Result};

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

    /// A repeated letter adds nothing, and neither does one that stands for no permission; a text of only such letters
    /// gives none.
    fn parse(text: &str) -> Option<Self> {
        let bit = |c: char| match c {
            'm' => 1,
            'r' => 2,
            'w' => 4,
            _ => 0,
        };
        Some(text.chars().fold(0, |bits, c| bits | bit(c))).filter(|bits| *bits != 0).map(Self)
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

/// One rule, in its place.
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
/// tun (10:200) is, as denying it broke VPN software that had never needed to ask for it.
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

/// A container's complete list of rules: the defaults, then the configuration's, without what a total rule makes void.
pub(crate) fn rules(configured: &[LinuxDeviceCgroup]) -> Result<Vec<Rule>> {
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

fn parse(rule: &LinuxDeviceCgroup, index: usize) -> Result<Rule> {
    let at = |name: &str| format!("/linux/resources/devices/{index}/{name}");
    let class = match rule.typ() {
        None | Some(LinuxDeviceType::A) => None,
        Some(LinuxDeviceType::B) => Some(Class::Block),
        Some(LinuxDeviceType::C) => Some(Class::Char),
        Some(other) => {
            return Err(Error::invalid(
                at("type"),
                format!("a device rule is for type a, b or c, not {:?}", other.as_str()),
            ));
        }
    };
    let number = |number: Option<i64>, name: &str| match number {
        None | Some(-1) => Ok(None),
        Some(value) => u32::try_from(value)
            .map(Some)
            .map_err(|_| Error::invalid(at(name), format!("{value} is not a device number; -1 means any"))),
    };
    let text = rule.access().as_deref().unwrap_or_default();
    let access = match text {
        "" => Access::ALL,
        text => Access::parse(text)
            .ok_or_else(|| Error::invalid(at("access"), format!("{text:?} has none of r, w and m")))?,
    };
    let (major, minor) = (number(rule.major(), "major")?, number(rule.minor(), "minor")?);
    Ok(Rule { allow: rule.allow(), class, major, minor, access, index: Some(index) })
}

/// Everything that is wrong with the rules on this machine.
pub(crate) fn check(resources: &LinuxResources, layout: &CgroupLayout) -> Option<Error> {
    let configured = resources.devices().as_deref().unwrap_or_default();
    match rules(configured) {
        Err(error) => Some(error),
        Ok(list) if layout.v1_place("devices").is_some() => Whitelist::new(&list).err(),
        Ok(_) if layout.v2.is_some() || configured.is_empty() => None,
        Ok(_) => Some(Error::unsupported(
            "/linux/resources/devices",
            "the devices controller of cgroup v1 is not available on this machine",
        )),
    }
}

#[cfg(test)]
pub(crate) mod tests;
