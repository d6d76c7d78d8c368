//! Checkpoints: `Checkpoint` saves a container, and `Start` of a container that was created from a checkpoint restores
//! it.
//!
//! Until then nothing of such a container runs: it has a root file system and open streams, but no pid.

use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use containerd_shim_protos::api::{CheckpointTaskRequest, CreateTaskRequest, Empty};
use containerd_shim_protos::events::task::TaskCheckpointed;
use containerd_shim_protos::protobuf::Message as _;
use containerd_shim_protos::protobuf::well_known_types::any::Any;
use containerd_shim_protos::shim::oci;
use wharf::{
    CheckpointOptions, Console, Container, CriuOptions, Delete, ManageCgroups, RestoreOptions, Stdio,
};

use super::control;
use crate::pod::process::{Exit, Process};
use crate::pod::task::{Saved, Task};
use crate::pod::{Pod, exits};
use crate::refusal::Refusal;
use crate::sandbox::containers::open_bundle;
use crate::time;
use crate::worker::Answer;
use crate::worker::creation::{self, write_pid};

/// The status of a container that could not be restored.
pub(crate) const NOT_RESTORED: u32 = 255;
/// Where criu works by default, below the bundle; removed after a success.
const WORK: &str = "criu-work";
/// What engines look for in front of a failure.
const RESTORE: &str = "OCI runtime restore failed";

/// What `Checkpoint` does besides saving.
#[derive(Debug, PartialEq, Eq)]
struct Wanted {
    images: PathBuf,
    work: PathBuf,
    exit: bool,
    open_tcp: bool,
    external_unix_sockets: bool,
    terminal: bool,
    file_locks: bool,
    cgroups: ManageCgroups,
}

/// `Checkpoint`.
pub(crate) async fn checkpoint(pod: &Rc<Pod>, request: &CheckpointTaskRequest) -> Result<Empty, Refusal> {
    let task = pod.task(&request.id)?;
    let _turn = task.turn.write().await;
    if !matches!(task.word(), "running" | "paused") {
        return Err(Refusal::precondition(format!("cannot checkpoint a {} task", task.word())));
    }
    let wanted = Wanted::read(request, &task)?;
    let (images, bundle) = (wanted.images.clone(), task.bundle.clone());
    control::with_container(pod, &task, move |container| wanted.perform(container, &bundle)).await?;
    let mut event = TaskCheckpointed::new();
    event.container_id.clone_from(&request.id);
    event.checkpoint = images.to_string_lossy().into_owned();
    pod.events.publish("/tasks/checkpointed", &event);
    Ok(Empty::new())
}

impl Wanted {
    /// Reads the options, whose type has had two names.
    fn read(request: &CheckpointTaskRequest, task: &Task) -> Result<Self, Refusal> {
        let given = decode(request.options.get_or_default())?;
        for namespace in &given.empty_namespaces {
            // The interfaces of a network namespace are never saved: whatever set up the network does so again.
            if namespace != "network" {
                return Err(Refusal::invalid(format!(
                    "the namespace {namespace:?} cannot be left out of a checkpoint: only network can"
                )));
            }
        }
        let images = if request.path.is_empty() { &given.image_path } else { &request.path };
        if images.is_empty() {
            return Err(Refusal::invalid("the checkpoint has no image path"));
        }
        let work = [&given.work_path, &task.options.criu_work_path].into_iter().find(|path| !path.is_empty());
        Ok(Self {
            images: absolute("path for the images", images)?,
            work: match work {
                Some(path) => absolute("working directory of criu", path)?,
                None => task.bundle.join(WORK),
            },
            exit: given.exit,
            open_tcp: given.open_tcp,
            external_unix_sockets: given.external_unix_sockets,
            terminal: given.terminal,
            file_locks: given.file_locks,
            cgroups: cgroups(&given.cgroups_mode)?,
        })
    }

    /// Runs in the worker.
    fn perform(&self, container: &Container, bundle: &Path) -> wharf::Result<()> {
        let criu = CriuOptions::new(&self.images)
            .work_path(&self.work)
            .tcp_established(self.open_tcp)
            .ext_unix_sk(self.external_unix_sockets)
            .shell_job(self.terminal)
            .file_locks(self.file_locks)
            .manage_cgroups(self.cgroups);
        let options = CheckpointOptions::new(criu).leave_running(!self.exit);
        let done = container.checkpoint(options);
        finish(&done, &self.work, "dump.log", bundle);
        done
    }
}

fn decode(any: &Any) -> Result<oci::CheckpointOptions, Refusal> {
    if any.type_url.is_empty() && any.value.is_empty() {
        return Ok(oci::CheckpointOptions::new());
    }
    // The fields of the older type are the first of the newer.
    match any.type_url.rsplit('/').next().unwrap_or_default() {
        "containerd.runc.v1.CheckpointOptions" | "containerd.linux.runc.CheckpointOptions" => {
            oci::CheckpointOptions::parse_from_bytes(&any.value)
                .map_err(|error| Refusal::invalid(format!("the options of type {}: {error}", any.type_url)))
        }
        other => Err(Refusal::invalid(format!(
            "the options have the unknown type {other:?}; known types are containerd.runc.v1.CheckpointOptions and containerd.linux.runc.CheckpointOptions"
        ))),
    }
}

