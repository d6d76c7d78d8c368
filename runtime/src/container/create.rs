//! Creating a container.

use std::path::Path;

use super::cgroup_setup::connect;
use super::claims::Claims;
use super::creation::Creation;
use super::handle::Container;
use super::options::{ChildOptions, CreateOptions};
use super::prepare::Prepared;
use super::runtime::Runtime;
use super::terminal::{Destination, has_terminal};
use crate::bundle::Bundle;
use crate::error::{Error, ErrorKind, Result};
use crate::id::ContainerId;
use crate::plan::{Explanation, Gate};
use crate::trace;

impl Runtime {
    /// The ordered steps that [`Runtime::create`] would take, without taking them.
    ///
    /// # Errors
    ///
    /// As [`Runtime::create`], for everything that it refuses before its first side effect.
    pub fn explain(&self, id: &ContainerId, bundle: &Bundle, options: &CreateOptions) -> Result<Explanation> {
        let prepared = self.prepare(id, bundle, options, Gate::Socket, None)?;
        Claims::find(bundle.spec(), id.as_str(), self.resctrl())?;
        Ok(prepared.plan.explain(id.as_str()))
    }

    /// Creates a container: afterwards everything but its program is in place, and its first process waits for
    /// [`Container::start`].
    ///
    /// # Errors
    ///
    /// A malformed or contradictory configuration (`ErrorKind::InvalidSpec`) and an id in use (`ErrorKind::Exists`) end it before
    /// any side effect. Any later failure leaves the host as it was.
    pub fn create(&self, id: &ContainerId, bundle: &Bundle, options: CreateOptions) -> Result<Container> {
        self.make(id, bundle, &options, Gate::Socket)
    }

    /// Creates a container and starts it at once, which is faster than [`Runtime::create`] and [`Container::start`].
    ///
    /// # Errors
    ///
    /// As [`Runtime::create`] and [`Container::start`]; nothing of the container is left.
    pub fn run(&self, id: &ContainerId, bundle: &Bundle, options: CreateOptions) -> Result<Container> {
        self.make(id, bundle, &options, Gate::Open)
    }

    fn make(
        &self,
        id: &ContainerId,
        bundle: &Bundle,
        options: &CreateOptions,
        gate: Gate,
    ) -> Result<Container> {
        trace::begin();
        let directory = self.directory(id);
        let Prepared { mut plan, mut cgroup, mut record } = self.prepare(id, bundle, options, gate, None)?;
        plan.log();
        trace::done("checked the configuration and made the plan");
        let claims = Claims::find(bundle.spec(), id.as_str(), self.resctrl())?;
        record.rdt = claims.membership();
        let terminal = has_terminal(bundle.spec().process().as_ref());
        let console = Destination::connect(terminal, &options.child.console)?;
        check_preserved(&options.child)?;
        cgroup.refuse_frozen()?;
        let late = cgroup.defer_birth_control();
        let manager = connect(&cgroup, options.child.cancel())?;
        let mut creation = Creation::begin(&directory, bundle, record, &cgroup, manager)?;
        (creation.late, creation.claims) = (late, claims);
        if options.notify_socket {
            directory.make_notify()?;
        }
        creation.make_cgroup()?;
        if let Some(made) = &creation.cgroup {
            if made.record().dirs != cgroup.planned_record().dirs {
                // A hierarchy that is not writable, and from which nothing is needed, was left out.
                plan = self.prepare(id, bundle, options, gate, Some(made))?.plan;
            }
            trace::done("made the cgroups and set their limits");
        }
        let container = creation.spawn(&plan, options, gate, &console)?;
        trace::done("recorded the container");
        Ok(container)
    }
}

fn check_preserved(options: &ChildOptions) -> Result<()> {
    let numbers = (3..options.preserve_fds.saturating_add(3)).map(|fd| fd as i32);
    for number in numbers.filter(|fd| !options.absent_fds.contains(fd)) {
        if !Path::new(&format!("/proc/self/fd/{number}")).exists() {
            return Err(Error::new(
                ErrorKind::System,
                format!("cannot preserve descriptor {number}: it is not open"),
            ));
        }
    }
    Ok(())
}
