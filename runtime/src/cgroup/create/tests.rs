use super::super::layout::examples::{v1, v2};
use super::*;
use crate::error::ErrorKind;

fn linux(json: &str) -> Linux {
    serde_json::from_str(json).unwrap()
}

#[test]
fn the_plan_has_a_directory_in_every_hierarchy() {
    let mut layout = v1(&["cpu,cpuacct", "memory", "name=systemd"]);
    layout.v2 = v2(&[]).v2;
    layout.mode = Mode::Hybrid;
    let plan =
        CgroupPlan::new(Some(&linux(r#"{"cgroupsPath":"/a/b"}"#)), "id", &layout, Denial::Odd).unwrap();
    let paths: Vec<_> = plan.dirs.iter().map(|dir| dir.mount.join(&dir.inner)).collect();
    let expected = ["cpu,cpuacct/a/b", "memory/a/b", "name=systemd/a/b", "a/b"];
    assert_eq!(paths, expected.map(|path| PathBuf::from("/sys/fs/cgroup").join(path)));
    assert_eq!(plan.enable, [""; 0], "the unified tree of a hybrid machine is left as it is");
    assert!(matches!(plan.devices, DevicePlan::V2 { program: Some(_), asked: false }));
}

#[test]
fn the_plan_without_any_configuration() {
    let plan = CgroupPlan::new(None, "web", &v2(&["cpu", "memory"]), Denial::Odd).unwrap();
    assert_eq!(plan.dirs[0].inner, PathBuf::from("web"));
    assert_eq!(plan.enable, ["cpu", "memory"]);
    assert_eq!(plan.settings, []);
}

#[test]
fn on_version_2_a_container_lives_below_its_scope() {
    let plan = |layout: &CgroupLayout, annotations: &str| {
        let json = format!(
            r#"{{"ociVersion":"1.2.0","annotations":{annotations},"linux":{{"cgroupsPath":"a.slice:p:n"}}}}"#
        );
        let spec: Spec = serde_json::from_str(&json).unwrap();
        CgroupPlan::in_scope(&spec, "n", layout, &Instance::System, Denial::Odd, true).unwrap()
    };
    let scope = PathBuf::from("a.slice/p-n.scope");
    let top = Path::new("/sys/fs/cgroup").join(&scope);
    let below = plan(&v2(&["memory"]), "{}");
    assert_eq!(
        (&below.dirs[0].inner, &below.dirs[0].scope),
        (&scope.join("container"), &Some(scope.clone()))
    );
    assert_eq!(below.claimed_record().made, [top.clone(), top.join("container")], "parents first");
    let inside = plan(&v2(&["memory"]), r#"{"run.oci.systemd.subgroup":""}"#);
    assert_eq!((&inside.dirs[0].inner, &inside.dirs[0].scope), (&scope, &None));
    assert_eq!(inside.claimed_record().made, [top]);
    // systemd has a hierarchy of its own there, and limits are in others.
    let old = plan(&v1(&["memory", "name=systemd"]), "{}");
    assert!(old.dirs.iter().all(|dir| dir.inner == scope && dir.scope.is_none()));
}

#[test]
fn a_finding_ends_the_planning() {
    let json = r#"{"resources":{"memory":{"swappiness":5}}}"#;
    let error = CgroupPlan::new(Some(&linux(json)), "id", &v2(&["memory"]), Denial::Odd).unwrap_err();
    assert_eq!(error.pointer(), Some("/linux/resources/memory/swappiness"));
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    let json = r#"{"cgroupsPath":"../x"}"#;
    let error = CgroupPlan::new(Some(&linux(json)), "id", &v2(&["memory"]), Denial::Odd).unwrap_err();
    assert_eq!((error.pointer(), error.kind()), (Some("/linux/cgroupsPath"), ErrorKind::InvalidSpec));
}

#[test]
fn a_failure_takes_back_exactly_what_was_made() {
    let dir = tempfile::tempdir().unwrap();
    let mut layout = v1(&["pids"]);
    layout.v1[0].mount = dir.path().to_owned();
    std::fs::create_dir(dir.path().join("old")).unwrap();
    let json = r#"{"cgroupsPath":"/old/new/leaf","resources":{"pids":{"limit":5}}}"#;
    let plan = CgroupPlan::new(Some(&linux(json)), "id", &layout, Denial::Odd).unwrap();
    assert_eq!(plan.intent().made, [dir.path().join("old/new"), dir.path().join("old/new/leaf")]);
    // A plain directory has no pids.max.
    let error = plan.apply().unwrap_err();
    assert_eq!(error.pointer(), Some("/linux/resources/pids/limit"));
    assert!(dir.path().join("old").exists() && !dir.path().join("old/new").exists());
}

#[test]
fn a_limit_of_no_task_waits_for_the_birth_where_it_would_prevent_it() {
    let json = |limit: i64| format!(r#"{{"resources":{{"pids":{{"limit":{limit}}}}}}}"#);
    for (layout, limit, late) in [(v2(&["pids"]), 0, 1), (v2(&["pids"]), 5, 0), (v1(&["pids"]), 0, 0)] {
        let mut plan = CgroupPlan::new(Some(&linux(&json(limit))), "id", &layout, Denial::Odd).unwrap();
        let all = plan.settings.len();
        assert_eq!(plan.defer_birth_control().len(), late);
        assert_eq!(plan.settings.len(), all - late);
    }
}
