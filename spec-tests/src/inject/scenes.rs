//! The commands that are disturbed: what there is before each, what it does, and what must be true after it.

use super::fingerprint::{limits, normal};
use crate::bed::{Bed, Container};
use crate::bundle::Bundle;
use crate::criu;
use crate::outcome::{Outcome, check, fail, skip};
use crate::runtime::{Called, Invocation};
use crate::spec::Spec;
use serde_json::{Value, json};
use std::fs;

/// A command of the runtime.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// `create`
    Create,
    /// `start`, with the container's first process
    Start,
    /// `run` in the foreground
    Run,
    /// `exec` in the foreground
    Exec,
    /// `delete` of a stopped container
    Delete,
    /// `delete --force` of a running one
    DeleteForce,
    /// `update` of some limits
    Update,
    /// `pause`
    Pause,
    /// `resume`
    Resume,
    /// `kill`
    Kill,
    /// `mounts add`
    MountsAdd,
    /// `mounts remove`
    MountsRemove,
    /// `checkpoint`
    Checkpoint,
    /// `restore`
    Restore,
}

/// All of them, by the names that options take.
pub const VERBS: [(&str, Verb); 14] = [
    ("create", Verb::Create),
    ("start", Verb::Start),
    ("run", Verb::Run),
    ("exec", Verb::Exec),
    ("delete", Verb::Delete),
    ("delete-force", Verb::DeleteForce),
    ("update", Verb::Update),
    ("pause", Verb::Pause),
    ("resume", Verb::Resume),
    ("kill", Verb::Kill),
    ("mounts-add", Verb::MountsAdd),
    ("mounts-remove", Verb::MountsRemove),
    ("checkpoint", Verb::Checkpoint),
    ("restore", Verb::Restore),
];

/// What there is before a command.
pub(super) struct Stage {
    pub(super) bundle: Bundle,
    /// The container, unless the command makes it.
    pid: Option<i32>,
    /// Its output.
    out: std::path::PathBuf,
}

