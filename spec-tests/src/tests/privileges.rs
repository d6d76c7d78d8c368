//! Capabilities, `no_new_privs`, OOM score: rows A63 to A66, A70 to A72.

use crate::observe::capability_set;
use crate::outcome::{Outcome, check, fail, same, skip};
use crate::{Bed, Spec, Test, test};
use serde_json::json;
use std::path::Path;

const CHOWN: u64 = 1 << 0;
const KILL: u64 = 1 << 5;
const SETUID: u64 = 1 << 7;
const NET_BIND: u64 = 1 << 10;
const NET_RAW: u64 = 1 << 13;

pub(super) const TESTS: &[Test] = &[
    test("A63", "the five capability sets are exactly those of the configuration", |bed| {
        let sets = json!({
            "bounding": ["CAP_CHOWN", "CAP_KILL", "CAP_SETUID", "CAP_NET_BIND_SERVICE", "CAP_NET_RAW"],
            "permitted": ["CAP_CHOWN", "CAP_KILL", "CAP_NET_BIND_SERVICE", "CAP_NET_RAW"],
            "effective": ["CAP_CHOWN", "CAP_KILL", "CAP_NET_BIND_SERVICE"],
            "inheritable": ["CAP_KILL", "CAP_NET_BIND_SERVICE"],
            "ambient": ["CAP_NET_BIND_SERVICE"]
        });
        // exec recomputes the sets: for a user other than root only ambient capabilities stay permitted and effective.
        let user = json!({"uid": 1000, "gid": 1000});
        let seen = bed.report(&Spec::new().set("/process/capabilities", sets).set("/process/user", user))?;
        same("bounding", capability_set(&seen, "CapBnd")?, CHOWN | KILL | SETUID | NET_BIND | NET_RAW)?;
        same("inheritable", capability_set(&seen, "CapInh")?, KILL | NET_BIND)?;
        same("ambient", capability_set(&seen, "CapAmb")?, NET_BIND)?;
        same("permitted", capability_set(&seen, "CapPrm")?, NET_BIND)?;
        same("effective", capability_set(&seen, "CapEff")?, NET_BIND)
    }),
    test("A63", "root gets its bounding set and nothing inheritable", |bed| {
        let seen = bed.report(&Spec::new().capabilities(&["CAP_CHOWN", "CAP_KILL"]))?;
        for set in ["CapBnd", "CapPrm", "CapEff"] {
            same(set, capability_set(&seen, set)?, CHOWN | KILL)?;
        }
        same("inheritable", capability_set(&seen, "CapInh")?, 0)
    }),
    test("A63", "a refusal on the way never leaves more in the bounding set than was configured", |bed| {
        bed.host.needs_root_because("newuidmap has no privileges under strace")?;
        super::kernel::needs("strace")?;
        for moment in (1..60).step_by(bed.sample(60)) {
            let bundle = bed.bundle(&Spec::new().capabilities(&["CAP_CHOWN", "CAP_KILL"]))?;
            let inject = format!("inject=prctl:error=EINVAL:when={moment}");
            let strace = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=prctl", "-e", &inject];
            let dir = bundle.dir.to_string_lossy();
            let called = bed.command(["run", "--bundle", &dir, &bundle.id]).under(&strace).call()?;
            if called.status.success() {
                let set = capability_set(&called.json()?, "CapBnd")?;
                check(set == CHOWN | KILL, || format!("{set:#x} after a refusal of prctl number {moment}"))?;
            }
        }
        Ok(())
    }),
    test("A63", "without capabilities a process has none", |bed| {
        let seen = bed.report(&Spec::new().without("/process/capabilities"))?;
        for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
            same(set, capability_set(&seen, set)?, 0)?;
        }
        Ok(())
    }),
    test("A63", "an unprivileged user without ambient set has no effective capability", |bed| {
        let spec =
            Spec::new().capabilities(&["CAP_CHOWN", "CAP_KILL"]).without("/process/capabilities/ambient");
        let seen = bed.report(&spec.set("/process/user", json!({"uid": 1000, "gid": 1000})))?;
        same("effective", capability_set(&seen, "CapEff")?, 0)?;
        same("ambient", capability_set(&seen, "CapAmb")?, 0)
    }),
    test("A64", "an unknown capability is a warning that names it", |bed| {
        let called = bed.run(&Spec::new().capabilities(&["CAP_CHOWN", "CAP_NONSENSE"]))?.ok()?;
        same("effective", capability_set(&called.json()?, "CapEff")?, CHOWN)?;
        check(called.stderr.contains("CAP_NONSENSE"), || format!("no warning: {:?}", called.stderr))
    }),
    test("A65", "a capability that the runtime does not have itself is a warning that names it", ungrantable),
    test("A66", "an ambient capability that is not inheritable is a warning", |bed| {
        let sets = json!({"bounding": ["CAP_CHOWN"], "permitted": ["CAP_CHOWN"], "effective": ["CAP_CHOWN"], "ambient": ["CAP_CHOWN"]});
        let called = bed.run(&Spec::new().set("/process/capabilities", sets))?.ok()?;
        let seen = called.json()?;
        same("ambient", capability_set(&seen, "CapAmb")?, 0)?;
        same("effective", capability_set(&seen, "CapEff")?, CHOWN)?;
        check(called.stderr.to_lowercase().contains("ambient"), || format!("no warning: {:?}", called.stderr))
    }),
    test("A70", "noNewPrivileges true is set", |bed| no_new_privs(bed, Some(true), "1")),
    test("A70", "noNewPrivileges false and absent leave it off", |bed| {
        no_new_privs(bed, Some(false), "0")?;
        no_new_privs(bed, None, "0")
    }),
    test("A71", "oomScoreAdj is written", |bed| {
        let wanted = own_score()? + 123;
        same("score", &bed.report(&Spec::new().set("/process/oomScoreAdj", wanted))?["oom_score_adj"], wanted)
    }),
    test("A71", "oomScoreAdj 0 is written", |bed| {
        let least = own_score()?;
        if least > 0 && !bed.host.root {
            return skip(format!("needs root: this user's processes cannot go below {least}"));
        }
        let call = |bed: &Bed<'_>, spec: &Spec| {
            let bundle = bed.bundle(spec)?;
            let call = bed.command(["run", "--bundle", &bundle.dir.to_string_lossy(), &bundle.id]);
            call.after("echo 77 >/proc/self/oom_score_adj").call()?.ok()?.json()
        };
        // Without CAP_SYS_RESOURCE the score cannot go below its minimum, which writing it has not raised.
        same("score", &call(bed, &Spec::new().set("/process/oomScoreAdj", 0))?["oom_score_adj"], 0)
    }),
    test("A71", "an oomScoreAdj out of range is refused", |bed| {
        bed.refuses(&Spec::new().set("/process/oomScoreAdj", 1001), &["oom"])
    }),
    test("A72", "without oomScoreAdj the caller's is kept", |bed| {
        let wanted = own_score()? + 77;
        let bundle = bed.bundle(&Spec::new())?;
        let call = bed.command(["run", "--bundle", &bundle.dir.to_string_lossy(), &bundle.id]);
        let seen = call.after(&format!("echo {wanted} >/proc/self/oom_score_adj")).call()?.ok()?.json()?;
        same("score", &seen["oom_score_adj"], wanted)
    }),
];

