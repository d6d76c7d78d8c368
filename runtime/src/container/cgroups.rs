//! Who makes the cgroups of containers, and where.

use oci_spec::runtime::{Linux, Spec};

use super::options::CgroupDriver;
use crate::bundle::Bundle;
use crate::cgroup::{CgroupLayout, CgroupPlan, Denial, Instance, names_scope};
use crate::error::Result;

/// Who makes cgroups, and how far annotations are trusted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Cgroups {
    pub(super) driver: CgroupDriver,
    pub(super) trusted: bool,
    pub(super) rootless: Option<bool>,
}

impl Cgroups {
    /// Plans the cgroup of a container.
    pub(super) fn plan(
        self,
        spec: &Spec,
        id: &str,
        layout: &CgroupLayout,
        rootless: bool,
    ) -> Result<CgroupPlan> {
        let denial = match self.rootless {
            Some(true) => Denial::Expected,
            Some(false) => Denial::Fatal,
            None if rootless => Denial::Expected,
            None => Denial::Odd,
        };
        let linux = spec.linux().as_ref();
        let named = linux.and_then(|linux| linux.cgroups_path().as_deref());
        match self.driver {
            CgroupDriver::ByPath => {
                let driver = if named.is_some_and(names_scope) {
                    CgroupDriver::Systemd
                } else {
                    CgroupDriver::Cgroupfs
                };
                Self { driver, ..self }.plan(spec, id, layout, rootless)
            }
            CgroupDriver::Cgroupfs => {
                if denial == Denial::Expected && named.is_none_or(|path| path.as_os_str().is_empty()) {
                    return CgroupPlan::new(linux, id, &layout.clone().one_up(), denial);
                }
                CgroupPlan::new(linux, id, layout, denial)
            }
            CgroupDriver::Systemd => {
                CgroupPlan::in_scope(spec, id, layout, &Instance::of_caller(), denial, self.trusted)
            }
            CgroupDriver::Disabled => {
                let linux = linux.map(without_device_rules);
                CgroupPlan::new(linux.as_ref(), id, &layout.without_hierarchies(), denial)
            }
        }
    }
}

/// Engines send device rules with every container, so these do not count as limits if cgroups are disabled. All other
/// limits are then refused, since they were asked for.
fn without_device_rules(linux: &Linux) -> Linux {
    let mut linux = linux.clone();
    if let Some(mut resources) = linux.resources().clone() {
        resources.set_devices(None);
        linux.set_resources(Some(resources));
    }
    linux
}

/// The host's cgroups, as far as a configuration needs them.
pub(super) fn layout(bundle: &Bundle) -> Result<CgroupLayout> {
    CgroupLayout::probe(bundle.spec().linux().as_ref().and_then(|linux| linux.resources().as_ref()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroup::examples::v2;

    #[test]
    fn the_path_says_whose_cgroup_it_is_where_nothing_else_does() {
        let cgroups = Cgroups { driver: CgroupDriver::ByPath, trusted: false, rootless: None };
        for (path, inner) in [
            ("system.slice:docker:a", "system.slice/docker-a.scope/container"),
            ("/docker/a", "docker/a"),
            ("/a:b:c", "a:b:c"),
        ] {
            let json = format!(r#"{{"ociVersion":"1.2.0","linux":{{"cgroupsPath":"{path}"}}}}"#);
            let spec: Spec = serde_json::from_str(&json).unwrap();
            let plan = cgroups.plan(&spec, "a", &v2(&["memory"]), false).unwrap();
            // A user's scopes are below that user's systemd.
            assert!(plan.dirs[0].inner.ends_with(inner), "{}", plan.dirs[0].inner.display());
        }
    }
}
