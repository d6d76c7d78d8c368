//! How the caller's rights change a plan.

use std::path::Path;

use serde_json::{Value, json};

use super::*;
use crate::program::Op;

const USER: Host = Host { euid: 1000, egid: 1000, grantable: 0, effective: 0, initial_user_namespace: true };

fn plan_for(host: Host, namespaces: &Value) -> Plan {
    plan_with(host, namespaces, None)
}

fn plan_with(host: Host, namespaces: &Value, propagation: Option<&str>) -> Plan {
    plan_of(
        host,
        json!({
            "ociVersion": "1.2.0",
            "root": {"path": "rootfs"},
            "process": {
                "user": {"uid": 0, "gid": 0}, "cwd": "/", "args": ["sh"], "oomScoreAdj": 100,
                "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 1, "hard": 1}],
            },
            "mounts": [
                {"destination": "/sys", "type": "sysfs", "source": "sysfs"},
                {"destination": "/data", "type": "none", "source": "/data", "options": ["rbind"]},
            ],
            "linux": {
                "namespaces": namespaces,
                "rootfsPropagation": propagation,
                "uidMappings": [{"containerID": 0, "hostID": 1000, "size": 1}],
                "gidMappings": [{"containerID": 0, "hostID": 1000, "size": 1}],
            },
        }),
    )
}

fn plan_of(host: Host, spec: Value) -> Plan {
    let spec: Spec = serde_json::from_value(spec).unwrap();
    let request = Request {
        id: "test",
        bundle: Path::new("/bundle"),
        rootfs: Path::new("/bundle/rootfs"),
        gate: Gate::Socket,
        no_pivot: false,
        new_keyring: true,
        preserved: 0,
        notify: None,
        env: &[],
        renamed: &[],
        links: &[],
        scope: None,
        host,
        keep_groups: false,
        tasks: &[],
        views: &Views::Split(Vec::new()),
    };
    create(&spec, &request).unwrap()
}

fn at(plan: &Plan, wanted: impl Fn(&Op) -> bool) -> usize {
    plan.program.ops.iter().position(wanted).expect("a step of that kind")
}

fn asks(plan: &Plan) -> Vec<String> {
    plan.steps.iter().map(|(step, _)| step.to_string()).collect()
}

#[test]
fn a_user_asks_the_parent_for_the_maps_only() {
    let plan = plan_for(USER, &json!([{"type": "user"}, {"type": "pid"}, {"type": "mount"}]));
    assert_eq!(asks(&plan), ["write the id maps of the user namespace"]);
    assert_eq!(plan.born_with, libc::CLONE_NEWUSER | libc::CLONE_NEWPID);
    assert_eq!(plan.program.ops[0], Op::Dumpable);
    let mapped = at(&plan, |op| matches!(op, Op::Ask { .. }));
    assert!(!plan.program.ops[..mapped].contains(&Op::NotDumpable), "newuidmap writes as the user");
    let gate = at(&plan, |op| *op == Op::Gate);
    assert_eq!(plan.program.ops[gate + 1], Op::NotDumpable, "hooks of the image run after it");
    at(&plan, |op| matches!(op, Op::HostDevice { .. }));
    at(&plan, |op| matches!(op, Op::CloneHost { .. }));
    at(&plan, |op| matches!(op, Op::Rlimit { .. }));
}

#[test]
fn root_does_for_a_user_namespace_what_its_root_may_not() {
    let plan = plan_for(Host::of_root(), &json!([{"type": "user"}, {"type": "pid"}, {"type": "mount"}]));
    let asked = asks(&plan);
    for step in ["clone the mount at /data", "clone the device node /dev/null", "set the resource limits"] {
        assert!(asked.iter().any(|one| one == step), "{step}: {asked:?}");
    }
    assert!(!plan.program.ops.contains(&Op::Dumpable));
}

#[test]
fn root_of_a_user_namespace_binds_devices_and_clones_mounts_itself() {
    let nested = Host { initial_user_namespace: false, ..Host::of_root() };
    let plan = plan_for(nested, &json!([{"type": "pid"}, {"type": "mount"}]));
    assert_eq!(asks(&plan), [""; 0]);
    at(&plan, |op| matches!(op, Op::HostDevice { .. }));
    at(&plan, |op| matches!(op, Op::MakeOrClone { .. }));
    assert!(!plan.program.ops.iter().any(|op| matches!(op, Op::Device { .. })));
}

#[test]
fn namespaces_of_the_host_are_joined_before_the_user_namespace() {
    let list = |user: Value| json!([user, {"type": "network", "path": "/net"}, {"type": "mount"}]);
    let born = plan_for(Host::of_root(), &list(json!({"type": "user"})));
    assert_eq!(born.born_joined.len(), 1);
    assert_eq!(born.namespaces.len(), 0);
    let joined = plan_for(Host::of_root(), &list(json!({"type": "user", "path": "/user"})));
    let paths: Vec<_> = joined.namespaces.iter().map(|(path, _)| path.to_str().unwrap()).collect();
    assert_eq!(paths, ["/net", "/user"]);
    assert_eq!(asks(&joined)[0], "compare the id maps of the joined user namespace");
    let user = plan_for(USER, &list(json!({"type": "user", "path": "/user"})));
    let paths: Vec<_> = user.namespaces.iter().map(|(path, _)| path.to_str().unwrap()).collect();
    assert_eq!(paths, ["/user", "/net"], "only the user namespace gives a user the right to the network");
}

