//! From bytes to a value of the spec's types, with every complaint about the document's shape.

use oci_spec::runtime::{LinuxResources, Mount, Process, Spec};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::schema::{CONFIG, MOUNTS, PROCESS, RESOURCES};
use super::shape::Object;
use super::{annotations, check_process, check_resources, repair, scan, version};
use crate::error::{Error, ErrorKind, Result};
use crate::finding::{Finding, into_result};

/// Reads `config.json`: the value if it is well-formed, and findings about its shape.
pub(crate) fn read_config(bytes: &[u8]) -> (Option<Spec>, Vec<Finding>) {
    let (mut spec, findings) = read(bytes, &CONFIG);
    if let Some(spec) = &mut spec {
        version::as_newest(spec);
        annotations::as_properties(spec);
    }
    (spec, findings)
}

/// Reads a process object, such as the document of `exec --process`, and checks it completely.
///
/// The findings are warnings; pointers are relative to the document.
///
/// # Errors
///
/// `ErrorKind::InvalidSpec` if the document is malformed, or contradicts itself, the specification or Linux.
pub fn read_process(bytes: &[u8]) -> Result<(Process, Vec<Finding>)> {
    read_checked(bytes, &PROCESS, check_process)
}

/// Reads a resources object, such as the document of `update --resources`, and checks it completely.
///
/// The findings are warnings; pointers are relative to the document.
///
/// # Errors
///
/// `ErrorKind::InvalidSpec` if the document is malformed, or contradicts itself, the specification or Linux.
pub fn read_resources(bytes: &[u8]) -> Result<(LinuxResources, Vec<Finding>)> {
    read_checked(bytes, &RESOURCES, check_resources)
}

