//! `annotations`: their names, and those of other runtimes that change the container.

use oci_spec::runtime::Spec;

use crate::finding::{Report, escape};
use crate::linux::seccomp;

/// crun's annotations that ask for something without which the container would not be as asked.
const REFUSED: [(&str, &str); 4] = [
    ("run.oci.handler", "the program is to be run by a handler, and this runtime has none"),
    ("run.oci.seccomp.plugins", "system calls are to be answered by plug-ins, and this runtime has none"),
    ("run.oci.seccomp_bpf_data", "a ready filter is to be loaded, and this runtime makes its filters itself"),
    (
        "run.oci.systemd.force_cgroup_v1",
        "a cgroup of version 1 is to be mounted, which this runtime does not support",
    ),
];

/// Annotations that can be ignored. Their author may be a user of the engine, who could otherwise have root create
/// files of the host and append to them.
const IGNORED: [&str; 2] = ["run.oci.hooks.stdout", "run.oci.hooks.stderr"];

/// Asks that a profile name no system call that is unknown to this runtime, unless its value is 0.
const STRICT: &str = "run.oci.seccomp_fail_unknown_syscall";

/// Where the seccomp listener goes if the profile does not say so.
const RECEIVER: &str = "run.oci.seccomp.receiver";
/// The kind of mount option that `mountLabel` becomes.
const CONTEXT_TYPE: &str = "run.oci.mount_context_type";

pub(super) fn check(spec: &Spec, report: &mut Report) {
    let Some(annotations) = spec.annotations() else { return };
    if annotations.contains_key("") {
        // RFC 6901: the token of the empty name is empty.
        report.error("/annotations/", "a key must not be empty");
    }
    let value = |name: &str| annotations.get(name).map(String::as_str).filter(|value| !value.is_empty());
    let at = |name: &str| format!("/annotations/{}", escape(name));
    for (name, reason) in REFUSED {
        if value(name).is_some() {
            report.error(at(name), reason);
        }
    }
    for name in IGNORED {
        if value(name).is_some() {
            report.warning(
                at(name),
                "it has no effect: an annotation does not choose a file of the host for root to write to",
            );
        }
    }
    if value(STRICT).is_some_and(|value| value != "0") {
        unknown_calls(spec, report);
    }
    for name in [RECEIVER, "run.oci.pidfd_receiver"] {
        if value(name).is_some_and(|path| !path.starts_with('/')) {
            report.error(at(name), "the path is not absolute");
        }
    }
    let labelled = spec.linux().as_ref().and_then(|linux| linux.mount_label().as_deref());
    if labelled.is_some_and(|label| !label.is_empty())
        && value(CONTEXT_TYPE).is_some_and(|kind| kind != "context")
    {
        report.error(at(CONTEXT_TYPE), "only the mount option \"context\" is set for a mount label");
    }
}

fn unknown_calls(spec: &Spec, report: &mut Report) {
    let seccomp = spec.linux().as_ref().and_then(|linux| linux.seccomp().as_ref());
    for (entry, call) in
        seccomp.and_then(|seccomp| seccomp.syscalls().as_ref()).into_iter().flatten().enumerate()
    {
        for (index, name) in call.names().iter().enumerate() {
            if !name.is_empty() && !seccomp::knows(name) {
                report.error(
                    format!("/linux/seccomp/syscalls/{entry}/names/{index}"),
                    format!("unknown system call {name:?}, which the annotation {STRICT} makes an error"),
                );
            }
        }
    }
}

/// Gives the seccomp profile the listener that an annotation names for it.
pub(super) fn as_properties(spec: &mut Spec) {
    let receiver = spec.annotations().as_ref().and_then(|all| all.get(RECEIVER)).cloned();
    let Some(receiver) = receiver.filter(|path| path.starts_with('/')) else { return };
    if let Some(seccomp) = spec.linux_mut().as_mut().and_then(|linux| linux.seccomp_mut().as_mut())
        && seccomp.listener_path().is_none()
    {
        seccomp.set_listener_path(Some(receiver.into()));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn findings(annotations: serde_json::Value) -> Vec<String> {
        let spec: Spec = serde_json::from_value(json!({
            "ociVersion": "1.2.0",
            "annotations": annotations,
            "linux": {"mountLabel": "system_u:object_r:container_file_t:s0"}
        }))
        .unwrap();
        let mut report = Report::default();
        check(&spec, &mut report);
        report.into_findings().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_asks_for_another_runtime_is_refused_and_the_rest_is_left_alone() {
        assert_eq!(
            findings(json!({"org.example.any": "", "run.oci.handler": "", "krun.cpus": "2"})),
            [""; 0]
        );
        for (name, value) in [
            ("run.oci.handler", "wasmtime"),
            ("run.oci.seccomp.plugins", "libx.so"),
            ("run.oci.seccomp_bpf_data", "AAAA"),
            ("run.oci.systemd.force_cgroup_v1", "/sys/fs/cgroup/systemd"),
            ("run.oci.seccomp.receiver", "relative"),
            ("run.oci.mount_context_type", "rootcontext"),
        ] {
            let all = findings(json!({name: value}));
            assert!(
                all.len() == 1 && all[0].starts_with(&format!("error: /annotations/{name}: ")),
                "{all:?}"
            );
        }
        assert_eq!(findings(json!({"run.oci.mount_context_type": "context"})), [""; 0]);
        let all = findings(json!({"run.oci.hooks.stdout": "/log"}));
        assert!(all.len() == 1 && all[0].starts_with("warning: "), "{all:?}");
    }

    #[test]
    fn unknown_calls_are_errors_where_an_annotation_says_so() {
        let found = |value: &str| {
            let spec: Spec = serde_json::from_value(json!({
                "ociVersion": "1.2.0",
                "annotations": {STRICT: value},
                "linux": {"seccomp": {"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [
                    {"names": ["read", "made_up", "vm86", "other"], "action": "SCMP_ACT_ALLOW"}]}}
            }))
            .unwrap();
            let mut report = Report::default();
            check(&spec, &mut report);
            report.into_findings().into_iter().map(|finding| finding.pointer).collect::<Vec<_>>()
        };
        assert_eq!(found("1"), ["/linux/seccomp/syscalls/0/names/1", "/linux/seccomp/syscalls/0/names/3"]);
        assert_eq!(found("0"), [""; 0]);
        assert_eq!(found(""), [""; 0]);
    }

    #[test]
    fn the_receiver_becomes_the_listener_unless_the_profile_has_one() {
        let with = |profile: serde_json::Value| {
            let mut spec: Spec = serde_json::from_value(json!({
                "ociVersion": "1.2.0",
                "annotations": {"run.oci.seccomp.receiver": "/agent"},
                "linux": {"seccomp": profile}
            }))
            .unwrap();
            as_properties(&mut spec);
            let seccomp = spec.linux().clone().unwrap().seccomp().clone().unwrap();
            seccomp.listener_path().clone().unwrap()
        };
        let action = "SCMP_ACT_ALLOW";
        assert_eq!(with(json!({"defaultAction": action})).to_str(), Some("/agent"));
        let own = json!({"defaultAction": action, "listenerPath": "/own"});
        assert_eq!(with(own).to_str(), Some("/own"));
    }
}
