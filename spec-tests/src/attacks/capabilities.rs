//! What capabilities are good for against the host, in a user namespace and outside of one.

use super::watch::ALL;
use crate::bed::{Answer, answers_of, script_args, script_spec};
use crate::outcome::{Outcome, check, same, skip};
use crate::{Bed, Spec, Test, reaper, root};
use serde_json::json;
use std::fs;
use std::process::Command;

/// Those that Docker grants.
const USUAL: [&str; 14] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
];

pub(super) const TESTS: &[Test] = &[
    root("S50", "root of a user namespace with every capability has none over the host", |bed| {
        // Remounts come first: what they make writable must still not be writable for it.
        let mut script: Vec<&[&str]> = vec![
            &["mount", "none", "/proc/sys", "none", "4128"],
            &["mount", "none", "/proc/sysrq-trigger", "none", "4128"],
            &["mount", "none", "/sys", "none", "4128"],
        ];
        let remounts = script.len();
        script.extend::<[&[&str]; 13]>([
            &["mknod", "/tmp/log", "c", "1", "11"],
            &["mknod", "/tmp/disk", "b", "7", "0"],
            &["mount", "none", "/mnt", "debugfs"],
            &["mount", "none", "/mnt", "securityfs"],
            &["mount", "none", "/mnt", "configfs"],
            &["mount", "none", "/mnt", "devtmpfs"],
            &["mount", "/probe", "/mnt", "ext4"],
            &["open-write", "/proc/sys/kernel/core_pattern"],
            &["open-write", "/proc/sys/kernel/modprobe"],
            &["open-write", "/proc/sys/kernel/panic"],
            &["open-write", "/proc/sysrq-trigger"],
            &["open-write", "/sys/kernel/mm/transparent_hugepage/enabled"],
            &["open", "/proc/kcore"],
        ]);
        let seen = bed.tries(&mighty(), &script)?;
        seen[remounts..].iter().try_for_each(|answer| {
            // An empty mask may be opened; it is not the file.
            if answer.op == "open /proc/kcore" { Ok(()) } else { answer.failed(&[]) }
        })
    }),
    root("S50", "nor for calls that concern the whole machine", |bed| {
        if !cfg!(target_arch = "x86_64") {
            return skip("the numbers of the system calls are those of x86-64");
        }
        // With the capability over the host each would fail with EFAULT or EINVAL.
        let script: &[&[&str]] = &[
            &["syscall", "175", "0", "0", "0"],
            &["syscall", "176", "0"],
            &["syscall", "168", "0"],
            &["syscall", "103", "2", "0", "0"],
            &["syscall", "159", "0"],
            &["syscall", "172", "3"],
            &["syscall", "173", "0", "1", "1"],
        ];
        for answer in bed.tries(&mighty(), script)? {
            // adjtimex(2) without a structure is EFAULT for all; it is here to see that the calls are made. A kernel
            // without modules, swap or ports answers ENOSYS.
            if answer.op.starts_with("syscall 159") {
                answer.failed(&[14])?;
            } else {
                answer.failed(&[1, 38])?;
            }
        }
        Ok(())
    }),
    root(
        "S51",
        "a handle opens no file of the host, but for CAP_DAC_READ_SEARCH over the host (shocker)",
        |bed| {
            let mark = bed.dir().join("mark-of-the-host");
            fs::write(&mark, "secret of the host")?;
            let found = on_host(bed, &[&["handle", &mark.to_string_lossy()]])?;
            let Some(handle) = found[0].value.as_str().map(str::to_owned) else {
                return skip(format!("the file system has no handles: errno {}", found[0].errno));
            };
            let script: &[&[&str]] = &[&["open-handle", "/", &handle], &["open-handle", "/proc", &handle]];
            let free = Spec::new().capabilities(&["CAP_DAC_READ_SEARCH"]);
            if bed.tries(&free, script)?[0].value != "secret of the host" {
                return skip("a handle opens nothing here even with the capability");
            }
            for (who, spec) in
                [("the usual capabilities", Spec::new().capabilities(&USUAL)), ("a user namespace", mighty())]
            {
                for answer in bed.tries(&spec, script)? {
                    check(answer.errno != 0, || format!("{who}: {} opened {}", answer.op, answer.value))?;
                }
            }
            Ok(())
        },
    ),
    root("S52", "CAP_NET_ADMIN shows and changes no interface of the host", |bed| {
        let fresh = reaper::output(Command::new("unshare").args(["--net", "cat", "/proc/net/dev"]))?;
        let fresh = interfaces(&String::from_utf8_lossy(&fresh.stdout));
        let net = ["CAP_NET_ADMIN", "CAP_NET_RAW"];
        for spec in [Spec::new().capabilities(&net), mighty()] {
            let script: &[&[&str]] = &[&["read", "/proc/net/dev"], &["list", "/sys/class/net"]];
            let seen = bed.tries(&spec, script)?;
            same("interfaces", interfaces(seen[0].worked()?.as_str().unwrap_or_default()), fresh.clone())?;
            let mut listed: Vec<String> =
                crate::observe::strings(seen[1].worked()?).iter().map(ToString::to_string).collect();
            listed.retain(|name| !fresh.contains(name));
            check(listed.is_empty(), || format!("/sys shows {listed:?} of the host"))?;
        }
        Ok(())
    }),
    root("S53", "the limit of processes holds whatever capabilities a container has", |bed| {
        // Not those that the runtime itself lacks, which would be a warning.
        let held: Vec<&str> = ALL
            .iter()
            .enumerate()
            .filter(|(bit, _)| bed.host.bounding >> bit & 1 == 1)
            .map(|(_, name)| *name)
            .collect();
        for spec in [Spec::new().capabilities(&held), mighty()] {
            let spec =
                spec.set("/linux/resources/pids", json!({"limit": 12})).args(&["/probe", "fork-bomb", "60"]);
            let spec = spec.set("/process/noNewPrivileges", false);
            let told = bed.run(&spec)?.ok()?.json()?;
            check(told["started"].as_u64().is_some_and(|count| count < 12), || {
                format!("it started {}", told["started"])
            })?;
        }
        Ok(())
    }),
    root("S54", "CAP_SYS_CHROOT leads no further up than the container's root", |bed| {
        let mark = bed.dir().join("mark-of-the-host");
        fs::write(&mark, "")?;
        let up = format!("{}{}", "../".repeat(40), mark.to_string_lossy().trim_start_matches('/'));
        let own = format!("{}probe", "../".repeat(40));
        // The working directory stays outside of the new root, from where `..` leads up.
        let script: &[&[&str]] =
            &[&["mkdir", "/tmp/deep"], &["chroot", "/tmp/deep"], &["stat", &own], &["stat", &up]];
        let spec = Spec::new().capabilities(&["CAP_SYS_CHROOT"]);
        for options in [&[][..], &["--no-pivot"]] {
            if !options.is_empty() && !bed.call(["run", "--help"])?.stdout.contains("--no-pivot") {
                continue;
            }
            let bundle = bed.bundle(&script_spec(spec.clone(), script))?;
            let dir = bundle.dir.to_string_lossy().into_owned();
            let words = [&["run"], options, &["--bundle", &dir, &bundle.id]].concat();
            let seen = crate::bed::answers(&bed.call(words)?.ok()?)?;
            seen[1].worked()?;
            check(seen[2].value != json!(null), || "the way up was not taken at all".into())?;
            check(seen[3].value == json!(null), || format!("with {options:?} the way up leads to the host"))?;
        }
        Ok(())
    }),
    root("S55", "a container in a user namespace is in its cgroup like any other (CVE-2025-47291)", |bed| {
        let mut counts = Vec::new();
        for spec in [Spec::new(), Spec::new().user_namespace(700_000, 65_536)] {
            let container = bed.waiting(&spec)?;
            let table = fs::read_to_string(format!("/proc/{}/cgroup", container.pid()?.as_raw_pid()))?;
            counts.push(table.lines().filter(|line| line.contains(container.id())).count());
            container.stop()?;
        }
        check(counts[0] > 0, || "the container is in no cgroup of its own".into())?;
        same("hierarchies", counts[1], counts[0])
    }),
    root("S39", "a container cannot type into the terminal of its caller (CVE-2016-10124)", |bed| {
        if !cfg!(target_arch = "x86_64") {
            return skip("the numbers of the system calls are those of x86-64");
        }
        let (_own, terminal) = crate::console::terminal()?;
        // ioctl(2): TIOCGWINSZ, TIOCSTI, which says EFAULT where it is allowed.
        let script: &[&[&str]] =
            &[&["syscall", "16", "0", "21523", "0"], &["syscall", "16", "0", "21522", "0"]];
        let bundle = bed.bundle(&script_spec(Spec::new().capabilities(&USUAL), script))?;
        let dir = bundle.dir.to_string_lossy().into_owned();
        let run = bed.command(["run", "--bundle", &dir, &bundle.id]).on_terminal(terminal, false);
        let seen = crate::bed::answers(&run.call()?.ok()?)?;
        if seen[0].errno == 25 {
            return Ok(());
        }
        seen[0].failed(&[14])?;
        // EFAULT would say that the call was allowed.
        seen[1].failed(&[1, 5])
    }),
];

/// Every capability, in a user namespace.
fn mighty() -> Spec {
    Spec::new().user_namespace(700_000, 65_536).capabilities(&ALL).set("/process/noNewPrivileges", false)
}

/// What the operations answer to root of the host.
fn on_host(bed: &Bed<'_>, script: &[&[&str]]) -> Outcome<Vec<Answer>> {
    let program = bed.bundle(&Spec::new())?.rootfs.join("probe");
    let words = script_args(script);
    let done = reaper::output(Command::new(program).args(&words[1..]))?;
    answers_of(&String::from_utf8_lossy(&done.stdout))
}

/// The names in /proc/net/dev.
fn interfaces(table: &str) -> Vec<String> {
    let mut names: Vec<String> =
        table.lines().filter_map(|line| Some(line.split_once(':')?.0.trim().to_owned())).collect();
    names.sort();
    names
}