/// Reads a list of mounts: an object with the property `mounts`, or the list itself.
///
/// The findings are warnings; pointers are relative to the object. Whether the mounts make sense depends on the
/// container: [`Container::add_mounts`](crate::Container::add_mounts) checks that.
///
/// # Errors
///
/// `ErrorKind::InvalidSpec` if the document is malformed.
pub fn read_mounts(bytes: &[u8]) -> Result<(Vec<Mount>, Vec<Finding>)> {
    #[derive(Deserialize)]
    struct Mounts {
        mounts: Vec<Mount>,
    }
    let is_list = bytes.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[');
    let wrapped = is_list.then(|| [b"{\"mounts\":", bytes, b"}"].concat());
    let bytes = wrapped.as_deref().unwrap_or(bytes);
    read_checked(bytes, &MOUNTS, |_: &Mounts| Vec::new())
        .map(|(document, findings)| (document.mounts, findings))
}

/// Writes a value as `config.json`.
pub(crate) fn write_config(spec: &Spec) -> Result<Vec<u8>> {
    let failed = |error| Error::new(ErrorKind::InvalidSpec, format!("serialize the configuration: {error}"));
    let mut value = serde_json::to_value(spec).map_err(failed)?;
    if let Some(process) = value.get_mut("process") {
        repair::from_types(process);
    }
    serde_json::to_vec(&value).map_err(failed)
}

fn read_checked<T: DeserializeOwned>(
    bytes: &[u8],
    object: &'static Object,
    check: fn(&T) -> Vec<Finding>,
) -> Result<(T, Vec<Finding>)> {
    let (value, mut findings) = read(bytes, object);
    if let Some(value) = &value {
        findings.extend(check(value));
    }
    let findings = into_result(findings)?;
    match value {
        Some(value) => Ok((value, findings)),
        None => Err(Error::new(ErrorKind::InvalidSpec, "the document cannot be read")),
    }
}

/// If there is no value, the findings include an error.
fn read<T: DeserializeOwned>(bytes: &[u8], object: &'static Object) -> (Option<T>, Vec<Finding>) {
    // Once for all strings, not once for each.
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => {
            let message = format!("not valid JSON: invalid UTF-8 at byte {}", error.valid_up_to());
            return (None, vec![Finding::error("", message)]);
        }
    };
    let mut scan = scan::scan(text, object);
    if scan.findings.iter().any(Finding::is_error) {
        return (None, scan.findings);
    }
    if !scan.needs_repair
        && let Ok(value) = serde_json::from_str(text)
    {
        return (Some(value), scan.findings);
    }
    // Through text again: a second reader for all types, from values, would be a tenth of the program.
    let repaired = serde_json::from_str::<Value>(text).and_then(|mut value| {
        repair::for_types(&mut value, object);
        serde_json::from_str(&value.to_string())
    });
    match repaired {
        Ok(value) => (Some(value), scan.findings),
        Err(error) => {
            scan.findings.push(Finding::error("", format!("not a document of the runtime spec: {error}")));
            (None, scan.findings)
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn config(patch: &Value) -> Value {
        let mut config = json!({
            "ociVersion": "1.2.0",
            "root": {"path": "rootfs"},
            "process": {"cwd": "/", "args": ["sh"], "user": {"uid": 0, "gid": 0}},
            "linux": {}
        });
        for (pointer, value) in patch.as_object().unwrap() {
            let (parent, name) = pointer.rsplit_once('/').unwrap();
            config.pointer_mut(parent).unwrap()[name] = value.clone();
        }
        config
    }

    fn findings(bytes: &[u8]) -> Vec<String> {
        read_config(bytes).1.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_pids_limit_of_0_is_a_limit_since_version_1_3() {
        let limit = |version: &str, limit: i64| {
            let patch = json!({
                "/ociVersion": version,
                "/linux/resources": {"pids": {"limit": limit}, "cpu": {"shares": 7}}
            });
            let (spec, findings) = read_config(config(&patch).to_string().as_bytes());
            assert_eq!(findings, []);
            let resources = spec.unwrap().linux().clone().unwrap().resources().clone().unwrap();
            assert_eq!(resources.cpu().as_ref().unwrap().shares(), Some(7));
            resources.pids().unwrap().limit()
        };
        for (version, zero) in
            [("1.0.0", -1), ("1.0.2-dev", -1), ("1.2.1", -1), ("1.3.0-rc.1", 0), ("1.3.0", 0), ("1.10.0", 0)]
        {
            assert_eq!(
                (limit(version, 0), limit(version, 9), limit(version, -1)),
                (zero, 9, -1),
                "{version}"
            );
        }
    }

    #[test]
    fn what_callers_leave_out_or_empty_is_absent() {
        let changes = [
            json!({"/process/user": null}),
            json!({"/process/user": {}}),
            json!({"/process/user": {"uid": 0}}),
            json!({"/process/user": {"gid": 0}}),
            json!({"/process/ioPriority": {"class": "IOPRIO_CLASS_BE"}}),
            json!({"/linux/namespaces": [{"type": "pid", "path": ""}]}),
            json!({"/linux/rootfsPropagation": ""}),
            json!({"/linux/resources": {"devices": [{"allow": false, "type": "", "access": "rwm"}]}}),
        ];
        for patch in changes {
            let mut config = config(&patch);
            if config["process"]["user"].is_null() {
                config["process"].as_object_mut().unwrap().remove("user");
            }
            let (spec, findings) = read_config(config.to_string().as_bytes());
            assert_eq!(findings, [], "{patch}");
            let spec = spec.unwrap();
            let process = spec.process().as_ref().unwrap();
            assert_eq!((process.user().uid(), process.user().gid()), (0, 0), "{patch}");
            assert_eq!(
                process.io_priority().as_ref().map_or(0, oci_spec::runtime::LinuxIOPriority::priority),
                0
            );
            let linux = spec.linux().as_ref().unwrap();
            assert_eq!(linux.rootfs_propagation(), &None);
            assert!(
                linux.namespaces().iter().flatten().all(|namespace| namespace.path().is_none()),
                "{patch}"
            );
            let rules = linux.resources().iter().flat_map(|all| all.devices().iter().flatten());
            assert_eq!(rules.filter(|rule| rule.typ().is_some()).count(), 0);
        }
    }

    #[test]
    fn wrong_shapes_are_named() {
        let cases = [
            (json!({"/mounts": {}}), "error: /mounts: expected a list, found an object"),
            (json!({"/mounts": [3]}), "error: /mounts/0: expected an object, found 3"),
            (
                json!({"/mounts": [{"destination": "/a", "options": ["ro", null]}]}),
                "error: /mounts/0/options/1: expected a string, found null",
            ),
            (json!({"/mounts": [{}]}), "error: /mounts/0/destination: required, but missing"),
            (
                json!({"/process/terminal": "yes"}),
                "error: /process/terminal: expected true or false, found the string \"yes\"",
            ),
            (
                json!({"/process/user": {"uid": -1, "gid": 4_294_967_296_u64}}),
                "error: /process/user/gid: expected a whole number from 0 to 4294967295, found 4294967296\n\
                 error: /process/user/uid: expected a whole number from 0 to 4294967295, found -1",
            ),
            (
                json!({"/process/user": {"uid": null, "gid": ""}}),
                "error: /process/user/gid: expected a whole number from 0 to 4294967295, found the string \"\"",
            ),
            (
                json!({"/process/oomScoreAdj": 1.5}),
                "error: /process/oomScoreAdj: expected a whole number from -2147483648 to 2147483647, found 1.5",
            ),
            (
                json!({"/process/cwd": "/\0"}),
                "error: /process/cwd: contains a NUL byte, which no system call takes",
            ),
            (
                json!({"/process/rlimits": [{"type": "RLIMIT_CPU"}]}),
                "error: /process/rlimits/0/soft: required, but missing\nerror: /process/rlimits/0/hard: required, but missing",
            ),
            (
                json!({"/process/consoleSize": {"width": 1}}),
                "error: /process/consoleSize/height: required, but missing",
            ),
            (
                json!({"/process/ioPriority": {"class": "", "priority": 1}}),
                "error: /process/ioPriority/class: required, but missing",
            ),
            (
                json!({"/linux/namespaces": [{"type": "net"}]}),
                "error: /linux/namespaces/0/type: expected one of pid, network, mount, ipc, uts, user, cgroup, time, found \"net\"",
            ),
            (
                json!({"/linux/devices": [{"type": "c", "path": "/dev/x", "major": 1}]}),
                "error: /linux/devices/0/minor: required, but missing",
            ),
            (
                json!({"/linux/devices": [{"type": "a", "path": "/dev/x", "major": 1, "minor": 1}]}),
                "error: /linux/devices/0/type: expected one of c, b, u, p, found \"a\"",
            ),
            (
                json!({"/linux/uidMappings": [{"containerID": 0, "size": 1}]}),
                "error: /linux/uidMappings/0/hostID: required, but missing",
            ),
            (
                json!({"/linux/sysctl": {"net.ipv4.ip_forward": 1}}),
                "error: /linux/sysctl/net.ipv4.ip_forward: expected a string, found 1",
            ),
            (
                json!({"/linux/sysctl": {"a/b~c": 1}}),
                "error: /linux/sysctl/a~1b~0c: expected a string, found 1",
            ),
            (
                json!({"/linux/resources": {"devices": [{"type": "c"}]}}),
                "error: /linux/resources/devices/0/allow: required, but missing",
            ),
            (
                json!({"/linux/resources": {"blockIO": {"throttleReadBpsDevice": [{"major": 8, "minor": 0}]}}}),
                "error: /linux/resources/blockIO/throttleReadBpsDevice/0/rate: required, but missing",
            ),
            (
                json!({"/linux/resources": {"hugepageLimits": [{"pageSize": "2MB"}]}}),
                "error: /linux/resources/hugepageLimits/0/limit: required, but missing",
            ),
            (
                json!({"/linux/seccomp": {"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_NATIVE"]}}),
                "SCMP_ARCH_RISCV64, found \"SCMP_ARCH_NATIVE\"",
            ),
            (json!({"/linux/seccomp": {}}), "error: /linux/seccomp/defaultAction: required, but missing"),
            (
                json!({"/linux/seccomp": {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["read"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 6, "value": 0, "op": "SCMP_CMP_EQ"}]}]}}),
                "error: /linux/seccomp/syscalls/0/args/0/index: expected a whole number from 0 to 5, found 6",
            ),
            (
                json!({"/linux/seccomp": {"defaultAction": "SCMP_ACT_ALLOW", "flags": ["SECCOMP_FILTER_FLAG_NEW_LISTENER"]}}),
                "error: /linux/seccomp/flags/0: expected one of",
            ),
            (json!({"/linux/personality": {}}), "error: /linux/personality/domain: required, but missing"),
            (
                json!({"/linux/memoryPolicy": {"mode": "MPOL_BEST"}}),
                "error: /linux/memoryPolicy/mode: invalid memory policy mode \"MPOL_BEST\": expected one of MPOL_DEFAULT,",
            ),
            (
                json!({"/linux/memoryPolicy": {"nodes": "0-7"}}),
                "error: /linux/memoryPolicy/mode: invalid memory policy mode \"\": required, but missing",
            ),
            (
                json!({"/linux/memoryPolicy": {"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES", "x"]}}),
                "error: /linux/memoryPolicy/flags/1: invalid memory policy flag \"x\": expected one of MPOL_F_NUMA",
            ),
            (
                json!({"/process/scheduler": {"policy": "SCHED_OTHER", "flags": ["SCHED_RESET_ON_FORK"]}}),
                "error: /process/scheduler/flags/0: expected one of SCHED_FLAG_RESET_ON_FORK,",
            ),
            (
                json!({"/windows": {}}),
                "warning: /windows: is for Windows, and has no effect on a Linux container",
            ),
            (
                json!({"/freebsd": {"jail": {}}}),
                "warning: /freebsd: is for FreeBSD, and has no effect on a Linux container",
            ),
            (
                json!({"/process/capabilities": ["CAP_KILL"]}),
                "error: /process/capabilities: expected an object, found a list",
            ),
        ];
        for (patch, expected) in cases {
            let found = findings(config(&patch).to_string().as_bytes()).join("\n");
            assert!(found.contains(expected), "{patch}\n  found: {found}\n  want:  {expected}");
            let lines = expected.matches("error:").count().max(1);
            assert_eq!(found.lines().count(), lines, "{patch}\n{found}");
        }
    }

    #[test]
    fn top_level_and_broken_json() {
        let cases: &[(&[u8], &str)] = &[
            (b"{}", "error: /ociVersion: required, but missing"),
            (b"[]", "error: expected an object, found a list"),
            (b"", "error: not valid JSON: EOF"),
            (b"{]", "error: not valid JSON: key must be a string at line 1 column 2"),
            (b"{} {}", "error: not valid JSON: trailing characters"),
            (b"{\"hostname\":\"\xff\"}", "error: not valid JSON: invalid UTF-8 at byte 13"),
            (b"\xef\xbb\xbf{}", "error: not valid JSON: expected value"),
            (br#"{"hostname":"a","hostname":"a"}"#, "error: /hostname: the name occurs twice"),
            (br#"{"annotations":{"a":"","\u0061":""}}"#, "error: /annotations/a: the name occurs twice"),
            (br#"{"x":{"y":[{"z":1,"z":1}]}}"#, "error: /x/y/0/z: the name occurs twice"),
            (
                br#"{"hostname":"a\ud800b"}"#,
                r"error: not valid JSON: \ud800 stands for half of a character, and its other half is missing, at line 1",
            ),
            (br#"{"hostname":"\uDC00"}"#, r"not valid JSON: \uDC00 stands for half of a character"),
            (br#"{"hostname":"\ud800\u0041"}"#, r"not valid JSON: \ud800 stands for half of a character"),
            (br#"{"hostname":"\ud800"}"#, r"not valid JSON: \ud800 stands for half of a character"),
            (br#"{"hostname":"\u00"}"#, "not valid JSON: invalid escape at line 1"),
            (br#"{"x":1,"x":2}"#, "error: /x: the name occurs twice"),
            (br#"{"annotations":{"a\u0000b":""}}"#, "the name contains a NUL byte"),
        ];
        for (bytes, expected) in cases {
            let found = findings(bytes).join("\n");
            assert!(found.contains(expected), "{:?}: {found}", String::from_utf8_lossy(bytes));
        }
        let bomb = "[".repeat(1_000_000);
        assert!(findings(bomb.as_bytes()).join("\n").contains("recursion limit"));
    }

    #[test]
    fn findings_have_an_end() {
        let many = vec![json!(1); 100_000];
        assert_eq!(findings(config(&json!({"/mounts": many})).to_string().as_bytes()).len(), MOST + 1);
    }
    const MOST: usize = 200;

    #[test]
    fn unknown_things_are_warnings() {
        let patch = json!({
            "/process/capabilities": {"bounding": ["CAP_KILL", "CAP_FUTURE", "chown"], "effective": ["CAP_KILL"]},
            "/process/capabilites": {},
        });
        let (spec, found) = read_config(config(&patch).to_string().as_bytes());
        let found: Vec<_> = found.iter().map(ToString::to_string).collect();
        assert_eq!(
            found,
            [
                "note: /process/capabilites: not a property of the runtime spec; ignored",
                "warning: /process/capabilities/bounding/1: ignoring unknown or unavailable capabilities: [CAP_FUTURE]",
                "warning: /process/capabilities/bounding/2: ignoring unknown or unavailable capabilities: [chown]; write it as CAP_CHOWN",
            ]
        );
        let spec = spec.unwrap();
        let sets = spec.process().as_ref().unwrap().capabilities().as_ref().unwrap();
        assert_eq!(sets.bounding().as_ref().unwrap().len(), 1);
        assert_eq!(sets.effective().as_ref().unwrap().len(), 1);
    }

    #[test]
    fn what_the_types_refuse_or_misread_is_repaired() {
        let patch = json!({
            "/mounts": null,
            "/uidMappings": "never a property of the spec",
            "/process/scheduler": {"policy": "SCHED_OTHER", "flags": [
                "SCHED_FLAG_RESET_ON_FORK", "SCHED_FLAG_RECLAIM", "SCHED_FLAG_DL_OVERRUN", "SCHED_FLAG_KEEP_POLICY",
                "SCHED_FLAG_KEEP_PARAMS", "SCHED_FLAG_UTIL_CLAMP_MIN", "SCHED_FLAG_UTIL_CLAMP_MAX"]},
            "/process/execCPUAffinity": {"initial": "", "final": "0-3, 7"},
            "/linux/resources": {
                "pids": {}, "hugepageLimits": [{"pageSize": "2MB", "limit": u64::MAX}],
                "blockIO": {"weight": null}},
        });
        let (spec, found) = read_config(config(&patch).to_string().as_bytes());
        assert!(!found.iter().any(Finding::is_error), "{found:?}");
        let spec = spec.unwrap();
        assert!(spec.mounts().is_none());
        let process = spec.process().as_ref().unwrap();
        assert_eq!(process.scheduler().as_ref().unwrap().flags().as_ref().unwrap().len(), 7);
        let affinity = process.exec_cpu_affinity().as_ref().unwrap();
        assert_eq!(
            (affinity.initial().as_deref(), affinity.cpu_affinity_final().as_deref()),
            (None, Some("0-3,7"))
        );
        let resources = spec.linux().as_ref().unwrap().resources().as_ref().unwrap();
        assert!(resources.pids().is_none(), "an absent limit is not a limit of 0");
        assert_eq!(resources.hugepage_limits().as_ref().unwrap()[0].limit(), i64::MAX);

        let (again, found) = read_config(&write_config(&spec).unwrap());
        assert!(!found.iter().any(Finding::is_error), "{found:?}");
        assert_eq!(again.unwrap(), spec);
    }

    #[test]
    fn the_other_documents() {
        let (process, _) = read_process(br#"{"cwd":"/","args":["a"],"user":{"uid":1,"gid":2}}"#).unwrap();
        assert_eq!(process.user().gid(), 2);
        let error = read_process(br#"{"args":["a"],"user":{"uid":1,"gid":2}}"#).unwrap_err();
        assert_eq!(error.pointer(), Some("/cwd"));
        let (resources, _) = read_resources(br#"{"pids":{"limit":-1}}"#).unwrap();
        assert_eq!(resources.pids().unwrap().limit(), -1);
        assert_eq!(read_resources(br#"{"pids":{"limit":-2}}"#).unwrap_err().pointer(), Some("/pids/limit"));
    }
}
