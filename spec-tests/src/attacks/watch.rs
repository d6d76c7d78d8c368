//! Attacks on the runtime's own processes by a container process that looks into everything that it can see.
//!
//! `WHARF_ROUNDS` is how often each is tried (default 24): the window that it looks for may be short.

use crate::bundle::Bundle;
use crate::outcome::{Outcome, check, same};
use crate::runtime::Called;
use crate::{Bed, Container, Spec, Test, root};
use serde_json::{Value, json};
use std::fs;
use std::time::Duration;

/// A value in the caller's environment that no container may learn.
pub(crate) const SECRET: &str = "the-secret-of-the-caller";

/// Every capability.
pub(crate) const ALL: [&str; 41] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

pub(super) const TESTS: &[Test] = &[
    root("S28", "a process that may trace all others finds nothing of the host in an exec", |bed| {
        let watched = Watched::start(bed)?;
        for _ in 0..rounds() {
            watched.call(&["exec", watched.container.id(), "/probe", "true"])?.ok()?;
        }
        watched.found_nothing()
    }),
    root("S28", "nor in an exec that fails, with a terminal, or by another user", |bed| {
        let watched = Watched::start(bed)?;
        for round in 0..rounds() / 3 {
            let options: &[&str] = match round % 3 {
                0 => &["--cwd", "/nowhere"],
                1 => &["--user", "1000:1000"],
                _ => &["--cap", "CAP_NET_ADMIN"],
            };
            let mut words = vec!["exec"];
            words.extend_from_slice(options);
            words.extend_from_slice(&[watched.container.id(), "/probe", "true"]);
            let _fails_or_not = watched.call(&words)?;
        }
        watched.found_nothing()
    }),
    root("S28", "nor in a container that is made in its pid namespace", |bed| {
        let watched = Watched::start(bed)?;
        let pids = format!("/proc/{}/ns/pid", watched.container.pid()?.as_raw_pid());
        let spec = Spec::new().args(&["/probe", "true"]).no_namespace("pid").namespace("pid", Some(&pids));
        for _ in 0..rounds() / 2 {
            let bundle = bed.bundle(&spec)?;
            watched.call(&["run", "--bundle", &bundle.dir.to_string_lossy(), &bundle.id])?.ok()?;
        }
        watched.found_nothing()
    }),
    root("S28", "nor in one that waits there for its start", |bed| {
        let watched = Watched::start(bed)?;
        let pids = format!("/proc/{}/ns/pid", watched.container.pid()?.as_raw_pid());
        let spec = Spec::new().args(&["/probe", "true"]).no_namespace("pid").namespace("pid", Some(&pids));
        for _ in 0..rounds() / 10 {
            let bundle = bed.bundle(&spec)?;
            watched.call(&["create", "--bundle", &bundle.dir.to_string_lossy(), &bundle.id])?.ok()?;
            let other = bed.adopt(&bundle);
            // The process waits there, and is inspected again and again.
            watched.container.exec(&["/probe", "spin", "20"])?.ok()?;
            other.start()?.ok()?;
            other.until_status("stopped")?;
            other.delete()?.ok()?;
        }
        watched.found_nothing()
    }),
    root("S28", "nor in the hooks of one, which run before it is in that namespace", |bed| {
        let watched = Watched::start(bed)?;
        let pids = format!("/proc/{}/ns/pid", watched.container.pid()?.as_raw_pid());
        let spec = Spec::new().args(&["/probe", "true"]).no_namespace("pid").namespace("pid", Some(&pids));
        // Long enough to be looked into several times.
        let hook = json!({"path": "/bin/sh", "args": ["sh", "-c", "sleep 0.05"], "env": [format!("SECRET={SECRET}")]});
        for _ in 0..rounds() / 6 {
            let bundle = bed.bundle(
                &spec.clone().hook("createContainer", hook.clone()).hook("createRuntime", hook.clone()),
            )?;
            watched.call(&["run", "--bundle", &bundle.dir.to_string_lossy(), &bundle.id])?.ok()?;
        }
        watched.found_nothing()
    }),
    root("S28", "nor while mounts are added", |bed| {
        let watched = Watched::start(bed)?;
        let file = bed.dir().join("mounts.json");
        for round in 0..rounds() / 3 {
            let list = serde_json::json!([
                {"destination": format!("/data/p{round}"), "type": "proc", "source": "proc"},
                {"destination": format!("/data/t{round}"), "type": "tmpfs", "source": "tmpfs"},
            ]);
            fs::write(&file, list.to_string())?;
            let called = watched.call(&["mounts", "add", watched.container.id(), &file.to_string_lossy()])?;
            if !called.status.success() && round == 0 {
                return crate::outcome::skip("the runtime cannot add mounts");
            }
            called.ok()?;
        }
        watched.found_nothing()
    }),
    root("S28", "nor one without the container's filter, or with more capabilities than it has", |bed| {
        for privileges in [true, false] {
            let spec = filtered(privileges);
            let watched = Watched::start_with(bed, spec)?;
            for _ in 0..rounds() / 2 {
                watched.container.exec(&["/probe", "true"])?.ok()?;
            }
            watched.found_nothing()?;
        }
        Ok(())
    }),
    root(
        "S28",
        "a process that waits for its start has its filter, and no more capabilities than are its own",
        |bed| {
            for privileges in [true, false] {
                let spec = filtered(privileges).capabilities(&["CAP_SYS_PTRACE"]).args(&["/probe", "wait"]);
                let container = bed.create(&bed.bundle(&spec)?)?;
                let seen = container.tries(&[&["read", "/proc/1/status"]])?;
                let status = seen[0].worked()?.as_str().unwrap_or_default().to_owned();
                let field = |name: &str| {
                    status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim()
                };
                same("filter", field("Seccomp:"), "2")?;
                same("capabilities", field("CapPrm:"), "0000000000080000")?;
                container.kill("KILL")?;
                container.until_status("stopped")?;
            }
            Ok(())
        },
    ),
];

