//! Uses a fake tree of plain files, as the usual test machines do not have such a processor. Between the steps,
//! [`Fake`] plays the kernel's part: the files of a new directory, and their end with it.

use std::io::Read as _;

use tempfile::TempDir;

use super::*;

struct Fake(TempDir);

impl Fake {
    fn new() -> Self {
        let fake = Self(tempfile::tempdir().expect("a directory"));
        for (file, text) in [
            ("info/L3/cbm_mask", "fff\n"),
            ("info/L3/min_cbm_bits", "1\n"),
            ("info/L3/num_closids", "16\n"),
            ("info/MB/bandwidth_gran", "10\n"),
            ("info/MB/delay_linear", "1\n"),
            ("info/MB/min_bandwidth", "10\n"),
            ("info/MB/num_closids", "8\n"),
            ("info/L3_MON/mon_features", "llc_occupancy\nmbm_total_bytes\nmbm_local_bytes\n"),
            ("info/last_cmd_status", "ok\n"),
        ] {
            let path = fake.path(file);
            fs::create_dir_all(path.parent().expect("a parent")).expect("mkdir");
            fs::write(path, text).expect("write");
        }
        fake.fill("");
        fake
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// What the kernel puts into a new class of service.
    fn fill(&self, group: &str) {
        let group = self.path(group);
        fs::create_dir_all(group.join("mon_groups")).expect("mkdir");
        fs::write(group.join("schemata"), "    MB:0=100;1=100\n    L3:0=fff;1=fff\n").expect("write");
        Self::fill_monitor(&group);
    }

    /// What the kernel puts into a new monitoring group.
    fn fill_monitor(group: &Path) {
        fs::write(group.join("tasks"), "").expect("write");
        for (cache, bytes) in [("mon_L3_01", "Unavailable"), ("mon_L3_00", "4096")] {
            let cache = group.join("mon_data").join(cache);
            fs::create_dir_all(&cache).expect("mkdir");
            for file in ["llc_occupancy", "mbm_total_bytes", "mbm_local_bytes"] {
                fs::write(cache.join(file), format!("{bytes}\n")).expect("write");
            }
        }
    }

    /// What the kernel removes from a directory that is removed.
    fn drain(&self, group: &str) {
        let group = self.path(group);
        for entry in fs::read_dir(&group).expect("the group").flatten() {
            let path = entry.path();
            if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }.expect("remove");
        }
    }

    fn prepare(&self, request: &GroupRequest) -> Result<RdtMembership> {
        RdtMembership::prepare(request, self.0.path())
    }

    /// The whole way in, with the kernel's part.
    fn join(&self, request: &GroupRequest, pid: i32) -> Result<RdtMembership> {
        let mut membership = self.prepare(request)?;
        let fresh = !membership.clos.exists();
        membership.make_clos(request)?;
        if fresh {
            self.fill(membership.clos.file_name().and_then(|name| name.to_str()).expect("a name"));
        }
        membership.write(&request.schemata)?;
        membership.make_monitor()?;
        if let Some(monitor) = &membership.monitor {
            Self::fill_monitor(monitor);
        }
        membership.assign(pid)?;
        Ok(membership)
    }
}

fn request(
    clos: Clos,
    l3: Option<&str>,
    memory: Option<&str>,
    lines: &[&str],
    monitor: bool,
) -> GroupRequest {
    GroupRequest {
        clos,
        schemata: Schemata {
            l3: l3.map(str::to_owned),
            memory: memory.map(str::to_owned),
            lines: lines.iter().map(|line| (*line).to_owned()).collect(),
        },
        monitor: monitor.then(|| "web".to_owned()),
    }
}

fn own() -> Clos {
    Clos::Own("web".to_owned())
}

fn named(name: &str) -> Clos {
    Clos::Named(name.to_owned())
}

fn pointer<T: std::fmt::Debug>(result: Result<T>) -> String {
    let error = result.expect_err("a refusal");
    error.pointer().unwrap_or_else(|| panic!("{error}")).to_owned()
}

#[test]
fn a168_fake_tree_the_pid_is_written_to_the_class_of_the_container() {
    let fake = Fake::new();
    let membership = fake.join(&request(own(), None, None, &[], false), 77).expect("join");
    assert_eq!(fake.read("web/tasks"), "77");
    assert_eq!(fake.read("tasks"), "");
    assert_eq!(
        fake.read("web/schemata"),
        "    MB:0=100;1=100\n    L3:0=fff;1=fff\n",
        "A170: nothing is written"
    );
    fake.drain("web");
    membership.remove().expect("remove");
    assert!(!fake.path("web").exists());
    membership.remove().expect("what is gone is no failure");
}

#[test]
fn a169_fake_tree_a_slash_is_the_default_class() {
    let fake = Fake::new();
    let mut membership = fake.join(&request(Clos::Default, None, None, &[], true), 77).expect("join");
    assert_eq!(fake.read("tasks"), "77");
    assert_eq!(fake.read("mon_groups/web/tasks"), "77");
    fake.drain("mon_groups/web");
    membership.undo();
    assert!(!fake.path("mon_groups/web").exists());
    assert!(fake.path("tasks").exists());
}

