//! Namespaces, id maps, time offsets: rows A108 to A117.

use crate::observe::strings;
use crate::outcome::{Outcome, check, same};
use crate::{Bed, Bundle, Spec, Test, test};
use serde_json::json;
use std::fs;

/// Type in config.json and name under /proc/PID/ns.
const KINDS: [(&str, &str); 8] = [
    ("pid", "pid"),
    ("network", "net"),
    ("mount", "mnt"),
    ("ipc", "ipc"),
    ("uts", "uts"),
    ("user", "user"),
    ("cgroup", "cgroup"),
    ("time", "time"),
];

pub(super) const TESTS: &[Test] = &[
    test("A108", "all eight kinds of namespace are made", |bed| {
        let seen = bed.report(&all_kinds())?;
        for (kind, file) in KINDS {
            check(seen["namespaces"][file] != json!(own(file)?), || {
                format!("the {kind} namespace is the host's")
            })?;
        }
        same("pid", &seen["pid"], 1)
    }),
    test("A108", "an unknown kind of namespace is refused", |bed| {
        bed.refuses(
            &Spec::new().set("/linux/namespaces/-", json!({"type": "nonsense"})),
            &["nonsense", "namespace"],
        )
    }),
    test("A108", "a namespace without type is refused", |bed| {
        bed.refuses(&Spec::new().set("/linux/namespaces/-", json!({})), &["namespace", "type"])
    }),
    test("A108", "in a new cgroup namespace the own cgroup is the root", |bed| {
        let seen = bed.report(&Spec::new().namespace("cgroup", None))?;
        for line in strings(&seen["cgroup"]) {
            // A hierarchy in which the runtime makes no cgroup shows the host's place relative to itself.
            let path = line.rsplit(':').next().unwrap_or_default();
            check(path == "/" || !path.contains("suite"), || format!("cgroup {line}"))?;
        }
        Ok(())
    }),
    test("A108", "in a new network namespace loopback is there", |bed| {
        let answers = bed
            .tries(&Spec::new(), &[&["list", "/sys/class/net"], &["read", "/sys/class/net/lo/operstate"]])?;
        let names = answers[0].worked()?;
        check(strings(names).contains(&"lo"), || format!("interfaces: {names}"))
    }),
    test("A109", "net, ipc and uts namespaces of another container are joined by path", |bed| {
        joins(bed, &[("network", "net"), ("ipc", "ipc"), ("uts", "uts")], Spec::new())
    }),
    test("A109", "a pid namespace is joined by path", |bed| joins(bed, &[("pid", "pid")], Spec::new())),
    test("A109", "a user namespace is joined by path", |bed| {
        let first = bed.waiting(&Spec::new().user_namespace(100_000, 65_536))?;
        let path = format!("/proc/{}/ns/user", first.pid()?.as_raw_pid());
        let seen = bed.report(&Spec::new().namespace("user", Some(&path)))?;
        same("user namespace", seen["namespaces"]["user"].as_str(), Some(link(&path)?.as_str()))?;
        same("uid_map", map(&seen, "uid_map"), written(&first.bundle, "uidMappings")?)
    }),
    test(
        "A109",
        "with a joined user namespace a new pid namespace's first process is the container's",
        |bed| {
            bed.host.needs_root_because("newuidmap has no privileges under strace")?;
            super::kernel::needs("strace")?;
            let first = bed.waiting(&Spec::new().user_namespace(100_000, 65_536))?;
            let path = format!("/proc/{}/ns/user", first.pid()?.as_raw_pid());
            let bundle =
                bed.bundle(&Spec::new().namespace("user", Some(&path)).args(&["/probe", "exit", "7"]))?;
            let call = bed.command(["run", "--bundle", &bundle.dir.to_string_lossy(), &bundle.id]);
            // A process inside the user namespace makes it, which may be the last to run again.
            let inject = "inject=clone3:delay_exit=300000";
            let strace = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=clone3", "-e", inject];
            let called = call.under(&strace).call()?;
            check(called.status.code() == Some(7), || format!("{}: {}", called.status, called.stderr))
        },
    ),
    test("A109", "a time namespace is joined by path", |bed| {
        joins(bed, &[("time", "time")], Spec::new().namespace("time", None))
    }),
    test("A109", "a cgroup namespace is joined by path", |bed| {
        joins(bed, &[("cgroup", "cgroup")], Spec::new().namespace("cgroup", None))
    }),
    test("A109", "a namespace path that does not exist is refused", |bed| {
        bed.refuses(&Spec::new().namespace("network", Some("/nonexistent/ns")), &["/nonexistent/ns"])
    }),
    test("A110", "a relative namespace path is refused", |bed| {
        let bundle = bed.bundle(&Spec::new().namespace("network", Some("self/ns/net")))?;
        let words = ["absolute", "namespaces", "self/ns/net"];
        crate::checks::finds(bed, &bundle, &words)?;
        let call = bed.command(["create", "--bundle", &bundle.dir.to_string_lossy(), &bundle.id]);
        call.cwd(std::path::Path::new("/proc")).call()?.refused(&words)
    }),
    test("A111", "a namespace path of another kind is refused", |bed| {
        let path = format!("/proc/{}/ns/ipc", std::process::id());
        bed.refuses(&Spec::new().namespace("uts", Some(&path)), &["uts", &path])
    }),
    test("A111", "a namespace path that is no namespace is refused", |bed| {
        bed.refuses(&Spec::new().namespace("uts", Some("/etc/hostname")), &["uts", "/etc/hostname"])
    }),
    test("A111", "a namespace path that is a fifo is refused, not waited for", |bed| {
        let fifo = bed.dir().join("fifo");
        rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, rustix::fs::Mode::RWXU)?;
        let path = fifo.to_string_lossy();
        for kind in ["uts", "network", "pid", "user"] {
            let spec = Spec::new().namespace(kind, Some(&path));
            let bundle = bed.bundle(&spec)?;
            let call = bed.command(["create", "--bundle", &bundle.dir.to_string_lossy(), &bundle.id]);
            call.patience(std::time::Duration::from_secs(5)).call()?.refused(&["namespace", &path])?;
        }
        Ok(())
    }),
    test("A112", "a repeated kind of namespace is refused", |bed| {
        bed.refuses(&Spec::new().set("/linux/namespaces/-", json!({"type": "uts"})), &["uts", "namespace"])
    }),
    test("A113", "kinds that are not listed are inherited", |bed| {
        let spec = Spec::new()
            .no_namespace("network")
            .no_namespace("ipc")
            .no_mount("/dev/mqueue")
            .no_mount("/sys")
            .mount("/sys", "bind", "/sys", &["rbind", "ro"]);
        let seen = bed.report(&spec.no_namespace("uts").without("/hostname"))?;
        for file in ["net", "ipc", "uts", "user", "cgroup", "time"] {
            // Every container of a user needs a user namespace, so the suite gives it one.
            if file != "user" || bed.host.root {
                same(file, seen["namespaces"][file].as_str(), Some(own(file)?.as_str()))?;
            }
        }
        Ok(())
    }),
    test("A113", "a container without pid namespace runs", |bed| {
        let seen = bed.report(&Spec::new().no_namespace("pid").no_mount("/proc").mount(
            "/proc",
            "bind",
            "/proc",
            &["rbind"],
        ))?;
        same("pid namespace", seen["namespaces"]["pid"].as_str(), Some(own("pid")?.as_str()))
    }),
    test("A114", "id maps of several ranges are applied", |bed| {
        let uids = json!([{"containerID": 0, "hostID": 100_000, "size": 10}, {"containerID": 10, "hostID": 200_000, "size": 90}]);
        let gids = json!([{"containerID": 0, "hostID": 300_000, "size": 50}]);
        let spec = Spec::new()
            .namespace("user", None)
            .set("/linux/uidMappings", uids)
            .set("/linux/gidMappings", gids);
        // A user has specific ranges: those that all of the user's configurations get here.
        let bundle = bed.bundle(&if bed.host.root { spec } else { Spec::new() })?;
        let seen = bed.run_bundle(&bundle)?.ok()?.json()?;
        same("uid_map", map(&seen, "uid_map"), written(&bundle, "uidMappings")?)?;
        same("gid_map", map(&seen, "gid_map"), written(&bundle, "gidMappings")?)
    }),
    test("A114", "overlapping id maps are refused", |bed| {
        let map = json!([{"containerID": 0, "hostID": 100_000, "size": 10}, {"containerID": 5, "hostID": 200_000, "size": 10}]);
        let spec = Spec::new()
            .namespace("user", None)
            .set("/linux/uidMappings", map.clone())
            .set("/linux/gidMappings", map);
        bed.refuses(&spec, &["map"])
    }),
    test("A114", "an id map of size 0 is refused", |bed| {
        bed.refuses(&Spec::new().user_namespace(100_000, 0), &["map", "size"])
    }),
    test("A114", "a new user namespace without id maps is refused", |bed| {
        bed.refuses(&Spec::new().namespace("user", None), &["map"])
    }),
    test("A115", "id maps without a user namespace are refused", |bed| {
        let map = json!([{"containerID": 0, "hostID": 100_000, "size": 10}]);
        bed.refuses(
            &Spec::new().set("/linux/uidMappings", map.clone()).set("/linux/gidMappings", map),
            &["mapping", "user"],
        )
    }),
    test("A116", "time offsets are those of the configuration", |bed| {
        let offsets = json!({"monotonic": {"secs": 172_800, "nanosecs": 0}, "boottime": {"secs": 604_800, "nanosecs": 500}});
        let seen = bed.report(&Spec::new().namespace("time", None).set("/linux/timeOffsets", offsets))?;
        let uptime = fs::read_to_string("/proc/uptime")?;
        let now: f64 = uptime.split(' ').next().and_then(|w| w.parse().ok()).unwrap_or(0.0);
        let shift = |key: &str| seen[key].as_f64().unwrap_or(0.0) - now;
        check((shift("boottime") - 604_800.0).abs() < 60.0, || {
            format!("boottime is shifted by {}", shift("boottime"))
        })?;
        check((shift("monotonic") - 172_800.0).abs() < 60.0, || {
            format!("monotonic is shifted by {}", shift("monotonic"))
        })
    }),
    test("A116", "an unknown clock of the time offsets is refused", |bed| {
        let spec =
            Spec::new().namespace("time", None).set("/linux/timeOffsets", json!({"realtime": {"secs": 1}}));
        bed.refuses(&spec, &["realtime", "timeOffsets", "time offset", "timens"])
    }),
    test("A117", "time offsets without a new time namespace are refused", |bed| {
        bed.refuses(&Spec::new().set("/linux/timeOffsets", json!({"boottime": {"secs": 10}})), &["time"])
    }),
];

