//! What a process of a container gets at its birth, and gets alike whether it is the first, one that is added or a hook:
//! rows A76, A95, A176, A182.

use super::hooks::{Hooks, records};
use crate::observe::strings;
use crate::outcome::{Outcome, check, same, skip};
use crate::runtime::MARKER;
use crate::{Bed, Spec, Test, test};
use serde_json::{Value, json};
use std::path::Path;

pub(super) const TESTS: &[Test] = &[
    test("A76 A176", "an added process gets all that the first one has, field by field", alike),
    test("A76", "the CPU affinity of the caller stays with the caller", affinity),
    test(
        "A95",
        "a hook without env has the runtime's environment on the runtime's side, and none inside",
        caller,
    ),
    test("A95", "a startContainer hook without env has the environment of the process", of_process),
    test("A95", "a hook with an empty env has an empty environment", empty),
    test("A182", "startContainer hooks run under the seccomp filter of the container", filtered),
    test("A182", "what a filter denies to the program it denies to startContainer hooks", denied),
];

/// Every field of the report that says what a process was born with. What differs by its nature is not in it: numbers of
/// processes, times, streams, and the
/// session keyring and namespaces of the two containers that are compared.
const FIELDS: &[&str] = &[
    "/env",
    "/cwd",
    "/uid",
    "/euid",
    "/gid",
    "/egid",
    "/groups",
    "/umask",
    "/hostname",
    "/domainname",
    "/rlimits",
    "/oom_score_adj",
    "/scheduler",
    "/ioprio",
    "/mempolicy",
    "/personality",
    "/uid_map",
    "/gid_map",
    "/status/Umask",
    "/status/SigBlk",
    "/status/SigIgn",
    "/status/CapInh",
    "/status/CapPrm",
    "/status/CapEff",
    "/status/CapBnd",
    "/status/CapAmb",
    "/status/NoNewPrivs",
    "/status/Seccomp",
    "/status/Seccomp_filters",
    "/status/Speculation_Store_Bypass",
    "/status/Cpus_allowed_list",
    "/status/Mems_allowed_list",
    "/status/CoreDumping",
    "/status/THP_enabled",
];

/// A configuration in which most of them are not what a process has without it.
fn rich(bed: &Bed<'_>) -> Spec {
    let caps = json!(["CAP_KILL", "CAP_CHOWN"]);
    let mut spec = Spec::new()
        .set("/process/user/umask", 0o27)
        .set("/process/cwd", "/tmp")
        .set("/process/capabilities/inheritable", caps.clone())
        .set("/process/capabilities/ambient", json!(["CAP_KILL"]))
        .set("/process/rlimits", json!([{"type": "RLIMIT_NOFILE", "hard": 900, "soft": 800}]))
        .set("/process/ioPriority", json!({"class": "IOPRIO_CLASS_BE", "priority": 6}))
        .set("/process/scheduler", json!({"policy": "SCHED_BATCH", "nice": 5}))
        .set(
            "/linux/seccomp",
            json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["acct"], "action": "SCMP_ACT_ERRNO"}]}),
        );
    for set in ["bounding", "effective", "permitted"] {
        spec = spec.set(&format!("/process/capabilities/{set}"), caps.clone());
    }
    if bed.host.root {
        spec = spec.set("/process/user/additionalGids", json!([7, 8])).set("/process/oomScoreAdj", 77);
    }
    if Path::new("/proc/self/numa_maps").exists() {
        spec = spec.set("/linux/memoryPolicy", json!({"mode": "MPOL_BIND", "nodes": "0"}));
    }
    spec
}

fn alike(bed: &Bed<'_>) -> Outcome {
    let spec = rich(bed);
    let first = bed.report(&spec)?;
    let container = bed.waiting(&spec)?;
    let added = container.exec(&["/probe", "report"])?.ok()?.json()?;
    let differ: Vec<String> = FIELDS
        .iter()
        .filter(|field| first.pointer(field) != added.pointer(field))
        .map(|field| {
            let shown = |report: &Value| report.pointer(field).map(Value::to_string).unwrap_or_default();
            format!("{field}: {} of the first, {} of the added one", shown(&first), shown(&added))
        })
        .collect();
    check(differ.is_empty(), || differ.join("; "))
}

