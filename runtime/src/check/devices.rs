//! `linux.devices`.

use std::collections::HashMap;
use std::path::{Component, Path};

use oci_spec::runtime::{Linux, LinuxDevice, LinuxDeviceType};

use crate::finding::Report;

/// The widths of a device number in the kernel (`include/linux/kdev_t.h`: 12 and 20 bits).
const MAJORS: i64 = 1 << 12;
const MINORS: i64 = 1 << 20;

const S_IFMT: u32 = 0o170_000;

pub(super) fn check(linux: &Linux, report: &mut Report) {
    let mut seen: HashMap<&Path, (usize, &LinuxDevice)> = HashMap::new();
    for (index, device) in linux.devices().iter().flatten().enumerate() {
        let at = format!("/linux/devices/{index}");
        check_device(device, &at, report);
        let (first, earlier) = *seen.entry(device.path()).or_insert((index, device));
        let same = kind(earlier) == kind(device)
            && (earlier.major(), earlier.minor()) == (device.major(), device.minor());
        if first != index && !same {
            report.error(
                format!("{at}/path"),
                format!("entry {first} asks for a different device at this path"),
            );
        }
    }
}

fn check_device(device: &LinuxDevice, at: &str, report: &mut Report) {
    let path = device.path();
    if !path.is_absolute() {
        report.error(format!("{at}/path"), format!("the path {} is not absolute", path.display()));
    } else if path.components().any(|part| part == Component::ParentDir) || path.file_name().is_none() {
        report.error(format!("{at}/path"), format!("the path {} does not name a file", path.display()));
    }
    if device.typ() != LinuxDeviceType::P {
        for (name, number, end) in [("major", device.major(), MAJORS), ("minor", device.minor(), MINORS)] {
            if !(0..end).contains(&number) {
                report.error(format!("{at}/{name}"), format!("must be from 0 to {}", end - 1));
            }
        }
    }
    for (name, id) in [("uid", device.uid()), ("gid", device.gid())] {
        if id == Some(u32::MAX) {
            report.error(format!("{at}/{name}"), "4294967295 is not an id");
        }
    }
    if let Some(mode) = device.file_mode() {
        // Some engines copy st_mode with its type bits.
        let typ = mode & S_IFMT;
        if mode & !(S_IFMT | 0o7777) != 0 || (typ != 0 && typ != kind(device)) {
            report.error(
                format!("{at}/fileMode"),
                format!(
                    "{mode} is octal {mode:o}, which is not a mode of such a device; JSON numbers are decimal"
                ),
            );
        }
    }
}

/// The type bits of `st_mode`; `u` is an unbuffered character device (mknod(1)).
fn kind(device: &LinuxDevice) -> u32 {
    match device.typ() {
        LinuxDeviceType::B => 0o060_000,
        LinuxDeviceType::P => 0o010_000,
        LinuxDeviceType::C | LinuxDeviceType::U | LinuxDeviceType::A => 0o020_000,
    }
}