fn own(file: &str) -> Outcome<String> {
    link(&format!("/proc/self/ns/{file}"))
}

fn link(path: &str) -> Outcome<String> {
    Ok(fs::read_link(path)?.to_string_lossy().into_owned())
}

fn all_kinds() -> Spec {
    Spec::new().user_namespace(100_000, 65_536).namespace("cgroup", None).namespace("time", None)
}

/// The lines of an id map as a container sees it, split into words.
fn map(report: &serde_json::Value, key: &str) -> Vec<Vec<String>> {
    strings(&report[key]).iter().map(|line| line.split_whitespace().map(str::to_owned).collect()).collect()
}

/// The same lines from a bundle's configuration.
fn written(bundle: &Bundle, property: &str) -> Outcome<Vec<Vec<String>>> {
    let spec = bundle.spec()?;
    let entries = spec["linux"][property].as_array().into_iter().flatten();
    Ok(entries
        .map(|entry| ["containerID", "hostID", "size"].map(|key| entry[key].to_string()).to_vec())
        .collect())
}

/// A namespace of another container to join; a user has a right to it only together with its user namespace.
pub(super) fn with_owner(bed: &Bed<'_>, spec: Spec, pid: i32) -> Spec {
    if bed.host.root { spec } else { spec.namespace("user", Some(&format!("/proc/{pid}/ns/user"))) }
}

/// A second container joins these namespaces of a first one.
fn joins(bed: &Bed<'_>, kinds: &[(&str, &str)], base: Spec) -> Outcome {
    let first = bed.waiting(&base)?;
    let pid = first.pid()?.as_raw_pid();
    let mut spec = with_owner(bed, Spec::new(), pid);
    for (kind, file) in kinds {
        spec = spec.namespace(kind, Some(&format!("/proc/{pid}/ns/{file}")));
    }
    if kinds.iter().any(|(kind, _)| *kind == "ipc") {
        // A message queue file system belongs to its namespace; two containers with the same one may both have it.
        spec = spec.no_mount("/dev/mqueue");
    }
    let seen = bed.report(&spec)?;
    kinds.iter().try_for_each(|(_, file)| {
        same(file, seen["namespaces"][file].as_str(), Some(link(&format!("/proc/{pid}/ns/{file}"))?.as_str()))
    })
}
