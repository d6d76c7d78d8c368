//! Saving a container through criu, and creating one from a checkpoint.

use crate::criu;
use crate::network::Network;
use crate::outcome::{Outcome, check, fail, same};
use crate::shim::bed::{Bed, create_request};
use crate::shim::client::{Reply, code, granted, refused};
use crate::shim::launch::any;
use crate::shim::sandbox::{Config, Sandbox};
use crate::shim::stdio::Streams;
use crate::shim::task::Task;
use crate::shim::{Test, test};
use crate::spec::Spec;
use containerd_shim_protos::api as rpc;
use containerd_shim_protos::events::task as events;
use containerd_shim_protos::protobuf::well_known_types::any::Any;
use containerd_shim_protos::protobuf::{Message, MessageField};
use containerd_shim_protos::shim::oci::CheckpointOptions;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use std::path::{Path, PathBuf};
use std::rc::Rc;

pub(super) const TESTS: &[Test] = &[
    test("C1", "Checkpoint saves a running container, which goes on", goes_on),
    test("C2", "Checkpoint with `exit` ends the container", ends),
    test("C3", "Checkpoint of a paused container", paused),
    test("C4", "Checkpoint takes both types of options and no others", option_types),
    test("C5", "Checkpoint with impossible options is refused, and the container goes on", bad_options),
    test(
        "C6",
        "Checkpoint that fails: the reason, criu-dump.log in the bundle, and the container goes on",
        fails,
    ),
    test(
        "C7",
        "a container created from a checkpoint has no pid before its start, and goes on then",
        restored,
    ),
    test("C8", "the events of a restored container", told),
    test("C9", "a restored container can do what others can", usable),
    test("C10", "a restored terminal", terminal),
    test("C11", "a container from a checkpoint can be deleted before its start", never_started),
    test("C12", "a restore that fails ends with the start, and leaves nothing", broken),
    test("C13", "a container can be saved again after a restore", twice),
    test("C14", "a parent checkpoint that is not that of the images is refused", other_parent),
    test("C15", "a container that logs to a file does so again after a restore", logs),
    test("C16", "`delete` of a restored container whose shim was killed", crashed),
    test(
        "C17",
        "a container of a pod without a pause container has the pod's files after a restore",
        in_sandbox,
    ),
];

const V1: &str = "containerd.runc.v1.CheckpointOptions";

/// A started container that prints the names of signals, in a shim that finds criu.
fn waiting<'b, 'a>(bed: &'b Bed<'a>, streams: Streams, terminal: bool) -> Outcome<Task<'b, 'a>> {
    let task = started(bed, streams, terminal)?;
    task.streams.borrow_mut().until("ready")?;
    Ok(task)
}

fn started<'b, 'a>(bed: &'b Bed<'a>, streams: Streams, terminal: bool) -> Outcome<Task<'b, 'a>> {
    let path = criu::search_path()?;
    let spec = Spec::new().args(&["/probe", "wait"]).set("/process/terminal", terminal);
    let bundle = bed.bundle(&spec)?;
    let mut call = bed.call(&bundle);
    call.env.push(("PATH".into(), path));
    let pod = bed.pod_by(&call)?;
    let task = bed.create_in(&pod, bundle, streams)?;
    task.begin()?;
    Ok(task)
}

fn images(bed: &Bed<'_>) -> PathBuf {
    bed.dir().join("images")
}

fn save(task: &Task<'_, '_>, type_url: &str, options: &CheckpointOptions) -> Reply<rpc::Empty> {
    let request = rpc::CheckpointTaskRequest {
        id: task.id().into(),
        path: images(task.bed).to_string_lossy().into_owned(),
        options: MessageField::some(any(type_url, options.write_to_bytes().unwrap_or_default())),
        ..Default::default()
    };
    task.pod.ask("Checkpoint", &request)
}

fn exit() -> CheckpointOptions {
    CheckpointOptions { exit: true, ..Default::default() }
}

/// Saves, ends and deletes.
fn put_away(task: &Task<'_, '_>) -> Outcome {
    granted("Checkpoint", save(task, V1, &exit()))?;
    same("exit status", task.exit("")?, 137)?;
    granted("Delete", task.delete("")).map(drop)
}

/// Its process answers.
fn answers(task: &Task<'_, '_>) -> Outcome {
    granted("Kill", task.kill("", 10, false))?;
    task.streams.borrow_mut().until("signal 10").map(drop)
}

