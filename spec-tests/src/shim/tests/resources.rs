//! Pause, Resume, Update and Stats.

use crate::outcome::{Outcome, check, fail, same, skip};
use crate::shim::bed::Bed;
use crate::shim::client::{code, granted, refused};
use crate::shim::stdio::Streams;
use crate::shim::task::{Task, process};
use crate::shim::{Test, test};
use crate::spec::Spec;
use containerd_shim_protos::api::Status;
use containerd_shim_protos::protobuf::Message;
use containerd_shim_protos::{cgroups, cgroups_v2};
use serde_json::json;
use std::fs;
use std::path::PathBuf;

pub(super) const TESTS: &[Test] = &[
    test("R1", "Pause stops and Resume goes on, State says which", pause),
    test("R2", "Pause and Resume in the wrong state are refused", wrong_state),
    test("R3", "an exec in a paused container is refused", exec_paused),
    test("R4", "a paused container can be killed and deleted", kill_paused),
    test("R5", "an exec is shown paused with its container", exec_state),
    test("R6", "Update changes the limits", update),
    test("R7", "Update of nothing, of nonsense and of a stopped container", bad_update),
    test("R8", "Stats on cgroup v1: a Metrics of that kind with what the kernel counts", stats_v1),
    test("R9", "Stats on cgroup v2: a Metrics of that kind with what the kernel counts", stats_v2),
    test("R10", "Stats of a created container, and of a stopped one", stats_states),
];

fn pause(bed: &Bed<'_>) -> Outcome {
    let task = bed.waiting(&Spec::new())?;
    granted("Pause", task.pause())?;
    same("status", task.status("")?, Status::PAUSED)?;
    granted("Kill", task.kill("", 10, false))?;
    check(!task.streams.borrow().stdout_text().contains("signal 10"), || "it runs".into())?;
    granted("Resume", task.resume())?;
    same("status", task.status("")?, Status::RUNNING)?;
    task.streams.borrow_mut().until("signal 10")?;
    task.finish()
}

fn wrong_state(bed: &Bed<'_>) -> Outcome {
    let task = bed.created(&Spec::new().args(&["/probe", "wait"]))?;
    refused("Pause of a created container", task.pause(), &[], &[])?;
    refused("Resume of a created container", task.resume(), &[], &[])?;
    same("status", task.status("")?, Status::CREATED)?;
    task.begin()?;
    task.streams.borrow_mut().until("ready")?;
    refused("Resume of a running container", task.resume(), &[], &["running", "paused"])?;
    granted("Pause", task.pause())?;
    refused("a second Pause", task.pause(), &[], &["paused", "pause"])?;
    refused("Delete of a paused container", task.delete(""), &[], &["paused"])?;
    granted("Resume", task.resume())?;
    task.stop()?;
    refused("Pause of a stopped container", task.pause(), &[], &[])?;
    refused("Resume of a stopped container", task.resume(), &[], &[])?;
    granted("Delete", task.delete("")).map(drop)
}

fn exec_paused(bed: &Bed<'_>) -> Outcome {
    let task = bed.waiting(&Spec::new())?;
    granted("Pause", task.pause())?;
    match task.add("e", &process(&["/probe", "true"]), &Streams::none()) {
        Ok(_) => {
            refused("Start", task.start("e"), &[], &["paused"])?;
            granted("Delete", task.delete("e"))?;
        }
        refusal => refused("Exec", refusal, &[], &["paused"])?,
    }
    granted("Resume", task.resume())?;
    task.finish()
}

fn kill_paused(bed: &Bed<'_>) -> Outcome {
    let task = bed.waiting(&Spec::new())?;
    granted("Pause", task.pause())?;
    granted("Kill", task.kill("", 9, false))?;
    same("exit status", task.exit("")?, 137)?;
    granted("Delete", task.delete("")).map(drop)
}

fn exec_state(bed: &Bed<'_>) -> Outcome {
    let task = bed.waiting(&Spec::new())?;
    let mut streams = task.exec("e", &["/probe", "idle"])?;
    streams.until("ready")?;
    granted("Pause", task.pause())?;
    same("status of the exec", task.status("e")?, Status::PAUSED)?;
    granted("Resume", task.resume())?;
    same("status of the exec", task.status("e")?, Status::RUNNING)?;
    granted("Kill", task.kill("e", 9, false))?;
    task.exit("e")?;
    granted("Delete", task.delete("e"))?;
    task.finish()
}

/// A file of the container's cgroup: its v1 name with its controller, and its v2 name.
fn group_file(task: &Task<'_, '_>, controller: &str, v1: &str, v2: &str) -> Outcome<String> {
    let own = format!("{}/{}", crate::cgroup::parent().trim_start_matches('/'), task.id());
    let path = match task.bed.host.v1(controller) {
        Ok(hierarchy) => hierarchy.join(own).join(v1),
        Err(_) => PathBuf::from("/sys/fs/cgroup").join(own).join(v2),
    };
    Ok(fs::read_to_string(&path)
        .or_else(|error| fail(format!("{}: {error}", path.display())))?
        .trim()
        .to_owned())
}

