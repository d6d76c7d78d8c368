//! Attacks on `exec`: hostile names, directories and users.

use crate::bed::script_args;
use crate::observe::capability_set;
use crate::outcome::{Outcome, check, same};
use crate::{Bed, Container, Spec, Test, test};
use std::fs;

pub(super) const TESTS: &[Test] = &[
    test("S20", "exec --user 4294967296 is not root (CVE-2026-46680)", |bed| not_root(bed, "4294967296")),
    test("S20", "exec --user 4294967295 is not root", |bed| not_root(bed, "4294967295")),
    test("S20", "exec --user -1 is not root (CVE-2026-30892)", |bed| not_root(bed, "-1")),
    test("S20", "exec --user 1000 is that user, even if one of that name is root (CVE-2016-3697)", |bed| {
        let container = with_users(bed)?;
        let seen = container.exec_with(&["--user", "1000"], &["/probe", "report"])?.ok()?.json()?;
        same("uid", &seen["uid"], 1000)
    }),
    test("S20", "exec --user with garbage is refused", |bed| {
        let container = with_users(bed)?;
        for user in ["1000:nobody:x", "0x1", "1e4", "+0", "-0", ":", " ", ""] {
            let called = container.exec_with(&["--user", user], &["/probe", "report"])?;
            if called.status.success() {
                let uid = called.json()?["uid"].clone();
                check(uid != 0, || format!("--user {user:?} became root"))?;
            }
        }
        Ok(())
    }),
    test("S21", "exec --cgroup ../.. does not leave the container's cgroup", |bed| {
        let container = bed.waiting(&Spec::new())?;
        let called = container.exec_with(&["--cgroup", "../../"], &["/probe", "report"])?;
        if !called.status.success() {
            return Ok(());
        }
        let seen = called.json()?;
        let text = seen["cgroup"].to_string();
        check(text.contains(container.id()), || format!("exec left the cgroup: {text}"))
    }),
    test("S22", "exec --cwd to a descriptor of the runtime is refused (CVE-2024-21626)", |bed| {
        let container = bed.waiting(&Spec::new())?;
        for fd in 3..20 {
            let called =
                container.exec_with(&["--cwd", &format!("/proc/self/fd/{fd}")], &["/probe", "report"])?;
            check(!called.status.success(), || format!("/proc/self/fd/{fd} became the working directory"))?;
        }
        Ok(())
    }),
    test("S22", "a symlink of the container to a descriptor does not become the working directory", |bed| {
        let bundle = bed.bundle(&Spec::new().args(&["/probe", "wait"]))?;
        for fd in 3..20 {
            bundle.link(&format!("data/fd{fd}"), format!("/proc/self/fd/{fd}"))?;
        }
        let container = bed.create(&bundle)?;
        container.start()?;
        for fd in 3..20 {
            let called = container.exec_with(&["--cwd", &format!("/data/fd{fd}")], &["/probe", "report"])?;
            check(!called.status.success(), || format!("descriptor {fd} became the working directory"))?;
        }
        Ok(())
    }),
    test("S23", "exec --cap adds nothing to the inheritable set (CVE-2022-29162)", |bed| {
        let container = bed.waiting(&Spec::new().without("/process/capabilities/ambient"))?;
        let seen = container.exec_with(&["--cap", "CAP_CHOWN"], &["/probe", "report"])?.ok()?.json()?;
        same("inheritable", capability_set(&seen, "CapInh")?, 0)
    }),
    test(
        "S24",
        "a running container never sees a host path in the descriptors of an exec (CVE-2016-9962)",
        |bed| {
            let container = bed.waiting(&Spec::new().capabilities(&["CAP_SYS_PTRACE"]))?;
            for _ in 0..20 {
                let seen = container.exec(&["/probe", "report"])?.ok()?.json()?;
                same("descriptors", crate::tests::process::descriptors(&seen), ["0", "1", "2"])?;
            }
            Ok(())
        },
    ),
    test("S25", "exec of /proc/self/exe or a descriptor does not run the runtime", |bed| {
        let container = bed.waiting(&Spec::new())?;
        for program in ["/proc/self/exe", "/proc/self/fd/6", "/proc/self/fd/7"] {
            let called = container.exec(&[program, "--version"])?;
            check(!called.stdout.contains("version"), || format!("{program} ran: {}", called.stdout))?;
        }
        Ok(())
    }),
    test("S26", "PATH of the container cannot make the runtime run a program on the host", |bed| {
        let bundle = bed.bundle(
            &Spec::new().args(&["/probe", "wait"]).set("/process/env", serde_json::json!(["PATH=/data"])),
        )?;
        for tool in ["newuidmap", "ps", "sh", "ip"] {
            bundle.program(&format!("data/{tool}"))?;
        }
        let container = bed.create(&bundle)?;
        container.start()?;
        container.until_output("ready")?;
        container.exec(&script_args(&[&["write", "/data/x", "x"]]))?.ok()?;
        check(fs::metadata(bundle.rootfs.join("data/x")).is_ok(), || "exec did not run".into())
    }),
    test("S27", "a huge /etc/passwd or /etc/group of the image does not stop exec", |bed| {
        let bundle = bed.bundle(&Spec::new().args(&["/probe", "wait"]))?;
        for name in ["etc/passwd", "etc/group"] {
            let file = fs::File::create(bundle.rootfs.join(name))?;
            // An endless line, as sparse as the disk allows.
            file.set_len(2 << 30)?;
        }
        let dir = bundle.dir.to_string_lossy().into_owned();
        let mut called = bed
            .command(["run", "--detach", "--bundle", &dir, &bundle.id])
            .after("ulimit -v 4000000")
            .call()?;
        if called.status.success() {
            let exec = bed.command(["exec", "--user", "1000", &bundle.id, "/probe", "report"]);
            called = exec.after("ulimit -v 4000000").call()?;
        }
        // Refusing is fine; eating up the host's memory is not.
        check(called.status.code().is_some_and(|code| code < 128), || {
            format!("exec ended with {}", called.code())
        })
    }),
];

/// A container whose /etc/passwd has a root user under each hostile name.
fn with_users<'b, 'a>(bed: &'b Bed<'a>) -> Outcome<Container<'b, 'a>> {
    let bundle = bed.bundle(&Spec::new().args(&["/probe", "wait"]))?;
    let names = ["root", "1000", "4294967296", "4294967295", "-1", "0x0", "1e3"];
    let lines: Vec<String> = names.iter().map(|name| format!("{name}:x:0:0:evil:/:/probe")).collect();
    let passwd = lines.join("\n") + "\n";
    bundle.file("etc/passwd", &passwd)?;
    bundle.file("etc/group", "root:x:0:\n")?;
    let container = bed.create(&bundle)?;
    container.start()?;
    container.until_output("ready")?;
    Ok(container)
}

fn not_root(bed: &Bed<'_>, user: &str) -> Outcome {
    let container = with_users(bed)?;
    let called = container.exec_with(&[&format!("--user={user}")], &["/probe", "report"])?;
    if !called.status.success() {
        return Ok(());
    }
    let seen = called.json()?;
    check(seen["uid"] != 0 && seen["euid"] != 0, || format!("--user {user} became uid {}", seen["uid"]))
}