impl Verb {
    /// Its name.
    pub fn name(self) -> &'static str {
        VERBS.iter().find(|(_, verb)| *verb == self).map_or("", |(name, _)| name)
    }

    /// Whether the container must still run after a failure.
    fn spares(self) -> bool {
        matches!(
            self,
            Self::Exec | Self::Update | Self::Pause | Self::Resume | Self::MountsAdd | Self::MountsRemove
        )
    }

    /// Makes what the command needs.
    pub(super) fn prepare(self, bed: &Bed<'_>) -> Outcome<Stage> {
        let program = match self {
            Self::Create | Self::Start | Self::Run => "report",
            _ => "wait",
        };
        if matches!(self, Self::Checkpoint | Self::Restore) {
            return prepare_images(bed, self);
        }
        if matches!(self, Self::MountsAdd | Self::MountsRemove)
            && !bed.call(["--help"])?.ok()?.stdout.contains("mounts")
        {
            return skip("the runtime has no `mounts` command");
        }
        let bundle = bundle(bed, program)?;
        let mut stage = Stage { bundle, pid: None, out: bed.dir().join("none") };
        if matches!(self, Self::Create | Self::Run) {
            return Ok(stage);
        }
        let container = bed.create(&stage.bundle)?;
        stage.out.clone_from(&container.out);
        stage.pid = Some(container.pid()?.as_raw_pid());
        if self == Self::Start {
            return Ok(stage);
        }
        container.start()?;
        container.until_output("ready")?;
        match self {
            Self::Delete => container.stop()?,
            Self::Resume => drop(bed.call(["pause", container.id()])?.ok()?),
            Self::MountsRemove => {
                let file = mounts_file(bed)?;
                bed.call(["mounts", "add", container.id(), &file])?.ok()?;
            }
            _ => {}
        }
        Ok(stage)
    }

    /// The call.
    pub(super) fn command(self, bed: &Bed<'_>, stage: &Stage) -> Outcome<Invocation> {
        let id = stage.bundle.id.as_str();
        let dir = stage.bundle.dir.to_string_lossy();
        Ok(match self {
            Self::Create => bed.command(["create", "--bundle", &dir, id]),
            Self::Run => bed.command(["run", "--bundle", &dir, id]),
            Self::Start => bed.command(["start", id]),
            Self::Exec => bed.command(["exec", id, "/probe", "report"]),
            Self::Delete => bed.command(["delete", id]),
            Self::DeleteForce => bed.command(["delete", "--force", id]),
            Self::Update => bed.command(["update", "--pids-limit", "50", "--memory", "134217728", id]),
            Self::Pause => bed.command(["pause", id]),
            Self::Resume => bed.command(["resume", id]),
            Self::Kill => bed.command(["kill", id, "KILL"]),
            Self::MountsAdd => bed.command(["mounts", "add", id, &mounts_file(bed)?]),
            Self::MountsRemove => bed.command(["mounts", "remove", id, &mounts_file(bed)?]),
            Self::Checkpoint => {
                let (images, work) = image_dirs(bed);
                bed.command(["checkpoint", "--image-path", &images, "--work-path", &work, id])
                    .env("PATH", criu::search_path()?)
            }
            Self::Restore => {
                let (images, work) = image_dirs(bed);
                let places = ["--image-path", &images, "--work-path", &work, "--bundle", &dir];
                bed.command(["restore", "--detach"].iter().copied().chain(places).chain([id]))
                    .env("PATH", criu::search_path()?)
            }
        })
    }

    /// A process that belongs to what is disturbed, besides the runtime's own.
    pub(super) fn also(self, stage: &Stage) -> Option<i32> {
        if self == Self::Start { stage.pid } else { None }
    }

    /// What is true after the command has worked.
    pub(super) fn after(self, bed: &Bed<'_>, stage: &Stage, called: &Called) -> Outcome<Value> {
        let container = bed.adopt(&stage.bundle);
        match self {
            Self::Create => {
                let limits = limits(container.pid()?);
                container.start()?;
                let report = report_in(bed, stage, &Stage { out: called.out.clone(), ..stage.again() })?;
                Ok(json!({"limits": limits, "report": report}))
            }
            Self::Start => Ok(json!({"report": report_in(bed, stage, stage)?})),
            Self::Run => Ok(json!({"report": normal(bed, stage, &called.json()?)?})),
            Self::Exec => {
                let report = normal(bed, stage, &called.json()?)?;
                let mut state = self.state(bed, stage)?.unwrap_or_default();
                state["report"] = report;
                Ok(state)
            }
            Self::Delete | Self::DeleteForce => {
                let left = settled(bed, &stage.bundle);
                check(left.is_empty(), || format!("it left {}", left.join(", ")))?;
                Ok(json!("gone"))
            }
            Self::Kill => container.until_status("stopped").map(|()| json!("stopped")),
            Self::Checkpoint => {
                let left = stage.bundle.processes().len();
                check(left == 0, || format!("{left} processes still run"))?;
                Ok(json!("ended"))
            }
            Self::Restore => Ok(json!({"status": container.status()?, "inside": inside(bed, stage)?})),
            _ => self.state(bed, stage).map(Option::unwrap_or_default),
        }
    }

    /// What is true of a container that a failed command must have spared; none if it need not.
    pub(super) fn state(self, bed: &Bed<'_>, stage: &Stage) -> Outcome<Option<Value>> {
        if !self.spares() {
            return Ok(None);
        }
        let container = bed.adopt(&stage.bundle);
        let status = container.status()?;
        let limits = limits(container.pid()?);
        if matches!(self, Self::Pause | Self::Resume) {
            // One that is half paused can be resumed, and one that is not refuses that.
            let resumed = bed.call(["resume", container.id()])?;
            check(status == "running" || resumed.status.success(), || {
                format!("it is {status} and cannot be resumed: {}", resumed.stderr)
            })?;
        }
        Ok(Some(json!({"status": status, "limits": limits, "inside": inside(bed, stage)?})))
    }
}

impl Stage {
    fn again(&self) -> Self {
        Self { bundle: self.bundle.clone(), pid: self.pid, out: self.out.clone() }
    }
}

/// What another process in the container sees.
fn inside(bed: &Bed<'_>, stage: &Stage) -> Outcome<Value> {
    let report = bed.call(["exec", &stage.bundle.id, "/probe", "report"])?.ok()?.json()?;
    normal(bed, stage, &report)
}

