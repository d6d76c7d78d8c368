//! A handle that is kept sees what other handles have changed, and does not take another container for its own.

use std::fs;

use oci_spec::runtime::LinuxResources;
use serde_json::{Value, json};
use wharf::{CreateOptions, Delete, ErrorKind};

mod bed;
use bed::{Bed, config};

fn with_devices(rules: &Value) -> Value {
    let mut config = config(&["/bin/busybox", "sleep", "1000"]);
    config["linux"]["resources"] = json!({"devices": rules});
    config
}

fn resources(rules: &Value) -> LinuxResources {
    serde_json::from_value(json!({"devices": rules})).expect("resources")
}

/// What the kernel lets the container open: a file that only version 1 has.
fn in_force(id: &str) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/sys/fs/cgroup/devices/{id}/devices.list")).ok()?;
    let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
    lines.sort();
    Some(lines)
}

#[test]
fn an_update_compares_with_the_rules_that_another_handle_has_put_in_force() {
    let Some(bed) = Bed::new("kept") else { return };
    let id = bed.id("rules");
    let rule = |minor: u32| json!([{"allow": false, "access": "rwm"}, {"allow": true, "type": "c", "major": 1, "minor": minor, "access": "rw"}]);
    let (first, second) = (rule(11), rule(12));
    let container = bed.create(&id, with_devices(&first), CreateOptions::new());
    let Some(before) = in_force(id.as_str()) else {
        println!("skipped: no device cgroup of version 1 at /sys/fs/cgroup/devices");
        return container.delete(Delete::Force).expect("delete");
    };
    let other = bed.runtime().open(&id).expect("open");
    for handle in [&container, &other] {
        handle.update(&resources(&second)).expect("update");
        assert_ne!(in_force(id.as_str()).as_ref(), Some(&before));
        container.update(&resources(&first)).expect("update");
        assert_eq!(in_force(id.as_str()).as_ref(), Some(&before));
    }
    drop(other);
    container.delete(Delete::Force).expect("delete");
}

#[test]
fn a_handle_of_a_deleted_container_does_not_update_another_with_its_id() {
    let Some(bed) = Bed::new("stale") else { return };
    let id = bed.id("again");
    let rules = json!([{"allow": true, "access": "rwm"}]);
    let stale = bed.create(&id, with_devices(&rules), CreateOptions::new());
    bed.runtime().delete(&id, Delete::Force).expect("delete");
    let again = bed.create(&id, with_devices(&rules), CreateOptions::new());
    let limits = serde_json::from_value(json!({"pids": {"limit": 7}})).expect("resources");
    let error = stale.update(&limits).expect_err("the container is gone");
    assert!(matches!(error.kind(), ErrorKind::NotFound | ErrorKind::WrongState), "{error}");
    assert_ne!(again.stats().expect("stats").pids.limit, 7);
    again.delete(Delete::Force).expect("delete");
}
