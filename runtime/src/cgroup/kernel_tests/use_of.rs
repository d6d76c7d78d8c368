//! A cgroup in use: numbers, further processes, controllers, owners.

use super::*;

#[test]
fn numbers_of_a_running_container() {
    each(|layout| {
        let mut made = Made::new("{}", layout).unwrap();
        made.spawn("sh", &["-c", "while :; do :; done"]);
        std::thread::sleep(Duration::from_millis(150));
        let stats = made.cgroup.stats().unwrap();
        assert!(stats.cpu.usage.total > 5_000_000, "{:?}", stats.cpu);
        if layout.place("pids", "pids").is_some() {
            assert_eq!((stats.pids.current, stats.pids.limit), (1, 0));
        }
        if layout.place("memory", "memory").is_some() {
            assert!(stats.memory.usage.limit > 1 << 40 && !stats.memory.raw.is_empty());
        }
        if layout.place("cpuset", "cpuset").is_some() {
            assert!(!stats.cpuset.cpus.is_empty());
        }
    });
}

#[test]
fn a_further_process_finds_its_place() {
    each(|layout| {
        let mut made = Made::new("{}", layout).unwrap();
        let pid = made.sleep();
        assert_eq!(
            made.cgroup.join_further(&[], pid).unwrap(),
            Join { tasks: made.cgroup.tasks_files(), v2_dir: made.cgroup.v2_dir() }
        );
        let Some(top) = made.cgroup.v2_dir() else { return };
        // The container moves its init down and enables controllers, if it has any, for its children.
        let sub = top.join("init");
        std::fs::create_dir(&sub).unwrap();
        enter_dir(&sub, pid);
        let available = std::fs::read_to_string(top.join("cgroup.controllers")).unwrap();
        let Some(first) = available.split_whitespace().next() else {
            eprintln!("skipped: no controllers to hand out here");
            return;
        };
        std::fs::write(top.join("cgroup.subtree_control"), format!("+{first}")).unwrap();
        // It is a cgroup that was found: root enters it, and any other user is born into it.
        let join = made.cgroup.join_further(&[], pid).unwrap();
        assert!(join.tasks.contains(&sub.join("cgroup.procs")) || join.v2_dir == Some(sub), "{join:?}");
    });
}

#[test]
fn controllers_reach_a_deep_cgroup_and_a_populated_parent_is_told() {
    each(|layout| {
        if layout.mode != Mode::V2 || layout.place("-", "memory").is_none() {
            eprintln!("skipped: needs version 2 with a memory controller");
            return;
        }
        let parent = name();
        let json = |leaf: &str| {
            format!(r#"{{"cgroupsPath":"/{parent}/{leaf}","resources":{{"memory":{{"limit":33554432}}}}}}"#)
        };
        let deep = Made::new(&json("a/b/c"), layout).unwrap();
        let file = deep.cgroup.v2_dir().unwrap().join("memory.max");
        assert_eq!(std::fs::read_to_string(file).unwrap().trim(), "33554432");
        deep.cgroup.remove(Duration::from_secs(2)).unwrap();
        let mut holder = Made::new(&format!(r#"{{"cgroupsPath":"/{parent}"}}"#), layout).unwrap();
        holder.sleep();
        let error = Made::new(&json("x"), layout).err().unwrap();
        assert!(error.to_string().contains("enable the cgroup controller memory"), "{error}");
        assert_eq!(error.pointer(), Some("/linux/resources/memory/limit"));
        assert!(error.hint().unwrap().contains("processes of its own"));
    });
}

#[test]
fn the_cgroup_changes_hands() {
    each(|layout| {
        use std::os::unix::fs::MetadataExt;
        let made = Made::new("{}", layout).unwrap();
        let Some(dir) = made.cgroup.v2_dir() else { return };
        delegate(&dir, 4242).unwrap();
        let uid = |name: &str| std::fs::metadata(dir.join(name)).unwrap().uid();
        assert_eq!(
            [uid(""), uid("cgroup.procs"), uid("cgroup.subtree_control"), uid("cgroup.threads")],
            [4242; 4]
        );
        assert_eq!(uid("cgroup.freeze"), 0);
    });
}
