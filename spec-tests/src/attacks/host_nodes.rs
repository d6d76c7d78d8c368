//! What a container does to host inodes that it did not get by a mount of its configuration: the nodes behind masked
//! files, bound devices and null streams. Root in it must not change their mode, owner, times or attributes.

use crate::bed::{answers, script_args, script_spec};
use crate::criu::Counter;
use crate::devices::Nodes;
use crate::outcome::{Outcome, check};
use crate::{Bed, Spec, Test, root};

pub(super) const TESTS: &[Test] = &[
    root("S37", "a masked file cannot be used to change the host's null device", |bed| {
        attacked(bed, &spec(), "", &["/proc/keys", "/proc/timer_list"])
    }),
    root("S37", "a null stream cannot be used to change the host's null device", |bed| {
        attacked(bed, &spec(), "exec 2>/dev/null", &["/proc/self/fd/0", "/dev/stdin", "/proc/self/fd/2"])
    }),
    root("S37", "a null stream is the container's own /dev/null", |bed| {
        bed.host.needs_own_devices()?;
        let script: &[&[&str]] = &[
            &["chmod", "/proc/self/fd/0", "600"],
            &["stat", "/dev/null"],
            &["overwrite", "/proc/self/fd/0", "x"],
        ];
        let seen = bed.tries(&spec(), script)?;
        seen[0].worked()?;
        check(seen[1].value["mode"] == "0600", || format!("it is another node: {}", seen[1].value))?;
        seen[2].worked().map(drop)
    }),
    root(
        "S37",
        "a null stream of a container whose /dev/null is something else is nobody's but its own",
        |bed| {
            let dev = bed.dir().join("dev");
            std::fs::create_dir(&dev)?;
            for make in [|_: &std::path::Path| Ok(()), |null: &std::path::Path| std::fs::write(null, "fake")]
            {
                make(&dev.join("null"))?;
                let spec =
                    ["/dev/mqueue", "/dev/shm", "/dev/pts", "/dev"].into_iter().fold(spec(), Spec::no_mount);
                let spec = spec.mount("/dev", "bind", &dev.to_string_lossy(), &["bind"]);
                attacked(bed, &spec, "", &["/proc/self/fd/0"])?;
            }
            check(std::fs::read_to_string(dev.join("null"))? == "fake", || {
                "the stand-in was written to".into()
            })
        },
    ),
    root(
        "S37",
        "a null stream of an exec'd process cannot be used to change the host's null device",
        |bed| {
            for spec in [spec(), spec().user_namespace(100_000, 65_536)] {
                bed.host.needs_own_devices()?;
                let container = bed.waiting(&spec)?;
                let nodes = Nodes::look()?;
                let script = script(&["/proc/self/fd/0", "/proc/self/fd/2"]);
                let words: Vec<&[&str]> = script.iter().map(Vec::as_slice).collect();
                let call =
                    bed.command(["exec", container.id()]).args(script_args(&words)).after("exec 2>/dev/null");
                let seen = answers(&call.call()?.ok()?)?;
                nodes.unchanged("an exec")?;
                check(seen.len() == script.len(), || "the script did not run".into())?;
                container.stop()?;
            }
            Ok(())
        },
    ),
    root("S37", "a device that is bound in a user namespace cannot be used to change the host's", |bed| {
        let spec = spec().user_namespace(100_000, 65_536);
        let paths = ["null", "zero", "full", "random", "urandom"].map(|name| format!("/dev/{name}"));
        let mut paths: Vec<&str> = paths.iter().map(String::as_str).collect();
        paths.extend(["/proc/self/fd/0", "/proc/keys"]);
        attacked(bed, &spec, "", &paths)?;
        // The namespace's ids include root of the host, who owns the nodes.
        let spec = self::spec().user_namespace(0, 65_536);
        attacked(bed, &spec, "", &paths)
    }),
    root("S37", "a restored container's masks cannot be used to change the host's null device", |bed| {
        bed.host.needs_own_devices()?;
        let counter = Counter::start(bed, &spec().set("/process/capabilities/bounding/-", "CAP_SYS_ADMIN"))?;
        // MS_REMOUNT | MS_BIND: the images will say that it was writable.
        let remount = ["exec", "--cap", "CAP_SYS_ADMIN", counter.id(), "/probe", "try"];
        let remount = bed.command(remount).args(["mount", "none", "/proc/keys", "none", "4128"]);
        answers(&remount.call()?.ok()?)?[0].worked()?;
        counter.checkpoint(&[])?.ok()?;
        counter.restore(&[])?.ok()?;
        counter.runs()?;
        let nodes = Nodes::look()?;
        let script = script(&["/proc/keys", "/proc/timer_list"]);
        let words: Vec<&[&str]> = script.iter().map(Vec::as_slice).collect();
        let seen = counter.container().tries(&words)?;
        nodes.unchanged("a restore")?;
        check(seen.len() == script.len(), || "the script did not run".into())
    }),
    root("S37", "a device that is bound or masked is still one to read and to write", |bed| {
        for spec in [spec(), spec().user_namespace(100_000, 65_536)] {
            let script: &[&[&str]] = &[
                &["write", "/dev/null", "x"],
                &["overwrite", "/dev/zero", "x"],
                &["head", "/dev/zero", "2"],
                &["head", "/dev/urandom", "2"],
                &["overwrite", "/proc/self/fd/0", "x"],
                &["head", "/proc/self/fd/0", "2"],
                &["overwrite", "/proc/keys", "x"],
                &["read", "/proc/keys"],
            ];
            for answer in bed.tries(&spec, script)? {
                answer.worked()?;
            }
        }
        Ok(())
    }),
];

/// With Docker's capabilities for root, and those that a change of foreign inodes takes.
fn spec() -> Spec {
    Spec::new().capabilities(&[
        "CAP_CHOWN",
        "CAP_DAC_OVERRIDE",
        "CAP_FOWNER",
        "CAP_FSETID",
        "CAP_KILL",
        "CAP_MKNOD",
        "CAP_SETFCAP",
        "CAP_SETGID",
        "CAP_SETUID",
    ])
}

fn script<'p>(paths: &[&'p str]) -> Vec<Vec<&'p str>> {
    let all = |path: &&'p str| {
        [
            vec!["touch", *path],
            vec!["access-list", path, "7"],
            vec!["chown", path, "7", "7"],
            vec!["chmod", path, "600"],
        ]
    };
    paths.iter().flat_map(all).collect()
}

/// Tries everything on each path, then checks the host's nodes.
fn attacked(bed: &Bed<'_>, spec: &Spec, before: &str, paths: &[&str]) -> Outcome {
    bed.host.needs_own_devices()?;
    let script = script(paths);
    let words: Vec<&[&str]> = script.iter().map(Vec::as_slice).collect();
    let bundle = bed.bundle(&script_spec(spec.clone(), &words))?;
    let nodes = Nodes::look()?;
    let call = bed.command(["run", "--bundle", &bundle.dir.to_string_lossy(), &bundle.id]).after(before);
    let seen = answers(&call.call()?.ok()?)?;
    nodes.unchanged(&paths.join(", "))?;
    check(seen.len() == script.len(), || "the script did not run".into())
}
