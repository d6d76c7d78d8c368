//! Containers in resctrl groups, on a faked tree of plain files: the usual test machine has no processor for the real
//! file system. So the groups are there before the containers; what the kernel does in new directories is played by the
//! unit tests of `linux/intel_rdt/group`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use wharf::{ContainerId, CreateOptions, Delete, ErrorKind, ExecOptions, Runtime};

mod bed;
use bed::{Bed, config, process};

struct Fake {
    root: PathBuf,
    runtime: Runtime,
}

impl Fake {
    fn new(bed: &Bed) -> Self {
        let root = bed.path().join("resctrl");
        for group in ["", "gold", "web-own"] {
            let group = root.join(group);
            fs::create_dir_all(group.join("mon_groups")).expect("mkdir");
            fs::write(group.join("schemata"), "    MB:0=100\n    L3:0=fff\n").expect("write");
            fs::write(group.join("tasks"), "").expect("write");
        }
        for (resource, file) in [("L3", "cbm_mask"), ("MB", "bandwidth_gran")] {
            fs::create_dir_all(root.join("info").join(resource)).expect("mkdir");
            fs::write(root.join("info").join(resource).join(file), "10\n").expect("write");
        }
        for (resource, files) in [
            ("L3", &["min_cbm_bits", "num_closids"][..]),
            ("MB", &["delay_linear", "min_bandwidth", "num_closids"]),
        ] {
            for file in files {
                fs::write(root.join("info").join(resource).join(file), "1\n").expect("write");
            }
        }
        let runtime = Runtime::builder().root(bed.path().join("state")).resctrl(&root).build();
        Self { root, runtime: runtime.expect("a runtime") }
    }

    fn read(&self, file: &str) -> String {
        fs::read_to_string(self.root.join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
    }

    /// Every file with its content.
    fn picture(&self) -> BTreeMap<PathBuf, Option<String>> {
        fn walk(dir: &Path, all: &mut BTreeMap<PathBuf, Option<String>>) {
            for entry in fs::read_dir(dir).expect("a directory").flatten() {
                let path = entry.path();
                if path.is_dir() {
                    walk(&path, all);
                }
                all.insert(path.clone(), fs::read_to_string(&path).ok());
            }
        }
        let mut all = BTreeMap::new();
        walk(&self.root, &mut all);
        all
    }
}

fn with_rdt(rdt: Value) -> Value {
    let mut config = config(&["/bin/busybox", "sleep", "1000"]);
    config["linux"]["intelRdt"] = rdt;
    config
}

#[test]
fn fake_tree_a_container_and_its_execs_are_in_their_class() {
    let Some(bed) = Bed::new("rdt") else { return };
    let fake = Fake::new(&bed);
    let maps = json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]);
    let mut in_user_namespace = with_rdt(json!({"closID": "gold", "l3CacheSchema": "L3:0=0fff"}));
    in_user_namespace["linux"]["namespaces"].as_array_mut().expect("a list").push(json!({"type": "user"}));
    in_user_namespace["linux"]["uidMappings"] = maps.clone();
    in_user_namespace["linux"]["gidMappings"] = maps;
    for (name, config, group) in [
        ("gold", with_rdt(json!({"closID": "gold"})), "gold"),
        ("default", with_rdt(json!({"closID": "/"})), ""),
        ("user", in_user_namespace, "gold"),
    ] {
        let id = bed.id(name);
        let created = fake.runtime.create(&id, &bed.bundle(&id, config), CreateOptions::new());
        let container = created.expect("create");
        let tasks = Path::new(group).join("tasks");
        let tasks = tasks.to_str().expect("a path");
        assert_eq!(fake.read(tasks), container.pid().expect("a pid").to_string(), "{name}");
        container.start().expect("start");

        let exec = container.exec(&process(&["busybox", "true"]), ExecOptions::new()).expect("exec");
        assert_eq!(fake.read(tasks), exec.pid().to_string(), "{name}");
        exec.wait().expect("wait");
        container.delete(Delete::Force).expect("delete");
        assert!(fake.root.join(tasks).exists(), "{name}: a class that was there stays");
    }
    assert_eq!(fake.read("gold/schemata"), "L3:0=0fff\n");
}

#[test]
fn fake_tree_a_container_id_names_a_class_that_was_there() {
    let Some(bed) = Bed::new("rdtown") else { return };
    let fake = Fake::new(&bed);
    let id = bed.id("own");
    fs::rename(fake.root.join("web-own"), fake.root.join(id.as_str())).expect("rename");
    let config = with_rdt(json!({"memBwSchema": "MB:0=20"}));
    let created = fake.runtime.create(&id, &bed.bundle(&id, config), CreateOptions::new());
    let container = created.expect("create");
    assert_eq!(fake.read(&format!("{}/tasks", id.as_str())), container.pid().expect("a pid").to_string());
    assert_eq!(fake.read(&format!("{}/schemata", id.as_str())), "MB:0=20\n");
    container.delete(Delete::Force).expect("delete");
    assert!(fake.root.join(id.as_str()).join("tasks").exists());
}

#[test]
fn fake_tree_without_the_property_nothing_is_touched() {
    let Some(bed) = Bed::new("rdtnone") else { return };
    let fake = Fake::new(&bed);
    let before = fake.picture();
    let id = bed.id("none");
    let config = config(&["/bin/busybox", "sleep", "1000"]);
    let created = fake.runtime.create(&id, &bed.bundle(&id, config), CreateOptions::new());
    let container = created.expect("create");
    container.start().expect("start");
    container.exec(&process(&["busybox", "true"]), ExecOptions::new()).expect("exec").wait().expect("wait");
    assert_eq!(serde_json::to_value(container.stats().expect("stats").intel_rdt).expect("JSON"), json!({}));
    let schema = serde_json::from_value(json!({"l3CacheSchema": "L3:0=f"})).expect("an object");
    let error = container.update_intel_rdt(&schema).expect_err("there is nothing to update");
    assert_eq!(error.kind(), ErrorKind::InvalidSpec);
    container.delete(Delete::Force).expect("delete");
    assert_eq!(fake.picture(), before);
}

