//! What a container process gets at birth, and gets alike whether it is the first, an added one, a hook or a restored
//! one, whatever its caller has: rows A76, A95, A176, A182, C15.

use super::hooks::{Hooks, records};
use crate::criu::Counter;
use crate::observe::strings;
use crate::outcome::{Outcome, check, same, skip};
use crate::runtime::Invocation;
use crate::runtime::MARKER;
use crate::{Bed, Bundle, Container, Spec, Test, root, test};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

pub(super) const TESTS: &[Test] = &[
    test(
        "A76 A176",
        "an added process and a startContainer hook get all that the first one has, field by field",
        |bed| alike(bed, &[]),
    ),
    root("A76 A176", "the same under a caller that has all of it otherwise", |bed| alike(bed, strange()?)),
    test(
        "A76 A176 C15",
        "a restored process and one added to it have all that they had before, field by field",
        |bed| alike_again(bed, &[]),
    ),
    test("A76 A176 C15", "the same restored by a caller that has all of it otherwise", |bed| {
        alike_again(bed, strange()?)
    }),
    root(
        "A76 A95",
        "a createContainer hook has nothing of its caller's that the container has its own of",
        outer,
    ),
    test("A76", "the CPU affinity of the caller stays with the caller", affinity),
    test(
        "A95",
        "a hook without env has the runtime's environment on the runtime's side, and none inside",
        caller,
    ),
    test("A95", "a startContainer hook without env has the environment of the process", of_process),
    test("A95", "a hook with an empty env has an empty environment", empty),
    test("A182", "startContainer hooks run under the seccomp filter of the container", filtered),
    test("A182", "a startContainer hook that the filter kills is told with the name of the signal", |bed| {
        let rules = json!([{"names": ["write", "writev"], "action": "SCMP_ACT_KILL_PROCESS"}]);
        hook_under(bed, rules, false)?.refused(&["startContainer hook #0: signal: bad system call"])
    }),
    test("A182", "what a filter denies to the program it denies to startContainer hooks", denied),
];

/// Every field of the report about what a process was born with, except those that differ by nature: pids, times,
/// streams.
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
    "/securebits",
    "/timerslack",
    "/keyring/name",
    "/namespaces",
    "/cgroup",
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

/// A configuration in which most of them differ from the defaults.
fn rich(bed: &Bed<'_>, spec: Spec) -> Spec {
    let caps = json!(["CAP_KILL", "CAP_CHOWN"]);
    let mut spec = spec
        .set("/process/user/umask", 0o27)
        .set("/process/cwd", "/tmp")
        .set("/process/capabilities/inheritable", caps.clone())
        .set("/process/capabilities/ambient", json!(["CAP_KILL"]))
        .set("/process/rlimits", json!([{"type": "RLIMIT_NOFILE", "hard": 900, "soft": 800}]))
        .set("/process/ioPriority", json!({"class": "IOPRIO_CLASS_BE", "priority": 6}))
        .set("/process/scheduler", json!({"policy": "SCHED_BATCH", "nice": 5}))
        .set("/linux/personality", json!({"domain": "LINUX"}))
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

/// The prefix of a call that makes everything about its caller unusual; skips if the tools are missing.
fn strange() -> Outcome<&'static [&'static str]> {
    const WORDS: &[&str] = &[
        "sh",
        "-c",
        "umask 077; ulimit -Sn 512; exec \"$@\"",
        "sh",
        "env",
        "--block-signal=USR2",
        "--ignore-signal=USR1",
        "STRANGE=1",
        "setpriv",
        "--groups=5678",
        "--inh-caps=+setuid",
        "choom",
        "-n",
        "500",
        "--",
        "setarch",
        "--addr-no-randomize",
        "ionice",
        "-c",
        "3",
        "nice",
        "-n",
        "7",
        "taskset",
        "-c",
        "0",
    ];
    let tried = Command::new(WORDS[0]).args(&WORDS[1..]).arg("true").stdin(Stdio::null()).output()?;
    let said = String::from_utf8_lossy(&tried.stderr);
    if tried.status.success() { Ok(WORDS) } else { skip(format!("needs newer tools: {}", said.trim())) }
}

/// The program of a container that appends its report to those of the hooks when told to.
const WHEN_TOLD: &[&str] =
    &["/probe", "await", "/data/go", "hook", "/data/hooks.log", "the first process", "no-stdin", "report"];

/// Tells it, and waits for the reports, each with its source.
fn told(container: &Container<'_, '_>, bundle: &Bundle) -> Outcome<Vec<(String, Value)>> {
    fs::write(bundle.rootfs.join("data/go"), "")?;
    container.until("the report", || {
        let records = records(bundle).unwrap_or_default();
        let reports: Vec<_> = records
            .into_iter()
            .map(|mut record| {
                (record["label"].as_str().unwrap_or_default().to_owned(), record["report"].take())
            })
            .collect();
        Ok(reports.iter().any(|(who, _)| who == WHEN_TOLD[5]).then_some(reports))
    })
}