#[test]
fn a170_fake_tree_writes_come_in_order() {
    let fake = Fake::new();
    let request = request(own(), Some("L3:0=f"), Some("MB:0=20"), &["L3:0=ff", "L2:0=3"], false);
    let mut membership = fake.prepare(&request).expect("nothing in the way");
    membership.make_clos(&request).expect("make");
    // A pipe keeps what a file would lose: each write by itself, in order.
    let file = fake.path("web/schemata");
    nix::unistd::mkfifo(&file, nix::sys::stat::Mode::S_IRWXU).expect("mkfifo");
    let mut reader = File::options().read(true).write(true).open(&file).expect("both ends never wait");
    membership.write(&request.schemata).expect("write");
    let mut written = [0; 200];
    let length = reader.read(&mut written).expect("read");
    assert_eq!(String::from_utf8_lossy(&written[..length]), "L3:0=f\nMB:0=20\nL3:0=ff\nL2:0=3\n");
}

#[test]
fn a171_fake_tree_a_class_that_is_there_must_match() {
    let fake = Fake::new();
    fake.fill("gold");
    fs::write(fake.path("gold/schemata"), "    MB:0=20;1= 70\n    L3:0=7f0;1=01f\n").expect("write");
    let (l3, memory) = (Some("L3:1=1f;0=07F0"), Some("MB:0=15;1=70"));
    fake.join(&request(named("gold"), l3, memory, &[], false), 5).expect("the same in other words");
    fs::write(fake.path("gold/schemata"), "MB:0=20;1=70\nL3:0=7f0;1=1f\n").expect("write");
    let refused = |l3, memory| pointer(fake.prepare(&request(named("gold"), l3, memory, &[], false)));
    assert_eq!(refused(Some("L3:0=7f1"), None), "/linux/intelRdt/l3CacheSchema");
    assert_eq!(refused(Some("L3:2=1"), memory), "/linux/intelRdt/l3CacheSchema");
    assert_eq!(refused(l3, Some("MB:0=30")), "/linux/intelRdt/memBwSchema");
    assert_eq!(
        pointer(fake.prepare(&request(Clos::Default, Some("L3:0=1"), None, &[], false))),
        "/linux/intelRdt/l3CacheSchema"
    );
    // What `schemata` has is written, not compared.
    fake.join(&request(named("gold"), None, None, &["L3:0=1"], false), 5).expect("write");
    assert_eq!(fake.read("gold/schemata"), "L3:0=1\n");
}

#[test]
fn a172_fake_tree_a_class_with_nothing_but_a_name_must_be_there() {
    let fake = Fake::new();
    let only = request(named("gold"), None, None, &[], false);
    assert_eq!(pointer(fake.prepare(&only)), "/linux/intelRdt/closID");
    assert_eq!(
        pointer(fake.prepare(&request(named("gold"), None, None, &[], true))),
        "/linux/intelRdt/closID"
    );
    fake.fill("gold");
    fake.join(&only, 5).expect("join");
    assert_eq!(fake.read("gold/tasks"), "5");
    fake.join(&request(named("silver"), None, None, &["MB:0=50"], false), 6).expect("made with its schemata");
    assert_eq!(fake.read("silver/schemata"), "MB:0=50\n");
}

#[test]
fn a173_fake_tree_only_what_the_container_made_for_itself_is_removed() {
    let fake = Fake::new();
    fake.fill("web");
    let found = fake.join(&request(own(), None, None, &[], false), 5).expect("join");
    found.remove().expect("nothing to do");
    assert!(fake.path("web/tasks").exists(), "it was there before");

    let named = fake.join(&request(named("silver"), None, None, &["MB:0=50"], false), 6).expect("join");
    named.remove().expect("nothing to do");
    assert!(fake.path("silver/tasks").exists(), "closID is set");

    // Across processes: it is on record.
    let fake = Fake::new();
    let made = fake.join(&request(own(), None, None, &[], true), 5).expect("join");
    let text = serde_json::to_string(&made).expect("a document");
    let record: RdtMembership = serde_json::from_str(&text).expect("the same document");
    fake.drain("web/mon_groups/web");
    fs::remove_dir(fake.path("web/mon_groups/web")).expect("rmdir");
    fake.drain("web");
    record.remove().expect("remove");
    assert!(!fake.path("web").exists());
}