/// A container created from the images of another, in the same shim and bundle.
fn created_from<'b, 'a>(old: &Task<'b, 'a>, streams: Streams, images: &Path) -> Outcome<Task<'b, 'a>> {
    let task = Task::new(old.bed, Rc::clone(&old.pod), old.bundle.clone(), streams);
    let created = granted("Create", create(&task, images, ""))?;
    same("pid before the start", created.pid, 0)?;
    Ok(task)
}

fn create(task: &Task<'_, '_>, images: &Path, parent: &str) -> Reply<rpc::CreateTaskResponse> {
    let mut request = create_request(&task.bundle, &task.streams.borrow(), None::<Any>, &[]);
    request.checkpoint = images.to_string_lossy().into_owned();
    request.parent_checkpoint = parent.into();
    task.pod.ask("Create", &request)
}

fn start(task: &mut Task<'_, '_>) -> Outcome {
    task.pid = granted("Start", task.start(""))?.pid;
    check(task.pid > 0, || "Start gave no pid".into())
}

/// A container that was saved, ended, deleted and restored.
fn back<'b, 'a>(bed: &'b Bed<'a>) -> Outcome<Task<'b, 'a>> {
    let old = waiting(bed, Streams::output(bed.dir())?, false)?;
    put_away(&old)?;
    let mut task = created_from(&old, Streams::output(bed.dir())?, &images(bed))?;
    start(&mut task)?;
    Ok(task)
}

fn goes_on(bed: &Bed<'_>) -> Outcome {
    let task = waiting(bed, Streams::output(bed.dir())?, false)?;
    granted("Checkpoint", save(&task, V1, &CheckpointOptions::new()))?;
    check(images(bed).join("inventory.img").is_file(), || "no images".into())?;
    same("status", task.status("")?, rpc::Status::RUNNING)?;
    let state = granted("State", task.state(""))?;
    same("pid", state.pid, task.pid)?;
    answers(&task)?;
    task.finish()
}

fn ends(bed: &Bed<'_>) -> Outcome {
    let task = waiting(bed, Streams::output(bed.dir())?, false)?;
    let waits = task.waits("");
    granted("Checkpoint", save(&task, V1, &exit()))?;
    let exit: rpc::WaitResponse = granted("Wait", waits.answer(crate::shim::client::PATIENCE))?;
    same("exit status", exit.exit_status, 137)?;
    same("status", task.status("")?, rpc::Status::STOPPED)?;
    granted("Delete", task.delete(""))?;
    bed.until_gone(&task.bundle)
}

fn paused(bed: &Bed<'_>) -> Outcome {
    let task = waiting(bed, Streams::output(bed.dir())?, false)?;
    granted("Pause", task.pause())?;
    granted("Checkpoint", save(&task, V1, &CheckpointOptions::new()))?;
    same("status", task.status("")?, rpc::Status::PAUSED)?;
    granted("Resume", task.resume())?;
    answers(&task)?;
    task.finish()
}

fn option_types(bed: &Bed<'_>) -> Outcome {
    let task = waiting(bed, Streams::output(bed.dir())?, false)?;
    refused("Checkpoint", save(&task, "some.other.Options", &exit()), &[code::INVALID_ARGUMENT], &[])?;
    answers(&task)?;
    let kept = CheckpointOptions { file_locks: true, open_tcp: true, ..Default::default() };
    granted("Checkpoint", save(&task, &format!("types.containerd.io/{V1}"), &kept))?;
    granted("Checkpoint", save(&task, "containerd.linux.runc.CheckpointOptions", &exit()))?;
    task.exit("")?;
    granted("Delete", task.delete("")).map(drop)
}

fn bad_options(bed: &Bed<'_>) -> Outcome {
    let task = waiting(bed, Streams::output(bed.dir())?, false)?;
    let mode = CheckpointOptions { cgroups_mode: "sideways".into(), exit: true, ..Default::default() };
    refused("Checkpoint", save(&task, V1, &mode), &[], &["sideways"])?;
    let namespace =
        CheckpointOptions { empty_namespaces: vec!["time".into()], exit: true, ..Default::default() };
    refused("Checkpoint", save(&task, V1, &namespace), &[], &["time"])?;
    refused("Checkpoint", task.checkpoint(""), &[], &[])?;
    check(!images(bed).exists(), || "there are images".into())?;
    same("status", task.status("")?, rpc::Status::RUNNING)?;
    task.finish()
}

