//! A correct configuration, and the findings when one of its values changes.

mod linux_rules;
mod process_rules;
mod robustness;
mod rules;

use serde_json::{Value, json};

use super::*;

/// A configuration that uses nearly every property, without a finding.
fn full() -> Value {
    json!({
        "ociVersion": "1.3.0",
        "root": {"path": "rootfs", "readonly": true},
        "hostname": "web", "domainname": "example.org",
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]},
            {"destination": "/data", "source": "data", "options": ["rbind", "rro", "rslave", "ridmap"],
             "uidMappings": [{"containerID": 0, "hostID": 1000, "size": 10}], "gidMappings": [{"containerID": 0, "hostID": 1000, "size": 10}]},
            {"destination": "/tmp", "type": "tmpfs", "options": ["tmpcopyup"]},
        ],
        "process": {
            "terminal": true, "consoleSize": {"height": 25, "width": 80}, "cwd": "/", "args": ["sh"],
            "env": ["PATH=/bin", "EMPTY", "X="],
            "user": {"uid": 1, "gid": 2, "umask": 18, "additionalGids": [3, 4]},
            "capabilities": {"bounding": ["CAP_KILL"], "effective": ["CAP_KILL"], "permitted": ["CAP_KILL"], "inheritable": ["CAP_KILL"], "ambient": ["CAP_KILL"]},
            "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 1, "hard": 2}, {"type": "RLIMIT_CORE", "soft": u64::MAX, "hard": u64::MAX}],
            "noNewPrivileges": true, "oomScoreAdj": -1000, "apparmorProfile": "p", "selinuxLabel": "u:r:t:s0",
            "scheduler": {"policy": "SCHED_FIFO", "priority": 1, "flags": ["SCHED_FLAG_RESET_ON_FORK"]},
            "ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 7},
            "execCPUAffinity": {"initial": "0-3,7", "final": ""},
        },
        "hooks": {"createRuntime": [{"path": "/h", "args": ["h"], "env": ["A=1"], "timeout": 1}], "poststop": [{"path": "/h"}]},
        "annotations": {"a": "", "b": "c"},
        "linux": {
            "namespaces": [{"type": "pid"}, {"type": "network", "path": "/proc/1/ns/net"}, {"type": "mount"}, {"type": "ipc"}, {"type": "uts"},
                {"type": "user"}, {"type": "cgroup"}, {"type": "time"}],
            "uidMappings": [{"containerID": 0, "hostID": 1000, "size": 10}, {"containerID": 10, "hostID": 5000, "size": 10}],
            "gidMappings": [{"containerID": 0, "hostID": 1000, "size": 10}],
            "timeOffsets": {"monotonic": {"secs": -1, "nanosecs": 5}, "boottime": {"secs": 7}},
            "devices": [{"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229, "fileMode": 438, "uid": 0, "gid": 0},
                {"path": "/dev/pipe", "type": "p"}, {"path": "/x/sda", "type": "b", "major": 8, "minor": 0, "fileMode": 0o60_660},
                {"path": "/dev/fuse", "type": "u", "major": 10, "minor": 229}],
            "cgroupsPath": "/a/b",
            "resources": {
                "devices": [{"allow": false, "access": "rwm"}, {"allow": true, "type": "c", "major": -1, "minor": 3, "access": "rw"}],
                "memory": {"limit": 1000, "reservation": -1, "swap": 1000, "swappiness": 100, "disableOOMKiller": false},
                "cpu": {"shares": 2, "quota": 1000, "burst": 1000, "period": 1000, "cpus": "0-1", "mems": "0", "idle": 1},
                "pids": {"limit": 0}, "network": {"classID": 1, "priorities": [{"name": "eth0", "priority": 1}]},
                "blockIO": {"weight": 0, "leafWeight": 10, "weightDevice": [{"major": 8, "minor": 0, "weight": 1000}],
                    "throttleReadIOPSDevice": [{"major": 8, "minor": 0, "rate": 1}]},
                "hugepageLimits": [{"pageSize": "2MB", "limit": 0}], "rdma": {"mlx5_1": {"hcaHandles": 1}}, "unified": {"memory.high": "1"},
            },
            "memoryPolicy": {"mode": "MPOL_BIND", "nodes": "0-1", "flags": ["MPOL_F_STATIC_NODES", "MPOL_F_NUMA_BALANCING"]},
            "sysctl": {"net.ipv4.ip_forward": "1", "kernel.shmmax": "1", "net/ipv4/conf/eth0.1/forwarding": "1", "user.max_user_namespaces": "9"},
            "seccomp": {"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"], "syscalls": [
                {"names": ["read"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1, "args": [{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}]}]},
            "rootfsPropagation": "rslave", "maskedPaths": ["/proc/kcore"], "readonlyPaths": ["/proc/sys"],
            "personality": {"domain": "LINUX32"},
        }
    })
}

/// All findings of both stages.
fn all(config: &Value) -> Vec<Finding> {
    let (spec, mut findings) = document::read_config(config.to_string().as_bytes());
    findings.extend(spec.iter().flat_map(check));
    findings
}

/// Sets the values at the pointers, and compares the findings with `severity: pointer: message...`.
fn expect(changes: &Value, expected: &[&str]) {
    let mut config = full();
    for (pointer, value) in changes.as_object().unwrap() {
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        let name = name.replace("~1", "/").replace("~0", "~");
        let parent = config.pointer_mut(parent).unwrap_or_else(|| panic!("{pointer}"));
        match (parent, value) {
            (Value::Object(members), Value::Null) => drop(members.remove(&name)),
            (Value::Array(elements), _) => elements[name.parse::<usize>().unwrap()] = value.clone(),
            (parent, _) => parent[name] = value.clone(),
        }
    }
    let found: Vec<_> = all(&config).iter().map(ToString::to_string).collect();
    let same = found.len() == expected.len() && found.iter().zip(expected).all(|(f, e)| f.starts_with(e));
    assert!(same, "{changes}\n  found: {found:#?}\n  want:  {expected:#?}");
}
