//! `linux.netDevices`: names that the kernel accepts, and a namespace to move the devices to.

use std::collections::BTreeMap;

use oci_spec::runtime::Linux;

use crate::finding::{Report, escape, sorted};
use crate::linux::namespace::Namespaces;

pub(super) fn check(linux: &Linux, namespaces: &Namespaces, report: &mut Report) {
    let Some(devices) = linux.net_devices().as_ref().filter(|devices| !devices.is_empty()) else { return };
    if !namespaces.network.is_own() {
        report.error("/linux/netDevices", "needs a network namespace in /linux/namespaces");
    }
    let mut taken = BTreeMap::new();
    for (name, device) in sorted(devices) {
        let at = format!("/linux/netDevices/{}", escape(name));
        if let Err(why) = name_of_device(name) {
            report.error(at.as_str(), why);
        } else if name == "lo" {
            report.error(at.as_str(), "the loopback device belongs to its namespace and cannot be moved");
        } else if name.contains('%') {
            report.error(at.as_str(), format!("{name:?} is a template, and no device can have that name"));
        }
        // Callers write an empty name if they mean none.
        let rename = device.name().as_deref().filter(|rename| !rename.is_empty());
        let at = if rename.is_some() { format!("{at}/name") } else { at };
        if let Some(rename) = rename {
            if let Err(why) = name_of_device(rename).and_then(|()| template(rename)) {
                report.error(at.as_str(), why);
                continue;
            }
            if rename == "lo" {
                report.error(at.as_str(), "every network namespace already has a device lo");
            }
        }
        let inside = rename.unwrap_or(name);
        if !inside.contains('%')
            && let Some(other) = taken.insert(inside, name)
        {
            report.error(at, format!("{inside:?} is also the name of {other:?} in the container"));
        }
    }
}

/// What the kernel accepts as a name (net/core/dev.c, `dev_valid_name`; netdevice(7), `IFNAMSIZ`).
fn name_of_device(name: &str) -> Result<(), String> {
    /// `IFNAMSIZ` with its NUL.
    const SIZE: usize = 16;
    if name.is_empty() {
        Err("the name is empty".to_owned())
    } else if name.len() >= SIZE {
        Err(format!("{name:?} has {} bytes; the kernel takes at most {}", name.len(), SIZE - 1))
    } else if name == "." || name == ".." {
        Err(format!("{name:?} is not the name of a network device"))
    } else if name
        .bytes()
        .any(|byte| matches!(byte, b'/' | b':' | 0) || byte == 0x0b || byte.is_ascii_whitespace())
    {
        Err(format!("{name:?} has a slash, a colon, a space or a NUL, which the kernel does not allow"))
    } else {
        Ok(())
    }
}

/// A template has one `%d` and no other `%` (net/core/dev.c, `__dev_alloc_name`).
fn template(name: &str) -> Result<(), String> {
    match name.split_once('%') {
        Some((_, rest)) if !rest.starts_with('d') || rest.contains('%') => {
            Err(format!("{name:?} is not a valid template: a template has \"%d\" once, and no other %"))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_kernel() {
        for good in ["eth0", "a", "abcdefghijklmno", "...", "é", "veth-1_2@x"] {
            assert_eq!(name_of_device(good), Ok(()), "{good}");
        }
        for bad in ["", ".", "..", "a/b", "a:b", "a b", "a\tb", "a\n", "a\u{b}", "a\0", "abcdefghijklmnop"] {
            assert!(name_of_device(bad).is_err(), "{bad:?}");
        }
        for good in ["eth0", "eth%d", "%d", "e%dx"] {
            assert_eq!(template(good), Ok(()), "{good}");
        }
        for bad in ["eth%", "eth%s", "eth%d%d", "%d%", "100%"] {
            assert!(template(bad).is_err(), "{bad}");
        }
    }
}