fn fails(bed: &Bed<'_>) -> Outcome {
    let task = waiting(bed, Streams::output(bed.dir())?, false)?;
    // The images do not fit there.
    std::fs::create_dir(images(bed))?;
    let size = Some("size=16k");
    mount(Some("small"), &images(bed), Some("tmpfs"), MsFlags::empty(), size)
        .map_err(std::io::Error::from)?;
    let answer = save(&task, V1, &exit());
    umount2(&images(bed), MntFlags::MNT_DETACH).map_err(std::io::Error::from)?;
    refused("Checkpoint", answer, &[], &["criu"])?;
    let log = std::fs::read_to_string(task.bundle.dir.join("criu-dump.log"))?;
    check(log.contains("Error"), || "criu-dump.log has no error".into())?;
    answers(&task)?;
    task.finish()
}

fn restored(bed: &Bed<'_>) -> Outcome {
    let old = waiting(bed, Streams::output(bed.dir())?, false)?;
    put_away(&old)?;
    let mut task = created_from(&old, Streams::output(bed.dir())?, &images(bed))?;
    let state = granted("State", task.state(""))?;
    same("state", (state.pid, state.status.enum_value_or_default()), (0, rpc::Status::CREATED))?;
    refused("Kill", task.kill("", 9, false), &[code::FAILED_PRECONDITION], &[])?;
    start(&mut task)?;
    let state = granted("State", task.state(""))?;
    same("state", (state.pid, state.status.enum_value_or_default()), (task.pid, rpc::Status::RUNNING))?;
    answers(&task)?;
    let text = task.streams.borrow().stdout_text();
    check(!text.contains("ready"), || format!("it began anew: {text:?}"))?;
    refused("Start", task.start(""), &[], &["running"])?;
    granted("Kill", task.kill("", 15, false))?;
    same("exit status", task.exit("")?, 0)?;
    task.streams.borrow_mut().to_end()?;
    granted("Delete", task.delete(""))?;
    bed.until_gone(&task.bundle)
}

fn told(bed: &Bed<'_>) -> Outcome {
    let old = waiting(bed, Streams::output(bed.dir())?, false)?;
    put_away(&old)?;
    bed.daemon.wait_for("/tasks/delete", old.id())?;
    bed.daemon.forget();
    let mut task = created_from(&old, Streams::output(bed.dir())?, &images(bed))?;
    start(&mut task)?;
    task.finish()?;
    bed.daemon.wait_for("/tasks/delete", task.id())?;
    let seen = bed.daemon.about(task.id());
    let topics: Vec<&str> = seen.iter().map(|event| event.topic.as_str()).collect();
    same("events", topics, vec!["/tasks/create", "/tasks/start", "/tasks/exit", "/tasks/delete"])?;
    let created: events::TaskCreate = seen[0].parse()?;
    same("create", (created.pid, Path::new(&created.checkpoint)), (0, images(bed).as_path()))?;
    let started: events::TaskStart = seen[1].parse()?;
    let ended: events::TaskExit = seen[2].parse()?;
    same("start", started.pid, task.pid)?;
    same("exit", (ended.pid, ended.exit_status), (task.pid, 137))
}

fn usable(bed: &Bed<'_>) -> Outcome {
    let task = back(bed)?;
    let mut streams = task.exec("e", &["/probe", "exit", "5"])?;
    same("exit status of an exec", task.exit("e")?, 5)?;
    streams.to_end()?;
    granted("Delete of the exec", task.delete("e"))?;
    let pids = granted("Pids", task.pids())?;
    check(pids.processes.iter().any(|process| process.pid == task.pid), || "Pids misses it".into())?;
    granted("Stats", task.stats())?;
    granted("Pause", task.pause())?;
    granted("Resume", task.resume())?;
    answers(&task)?;
    task.finish()
}

fn terminal(bed: &Bed<'_>) -> Outcome {
    let old = waiting(bed, Streams::terminal(bed.dir())?, true)?;
    put_away(&old)?;
    let mut task = created_from(&old, Streams::terminal(bed.dir())?, &images(bed))?;
    start(&mut task)?;
    answers(&task)?;
    granted("ResizePty", task.resize("", 91, 17))?;
    // What is typed is echoed by the terminal.
    task.streams.borrow_mut().write(b"typed\n")?;
    task.streams.borrow_mut().until("typed")?;
    task.finish()
}

fn never_started(bed: &Bed<'_>) -> Outcome {
    let old = waiting(bed, Streams::output(bed.dir())?, false)?;
    put_away(&old)?;
    let task = created_from(&old, Streams::output(bed.dir())?, &images(bed))?;
    granted("Delete", task.delete(""))?;
    task.streams.borrow_mut().to_end()?;
    refused("State", task.state(""), &[code::NOT_FOUND], &[])?;
    bed.until_gone(&task.bundle)
}