#[test]
fn a_user_enters_a_pid_namespace_by_a_second_process() {
    let list = json!([{"type": "user", "path": "/user"}, {"type": "pid", "path": "/pid"}, {"type": "mount"}]);
    let plan = plan_for(USER, &list);
    let refork = at(&plan, |op| *op == Op::Refork { kinds: 0 });
    assert!(at(&plan, |op| matches!(op, Op::Enter { kinds: libc::CLONE_NEWPID, .. })) < refork);
    assert_eq!(plan.program.ops[refork + 1], Op::NewSession, "a terminal needs the leader of a session");
    assert_eq!(plan.program.ops[0], Op::Dumpable, "for the OOM score only");
    assert!(at(&plan, |op| *op == Op::NotDumpable) < at(&plan, |op| matches!(op, Op::Enter { .. })));
}

#[test]
fn nothing_of_the_host_comes_into_a_pid_namespace_that_is_joined() {
    let joined = json!({"type": "pid", "path": "/pid"});
    for user in [None, Some(json!({"type": "user"})), Some(json!({"type": "user", "path": "/user"}))] {
        let list: Vec<Value> =
            [joined.clone(), json!({"type": "mount"})].into_iter().chain(user.clone()).collect();
        let plan = plan_for(Host::of_root(), &Value::from(list));
        let emerge = at(&plan, |op| *op == Op::Emerge);
        let enter = at(&plan, |op| matches!(op, Op::Enter { kinds: libc::CLONE_NEWPID, .. }));
        assert_eq!(plan.born_with, 0, "a user namespace is unshared after the rights of the host are used");
        for (what, earlier) in [
            ("the root", at(&plan, |op| *op == Op::Pivot)),
            ("descriptors", at(&plan, |op| *op == Op::LetGo)),
            ("ids", at(&plan, |op| matches!(op, Op::Ids { .. }))),
            ("capabilities", at(&plan, |op| matches!(op, Op::Capabilities { .. }))),
            ("the namespace itself", enter),
        ] {
            assert!(earlier < emerge, "{what}");
        }
        let last_ask = plan.program.ops.iter().rposition(|op| matches!(op, Op::Ask { .. }));
        assert!(last_ask < Some(emerge), "others may speak for the process then");
        assert_eq!(plan.program.ops[emerge + 1], Op::NewSession, "a terminal needs the leader of a session");
        let emerged: Vec<String> = plan.emerged.iter().map(|(step, _)| step.to_string()).collect();
        assert_eq!(emerged, ["set the resource limits"]);
    }
}

#[test]
fn hooks_run_before_a_pid_namespace_of_others_is_joined() {
    let mut spec = json!({
        "ociVersion": "1.2.0", "root": {"path": "rootfs"},
        "process": {"user": {"uid": 0, "gid": 0}, "cwd": "/", "args": ["sh"]},
        "hooks": {"createContainer": [{"path": "/bin/true"}]},
        "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"}],
    });
    spec["linux"] = json!({"namespaces": [{"type": "pid", "path": "/pid"}, {"type": "mount"}]});
    let plan = plan_of(Host::of_root(), spec);
    let hooks = at(&plan, |op| matches!(op, Op::Hooks { .. }));
    assert!(hooks < at(&plan, |op| matches!(op, Op::Enter { .. })));
    assert_eq!(asks(&plan)[0], "make a procfs of the pid namespace that is joined");
}

#[test]
fn nothing_around_the_root_stays_shared() {
    let slave = libc::MS_SLAVE as u32;
    for list in [json!([{"type": "mount"}]), json!([{"type": "mount", "path": "/mounts"}])] {
        for word in [None, Some("shared"), Some("rshared"), Some("rslave"), Some("private")] {
            let plan = plan_with(Host::of_root(), &list, word);
            let kind = if word == Some("private") { libc::MS_PRIVATE as u32 } else { slave };
            let cut = at(&plan, |op| matches!(op, Op::PropagationAt { kind: this, .. } if *this == kind));
            assert!(cut < at(&plan, |op| matches!(op, Op::OpenRoot { tree: 0, .. })), "{word:?}");
        }
    }
    let shared = plan_with(Host::of_root(), &json!([{"type": "mount"}]), Some("rshared"));
    assert!(
        asks(&shared).contains(&"clone the mount at /data".to_owned()),
        "a clone made inside would be no peer"
    );
    let none = plan_with(Host::of_root(), &json!([]), None);
    at(&none, |op| matches!(op, Op::OpenRoot { tree, .. } if *tree == slave));
}

#[test]
fn the_root_follows_the_host_only_if_asked() {
    let root = |word| {
        let plan = plan_with(Host::of_root(), &json!([{"type": "mount"}]), word);
        match plan.program.ops[at(&plan, |op| matches!(op, Op::OpenRoot { .. }))] {
            Op::OpenRoot { root, .. } => u64::from(root),
            _ => unreachable!(),
        }
    };
    assert_eq!([None, Some("private"), Some("rshared")].map(root), [libc::MS_PRIVATE; 3]);
    assert_eq!([Some("slave"), Some("rslave")].map(root), [0; 2]);
}
