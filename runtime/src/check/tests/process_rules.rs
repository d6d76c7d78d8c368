//! The rules for the process, each broken once.

use serde_json::{Value, json};

use super::expect;

#[test]
fn process() {
    expect(&json!({"/process/args": []}), &["error: /process/args: needs at least one entry"]);
    expect(&json!({"/process/args": null}), &["error: /process/args: needs at least one entry"]);
    expect(&json!({"/process/cwd": "tmp"}), &["error: /process/cwd: cwd must be an absolute path"]);
    expect(&json!({"/process/cwd": ""}), &["error: /process/cwd: cwd must be an absolute path"]);
    expect(&json!({"/process/commandLine": "x"}), &["warning: /process/commandLine: is for Windows"]);
    expect(&json!({"/process/user/username": "x"}), &["warning: /process/user/username: is for Windows"]);
    expect(
        &json!({"/process/consoleSize/height": 65536}),
        &["error: /process/consoleSize/height: a terminal has at most"],
    );
    expect(&json!({"/process/consoleSize/height": 65536, "/process/terminal": false}), &[]);
    expect(
        &json!({"/process/oomScoreAdj": 1001}),
        &["error: /process/oomScoreAdj: must be from -1000 to 1000"],
    );
    expect(&json!({"/process/user/umask": 512}), &["error: /process/user/umask: must be from 0"]);
    let none = u32::MAX;
    expect(
        &json!({"/process/user/uid": none, "/process/user/additionalGids": [1, none]}),
        &[
            "error: /process/user/uid: 4294967295 is not an id",
            "error: /process/user/additionalGids/1: 4294967295 is not an id",
            "error: /process/user/uid: 4294967295 has no mapping",
            "error: /process/user/additionalGids/1: 4294967295 has no mapping",
        ],
    );
    expect(
        &json!({"/process/user/uid": 20}),
        &["error: /process/user/uid: 20 has no mapping in the user namespace"],
    );
    expect(&json!({"/process/user/uid": 19}), &[]);
    expect(&json!({"/process/user/gid": 10}), &["error: /process/user/gid: 10 has no mapping"]);
    let core = json!({"type": "RLIMIT_CORE", "soft": 0, "hard": 0});
    expect(
        &json!({"/process/rlimits": [core, core]}),
        &["error: /process/rlimits/1/type: RLIMIT_CORE is set twice"],
    );
    expect(
        &json!({"/process/rlimits/0/soft": 3}),
        &["error: /process/rlimits/0/soft: 3 is above the hard limit 2"],
    );
}

#[test]
fn capabilities() {
    let at = "/process/capabilities";
    expect(
        &json!({"/process/capabilities": {"effective": ["CAP_KILL", "CAP_CHOWN"]}}),
        &[&format!(
            "warning: {at}/effective: CAP_CHOWN, CAP_KILL cannot be granted: not in the permitted set"
        )],
    );
    expect(
        &json!({"/process/capabilities/inheritable": []}),
        &[&format!("warning: {at}/ambient: can't raise ambient capability CAP_KILL: not in")],
    );
    expect(
        &json!({"/process/capabilities/permitted": []}),
        &[
            &format!("warning: {at}/effective: CAP_KILL cannot"),
            &format!("warning: {at}/ambient: can't raise ambient capability CAP_KILL: "),
        ],
    );
}