fn broken(bed: &Bed<'_>) -> Outcome {
    let old = waiting(bed, Streams::output(bed.dir())?, false)?;
    put_away(&old)?;
    std::fs::write(images(bed).join("inventory.img"), "no image")?;
    let task = created_from(&old, Streams::output(bed.dir())?, &images(bed))?;
    let waits = task.waits("");
    refused("Start", task.start(""), &[], &["restore"])?;
    let exit: rpc::WaitResponse = granted("Wait", waits.answer(crate::shim::client::PATIENCE))?;
    check(exit.exit_status != 0, || "it ended with 0".into())?;
    granted("Delete", task.delete(""))?;
    bed.until_gone(&task.bundle)?;
    // The id is free again.
    let mut streams = Streams::output(bed.dir())?;
    std::mem::swap(&mut *task.streams.borrow_mut(), &mut streams);
    granted("Create", task.create(None, &[]))?;
    task.begin()?;
    task.finish()
}

fn twice(bed: &Bed<'_>) -> Outcome {
    let task = back(bed)?;
    std::fs::remove_dir_all(images(bed))?;
    put_away(&task)?;
    let mut again = created_from(&task, Streams::output(bed.dir())?, &images(bed))?;
    start(&mut again)?;
    answers(&again)?;
    again.finish()
}

fn other_parent(bed: &Bed<'_>) -> Outcome {
    let old = waiting(bed, Streams::output(bed.dir())?, false)?;
    put_away(&old)?;
    let task = Task::new(bed, Rc::clone(&old.pod), old.bundle.clone(), Streams::output(bed.dir())?);
    let parent = bed.dir().join("parent");
    std::fs::create_dir(&parent)?;
    match create(&task, &images(bed), &parent.to_string_lossy()) {
        Ok(_) => fail("Create succeeded"),
        other => refused("Create", other, &[code::INVALID_ARGUMENT], &["parent"]),
    }
}

fn logs(bed: &Bed<'_>) -> Outcome {
    let path = bed.dir().join("task.log");
    let address = format!("file://{}", path.display());
    let says = |word: &str| {
        bed.until(word, || {
            Ok(std::fs::read_to_string(&path).unwrap_or_default().contains(word).then_some(()))
        })
    };
    let old = started(bed, Streams::at("", &address, &address), false)?;
    says("ready")?;
    put_away(&old)?;
    let mut task = created_from(&old, Streams::at("", &address, &address), &images(bed))?;
    start(&mut task)?;
    granted("Kill", task.kill("", 10, false))?;
    says("signal 10")?;
    task.finish()
}

fn crashed(bed: &Bed<'_>) -> Outcome {
    let task = back(bed)?;
    answers(&task)?;
    task.pod.crash()?;
    check(task.lives(), || "the container ended with its shim".into())?;
    bed.call(&task.bundle).delete()?.ok("delete")?;
    check(task.until_dead()?, || "its process lives".into())?;
    bed.until_gone(&task.bundle)
}

fn in_sandbox(bed: &Bed<'_>) -> Outcome {
    let network = Network::new()?;
    let sandbox = Sandbox::with_environment(bed, &[("PATH", &criu::search_path()?)])?;
    granted("CreateSandbox", sandbox.create(&Config::new(), &network.path()))?;
    granted("StartSandbox", sandbox.start())?;
    let plain = Spec::new().without("/hostname").no_mount("/dev/shm");
    let spec = sandbox.joined(&plain, &["network", "ipc", "uts"])?.args(&["/probe", "wait"]);
    let old = sandbox.container(&spec)?;
    old.streams.borrow_mut().until("ready")?;
    let text = |task: &Task<'_, '_>, exec: &str| -> Outcome<String> {
        let mut streams = task.exec(exec, &["/probe", "try", "read", "/etc/hostname"])?;
        same("exit status", task.exit(exec)?, 0)?;
        granted("Delete", task.delete(exec))?;
        Ok(streams.to_end()?.0)
    };
    let before = text(&old, "before")?;
    check(before.contains("blue"), || format!("/etc/hostname: {before}"))?;
    put_away(&old)?;
    let task = created_from(&old, Streams::output(bed.dir())?, &images(bed))?;
    task.begin()?;
    answers(&task)?;
    same("/etc/hostname", text(&task, "after")?, before)?;
    task.finish()?;
    sandbox.finish()
}