#[test]
fn fake_tree_an_update_writes_what_is_named() {
    let Some(bed) = Bed::new("rdtupdate") else { return };
    let fake = Fake::new(&bed);
    let id = bed.id("update");
    let bundle = bed.bundle(&id, with_rdt(json!({"closID": "gold"})));
    let container = fake.runtime.create(&id, &bundle, CreateOptions::new()).expect("create");
    let update =
        |schema: Value| container.update_intel_rdt(&serde_json::from_value(schema).expect("an object"));
    update(json!({"l3CacheSchema": "L3:0=ff"})).expect("update");
    assert_eq!(fake.read("gold/schemata"), "L3:0=ff\n");
    update(json!({"memBwSchema": "MB:0=50"})).expect("update");
    assert_eq!(fake.read("gold/schemata"), "MB:0=50\n");
    update(json!({})).expect("nothing to do");
    assert_eq!(fake.read("gold/schemata"), "MB:0=50\n");
    for bad in [json!({"l3CacheSchema": "MB:0=1"}), json!({"memBwSchema": "MB:0=1\nL3:0=1"})] {
        assert_eq!(update(bad).expect_err("a malformed schema").kind(), ErrorKind::InvalidSpec);
    }
    fs::remove_dir_all(fake.root.join("info/MB")).expect("remove");
    assert_eq!(update(json!({"memBwSchema": "MB:0=1"})).expect_err("no MB").kind(), ErrorKind::Unsupported);
    assert_eq!(fake.read("gold/schemata"), "MB:0=50\n");

    fs::write(fake.root.join("gold/schemata"), "    L3:0=0ff\n").expect("write");
    let stats = serde_json::to_value(container.stats().expect("stats").intel_rdt).expect("JSON");
    assert_eq!(stats["l3_cache_schema"], "L3:0=0ff");
    assert_eq!(stats["l3_cache_schema_root"], "L3:0=fff");
    assert!(stats["mbm_stats"].is_null());
    container.delete(Delete::Force).expect("delete");
}

#[test]
fn fake_tree_what_cannot_be_had_is_refused_and_nothing_stays() {
    let Some(bed) = Bed::new("rdtbad") else { return };
    let fake = Fake::new(&bed);
    let before = fake.picture();
    for (rdt, pointer) in [
        (json!({"closID": "missing"}), "/linux/intelRdt/closID"),
        (json!({"closID": "missing", "enableMonitoring": true}), "/linux/intelRdt/closID"),
        (json!({"closID": "gold", "l3CacheSchema": "L3:0=f"}), "/linux/intelRdt/l3CacheSchema"),
        (json!({"closID": "gold", "memBwSchema": "MB:0=50"}), "/linux/intelRdt/memBwSchema"),
        (json!({"closID": "gold", "memBwSchema": "MB:0=100\n"}), "/linux/intelRdt/memBwSchema"),
        // The directory is made, and then the fake kernel does not put the file in.
        (json!({"closID": "new", "schemata": ["L3:0=f"]}), "/linux/intelRdt/schemata"),
        (json!({"l3CacheSchema": "L3:0=f"}), "/linux/intelRdt/l3CacheSchema"),
        (json!({}), "/linux/intelRdt"),
        // As above, with the monitoring group.
        (json!({"closID": "gold", "enableMonitoring": true}), "/linux/intelRdt"),
    ] {
        let id = bed.id("bad");
        let bundle = bed.bundle(&id, with_rdt(rdt.clone()));
        let created = fake.runtime.create(&id, &bundle, CreateOptions::new());
        let error = created.expect_err("a refusal");
        assert_eq!(error.pointer(), Some(pointer), "{rdt}: {error}");
        assert_eq!(bed.leftovers(), [""; 0], "{rdt}");
        let now = fake.picture();
        let same = |path: &&PathBuf| !path.ends_with("gold/tasks");
        assert_eq!(
            now.iter().filter(|(path, _)| same(path)).collect::<Vec<_>>(),
            before.iter().filter(|(path, _)| same(path)).collect::<Vec<_>>(),
            "{rdt}"
        );
    }
}

#[test]
fn fake_tree_check_and_explain_know_the_groups() {
    let Some(bed) = Bed::new("rdtcheck") else { return };
    let fake = Fake::new(&bed);
    let id = ContainerId::new("web").expect("an id");
    let before = fake.picture();
    let bad = bed.bundle(&id, with_rdt(json!({"closID": "missing"})));
    let findings: Vec<_> = fake.runtime.check(&bad).into_iter().map(|finding| finding.pointer).collect();
    assert_eq!(findings, ["/linux/intelRdt/closID"]);
    let good = bed.bundle(
        &id,
        with_rdt(json!({"closID": "gold", "schemata": ["L3:0=f", "MB:0=20"], "enableMonitoring": true})),
    );
    assert!(fake.runtime.check(&good).is_empty());
    let steps = fake.runtime.explain(&id, &good, &CreateOptions::new()).expect("a plan").steps;
    let step = steps.iter().find(|step| step.pointer.as_deref() == Some("/linux/intelRdt")).expect("a step");
    assert_eq!(
        (step.by, step.action.as_str()),
        (
            "parent",
            "put the process into resctrl group gold, with L3:0=f MB:0=20, and into its monitoring group web"
        )
    );
    assert_eq!(fake.picture(), before);
}