fn cgroups(mode: &str) -> Result<ManageCgroups, Refusal> {
    match mode {
        "" => Ok(ManageCgroups::Default),
        "soft" => Ok(ManageCgroups::Soft),
        "full" => Ok(ManageCgroups::Full),
        "strict" => Ok(ManageCgroups::Strict),
        "ignore" => Ok(ManageCgroups::Ignore),
        other => Err(Refusal::invalid(format!(
            "the cgroups mode {other:?} is unknown: soft, full, strict or ignore"
        ))),
    }
}

fn absolute(what: &str, path: &str) -> Result<PathBuf, Refusal> {
    let path = PathBuf::from(path);
    if path.is_absolute() {
        return Ok(path);
    }
    Err(Refusal::invalid(format!("the {what} {:?} is not absolute", path.display())))
}

/// Removes criu's working directory, but keeps the log of a failure, in the place where other shims leave it.
fn finish<T>(done: &wharf::Result<T>, work: &Path, log: &str, bundle: &Path) {
    if done.is_err() {
        // There is no log if criu was not even started.
        std::fs::copy(work.join(log), bundle.join(format!("criu-{log}"))).ok();
    } else if work == bundle.join(WORK)
        && let Err(error) = std::fs::remove_dir_all(work)
    {
        log::warn!("remove {}: {error}", work.display());
    }
}

/// The images that a container is created from, if there are any.
pub(crate) fn images(request: &CreateTaskRequest) -> Result<Option<PathBuf>, Refusal> {
    if request.checkpoint.is_empty() {
        if request.parent_checkpoint.is_empty() {
            return Ok(None);
        }
        return Err(Refusal::invalid("a parent checkpoint needs a checkpoint"));
    }
    let images = absolute("checkpoint", &request.checkpoint)?;
    if !request.parent_checkpoint.is_empty() {
        let named = absolute("parent checkpoint", &request.parent_checkpoint)?.canonicalize();
        // The images name their parent themselves, and criu follows nothing else.
        let own = images.join("parent").canonicalize();
        if !matches!((&named, &own), (Ok(named), Ok(own)) if named == own) {
            return Err(Refusal::invalid(format!(
                "the parent of the checkpoint {} is not {}",
                images.display(),
                request.parent_checkpoint
            )));
        }
    }
    Ok(Some(images))
}

/// Restores the processes of a saved container.
pub(crate) async fn restore(
    saved: Saved,
    pod: &Rc<Pod>,
    task: &Rc<Task>,
    init: &Rc<Process>,
) -> Result<(), Refusal> {
    let done = perform(saved, pod, task, init).await;
    match &done {
        Ok(()) => exits::watch_memory(pod, task),
        Err(refusal) => {
            if refusal.cut_short {
                creation::clean_up(&pod.workers, &task.runtime, &task.id, &task.bundle).await;
            }
            // Its streams are closed, so it cannot be tried again.
            init.set_exit(Exit { status: NOT_RESTORED, at: time::now() });
        }
    }
    done
}

async fn perform(saved: Saved, pod: &Rc<Pod>, task: &Rc<Task>, init: &Rc<Process>) -> Result<(), Refusal> {
    let Saved { images, streams, pending } = saved;
    let keep = streams.each_ref().map(AsRawFd::as_raw_fd);
    let (runtime, id, bundle) = (task.runtime.clone(), task.id.clone(), task.bundle.clone());
    let files = pod.files();
    let (terminal, work) = (init.streams.terminal, task.options.criu_work_path.clone());
    let answer = pod
        .workers
        .run(&keep, move || {
            let during = |error: wharf::Error| Refusal::from(error).during(RESTORE);
            let work = if work.is_empty() { bundle.join(WORK) } else { PathBuf::from(work) };
            // What a checkpoint was allowed to save, a restore is allowed to bring back.
            let criu = CriuOptions::new(images).work_path(&work).tcp_established(true).file_locks(true);
            let options = RestoreOptions::new(criu).stdio(Stdio::Fds(streams)).console(if terminal {
                Console::Keep
            } else {
                Console::None
            });
            let opened = open_bundle(&bundle, files.as_ref()).map_err(|refusal| refusal.during(RESTORE))?;
            let restored = runtime.restore(&id, &opened, options);
            finish(&restored, &work, "restore.log", &bundle);
            let mut container = restored.map_err(during)?;
            let pid = container.pid().unwrap_or(0);
            if let Err(refusal) = write_pid(&bundle, "init.pid", pid) {
                if let Err(error) = runtime.delete(&id, Delete::Force) {
                    log::warn!("{error}");
                }
                return Err(refusal);
            }
            Ok(Answer { bytes: pid.to_le_bytes().to_vec(), descriptor: container.take_console() })
        })
        .await?;
    let pid = answer.bytes.as_slice().try_into().map(i32::from_le_bytes);
    let pid = pid.map_err(|_| Refusal::unknown("a worker's answer cannot be parsed"))?;
    let mut io = pending.begin(answer.descriptor)?;
    if init.stdin_closed.get() {
        io.close_stdin();
    }
    init.pid.set(pid);
    *init.io.borrow_mut() = Some(io);
    Ok(())
}