fn update(bed: &Bed<'_>) -> Outcome {
    let task = bed.waiting(&Spec::new())?;
    let resources = json!({
        "memory": {"limit": 64 << 20},
        "cpu": {"shares": 512, "quota": 20_000, "period": 100_000},
        "pids": {"limit": 55},
    });
    granted("Update", task.update(&resources))?;
    let memory = group_file(&task, "memory", "memory.limit_in_bytes", "memory.max")?;
    same("memory", memory, (64 << 20).to_string())?;
    same("pids", group_file(&task, "pids", "pids.max", "pids.max")?.as_str(), "55")?;
    let cpu = group_file(&task, "cpu", "cpu.cfs_quota_us", "cpu.max")?;
    check(cpu == "20000" || cpu == "20000 100000", || format!("cpu {cpu}"))?;
    same("status", task.status("")?, Status::RUNNING)?;
    task.finish()
}

fn bad_update(bed: &Bed<'_>) -> Outcome {
    let task = bed.waiting(&Spec::new())?;
    granted("Update of nothing", task.update(&json!({})))?;
    refused("Update of nonsense", task.update(&json!({"memory": "much"})), &[], &[])?;
    task.stop()?;
    refused("Update of a stopped container", task.update(&json!({"pids": {"limit": 5}})), &[], &[])?;
    granted("Delete", task.delete("")).map(drop)
}

fn busy<'b, 'a>(bed: &'b Bed<'a>) -> Outcome<Task<'b, 'a>> {
    let spec = Spec::new()
        .set("/linux/resources/memory", json!({"limit": 128 << 20}))
        .set("/linux/resources/pids", json!({"limit": 77}));
    let task = bed.waiting(&spec)?;
    let mut streams = task.exec("spin", &["/probe", "spin", "200"])?;
    streams.to_end()?;
    task.exit("spin")?;
    granted("Delete", task.delete("spin"))?;
    Ok(task)
}

fn stats_v1(bed: &Bed<'_>) -> Outcome {
    bed.host.v1("memory")?;
    let task = busy(bed)?;
    let stats = granted("Stats", task.stats())?.stats.unwrap_or_default();
    check(stats.type_url.ends_with("io.containerd.cgroups.v1.Metrics"), || stats.type_url.clone())?;
    let metrics = cgroups::metrics::Metrics::parse_from_bytes(&stats.value)
        .or_else(|error| fail(format!("no Metrics: {error}")))?;
    let memory = &metrics.memory;
    same("memory limit", memory.usage.limit, 128 << 20)?;
    check(memory.usage.usage > 0, || "no memory used".into())?;
    check(memory.usage.max >= memory.usage.usage, || format!("{:?}", memory.usage))?;
    same("pids", (metrics.pids.current, metrics.pids.limit), (1, 77))?;
    let cpu = &metrics.cpu.usage;
    check(cpu.total > 10_000_000, || format!("cpu {} ns", cpu.total))?;
    check(cpu.total >= cpu.user, || format!("cpu {} ns, user {} ns", cpu.total, cpu.user))?;
    check(!cpu.per_cpu.is_empty(), || "no usage per cpu".into())?;
    check(metrics.cpu.throttling.is_some(), || "no throttling".into())?;
    task.finish()
}

fn stats_v2(bed: &Bed<'_>) -> Outcome {
    bed.host.needs_v2()?;
    let task = busy(bed)?;
    let stats = granted("Stats", task.stats())?.stats.unwrap_or_default();
    check(stats.type_url.ends_with("io.containerd.cgroups.v2.Metrics"), || stats.type_url.clone())?;
    let metrics = cgroups_v2::metrics::Metrics::parse_from_bytes(&stats.value)
        .or_else(|error| fail(format!("no Metrics: {error}")))?;
    same("memory limit", metrics.memory.usage_limit, 128 << 20)?;
    check(metrics.memory.usage > 0, || "no memory used".into())?;
    same("pids", (metrics.pids.current, metrics.pids.limit), (1, 77))?;
    check(metrics.cpu.usage_usec > 10_000, || format!("cpu {} us", metrics.cpu.usage_usec))?;
    check(metrics.memory_events.is_some(), || "no memory events".into())?;
    task.finish()
}

fn stats_states(bed: &Bed<'_>) -> Outcome {
    if bed.host.cgroups == crate::host::CgroupMode::None {
        return skip("no cgroups");
    }
    let task = bed.created(&Spec::new())?;
    granted("Stats of a created container", task.stats())?;
    task.begin()?;
    task.exit("")?;
    // The cgroup of a stopped container exists until Delete; a shim that removes it early answers NotFound.
    if let Err(refusal) = task.stats() {
        same("code for a stopped container", refusal.code(), Some(code::NOT_FOUND))?;
    }
    granted("Delete", task.delete(""))?;
    refused("Stats after Delete", task.stats(), &[code::NOT_FOUND], &[])
}