/// The OOM score of the suite: without privileges, none of its processes can have a lower one.
fn own_score() -> Outcome<i64> {
    let text = std::fs::read_to_string("/proc/self/oom_score_adj")?;
    text.trim().parse().map_or_else(|_| fail(format!("the own OOM score is {text:?}")), Ok)
}

fn ungrantable(bed: &Bed<'_>) -> Outcome {
    bed.host.needs_root_because("in a user namespace of his own a user has every capability")?;
    let names = [(24, "CAP_SYS_RESOURCE"), (16, "CAP_SYS_MODULE"), (22, "CAP_SYS_BOOT")];
    let missing = names.iter().find(|(bit, _)| bed.host.bounding & (1 << bit) == 0);
    let after = match missing {
        Some(_) => None,
        None if Path::new("/usr/bin/setpriv").exists() => Some(
            "set -- --bounding-set -sys_boot --inh-caps -sys_boot -- \"$0\" \"$@\"; exec /usr/bin/setpriv \"$@\"",
        ),
        None => return skip("the suite has every capability and there is no setpriv to drop one"),
    };
    let name = missing.map_or("CAP_SYS_BOOT", |(_, name)| name);
    let bundle = bed.bundle(&Spec::new().capabilities(&["CAP_CHOWN", name]))?;
    let mut call = bed.command(["run", "--bundle", &bundle.dir.to_string_lossy(), &bundle.id]);
    if let Some(words) = after {
        call = call.after(words);
    }
    let called = call.call()?.ok()?;
    same("effective", capability_set(&called.json()?, "CapEff")?, CHOWN)?;
    check(called.stderr.contains(name), || format!("no warning: {:?}", called.stderr))
}

fn no_new_privs(bed: &Bed<'_>, value: Option<bool>, wanted: &str) -> Outcome {
    let spec = Spec::new().without("/process/noNewPrivileges");
    let spec = value.map_or(spec.clone(), |value| spec.set("/process/noNewPrivileges", value));
    same("NoNewPrivs", &bed.report(&spec)?["status"]["NoNewPrivs"], wanted)
}