/// The report that the container's program has written.
fn report_in(bed: &Bed<'_>, stage: &Stage, shown: &Stage) -> Outcome<Value> {
    let container = Container { out: shown.out.clone(), ..bed.adopt(&stage.bundle) };
    let text = container.until("its report", || {
        let output = container.output();
        Ok(output.ends_with('\n').then_some(output))
    })?;
    normal(bed, stage, &serde_json::from_str(&text)?)
}

/// A configuration in which most of what isolates is asked for.
fn bundle(bed: &Bed<'_>, program: &str) -> Outcome<Bundle> {
    let spec = Spec::new()
        .args(&["/probe", program])
        .namespace("cgroup", None)
        .mount("/run", "tmpfs", "tmpfs", &["nosuid", "nodev", "noexec", "size=64k"])
        .mount("/data", "bind", "rootfs/data", &["bind", "ro", "nosuid", "nodev", "noexec"])
        .set("/root/readonly", true)
        .set("/process/user", json!({"uid": 1000, "gid": 1000, "additionalGids": [1001], "umask": 0o027}))
        .set("/process/oomScoreAdj", 100)
        .set("/process/rlimits/-", json!({"type": "RLIMIT_CORE", "hard": 0, "soft": 0}))
        .set("/linux/resources/pids", json!({"limit": 100}))
        .set("/linux/resources/memory", json!({"limit": 268_435_456}))
        .set("/linux/resources/cpu", json!({"shares": 512}))
        .set("/linux/sysctl", json!({"kernel.msgmax": "4096"}))
        .set(
            "/linux/seccomp",
            json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
                {"names": ["kexec_load", "swapon"], "action": "SCMP_ACT_ERRNO"}
            ]}),
        );
    let bundle = bed.bundle(&spec)?;
    let entry = json!([{"path": bundle.rootfs.join("probe"), "args": ["probe", "true"]}]);
    let mut value = bundle.spec()?;
    value["hooks"] = json!({"createRuntime": entry, "poststop": entry});
    fs::write(bundle.dir.join("config.json"), value.to_string())?;
    Ok(bundle)
}

fn mounts_file(bed: &Bed<'_>) -> Outcome<String> {
    let file = bed.dir().join("mounts.json");
    let entry =
        json!([{"destination": "/mnt", "type": "tmpfs", "source": "added", "options": ["ro", "nosuid"]}]);
    fs::write(&file, entry.to_string())?;
    Ok(file.to_string_lossy().into_owned())
}

fn image_dirs(bed: &Bed<'_>) -> (String, String) {
    let path = |name: &str| bed.dir().join(name).to_string_lossy().into_owned();
    (path("images"), path("work"))
}

/// A container that can be checkpointed, or its images: with streams that are the null device, for runtimes treat others
/// differently.
fn prepare_images(bed: &Bed<'_>, verb: Verb) -> Outcome<Stage> {
    let path = criu::search_path()?;
    let bundle = bed.bundle(&Spec::new().args(&["/probe", "count", "/data/count"]))?;
    let dir = bundle.dir.to_string_lossy().into_owned();
    let create = bed.command(["create", "--bundle", &dir, &bundle.id]).env("PATH", &path);
    create.after("exec </dev/null >/dev/null 2>&1").call()?.ok()?;
    bed.call(["start", &bundle.id])?.ok()?;
    let stage = Stage { bundle, pid: None, out: bed.dir().join("none") };
    let count = stage.bundle.rootfs.join("data/count");
    bed.adopt(&stage.bundle).until("the first numbers", || Ok(count.exists().then_some(())))?;
    if verb == Verb::Restore {
        Verb::Checkpoint.command(bed, &stage)?.call()?.ok()?;
        if bed.state_dir(&stage.bundle.id).exists() {
            return fail("the container is still there after a checkpoint");
        }
    }
    Ok(stage)
}

/// What is left of a container once the dead have been reaped.
pub(super) fn settled(bed: &Bed<'_>, bundle: &Bundle) -> Vec<String> {
    let end = std::time::Instant::now() + std::time::Duration::from_secs(2);
    loop {
        let left = bed.leftovers(bundle);
        if left.is_empty() || std::time::Instant::now() > end {
            return left;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}
