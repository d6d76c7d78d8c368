//! The rules of the specification and the kernel that a profile can break.

use std::path::Path;

use oci_spec::runtime::{LinuxSeccomp, LinuxSeccompAction, LinuxSeccompFilterFlag, LinuxSyscall};

use super::{mistake, uses_notify};
use crate::finding::Finding;

/// The kernel reduces a larger errno to this one (`MAX_ERRNO`), which would hide the mistake.
const MAX_ERRNO: u32 = 4095;

/// `SECCOMP_RET_DATA`: what a tracer can be passed.
const MAX_TRACE_DATA: u32 = 0xffff;

/// The calls with which the child passes the listener on after the filter is in force.
///
/// If one of them waited for the agent's answer, the agent would wait for the listener, and the container would hang at
/// its start (opencontainers/runc#4328 shows the effect).
const HANDOVER: [&str; 2] = ["write", "sendmsg"];

/// Checks a profile without compiling it; empty if nothing is wrong.
pub(crate) fn validate(seccomp: &LinuxSeccomp) -> Vec<Finding> {
    let mut findings = Vec::new();
    check_errno(
        &mut findings,
        "/defaultErrnoRet",
        "defaultAction",
        seccomp.default_action(),
        seccomp.default_errno_ret(),
    );
    if seccomp.default_action() == LinuxSeccompAction::ScmpActNotify {
        findings.push(mistake(
            "/defaultAction",
            "SCMP_ACT_NOTIFY cannot be the default: the agent's listener could not be handed over any more",
        ));
    }
    for (index, entry) in seccomp.syscalls().iter().flatten().enumerate() {
        check_entry(&mut findings, &format!("/syscalls/{index}"), entry);
    }
    check_listener(&mut findings, seccomp);
    findings
}

fn check_entry(findings: &mut Vec<Finding>, at: &str, entry: &LinuxSyscall) {
    if entry.names().is_empty() {
        findings.push(mistake(format!("{at}/names"), "must name at least one system call"));
    }
    for (index, name) in entry.names().iter().enumerate() {
        if name.is_empty() {
            findings.push(mistake(format!("{at}/names/{index}"), "must not be empty"));
        } else if entry.action() == LinuxSeccompAction::ScmpActNotify && HANDOVER.contains(&name.as_str()) {
            let message = format!(
                "SCMP_ACT_NOTIFY cannot be used for the {name} syscall: it hands the listener to the agent"
            );
            findings.push(mistake(format!("{at}/names/{index}"), message));
        }
    }
    check_errno(findings, &format!("{at}/errnoRet"), "action", entry.action(), entry.errno_ret());
    for (index, arg) in entry.args().iter().flatten().enumerate() {
        if arg.index() > 5 {
            let message = format!("a system call has the arguments 0 to 5, not {}", arg.index());
            findings.push(mistake(format!("{at}/args/{index}/index"), message));
        }
    }
}

fn check_errno(
    findings: &mut Vec<Finding>,
    at: &str,
    property: &str,
    action: LinuxSeccompAction,
    value: Option<u32>,
) {
    let Some(value) = value else { return };
    let max = match action {
        LinuxSeccompAction::ScmpActErrno => MAX_ERRNO,
        LinuxSeccompAction::ScmpActTrace => MAX_TRACE_DATA,
        other => {
            let message =
                format!("{property} {other} takes no number; only SCMP_ACT_ERRNO and SCMP_ACT_TRACE do");
            findings.push(mistake(at, message));
            return;
        }
    };
    if value > max {
        findings.push(mistake(at, format!("{value} is too large, {action} takes at most {max}")));
    }
}

