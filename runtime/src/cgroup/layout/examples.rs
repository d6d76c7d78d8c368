//! Machines that tests and fuzz targets make plans for.

use std::path::Path;

use super::{CgroupLayout, Mode, V1Hierarchy, V2Hierarchy};

/// A machine of version 2 with these controllers.
pub(crate) fn v2(controllers: &[&str]) -> CgroupLayout {
    CgroupLayout {
        mode: Mode::V2,
        v1: Vec::new(),
        v2: Some(V2Hierarchy {
            controllers: controllers.iter().map(|&c| c.to_owned()).collect(),
            mount: "/sys/fs/cgroup".into(),
            own: "/user.slice".into(),
        }),
        page_sizes: Some(vec!["2MB".to_owned(), "1GB".to_owned()]),
    }
}

/// A machine of version 1 with one hierarchy per entry (`cpu,cpuacct`).
pub(crate) fn v1(hierarchies: &[&str]) -> CgroupLayout {
    let hierarchy = |names: &&str| V1Hierarchy {
        controllers: names.split(',').map(str::to_owned).collect(),
        mount: Path::new("/sys/fs/cgroup").join(names),
        own: "/own".into(),
    };
    CgroupLayout {
        mode: Mode::V1,
        v1: hierarchies.iter().map(hierarchy).collect(),
        v2: None,
        page_sizes: Some(vec!["2MB".to_owned(), "1GB".to_owned()]),
    }
}