#[test]
fn a174_fake_tree_a_monitoring_group_is_made_and_removed() {
    let fake = Fake::new();
    fake.fill("gold");
    let monitored = request(named("gold"), None, None, &[], true);
    let membership = fake.join(&monitored, 9).expect("join");
    assert_eq!((fake.read("gold/tasks"), fake.read("gold/mon_groups/web/tasks")), ("9".into(), "9".into()));
    assert_eq!(pointer(fake.prepare(&monitored)), "/linux/intelRdt/enableMonitoring", "it is dedicated");
    fake.drain("gold/mon_groups/web");
    membership.remove().expect("remove");
    assert!(!fake.path("gold/mon_groups/web").exists() && fake.path("gold").exists());

    // The kernel has no more of them, for example.
    let mut late = fake.prepare(&monitored).expect("nothing in the way");
    late.make_clos(&monitored).expect("it is there");
    fs::remove_dir(fake.path("gold/mon_groups")).expect("rmdir");
    fs::write(fake.path("info/last_cmd_status"), "Out of RMIDs\n").expect("write");
    let error = late.make_monitor().expect_err("no place for it");
    assert_eq!(error.pointer(), Some("/linux/intelRdt/enableMonitoring"));
    assert!(error.to_string().ends_with("the kernel says: Out of RMIDs"), "{error}");
}

#[test]
fn fake_tree_a_failed_creation_leaves_nothing() {
    for clos in [own(), named("web")] {
        let fake = Fake::new();
        let request = request(clos, None, None, &["L3:0=f"], true);
        let mut membership = fake.join(&request, 5).expect("join");
        fake.drain("web/mon_groups/web");
        fs::remove_dir(fake.path("web/mon_groups/web")).expect("rmdir");
        fake.drain("web");
        membership.undo();
        assert!(!fake.path("web").exists());
        fake.fill("web");
        membership.undo();
        assert!(fake.path("web").exists(), "what is undone is not undone again");
    }
}

#[test]
fn fake_tree_what_the_machine_cannot_share_is_refused() {
    let fake = Fake::new();
    fs::remove_dir_all(fake.path("info/MB")).expect("remove");
    let request = request(own(), None, Some("MB:0=20"), &[], false);
    assert_eq!(pointer(fake.prepare(&request)), "/linux/intelRdt/memBwSchema");
    let membership = fake.join(&tests::request(own(), None, None, &[], false), 5).expect("join");
    assert_eq!(membership.update(&request.schemata).expect_err("no MB").kind(), ErrorKind::Unsupported);
    fs::remove_dir(fake.path("mon_groups")).expect("remove");
    assert_eq!(
        pointer(fake.prepare(&tests::request(named("new"), None, None, &["L2:0=1"], true))),
        "/linux/intelRdt/enableMonitoring"
    );
    for reserved in ["info", "mon_groups", "mon_data"] {
        let id = Clos::Own(reserved.to_owned());
        assert_eq!(pointer(fake.prepare(&tests::request(id, None, None, &[], false))), "/linux/intelRdt");
    }
}

#[test]
fn fake_tree_a_refused_write_has_the_words_of_the_kernel() {
    let fake = Fake::new();
    let request = request(own(), Some("L3:0=f"), None, &[], false);
    let mut membership = fake.prepare(&request).expect("nothing in the way");
    membership.make_clos(&request).expect("make");
    fs::write(fake.path("info/last_cmd_status"), "Mask f out of range\n").expect("write");
    // The fake kernel gave the directory no files.
    let error = membership.write(&request.schemata).expect_err("no file");
    assert_eq!(error.pointer(), Some("/linux/intelRdt/l3CacheSchema"));
    assert!(error.to_string().contains("write \"L3:0=f\" to "), "{error}");
    assert!(error.to_string().ends_with("the kernel says: Mask f out of range"), "{error}");
}

#[test]
fn fake_tree_statistics_have_what_the_machine_has() {
    let fake = Fake::new();
    let membership = fake.join(&request(own(), None, None, &[], true), 5).expect("join");
    fs::write(fake.path("web/schemata"), "    MB:0= 20\n    L3:0=00f\n").expect("write");
    let stats = serde_json::to_value(membership.stats().expect("stats")).expect("JSON");
    assert_eq!(
        stats,
        serde_json::json!({
            "l3_cache_info": {"cbm_mask": "fff", "min_cbm_bits": 1, "num_closids": 16},
            "l3_cache_schema_root": "L3:0=fff;1=fff", "l3_cache_schema": "L3:0=00f",
            "mem_bw_info": {"bandwidth_gran": 10, "delay_linear": 1, "min_bandwidth": 10, "num_closids": 8},
            "mem_bw_schema_root": "MB:0=100;1=100", "mem_bw_schema": "MB:0= 20",
            "schemata": ["MB:0= 20", "L3:0=00f"],
            "mbm_stats": [{"mbm_total_bytes": 4096, "mbm_local_bytes": 4096}, {"mbm_total_bytes": 0, "mbm_local_bytes": 0}],
            "cmt_stats": [{"llc_occupancy": 4096}, {"llc_occupancy": 0}],
        })
    );
    fs::remove_dir_all(fake.path("info")).expect("remove");
    let stats = serde_json::to_value(membership.stats().expect("stats")).expect("JSON");
    assert_eq!(stats, serde_json::json!({"schemata": ["MB:0= 20", "L3:0=00f"]}));
    assert_eq!(
        serde_json::to_value(super::super::IntelRdtStats::default()).expect("JSON"),
        serde_json::json!({})
    );
}