fn check_listener(findings: &mut Vec<Finding>, seccomp: &LinuxSeccomp) {
    let notify = uses_notify(seccomp);
    // runc's and containerd's Go types write empty strings for absent values.
    let path = seccomp.listener_path().as_deref().filter(|path| *path != Path::new(""));
    match path {
        Some(path) if !path.is_absolute() => {
            findings.push(mistake("/listenerPath", format!("{} is not an absolute path", path.display())));
        }
        None if notify => findings.push(mistake(
            "/listenerPath",
            "is required with SCMP_ACT_NOTIFY: without an agent the calls are never answered",
        )),
        _ => {}
    }
    let metadata = seccomp.listener_metadata().as_deref().unwrap_or("");
    if path.is_none() && !metadata.is_empty() {
        findings.push(mistake("/listenerMetadata", "is only allowed with listenerPath"));
    }
    for (index, flag) in seccomp.flags().iter().flatten().enumerate() {
        if *flag == LinuxSeccompFilterFlag::SeccompFilterFlagWaitKillableRecv && !notify {
            findings.push(mistake(
                format!("/flags/{index}"),
                format!(
                    "{flag} is only valid with SCMP_ACT_NOTIFY: the kernel refuses it without a listener"
                ),
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pointers(profile: Value) -> Vec<String> {
        let seccomp: LinuxSeccomp = serde_json::from_value(profile).unwrap();
        validate(&seccomp).into_iter().map(|finding| finding.pointer).collect()
    }

    fn with_entry(entry: Value) -> Vec<String> {
        pointers(json!({"defaultAction": "SCMP_ACT_ERRNO", "listenerPath": "/s", "syscalls": [entry]}))
    }

    #[test]
    fn good_profiles_pass() {
        assert!(pointers(json!({"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 38})).is_empty());
        assert!(pointers(json!({"defaultAction": "SCMP_ACT_TRACE", "defaultErrnoRet": 65535})).is_empty());
        assert!(with_entry(json!({"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"})).is_empty());
        assert!(
            pointers(json!({"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "", "listenerMetadata": ""}))
                .is_empty()
        );
    }

    #[test]
    fn names() {
        assert_eq!(
            with_entry(json!({"names": [], "action": "SCMP_ACT_ALLOW"})),
            ["/linux/seccomp/syscalls/0/names"]
        );
        assert_eq!(
            with_entry(json!({"names": ["read", ""], "action": "SCMP_ACT_ALLOW"})),
            ["/linux/seccomp/syscalls/0/names/1"]
        );
    }

    #[test]
    fn numbers_of_actions() {
        let entry = |action: &str, errno: u32| {
            with_entry(json!({"names": ["a"], "action": action, "errnoRet": errno}))
        };
        assert!(entry("SCMP_ACT_ERRNO", 4095).is_empty());
        assert_eq!(entry("SCMP_ACT_ERRNO", 4096), ["/linux/seccomp/syscalls/0/errnoRet"]);
        assert_eq!(entry("SCMP_ACT_TRACE", 65536), ["/linux/seccomp/syscalls/0/errnoRet"]);
        for action in ["ALLOW", "KILL", "KILL_PROCESS", "KILL_THREAD", "LOG", "NOTIFY", "TRAP"] {
            assert_eq!(entry(&format!("SCMP_ACT_{action}"), 1), ["/linux/seccomp/syscalls/0/errnoRet"]);
        }
        assert_eq!(
            pointers(json!({"defaultAction": "SCMP_ACT_KILL", "defaultErrnoRet": 1})),
            ["/linux/seccomp/defaultErrnoRet"]
        );
    }

    #[test]
    fn argument_index() {
        let args = |index: u64| json!([{"index": index, "value": 0, "op": "SCMP_CMP_EQ"}]);
        let entry =
            |index| with_entry(json!({"names": ["a"], "action": "SCMP_ACT_ALLOW", "args": args(index)}));
        assert!(entry(5).is_empty());
        assert_eq!(entry(6), ["/linux/seccomp/syscalls/0/args/0/index"]);
    }

    #[test]
    fn notify_needs_a_listener_and_a_way_to_hand_it_over() {
        assert_eq!(
            pointers(json!({"defaultAction": "SCMP_ACT_NOTIFY", "listenerPath": "/s"})),
            ["/linux/seccomp/defaultAction"]
        );
        for name in ["write", "sendmsg"] {
            assert_eq!(
                with_entry(json!({"names": ["mkdir", name], "action": "SCMP_ACT_NOTIFY"})),
                ["/linux/seccomp/syscalls/0/names/1"]
            );
        }
        let entries = json!([{"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}]);
        assert_eq!(
            pointers(json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": entries})),
            ["/linux/seccomp/listenerPath"]
        );
        assert_eq!(
            pointers(json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": entries, "listenerPath": "s"})),
            ["/linux/seccomp/listenerPath"]
        );
        assert_eq!(
            pointers(json!({"defaultAction": "SCMP_ACT_ALLOW", "listenerMetadata": "x"})),
            ["/linux/seccomp/listenerMetadata"]
        );
        assert_eq!(
            pointers(json!({
                "defaultAction": "SCMP_ACT_ALLOW",
                "flags": ["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"],
            })),
            ["/linux/seccomp/flags/1"]
        );
    }
}
