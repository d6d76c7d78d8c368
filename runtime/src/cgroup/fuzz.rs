//! Files of the cgroup file system, names of units, annotations and D-Bus messages for fuzz targets.

use std::hint::black_box;
use std::path::{Component, Path};

use oci_spec::runtime::LinuxResources;

use super::layout::{Membership, examples};
use super::path::{CgroupPath, SubCgroup, unified_membership};
use super::{settings, stats, systemd};

/// The same text as each file of a cgroup, and as `/proc/PID/cgroup`.
pub(crate) fn files(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    stats::fuzz::files(&text);
    black_box(text.lines().filter_map(Membership::parse).count());
    assert!(unified_membership(&text).is_none_or(|path| text.contains(path)), "a cgroup from nowhere");
}

/// The text as a path, as a part of one, and as names of systemd. Nothing leads out of the cgroup.
pub(crate) fn names(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let climbs = |path: &Path| path.components().any(|part| part == Component::ParentDir);
    if let Ok(path) = CgroupPath::parse(Some(Path::new(&*text)), "fuzz", false) {
        for layout in [examples::v2(&["memory"]), examples::v1(&["memory"])] {
            assert!(layout.places().all(|place| !climbs(&path.inside(&layout, place))), "the path leads out");
        }
    }
    if let Ok(part) = SubCgroup::parse(&text) {
        assert!(!climbs(&part.path) && part.path.is_relative(), "the sub cgroup leads out");
    }
    systemd::fuzz::names(&text);
}

/// Limits on two kinds of machines. No file is outside the directory of the cgroup, and no value has a second line.
pub(crate) fn limits(resources: &LinuxResources) {
    for layout in
        [examples::v2(&["cpu", "cpuset", "io", "memory", "pids"]), examples::v1(&["cpu,cpuacct", "memory"])]
    {
        black_box(settings::check(resources, &layout));
        let fresh = settings::Current::fresh();
        for setting in settings::settings_for(resources, &layout, &fresh).unwrap_or_default() {
            assert!(!setting.file.contains('/'), "a file outside of the cgroup: {}", setting.file);
        }
    }
}

/// What systemd or a bus says.
pub(crate) fn bus(bytes: &[u8]) {
    systemd::fuzz::bus(bytes);
}
