//! Creating a container.

use std::os::fd::AsFd as _;
use std::path::Path;

use oci_spec::runtime::Spec;

use super::cgroup_setup::delegate_cgroup;
use super::cgroups::Cgroups;
use super::claims::Claims;
use super::creation::Creation;
use super::handle::Container;
use super::options::{Console, CreateOptions};
use super::prepare::{Prepared, prepare};
use super::store::Directory;
use super::terminal::ConsoleSocket;
use crate::bundle::Bundle;
use crate::cgroup::Manager;
use crate::error::{Error, Kind, Result};
use crate::id::ContainerId;
use crate::plan::Gate;
use crate::trace;

/// Creates a container; with an open gate it then runs at once.
pub(super) fn create(
    root: &Path,
    id: &ContainerId,
    bundle: &Bundle,
    options: CreateOptions,
    gate: Gate,
    cgroups: Cgroups,
    resctrl: Option<&Path>,
) -> Result<Container> {
    trace::begin();
    let directory = Directory::of(root, id);
    let Prepared { mut plan, mut cgroup, mut record } =
        prepare(&directory, bundle, &options, gate, None, cgroups)?;
    plan.log();
    trace::done("checked the configuration and made the plan");
    let spec = bundle.spec();
    let claims = Claims::find(spec, id.as_str(), resctrl)?;
    record.rdt = claims.membership();
    let console = console_socket(spec, &options.console)?;
    check_preserved(options.preserve_fds, &options.absent_fds)?;
    cgroup.refuse_frozen()?;
    // Before the first side effect: there may be no systemd to talk to.
    let cancel = options.cancel.as_ref().map(|fd| fd.as_fd());
    let mut manager =
        cgroup.scope.as_ref().map(|scope| Manager::connect(&scope.record.instance, cancel)).transpose()?;
    let lock = directory.begin(&record, bundle.config_bytes())?;
    trace::done("recorded the intent");
    let mut creation = Creation::new(&directory, spec, record, lock);
    creation.late = cgroup.defer_birth_control();
    creation.claims = claims;
    if options.notify_socket {
        directory.make_notify()?;
    }
    if let Some(manager) = &mut manager {
        cgroup.check_free()?;
        return creation.spawn(&plan, &options, gate, console, id, Some((&cgroup, manager)));
    }
    let planned = cgroup.planned_record();
    let cgroup = creation.cgroup.insert(cgroup.apply()?);
    directory.note_cgroup(cgroup.record())?;
    delegate_cgroup(spec, cgroup)?;
    if cgroup.record().dirs != planned.dirs {
        // A hierarchy that is not writable, and from which nothing is needed, was left out.
        plan = prepare(&directory, bundle, &options, gate, Some(cgroup), cgroups)?.plan;
    }
    trace::done("made the cgroups and set their limits");
    let container = creation.spawn(&plan, &options, gate, console, id, None)?;
    trace::done("recorded the container");
    Ok(container)
}

fn console_socket(spec: &Spec, console: &Console) -> Result<Option<ConsoleSocket>> {
    let terminal = spec.process().as_ref().is_some_and(|process| process.terminal().unwrap_or(false));
    super::terminal::connect(terminal, console)
}

fn check_preserved(count: u32, absent: &[i32]) -> Result<()> {
    for number in (3..count.saturating_add(3)).map(|fd| fd as i32).filter(|fd| !absent.contains(fd)) {
        if !Path::new(&format!("/proc/self/fd/{number}")).exists() {
            return Err(Error::new(
                Kind::System,
                format!("cannot preserve descriptor {number}: it is not open"),
            ));
        }
    }
    Ok(())
}
