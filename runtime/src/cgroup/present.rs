//! Whether the kernel has the files that resources ask for, judging by existing cgroups.

use std::path::{Path, PathBuf};

use oci_spec::runtime::LinuxResources;

use super::layout::{CgroupLayout, Hierarchy};
use super::settings::{Absent, Current, Setting, translate};
use crate::error::Error;

/// The settings for which a cgroup of the same kind has no file. If there is no cgroup to look at, nothing is reported.
pub(crate) fn missing_files(resources: &LinuxResources, layout: &CgroupLayout) -> Vec<Error> {
    let (settings, _) = translate(resources, layout, &Current::fresh());
    let mut errors = Vec::new();
    for setting in &settings {
        let Some(example) = example(layout, setting) else { continue };
        if !is_there(setting, &example) {
            let message = format!("this kernel has no cgroup file {}", setting.file);
            errors.push(Error::unsupported(setting.pointer.clone(), message));
        }
    }
    errors
}

fn is_there(setting: &Setting, dir: &Path) -> bool {
    dir.join(&*setting.file).exists()
        || match &setting.absent {
            Absent::Fail => false,
            Absent::Skip => true,
            Absent::Instead(other) => is_there(other, dir),
        }
}

/// A cgroup of the hierarchy that has the controller and is not the root, which lacks some files.
fn example(layout: &CgroupLayout, setting: &Setting) -> Option<PathBuf> {
    let mount = layout.mount(setting.place)?;
    let own = match setting.place {
        Hierarchy::V1(index) => &layout.v1.get(index)?.own,
        Hierarchy::V2 => &layout.v2.as_ref()?.own,
    };
    let own = own.strip_prefix("/").unwrap_or(own);
    let above = own.ancestors().filter(|path| !path.as_os_str().is_empty()).map(|path| mount.join(path));
    let below = std::fs::read_dir(mount).into_iter().flatten().flatten();
    let below =
        below.filter(|entry| entry.file_type().is_ok_and(|typ| typ.is_dir())).map(|entry| entry.path());
    above.chain(below).find(|dir| {
        let has_controller = |text: String| text.split_whitespace().any(|name| name == setting.controller);
        dir.join("cgroup.procs").exists()
            && (setting.place != Hierarchy::V2
                || setting.controller == "cgroup"
                || std::fs::read_to_string(dir.join("cgroup.controllers")).is_ok_and(has_controller))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::layout::Mode;
    use super::super::layout::V2Hierarchy;
    use super::*;

    #[test]
    fn files_are_looked_for_where_the_controller_is() {
        let dir = tempfile::tempdir().unwrap();
        let put = |path: &str, text: &str| {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        let layout = CgroupLayout {
            mode: Mode::V2,
            v1: Vec::new(),
            v2: Some(V2Hierarchy {
                controllers: vec!["memory".into(), "pids".into()],
                mount: dir.path().to_owned(),
                own: "/own".into(),
            }),
            page_sizes: None,
        };
        let resources: LinuxResources = serde_json::from_value(
            json!({"unified": {"memory.high": "1", "memory.nonsense": "1", "pids.nonsense": "1"}}),
        )
        .unwrap();
        let missing = || {
            let errors = missing_files(&resources, &layout);
            errors.iter().map(|error| error.pointer().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(missing(), [""; 0], "nothing to look at");
        put("own/cgroup.procs", "");
        put("own/cgroup.controllers", "pids\n");
        assert_eq!(missing(), ["/linux/resources/unified/pids.nonsense"]);
        put("slice/cgroup.procs", "");
        put("slice/cgroup.controllers", "memory pids\n");
        put("slice/memory.high", "max\n");
        assert_eq!(
            missing(),
            ["/linux/resources/unified/memory.nonsense", "/linux/resources/unified/pids.nonsense"]
        );
    }
}
