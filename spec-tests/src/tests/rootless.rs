//! What `--rootless` does about cgroups that cannot be made: part of C2. And callers that are only root of a user
//! namespace.

use crate::outcome::{Outcome, check};
use crate::runtime::Called;
use crate::{Bed, Spec, Test, test};
use serde_json::json;

pub(super) const TESTS: &[Test] = &[
    test("C2", "--rootless=true does without cgroups that cannot be made, and says nothing", |bed| {
        let called = on_read_only_cgroups(bed, "true", &Spec::new())?.ok()?;
        check(called.stderr.is_empty(), || format!("it said {}", called.stderr))
    }),
    test("C2", "--rootless=true does not do without limits", |bed| {
        let spec = Spec::new().set("/linux/resources/pids", json!({"limit": 20}));
        on_read_only_cgroups(bed, "true", &spec)?.refused(&["cgroup", "pids"])
    }),
    test("C2", "--rootless=false makes a cgroup that cannot be made an error", |bed| {
        on_read_only_cgroups(bed, "false", &Spec::new())?.refused(&["cgroup"])
    }),
    test("C2", "--rootless takes no other word than true, false and auto", |bed| {
        let bundle = bed.bundle(&Spec::new())?;
        let dir = bundle.dir.to_string_lossy();
        bed.call(["--rootless", "auto", "run", "--bundle", &dir, &bundle.id])?.ok()?;
        bed.call(["--rootless=maybe", "run", "--bundle", &dir, &bundle.id])?.refused(&["rootless", "maybe"])
    }),
    test("C4", "exec by root of a user namespace whose pid namespace is the host's", |bed| {
        bed.host.needs_root_because("the configuration is for root of a user namespace")?;
        // Its devpts is for a group that this namespace does not have.
        let bundle = bed.bundle(&Spec::new().no_mount("/dev/pts").args(&["/probe", "wait"]))?;
        let script = format!(
            "exec unshare --user --map-root-user --mount /bin/sh -ec \
             '\"$0\" \"$@\" run --detach --bundle {dir} {id} </dev/null >/dev/null 2>&1; code=0; \
              \"$0\" \"$@\" exec {id} /probe true || code=$?; \"$0\" \"$@\" delete --force {id}; exit $code' \"$0\" \"$@\"",
            dir = bundle.dir.display(),
            id = bundle.id
        );
        bed.command([]).after(&script).call()?.ok().map(drop)
    }),
];

/// A run in a mount namespace where everything that shows cgroups is read-only.
fn on_read_only_cgroups(bed: &Bed<'_>, word: &str, spec: &Spec) -> Outcome<Called> {
    super::cgroups::cgroupfs(bed)?;
    bed.host.needs_root_because("mounts of the host are made read-only")?;
    let bundle = bed.bundle(&spec.clone().without("/linux/resources/devices"))?;
    let dir = bundle.dir.to_string_lossy();
    let call = bed.command(["--rootless", word, "run", "--bundle", &dir, &bundle.id]).after(
        "exec unshare --mount --propagation private /bin/sh -c \
         'for at in $(grep -E \"^[^ ]+ [^ ]+ cgroup2? \" /proc/mounts | cut -d\" \" -f2); do mount -o remount,bind,ro $at; done; \
         exec \"$0\" \"$@\"' \"$0\" \"$@\"",
    );
    call.call()
}
