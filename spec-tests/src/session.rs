//! What a run needs once: a private mount namespace, adopting orphans, a place to work.

use crate::bed::Bed;
use crate::cgroup;
use crate::devices;
use crate::host::{CgroupMode, Host};
use crate::outcome::{Fault, Outcome};
use crate::runtime::{Runtime, brief};
use crate::spec::Spec;
use crate::variation::{Prepared, Variation};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::OnceLock;
use tempfile::TempDir;

/// The environment of a run.
pub struct Session {
    /// What this machine is.
    pub host: Host,
    work: TempDir,
    /// What makes this host unlike most, if that was asked for.
    pub prepared: Prepared,
    /// Things that a reader of the results must know.
    pub notes: Vec<String>,
}

static NUMBER: OnceLock<u32> = OnceLock::new();

/// Says, before anything is named after it, which number tells this run from others on this machine. By default it is
/// the pid, which is no number for that in a pid namespace.
pub fn number(number: u32) {
    NUMBER.get_or_init(|| number);
}

/// The number of this run.
pub(crate) fn own_number() -> u32 {
    *NUMBER.get_or_init(std::process::id)
}

/// What a runtime does with the simplest container.
#[derive(Debug)]
pub enum First {
    /// It runs.
    Runs,
    /// It refuses hosts with v1 and v2 cgroups side by side.
    RefusesHybrid,
    /// It does not run, with the reason.
    Fails(String),
}

/// Puts this process into a private mount namespace and makes it the reaper of orphaned containers.
///
/// Call it before any thread is started.
pub fn prepare() -> io::Result<Session> {
    prepare_on(None)
}

/// As [`prepare`], on a host unlike most; only root has a choice.
pub fn prepare_on(variation: Option<Variation>) -> io::Result<Session> {
    let mut host = Host::probe();
    let mut notes = Vec::new();
    let mut prepared = Prepared::default();
    if host.root {
        unshare(CloneFlags::CLONE_NEWNS)?;
        mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)?;
        if let Some(variation) = variation {
            prepared = variation.prepare()?;
        }
    } else {
        let cgroup = cgroup::delegated().map_or("no cgroup".to_owned(), |path| format!("cgroup {path}"));
        notes.push(format!(
            "not root: every container gets a user namespace; this user has {cgroup} to work in"
        ));
    }
    if host.root {
        match devices::replace() {
            Ok(()) => host.own_devices = true,
            Err(error) => notes.push(format!("no device nodes of this run's own: {error}")),
        }
    }
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    crate::reaper::start();
    let work = tempfile::Builder::new()
        .prefix("wharf-suite-")
        .permissions(fs::Permissions::from_mode(0o755))
        .tempdir()?;
    Ok(Session { host, work, prepared, notes })
}

impl Session {
    /// Where the beds are made.
    pub fn work(&self) -> &Path {
        self.work.path()
    }

    /// The cgroups below the suite's own; a run should leave none.
    pub fn cgroups_left(&self) -> Vec<String> {
        let parent = cgroup::parent().trim_start_matches('/');
        let below = |hierarchy: &Path| -> Vec<String> {
            let Ok(entries) = fs::read_dir(hierarchy.join(parent)) else { return Vec::new() };
            let directories = entries.flatten().filter(|entry| entry.path().is_dir());
            directories.map(|entry| entry.path().display().to_string()).collect()
        };
        self.host.hierarchies.iter().flat_map(|hierarchy| below(hierarchy)).collect()
    }

    /// Keeps the directories of failed tests.
    pub fn keep(&mut self) {
        self.work.disable_cleanup(true);
    }

    /// Hides the v2 hierarchy if one of these runtimes refuses hybrid hosts: for runs that take turns.
    pub fn accommodate(&mut self, runtimes: &[Runtime]) -> Outcome {
        for runtime in runtimes {
            if matches!(self.first(runtime)?, First::RefusesHybrid) {
                self.hide_unified(runtime)?;
            }
        }
        Ok(())
    }

    /// Runs the simplest container.
    pub fn first(&self, runtime: &Runtime) -> Outcome<First> {
        let bed = Bed::new(runtime, &self.host, self.work())?;
        let answer = bed.run(&Spec::new().args(&["/probe", "true"]));
        // It could not reach its leftovers once the hierarchy is hidden.
        let _left = bed.clean_up();
        let may_refuse = self.host.root && self.host.cgroups == CgroupMode::Hybrid;
        Ok(match answer {
            Ok(answer) if answer.status.success() => First::Runs,
            Ok(answer) if may_refuse && answer.stderr.contains("hybrid") => First::RefusesHybrid,
            Ok(answer) => First::Fails(format!("{}: {}", answer.status, brief(&answer.stderr))),
            Err(Fault::Failed(why) | Fault::Skipped(why)) => First::Fails(why),
        })
    }

    /// Hides the v2 hierarchy for a runtime that refuses hybrid hosts, until the end of the run.
    pub fn hide_unified(&mut self, runtime: &Runtime) -> Outcome {
        let unified = self.host.hierarchies.iter().find(|path| path.ends_with("unified")).cloned();
        let mut refused = self.host.refused_hybrid.clone();
        refused.push(runtime.path.clone());
        if let Some(path) = unified {
            cgroup::remove(&path.join(cgroup::parent().trim_start_matches('/')));
            umount2(&path, MntFlags::MNT_DETACH).map_err(io::Error::from)?;
            self.notes.push(format!(
                "{} refuses hybrid cgroup hosts (row A142): {} is hidden from it",
                runtime.path.display(),
                path.display()
            ));
            let own_devices = self.host.own_devices;
            self.host = Host { own_devices, ..Host::probe() };
        }
        self.host.refused_hybrid = refused;
        Ok(())
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // No test failed, so there is nothing to keep.
        let _full = fs::remove_dir(self.work());
        for hierarchy in &self.host.hierarchies {
            cgroup::remove(&hierarchy.join(cgroup::parent().trim_start_matches('/')));
        }
    }
}