#[test]
fn scheduling() {
    let scheduler = |value: Value| json!({"/process/scheduler": value});
    let at = "error: /process/scheduler";
    expect(&scheduler(json!({"policy": "SCHED_FIFO"})), &[&format!("{at}/priority: must be from 1 to 99")]);
    expect(
        &scheduler(json!({"policy": "SCHED_RR", "priority": 100})),
        &[&format!("{at}/priority: must be from 1 to 99")],
    );
    expect(
        &scheduler(json!({"policy": "SCHED_OTHER", "priority": 1})),
        &[&format!("{at}/priority: is only for")],
    );
    expect(&scheduler(json!({"policy": "SCHED_OTHER", "priority": 0, "nice": 19})), &[]);
    expect(
        &scheduler(json!({"policy": "SCHED_OTHER", "nice": 20})),
        &[&format!("{at}/nice: must be from -20 to 19")],
    );
    expect(
        &scheduler(json!({"policy": "SCHED_BATCH", "period": 1})),
        &[&format!("{at}/period: is only for")],
    );
    expect(&scheduler(json!({"policy": "SCHED_ISO"})), &["warning: /process/scheduler/policy: reserved"]);
    expect(&scheduler(json!({"policy": "SCHED_DEADLINE", "runtime": 1024, "deadline": 2000})), &[]);
    for (runtime, deadline, period) in [(0, 0, 0), (1023, 2000, 0), (3000, 2000, 0), (1024, 2000, 1999)] {
        let value =
            json!({"policy": "SCHED_DEADLINE", "runtime": runtime, "deadline": deadline, "period": period});
        expect(&scheduler(value), &[&format!("{at}: SCHED_DEADLINE needs")]);
    }
    for priority in [-1, 8] {
        expect(
            &json!({"/process/ioPriority/priority": priority}),
            &["error: /process/ioPriority/priority: invalid ioPriority.Priority: it must be from 0"],
        );
    }
}

#[test]
fn affinity() {
    for list in ["3-1", "70000", "x", "1,,2", "-1", "٣"] {
        expect(
            &json!({"/process/execCPUAffinity/final": list}),
            &["error: /process/execCPUAffinity/final: "],
        );
    }
    expect(&json!({"/process/execCPUAffinity": {"initial": " ", "final": "0 , 1"}}), &[]);
}

#[test]
fn execution() {
    expect(
        &json!({"/linux/personality/flags": ["ADDR_NO_RANDOMIZE"]}),
        &["error: /linux/personality/flags: the spec has no flags"],
    );
    expect(&json!({"/linux/personality/flags": []}), &[]);
    expect(
        &json!({"/linux/rootfsPropagation": "foo"}),
        &["error: /linux/rootfsPropagation: rootfsPropagation=foo is not supported"],
    );
    let policy = |value: Value| json!({"/linux/memoryPolicy": value});
    let at = "error: /linux/memoryPolicy";
    for mode in ["MPOL_DEFAULT", "MPOL_LOCAL"] {
        expect(&policy(json!({"mode": mode})), &[]);
        expect(&policy(json!({"mode": mode, "nodes": ""})), &[]);
        expect(
            &policy(json!({"mode": mode, "nodes": "0"})),
            &[&format!("{at}/nodes: memory policy mode requires 0 nodes but got 1: {mode} takes none")],
        );
    }
    for mode in ["MPOL_BIND", "MPOL_INTERLEAVE", "MPOL_WEIGHTED_INTERLEAVE", "MPOL_PREFERRED_MANY"] {
        expect(&policy(json!({"mode": mode, "nodes": "0"})), &[]);
        expect(
            &policy(json!({"mode": mode})),
            &[&format!("{at}/nodes: memory policy mode requires at least one node but got 0")],
        );
    }
    expect(&policy(json!({"mode": "MPOL_PREFERRED"})), &[]);
    expect(
        &policy(json!({"mode": "MPOL_PREFERRED", "flags": ["MPOL_F_STATIC_NODES"]})),
        &[&format!("{at}/flags: MPOL_PREFERRED without nodes")],
    );
    expect(
        &policy(json!({"mode": "MPOL_BIND", "nodes": "x"})),
        &[&format!("{at}/nodes: invalid memory policy nodes \"x\": \"x\" is neither")],
    );
    expect(
        &policy(
            json!({"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES", "MPOL_F_RELATIVE_NODES"]}),
        ),
        &[&format!("{at}/flags: MPOL_F_RELATIVE_NODES and")],
    );
    expect(
        &policy(json!({"mode": "MPOL_INTERLEAVE", "nodes": "0", "flags": ["MPOL_F_NUMA_BALANCING"]})),
        &[&format!("{at}/flags: MPOL_F_NUMA_BALANCING cannot")],
    );
}
