//! The record of added mounts: what is in it when, and what is done without the ids of newer kernels.

use std::fs;
use std::os::unix::fs::MetadataExt as _;

use oci_spec::runtime::Mount;
use serde_json::{Value, json};
use wharf::{Container, CreateOptions, Delete, ErrorKind};

mod bed;
use bed::{Bed, config};

fn mounts(destinations: &[&str]) -> Vec<Mount> {
    let list: Vec<Value> = destinations
        .iter()
        .map(|place| json!({"destination": place, "type": "tmpfs", "source": "added"}))
        .collect();
    serde_json::from_value(list.into()).expect("mounts")
}

/// The mount points in the container that have this source.
fn points(container: &Container, source: &str) -> Vec<String> {
    let pid = container.pid().expect("a process");
    let table = fs::read_to_string(format!("/proc/{pid}/mountinfo")).expect("mountinfo");
    let with =
        |line: &&str| line.split(" - ").nth(1).is_some_and(|rest| rest.split(' ').nth(1) == Some(source));
    table.lines().filter(with).filter_map(|line| line.split(' ').nth(4)).map(str::to_owned).collect()
}

fn record(bed: &Bed, container: &Container) -> Vec<Value> {
    let path = bed.runtime().root().join(container.id().as_str()).join("mounts.json");
    serde_json::from_slice(&fs::read(path).expect("mounts.json")).expect("a list")
}

#[test]
fn the_record_has_the_mounts_that_are_there_and_no_others() {
    let Some(bed) = Bed::new("added") else { return };
    let id = bed.id("record");
    let container = bed.create(&id, config(&["/bin/busybox", "sleep", "1000"]), CreateOptions::new());
    let count = || record(&bed, &container).len();
    container.add_mounts(&mounts(&["/mnt/a", "/mnt/b", "/mnt/a/inner"])).expect("add");
    assert_eq!((count(), points(&container, "added").len()), (3, 3));
    let mut wrong = mounts(&["/mnt/c"]);
    wrong.extend(
        serde_json::from_value::<Vec<Mount>>(json!([{"destination": "/mnt/d", "type": "no-such"}]))
            .expect("mounts"),
    );
    container.add_mounts(&wrong).expect_err("no such file system");
    assert_eq!((count(), points(&container, "added").len()), (3, 3), "what is undone is forgotten");
    container.remove_mounts(&mounts(&["/mnt/a"])).expect("remove");
    assert_eq!(points(&container, "added"), ["/mnt/b"]);
    let refused = container.remove_mounts(&mounts(&["/mnt/a/inner"])).expect_err("it went with the other");
    assert_eq!(refused.kind(), ErrorKind::InvalidSpec, "{refused}");
    assert_eq!(count(), 1, "what is gone is forgotten");
    container.delete(Delete::Force).expect("delete");
    assert_eq!(bed.leftovers(), Vec::<String>::new());
}

#[test]
fn mounts_are_told_apart_without_unique_ids() {
    let Some(bed) = Bed::new("reused") else { return };
    let id = bed.id("ids");
    let mut config = config(&["/bin/busybox", "sleep", "1000"]);
    config["mounts"]
        .as_array_mut()
        .expect("a list")
        .push(json!({"destination": "/around/x", "type": "tmpfs", "source": "own"}));
    let container = bed.create(&id, config, CreateOptions::new());
    container.add_mounts(&mounts(&["/data/x"])).expect("add");
    // As a kernel before Linux 6.8 would have had it written.
    let pid = container.pid().expect("a process");
    let table = fs::read_to_string(format!("/proc/{pid}/mountinfo")).expect("mountinfo");
    let line = table.lines().find(|line| line.split(' ').nth(4) == Some("/data/x")).expect("the mount");
    let mount_id: u64 = line.split(' ').next().and_then(|word| word.parse().ok()).expect("an id");
    let root = fs::metadata(format!("/proc/{pid}/root/data/x")).expect("the root of the mount");
    let device = (nix::sys::stat::major(root.dev()), nix::sys::stat::minor(root.dev()));
    let path = bed.runtime().root().join(id.as_str()).join("mounts.json");
    let entry = json!([{"destination": "/data/x",
        "mount": {"reused": {"id": mount_id, "device": device, "inode": root.ino()}}}]);
    fs::write(&path, entry.to_string()).expect("write");
    // Another mount comes to its path.
    let rootfs = bed.path().join("rootfs");
    let rename = |from: &str, to: &str| fs::rename(rootfs.join(from), rootfs.join(to)).expect("rename");
    rename("data", "gone");
    rename("around", "data");
    let refused = container.remove_mounts(&mounts(&["/data/x"])).expect_err("another mount");
    assert_eq!(refused.kind(), ErrorKind::InvalidSpec, "{refused}");
    assert_eq!(points(&container, "own"), ["/data/x"]);
    container.remove_mounts(&mounts(&["/gone/x"])).expect("by its present path");
    assert_eq!(points(&container, "added"), Vec::<String>::new());
    assert_eq!(points(&container, "own"), ["/data/x"]);
    assert_eq!(record(&bed, &container), Vec::<Value>::new());
    rename("data", "around");
    rename("gone", "data");
    container.delete(Delete::Force).expect("delete");
}