fn affinity(bed: &Bed<'_>) -> Outcome {
    let own = std::fs::read_to_string("/proc/self/status")?;
    if own.contains("Cpus_allowed_list:\t0\n") {
        return skip("needs two CPUs");
    }
    let bundle = bed.bundle(&Spec::new())?;
    let dir = bundle.dir.to_string_lossy().into_owned();
    let bound = ["taskset", "-c", "0"];
    let run = bed.command(["run", "--bundle", &dir, &bundle.id]).under(&bound).call()?.ok()?.json()?;
    let cpus = |report: &Value| report["status"]["Cpus_allowed_list"].as_str().unwrap_or_default().to_owned();
    check(cpus(&run) != "0", || "the first process has the CPUs of its caller".into())?;
    let container = bed.waiting(&Spec::new())?;
    let exec = bed.command(["exec", container.id(), "/probe", "report"]);
    let exec = exec.under(&bound).call()?.ok()?.json()?;
    same("CPUs of an added process", cpus(&exec), cpus(&run))
}

fn caller(bed: &Bed<'_>) -> Outcome {
    let mut hooks = Hooks::new(bed)?;
    for kind in ["prestart", "createRuntime", "createContainer", "poststart", "poststop"] {
        hooks = hooks.hook(kind, kind, &[]);
    }
    let bundle = hooks.write()?;
    bed.run_bundle(&bundle)?.ok()?;
    for hook in records(&bundle)? {
        let env = strings(&hook["env"]).join(" ");
        if hook["label"] == "createContainer" {
            check(env.is_empty(), || format!("createContainer: {env}"))?;
        } else {
            check(env.contains(MARKER) && env.contains("PATH="), || format!("{}: {env}", hook["label"]))?;
        }
    }
    Ok(())
}

fn of_process(bed: &Bed<'_>) -> Outcome {
    let bundle = Hooks::new(bed)?.hook("startContainer", "hook", &[]).write()?;
    bed.run_bundle(&bundle)?.ok()?;
    let env = strings(&records(&bundle)?[0]["env"]).join(" ");
    check(env.contains("TERM=xterm") && !env.contains(MARKER), || env)
}

fn empty(bed: &Bed<'_>) -> Outcome {
    let mut hooks = Hooks::new(bed)?.env(Some(&[]));
    for kind in ["createRuntime", "createContainer", "startContainer", "poststop"] {
        hooks = hooks.hook(kind, kind, &[]);
    }
    let bundle = hooks.write()?;
    bed.run_bundle(&bundle)?.ok()?;
    for hook in records(&bundle)? {
        let env = strings(&hook["env"]);
        check(env.is_empty(), || format!("{}: {env:?}", hook["label"]))?;
    }
    Ok(())
}

/// The record of a startContainer hook with a filter of these rules.
fn hook_under(bed: &Bed<'_>, rules: Value, privileges: bool) -> Outcome<crate::Called> {
    let filter = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules});
    let bundle = Hooks::new(bed)?
        .set("/linux/seccomp", filter)
        .set("/process/noNewPrivileges", !privileges)
        .hook("startContainer", "hook", &[])
        .write()?;
    let called = bed.run_bundle(&bundle)?;
    if called.status.success() {
        same("Seccomp", &records(&bundle)?[0]["status"]["Seccomp"], "2")?;
    }
    Ok(called)
}

fn filtered(bed: &Bed<'_>) -> Outcome {
    for privileges in [false, true] {
        hook_under(bed, json!([{"names": ["acct"], "action": "SCMP_ACT_ERRNO"}]), privileges)?.ok()?;
    }
    Ok(())
}

fn denied(bed: &Bed<'_>) -> Outcome {
    // The hook cannot write its record then; the program of the container writes nothing.
    let rules = json!([{"names": ["write", "writev"], "action": "SCMP_ACT_ERRNO"}]);
    hook_under(bed, rules, false)?.refused(&["startContainer"])
}
