//! Seccomp profiles that deny, notify or kill calls that a process makes between loading its filter and its program:
//! whatever they say, the runtime returns, with a running program or with a reason.

use super::agent::Agent;
use crate::outcome::{Fault, Outcome, check};
use crate::runtime::PATIENCE;
use crate::{Bed, Bundle, Spec, Test, test};
use serde_json::{Value, json};
use std::time::Duration;

pub(super) const TESTS: &[Test] = &[
    test("F37", "no profile that answers a call with an error makes create or start hang", |bed| {
        each(bed, "SCMP_ACT_ERRNO")
    }),
    test("F37", "no profile that ends the process for a call makes create or start hang", |bed| {
        each(bed, "SCMP_ACT_KILL_PROCESS")
    }),
    test("F37", "no profile that ends the thread for a call makes create or start hang", |bed| {
        each(bed, "SCMP_ACT_KILL_THREAD")
    }),
    test("F37", "no profile that sends SIGSYS for a call makes create or start hang", |bed| {
        each(bed, "SCMP_ACT_TRAP")
    }),
    test("F37", "no profile that has a call traced makes create or start hang", |bed| {
        each(bed, "SCMP_ACT_TRACE")
    }),
    test(
        "F37",
        "no profile that notifies an agent, which lets the call go on, makes create or start hang",
        |bed| each(bed, "SCMP_ACT_NOTIFY"),
    ),
    test("F37", "no default action makes create or start hang", |bed| {
        let actions = ["ERRNO", "KILL_PROCESS", "KILL_THREAD", "TRAP", "TRACE"];
        let profiles = actions.iter().flat_map(|action| {
            let allowed =
                [&[][..], &["capset"], &["execve"], &["execve", "capset"], &["exit_group"], &["sendmsg"]];
            allowed.map(|names| {
                let rule = json!([{"names": names, "action": "SCMP_ACT_ALLOW"}]);
                let rules = if names.is_empty() { json!([]) } else { rule };
                json!({"defaultAction": format!("SCMP_ACT_{action}"), "syscalls": rules})
            })
        });
        try_all(bed, profiles.collect())
    }),
    test("F37", "a profile that ends the process before its program is an error that says so", |bed| {
        for (names, privileges) in [(["execve"], true), (["execve"], false), (["capset"], false)] {
            let rule = json!([{"names": names, "action": "SCMP_ACT_KILL_PROCESS"}]);
            let spec = Spec::new()
                .args(&["/probe", "true"])
                .set("/process/noNewPrivileges", json!(privileges))
                .set("/linux/seccomp", json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rule}));
            // How another parent's process ended, only newer kernels tell a user.
            let words: &[&str] = if bed.host.root { &["seccomp"] } else { &["seccomp", "ended"] };
            bed.run(&spec)?.refused(words)?;
            let bundle = bed.bundle(&spec)?;
            let created = bed.call(["create", "--bundle", &bundle.dir.to_string_lossy(), &bundle.id])?;
            // Where the process has its filter early, it does not come so far.
            let call = if created.status.success() { bed.call(["start", &bundle.id])? } else { created };
            call.refused(words)?;
        }
        Ok(())
    }),
];

/// Calls that a process makes, or might make, after its filter is loaded; including hooks.
const CALLS: [&str; 34] = [
    "accept4",
    "capget",
    "capset",
    "clone",
    "clone3",
    "close",
    "close_range",
    "dup3",
    "execve",
    "exit",
    "exit_group",
    "faccessat2",
    "fcntl",
    "fstat",
    "getpid",
    "kill",
    "lseek",
    "memfd_create",
    "openat",
    "openat2",
    "ppoll",
    "prctl",
    "read",
    "recvmsg",
    "rt_sigaction",
    "rt_sigprocmask",
    "seccomp",
    "sendmsg",
    "setpgid",
    "statfs",
    "wait4",
    "waitid",
    "write",
    "readlink",
];

fn each(bed: &Bed<'_>, action: &str) -> Outcome {
    let agent = Agent::serve(bed.dir(), "agent")?;
    let profiles = CALLS.iter().map(|name| {
        let mut profile = json!({
            "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": [name], "action": action}]
        });
        if action == "SCMP_ACT_NOTIFY" {
            profile["listenerPath"] = json!(agent.path);
        }
        profile
    });
    try_all(bed, profiles.collect())
}

/// Runs a container with each profile, with and without `noNewPrivileges`, several at a time.
fn try_all(bed: &Bed<'_>, profiles: Vec<Value>) -> Outcome {
    let all: Vec<(Value, bool)> =
        profiles.into_iter().flat_map(|profile| [(profile.clone(), true), (profile, false)]).collect();
    // Odd, so that a sample has both.
    let step = bed.sample(all.len()) | 1;
    let all: Vec<(Value, bool)> = all.into_iter().step_by(step).collect();
    let mut wrong = Vec::new();
    for some in all.chunks(8) {
        let mut calls = Vec::new();
        for (profile, privileges) in some {
            let spec = Spec::new()
                .args(&["/probe", "true"])
                .set("/process/noNewPrivileges", json!(privileges))
                .set("/linux/seccomp", profile.clone());
            let bundle = bed.bundle(&spec)?;
            let dir = bundle.dir.to_string_lossy().into_owned();
            calls.push((
                bed.command(["run", "--detach", "--bundle", &dir, &bundle.id]).spawn()?,
                bundle,
                profile,
                privileges,
            ));
        }
        for (call, bundle, profile, privileges) in calls {
            let what = || format!("{profile} noNewPrivileges {privileges}");
            match call.finish(LIMIT) {
                Ok(called) if called.status.success() || !called.stderr.is_empty() => {}
                Ok(called) => wrong.push(format!("{}: ended with {} and no word", what(), called.code())),
                Err(Fault::Failed(text)) => wrong.push(format!("{}: {text}", what())),
                Err(skipped) => return Err(skipped),
            }
            if let Err(Fault::Failed(text)) = delete(bed, &bundle) {
                wrong.push(format!("{}: {text}", what()));
            }
        }
    }
    check(wrong.is_empty(), || wrong.join("; "))
}

fn delete(bed: &Bed<'_>, bundle: &Bundle) -> Outcome {
    bed.command(["delete", "--force", &bundle.id]).patience(PATIENCE).call()?.ok().map(drop)
}

/// How long a call may take.
const LIMIT: Duration = Duration::from_secs(10);
