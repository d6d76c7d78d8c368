//! Everything about a creation that is decided before its first side effect.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use oci_spec::runtime::Spec;

use super::cgroups::layout;
use super::host_check::{hard_limit, refuse_host_sysctls};
use super::host_mounts::mount_at;
use super::links::links;
use super::nodes;
use super::options::CreateOptions;
use super::record::Record;
use super::runtime::Runtime;
use super::store::Directory;
use crate::bundle::Bundle;
use crate::cgroup::{Cgroup, CgroupLayout, CgroupPlan, Mode, V1Hierarchy};
use crate::check::rootless;
use crate::error::{Error, ErrorKind, Result};
use crate::finding::into_result;
use crate::host::Host;
use crate::id::ContainerId;
use crate::linux::lsm;
use crate::linux::namespace::Namespaces;
use crate::plan::mount::cgroup::{CgroupView, Views};
use crate::plan::{Gate, Plan, Request};

/// The annotation that keeps the caller's supplementary groups.
pub(crate) const KEEP_GROUPS: &str = "run.oci.keep_original_groups";

/// Everything that is decided before the first side effect.
pub(super) struct Prepared {
    pub(super) plan: Plan,
    pub(super) cgroup: CgroupPlan,
    pub(super) record: Record,
}

impl Runtime {
    /// Decides everything. `made` is the cgroup that could be made, if that is less than was planned.
    pub(super) fn prepare(
        &self,
        id: &ContainerId,
        bundle: &Bundle,
        options: &CreateOptions,
        gate: Gate,
        made: Option<&Cgroup>,
    ) -> Result<Prepared> {
        let spec = bundle.spec();
        for warning in bundle.warnings().iter().chain(&into_result(crate::check::check(spec))?) {
            warning.log();
        }
        let host = Host::probe()?;
        let linux = spec.linux().as_ref();
        let root = spec
            .root()
            .as_ref()
            .ok_or_else(|| Error::new(ErrorKind::InvalidSpec, "root is required").at("/root"))?;
        let rootfs = bundle.dir().join(root.path());
        match std::fs::metadata(&rootfs) {
            Ok(metadata) if metadata.is_dir() => {}
            Ok(_) => {
                return Err(Error::new(
                    ErrorKind::InvalidSpec,
                    format!("the root file system {} is not a directory", rootfs.display()),
                )
                .at("/root/path"));
            }
            Err(error) => {
                return Err(
                    Error::io(&error, format!("invalid rootfs: stat {}", rootfs.display())).at("/root/path")
                );
            }
        }
        let namespaces = Namespaces::of(linux);
        refuse_host_sysctls(spec, &namespaces)?;
        lsm::refuse_absent(spec.process().as_ref(), "/process", linux)?;
        for warning in into_result(rootless::check(spec, host, hard_limit))? {
            warning.log();
        }
        let layout = layout(bundle)?;
        let cgroup = self.cgroups().plan(spec, id.as_str(), &layout, host.is_rootless())?;
        let planned = Cgroup::open(cgroup.planned_record());
        let made = made.unwrap_or(&planned);
        let found = made.found_v2().map(|dir| dir.join("cgroup.procs"));
        let tasks: Vec<_> = made.tasks_files().into_iter().chain(found).collect();
        let views = views(&layout, made);
        let renamed =
            if namespaces.user.is_own() || !host.makes_devices() { nodes::renamed(spec) } else { Vec::new() };
        let notify = options.notify_socket.then(|| self.directory(id).notify());
        let mut env: Vec<OsString> = options.env.iter().map(OsString::from).collect();
        if notify.is_some() {
            env.push(format!("NOTIFY_SOCKET={}", Directory::notify_socket_inside()).into());
        }
        let request = Request {
            id: id.as_str(),
            renamed: &renamed,
            links: &links(spec.mounts().as_deref().unwrap_or_default(), bundle.dir()),
            bundle: bundle.dir(),
            rootfs: &rootfs,
            gate,
            no_pivot: options.no_pivot,
            new_keyring: !options.no_new_keyring,
            preserved: options.child.preserve_fds,
            notify: notify.as_deref(),
            env: &env,
            host,
            keep_groups: keeps_groups(spec),
            tasks: &tasks,
            views: &views,
            scope: cgroup.scope.as_ref().map(|scope| &*scope.record.unit),
        };
        let plan = crate::plan::create(spec, &request)?;
        let mut record = Record::intent(
            id.as_str(),
            spec,
            bundle.dir().to_owned(),
            rootfs.clone(),
            cgroup.intent(),
            namespaces.flags(),
        );
        if record.host_mounts {
            record.mount_before = mount_at(&rootfs);
        }
        record.new_keyring = request.new_keyring;
        Ok(Prepared { plan, cgroup, record })
    }
}

/// Whether the process keeps the caller's supplementary groups, by crun's annotation, which Podman writes for
/// `--group-add keep-groups`: the process may then use files of groups that have no id inside.
pub(super) fn keeps_groups(spec: &Spec) -> bool {
    spec.annotations().as_ref().is_some_and(|all| all.contains_key(KEEP_GROUPS))
}

/// What a cgroup mount of the container shows: its own cgroups or, if it has none, the runtime's.
pub(super) fn views(layout: &CgroupLayout, made: &Cgroup) -> Views {
    let dirs = &made.record().dirs;
    let shared = |mount: &Path, own: &Path| mount.join(own.strip_prefix("/").unwrap_or(own));
    if layout.mode == Mode::V2 {
        let own = made.v2_dir();
        let is_own = own.is_some();
        let shared = || layout.v2.as_ref().map(|v2| shared(&v2.mount, &v2.own));
        let directory = own.or_else(shared).unwrap_or_else(|| PathBuf::from("/sys/fs/cgroup"));
        return Views::Unified { directory, is_own };
    }
    let view = |hierarchy: &V1Hierarchy| {
        let named = hierarchy.controllers.iter().find_map(|controller| controller.strip_prefix("name="));
        let own = dirs.iter().find(|dir| dir.mount == hierarchy.mount);
        CgroupView {
            name: hierarchy
                .mount
                .file_name()
                .map(|name| name.to_string_lossy().into_owned())
                .unwrap_or_default(),
            controllers: named.map_or_else(|| hierarchy.controllers.clone(), |name| vec![name.to_owned()]),
            named: named.is_some(),
            directory: own
                .map_or_else(|| shared(&hierarchy.mount, &hierarchy.own), crate::cgroup::DirRecord::path),
            is_own: own.is_some(),
        }
    };
    Views::Split(layout.v1.iter().map(view).collect())
}