fn added(call: Invocation, who: &str) -> Outcome<(String, Value)> {
    Ok((who.to_owned(), call.call()?.ok()?.json()?))
}

/// Each of the others has what the first one has, and no descriptors except the standard streams.
fn compare(reports: &[(String, Value)]) -> Outcome {
    let Some(((first, wanted), others)) = reports.split_first() else { return Ok(()) };
    let mut differ = Vec::new();
    for (who, seen) in others {
        for field in FIELDS.iter().filter(|field| wanted.pointer(field) != seen.pointer(field)) {
            let shown = |report: &Value| report.pointer(field).map(Value::to_string).unwrap_or_default();
            differ.push(format!("{field}: {} of {first}, {} of {who}", shown(wanted), shown(seen)));
        }
    }
    for (who, seen) in reports {
        let more: Vec<_> = seen["fds"]
            .as_object()
            .into_iter()
            .flatten()
            .filter(|(fd, _)| !["0", "1", "2"].contains(&fd.as_str()))
            .collect();
        if !more.is_empty() {
            differ.push(format!("{who} has {more:?}"));
        }
    }
    check(differ.is_empty(), || differ.join("; "))
}

/// The same container under a usual caller and under another one.
fn alike(bed: &Bed<'_>, caller: &[&str]) -> Outcome {
    let bundle = Hooks::new(bed)?
        .change(|spec| rich(bed, spec))
        .program(WHEN_TOLD)
        .hook("startContainer", "a startContainer hook", &["report"])
        .write()?;
    let dir = bundle.dir.to_string_lossy().into_owned();
    bed.command(["create", "--bundle", &dir, &bundle.id]).under(caller).call()?.ok()?;
    bed.command(["start", &bundle.id]).under(caller).call()?.ok()?;
    let container = bed.adopt(&bundle);
    let exec = || bed.command(["exec", &bundle.id, "/probe", "report"]);
    let usual = added(exec(), "an added process")?;
    let other = added(exec().under(caller), "one added by this caller")?;
    let mut reports = vec![usual, other];
    reports.extend(told(&container, &bundle)?);
    same(
        "the session keyring",
        reports[0].1["keyring"]["name"].as_str(),
        Some(&*format!("_ses.{}", bundle.id)),
    )?;
    compare(&reports)
}

/// A container before and after a checkpoint.
fn alike_again(bed: &Bed<'_>, caller: &[&str]) -> Outcome {
    // criu makes the cgroup and time namespaces.
    let counter = Counter::start_as(bed, &rich(bed, Spec::new()).args(WHEN_TOLD), |_| Ok(()))?;
    let exec = || bed.command(["exec", counter.id(), "/probe", "report"]);
    let before = added(exec(), "a process before the checkpoint")?;
    counter.checkpoint(&[])?.ok()?;
    counter
        .restore_command(&["--detach"])
        .under(caller)
        .after("exec </dev/null >/dev/null 2>&1")
        .call()?
        .ok()?;
    let mut reports = vec![before, added(exec().under(caller), "a process added after the restore")?];
    reports.extend(told(&counter.container(), &counter.bundle)?);
    // The namespaces are new.
    for (_, report) in &mut reports {
        report["namespaces"].take();
    }
    same(
        "the session keyring",
        reports[0].1["keyring"]["name"].as_str(),
        Some(&*format!("_ses.{}", counter.id())),
    )?;
    compare(&reports)
}

/// It runs before limits, priorities, ids and the umask are set.
fn outer(bed: &Bed<'_>) -> Outcome {
    let hook = |caller: &[&str]| -> Outcome<Value> {
        let bundle = Hooks::new(bed)?.hook("createContainer", "hook", &["report"]).write()?;
        let dir = bundle.dir.to_string_lossy().into_owned();
        bed.command(["run", "--bundle", &dir, &bundle.id]).under(caller).call()?.ok()?;
        let mut report = records(&bundle)?[0]["report"].take();
        same(
            "the session keyring",
            report["keyring"]["name"].as_str(),
            Some(format!("_ses.{}", bundle.id).as_str()),
        )?;
        report["keyring"].take();
        Ok(report)
    };
    let (wanted, seen) = (hook(&[])?, hook(strange()?)?);
    for field in ["/status/SigBlk", "/status/SigIgn", "/status/Cpus_allowed_list", "/env"] {
        same(field, seen.pointer(field), wanted.pointer(field))?;
    }
    Ok(())
}

fn affinity(bed: &Bed<'_>) -> Outcome {
    let own = fs::read_to_string("/proc/self/status")?;
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
    // The hook cannot write its record then; the container's program writes nothing.
    let rules = json!([{"names": ["write", "writev"], "action": "SCMP_ACT_ERRNO"}]);
    hook_under(bed, rules, false)?.refused(&["startContainer"])
}
