//! Process basics and user: rows A49 to A53, A55 to A58.

use crate::observe::strings;
use crate::outcome::{Outcome, check, same};
use crate::{Bed, Spec, Test, test};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt;

pub(super) const TESTS: &[Test] = &[
    test("A49", "process.cwd is the working directory", |bed| {
        same("cwd", &bed.report(&Spec::new().set("/process/cwd", "/tmp"))?["cwd"], "/tmp")
    }),
    test("A49", "a relative process.cwd is refused", |bed| {
        bed.refuses(&Spec::new().set("/process/cwd", "tmp"), &["cwd"])
    }),
    test("A49", "an empty process.cwd is refused", |bed| {
        bed.refuses(&Spec::new().set("/process/cwd", ""), &["cwd"])
    }),
    test("A50", "process.env is the environment, in its order", |bed| {
        let env = ["PATH=/", "B=2", "A=1", "EMPTY=", "WITH=an=equals", "HOME=/nowhere"];
        let seen = bed.report(&Spec::new().set("/process/env", json!(env)))?;
        same("env", strings(&seen["env"]), env)
    }),
    test("A50", "of two entries of env with one name the last one stays", |bed| {
        let env = ["PATH=/", "A=first", "B=2", "A=last", "HOME=/nowhere"];
        let seen = bed.report(&Spec::new().set("/process/env", json!(env)))?;
        let env = strings(&seen["env"]);
        let of_a: Vec<&str> = env.into_iter().filter(|entry| entry.starts_with("A=")).collect();
        same("entries", of_a, ["A=last"])
    }),
    test("A50", "an empty HOME counts as none", |bed| {
        let seen = bed.report(&Spec::new().set("/process/env", json!(["PATH=/", "HOME="])))?;
        let env = strings(&seen["env"]);
        let homes: Vec<&str> = env.into_iter().filter(|entry| entry.starts_with("HOME=")).collect();
        check(homes.len() == 1 && homes[0].starts_with("HOME=/"), || format!("{homes:?}"))
    }),
    test("A50", "an entry of env without = does not stop the container", |bed| {
        let seen = bed.report(&Spec::new().set("/process/env", json!(["PATH=/", "ODD"])))?;
        same("pid", &seen["pid"], 1)
    }),
    test("A50", "nothing of the caller's environment reaches the container", |bed| {
        let seen = bed.report(&Spec::new())?;
        let env = strings(&seen["env"]).join(" ");
        check(!env.contains(crate::runtime::MARKER), || env)
    }),
    test("A51", "empty process.args are refused", |bed| {
        bed.refuses(&Spec::new().set("/process/args", json!([])), &["args"])
    }),
    test("A51", "missing process.args are refused", |bed| {
        bed.refuses(&Spec::new().without("/process/args"), &["args"])
    }),
    test("A52", "args[0] is looked up in the PATH of the configuration", |bed| {
        let bundle = bed.bundle(
            &Spec::new().args(&["tool", "report"]).set("/process/env", json!(["PATH=/none:/opt/here"])),
        )?;
        bundle.directory("opt/here")?;
        bundle.program("opt/here/tool")?;
        let seen = bed.run_bundle(&bundle)?.ok()?.json()?;
        same("args", &seen["args"], &json!(["tool", "report"]))
    }),
    test("A52", "args[0] that is nowhere in PATH is refused with the text that engines look for", |bed| {
        let bundle = bed.bundle(&Spec::new().args(&["nope"]))?;
        unexecutable(bed, &bundle, "executable file not found in $PATH")
    }),
    test(
        "A52",
        "a path in args[0] that does not exist is refused with the text that engines look for",
        |bed| {
            let bundle = bed.bundle(&Spec::new().args(&["/nope"]))?;
            unexecutable(bed, &bundle, "no such file or directory")
        },
    ),
    test("A52", "a program that is not executable is refused with the text that engines look for", |bed| {
        let bundle = bed.bundle(&Spec::new().args(&["/etc/plain"]))?;
        bundle.file("etc/plain", "text")?;
        unexecutable(bed, &bundle, "permission denied")
    }),
    test("A52", "args[0] with a slash counts from the working directory", |bed| {
        let bundle = bed.bundle(&Spec::new().args(&["./tool", "report"]).set("/process/cwd", "/opt"))?;
        bundle.directory("opt")?;
        bundle.program("opt/tool")?;
        same("cwd", &bed.run_bundle(&bundle)?.ok()?.json()?["cwd"], "/opt")
    }),
    test("A49", "a working directory is made as the kernel will look for it", |bed| {
        let bundle = bed.bundle(&Spec::new().set("/process/cwd", "/suite-x/../suite-new"))?;
        same("cwd", &bed.run_bundle(&bundle)?.ok()?.json()?["cwd"], "/suite-new")
    }),
    test(
        "A58",
        "with run.oci.keep_original_groups the caller's groups stay, whatever additionalGids says",
        |bed| {
            bed.host.needs_root_because("only root chooses the groups of a caller")?;
            super::kernel::needs("setpriv")?;
            let kept = Spec::new()
                .set("/annotations", json!({"run.oci.keep_original_groups": "1"}))
                .set("/process/user", json!({"uid": 0, "gid": 0, "additionalGids": [1, 2]}));
            let bundle = bed.bundle(&kept)?;
            let dir = bundle.dir.to_string_lossy();
            let setpriv = ["setpriv", "--groups", "10,1234"];
            let call = bed.command(["run", "--bundle", &dir, &bundle.id]).under(&setpriv);
            same("groups", &call.call()?.ok()?.json()?["groups"], &json!([10, 1234]))?;
            let bundle = bed.bundle(&kept.args(&["/probe", "wait"]))?;
            let dir = bundle.dir.to_string_lossy();
            bed.command(["run", "--detach", "--bundle", &dir, &bundle.id]).under(&setpriv).call()?.ok()?;
            let exec = bed.command(["exec", &bundle.id, "/probe", "report"]).under(&setpriv);
            same("groups of an exec", &exec.call()?.ok()?.json()?["groups"], &json!([10, 1234]))
        },
    ),
    test("A53", "only stdin, stdout and stderr are open", |bed| {
        let bundle = bed.bundle(&Spec::new())?;
        let call = bed.command(["run", "--bundle", &bundle.dir.to_string_lossy(), &bundle.id]);
        let seen = call.after("exec 3</etc/hostname 5</ 9</dev/null 8>/dev/null").call()?.ok()?.json()?;
        same("open descriptors", descriptors(&seen), ["0", "1", "2"])
    }),
    test("A54", "commandLine, which is for Windows, changes nothing", |bed| {
        let seen = bed.report(&Spec::new().set("/process/commandLine", "/probe exit 3"))?;
        same("arguments", &seen["args"], &json!(["/probe", "report"]))
    }),
    test("A54", "commandLine does not stand in for args", |bed| {
        let spec = Spec::new().set("/process/commandLine", "/probe report").without("/process/args");
        bed.refuses(&spec, &["args"])
    }),
    test("A55", "uid and gid are those of the configuration", |bed| {
        let seen = bed.report(&Spec::new().set("/process/user", json!({"uid": 1234, "gid": 4321})))?;
        same(
            "ids",
            (&seen["uid"], &seen["euid"], &seen["gid"], &seen["egid"]),
            (&json!(1234), &json!(1234), &json!(4321), &json!(4321)),
        )
    }),
    test("A55", "uid and gid count inside the user namespace", |bed| {
        let spec =
            Spec::new().user_namespace(100_000, 65_536).set("/process/user", json!({"uid": 5, "gid": 6}));
        let seen = bed.report(&spec)?;
        same("ids", (&seen["uid"], &seen["gid"]), (&json!(5), &json!(6)))
    }),
    test("A55", "a uid that the user namespace does not map is refused", |bed| {
        let spec = Spec::new().user_namespace(100_000, 1000).set("/process/user/uid", 2000);
        bed.refuses(&spec, &["uid", "user"])
    }),
    test("A56", "the umask is 0022 when unset, whatever the caller's is", |bed| {
        let bundle = bed.bundle(&Spec::new())?;
        let call =
            bed.command(["run", "--bundle", &bundle.dir.to_string_lossy(), &bundle.id]).after("umask 0077");
        same("umask", &call.call()?.ok()?.json()?["umask"], "0022")
    }),
    test("A57", "the umask of the configuration is set", |bed| {
        same("umask", &bed.report(&Spec::new().set("/process/user/umask", 0o027))?["umask"], "0027")
    }),
    test("A57", "an umask of 0 is set", |bed| {
        same("umask", &bed.report(&Spec::new().set("/process/user/umask", 0))?["umask"], "0000")
    }),
    test("A58", "additionalGids are the supplementary groups, and no others", |bed| {
        let seen = bed.report(&Spec::new().set(
            "/process/user",
            json!({"uid": 1, "gid": 2, "additionalGids": [10, 20, 4_000_000_000_u32]}),
        ))?;
        let mut groups: Vec<u64> =
            seen["groups"].as_array().into_iter().flatten().filter_map(Value::as_u64).collect();
        groups.retain(|group| *group != 2);
        same("groups", groups, [10, 20, 4_000_000_000])
    }),
    test("A58", "the caller's supplementary groups are dropped", |bed| {
        let Some(setpriv) =
            ["/usr/bin/setpriv", "/bin/setpriv"].iter().find(|path| fs::metadata(path).is_ok())
        else {
            return crate::outcome::skip("this machine has no setpriv");
        };
        bed.host.needs_root_because("a user cannot take other groups first")?;
        let bundle = bed.bundle(&Spec::new())?;
        let call = bed.command(["run", "--bundle", &bundle.dir.to_string_lossy(), &bundle.id]);
        let seen = call
            .after(&format!("set -- --groups 77,88 -- \"$0\" \"$@\"; exec {setpriv} \"$@\""))
            .call()?
            .ok()?
            .json()?;
        let groups: Vec<u64> =
            seen["groups"].as_array().into_iter().flatten().filter_map(Value::as_u64).collect();
        check(!groups.contains(&77) && !groups.contains(&88), || format!("groups {groups:?}"))
    }),
    test("A55", "a file that is standard output keeps its mode, and is its owner's or the user's", |bed| {
        let called = bed.run(&Spec::new().set("/process/user", json!({"uid": 1234, "gid": 4321})))?.ok()?;
        let untouched = bed.dir().join("untouched");
        fs::write(&untouched, "")?;
        let (meta, other) = (fs::metadata(&called.out)?, fs::metadata(&untouched)?);
        same("mode", meta.permissions().mode(), other.permissions().mode())?;
        // Its user can then open /dev/stdout; runtimes that copy the output have no reason to change the owner.
        let owner = std::os::unix::fs::MetadataExt::uid(&meta);
        let own = std::os::unix::fs::MetadataExt::uid(&other);
        check(!bed.host.root || owner == own || owner == 1234, || format!("owner {owner}"))
    }),
];

/// `run` and `check` must say why.
fn unexecutable(bed: &Bed<'_>, bundle: &crate::bundle::Bundle, word: &str) -> Outcome {
    crate::checks::finds(bed, bundle, &[word])?;
    bed.run_bundle(bundle)?.refused(&[word])
}

/// Numbers of the open file descriptors.
pub(crate) fn descriptors(report: &Value) -> Vec<String> {
    let mut names: Vec<String> =
        report["fds"].as_object().into_iter().flatten().map(|(name, _)| name.clone()).collect();
    names.sort();
    names
}