pub(crate) fn rounds() -> u32 {
    crate::rounds(24)
}

/// With a filter that denies nothing that matters.
fn filtered(privileges: bool) -> Spec {
    let rule = json!([{"names": ["acct"], "action": "SCMP_ACT_ERRNO"}]);
    Spec::new()
        .set("/process/noNewPrivileges", privileges)
        .set("/linux/seccomp", json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rule}))
}

/// A container with every capability whose only process looks into all others.
struct Watched<'b, 'a> {
    bed: &'b Bed<'a>,
    container: Container<'b, 'a>,
    bundle: Bundle,
}

impl<'b, 'a> Watched<'b, 'a> {
    fn start(bed: &'b Bed<'a>) -> Outcome<Self> {
        Self::start_with(bed, Spec::new().set("/process/noNewPrivileges", false))
    }

    fn start_with(bed: &'b Bed<'a>, spec: Spec) -> Outcome<Self> {
        let mark = bed.dir().join("mark-of-the-host");
        fs::write(&mark, "")?;
        let spec =
            spec.args(&["/probe", "spy", &mark.to_string_lossy(), SECRET, "/data/stop"]).capabilities(&ALL);
        let bundle = bed.bundle(&spec)?;
        let container = bed.create(&bundle)?;
        container.start()?.ok()?;
        container.until_output("ready")?;
        Ok(Self { bed, container, bundle })
    }

    /// A call of the runtime with the secret in its environment, in the directory of the mark.
    fn call(&self, words: &[&str]) -> Outcome<Called> {
        self.bed
            .command(words.iter().copied())
            .env("SECRET_OF_THE_CALLER", SECRET)
            .cwd(self.bed.dir())
            .patience(Duration::from_secs(20))
            .call()
    }

    /// Ends the watch; passes if it found nothing although it looked into processes of the runtime.
    fn found_nothing(&self) -> Outcome {
        self.bundle.file("data/stop", "")?;
        found_nothing(&self.container.until_output("capabilities")?)
    }
}

/// Passes if the watching process says that it found nothing.
pub(crate) fn found_nothing(output: &str) -> Outcome {
    let line = output.lines().find(|line| line.starts_with('{')).unwrap_or_default();
    let found: Value = serde_json::from_str(line)?;
    println!("  looked into {} processes of the runtime", found["caught"]);
    let kinds = found.as_object().into_iter().flatten();
    let hits: Vec<String> = kinds
        .filter(|(kind, count)| *kind != "caught" && **count != 0)
        .map(|(kind, count)| format!("{kind}: {count}"))
        .collect();
    check(hits.is_empty(), || format!("of {} processes seen: {}", found["caught"], hits.join(", ")))
}
