//! Where the labels of security modules come in the order, on machines whose kernel has no such module.

use std::path::{Path, PathBuf};

use oci_spec::runtime::Spec;

use super::{Gate, Plan, Request, create};
use crate::host::Host;
use crate::plan::mount::cgroup::{CgroupView, Views};

fn plan(config: &str) -> Plan {
    let spec: Spec = serde_json::from_str(config).unwrap();
    let view = CgroupView {
        name: "pids".to_owned(),
        controllers: vec!["pids".to_owned()],
        named: false,
        directory: PathBuf::from("/sys/fs/cgroup/pids/c"),
        is_own: true,
    };
    let request = Request {
        id: "c",
        bundle: Path::new("/b"),
        rootfs: Path::new("/b/rootfs"),
        gate: Gate::Socket,
        no_pivot: false,
        new_keyring: true,
        preserved: 0,
        notify: None,
        renamed: &[],
        links: &[],
        env: &[],
        host: Host::of_root(),
        keep_groups: false,
        tasks: &[],
        views: &Views::Split(vec![view]),
        scope: None,
    };
    create(&spec, &request).unwrap()
}

const CONFIG: &str = r#"{
    "ociVersion": "1.3.0",
    "root": {"path": "rootfs"},
    "process": {"user": {"uid": 0, "gid": 0}, "cwd": "/", "args": ["/p"], "apparmorProfile": "profile",
                "selinuxLabel": "u:r:process_t:s0:c1,c2"},
    "mounts": [
        {"destination": "/proc", "type": "proc", "source": "proc"},
        {"destination": "/sys", "type": "sysfs", "source": "sysfs"},
        {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs"},
        {"destination": "/q", "type": "mqueue", "source": "mqueue"},
        {"destination": "/own", "type": "tmpfs", "source": "tmpfs", "options": ["context=\"u:r:own_t:s0\""]},
        {"destination": "/old", "type": "tmpfs", "source": "tmpfs", "options": ["iversion", "size=4k"]},
        {"destination": "/bind", "type": "bind", "source": "/srv", "options": ["bind"]},
        {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup"}
    ],
    "linux": {"namespaces": [{"type": "mount"}, {"type": "pid"}], "mountLabel": "u:r:mount_t:s0:c1,c2",
              "maskedPaths": ["/proc/kcore"]}
}"#;

/// The prefixes of the steps that the snapshot shows.
const SHOWN: [&str; 7] =
    ["label", "join a new session", "stop", "apply", "mount tmpfs", "mount mqueue", "report"];

#[test]
fn processes_keys_and_mounts_are_labelled() {
    let text = plan(CONFIG).explain("c").to_string();
    let lines: Vec<&str> = text
        .lines()
        .map(|line| line.get(14..).unwrap_or_default())
        .filter(|line| SHOWN.iter().any(|word| line.starts_with(word)))
        .collect();
    insta::assert_snapshot!(lines.join("\n"), @r"
    label keys with u:r:process_t:s0:c1,c2  (/process/selinuxLabel)
    join a new session keyring
    stop labelling keys
    label mount with u:r:mount_t:s0:c1,c2  (/linux/mountLabel)
    mount tmpfs on /tmp  (/mounts/2)
    label mount with u:r:mount_t:s0:c1,c2  (/linux/mountLabel)
    mount mqueue on /q  (/mounts/3)
    mount tmpfs on /own  (/mounts/4)
    mount tmpfs on /old  (/mounts/5)
    mount tmpfs on /old  (/mounts/5)
    label mount with u:r:mount_t:s0:c1,c2  (/linux/mountLabel)
    apply AppArmor profile profile  (/process/apparmorProfile)
    apply SELinux label u:r:process_t:s0:c1,c2  (/process/selinuxLabel)
    report that the container is created
    ");
}

#[test]
fn old_mount_calls_and_masks_are_labelled_too() {
    let plan = plan(CONFIG);
    let program = format!("{:?}", plan.program.ops);
    assert!(program.contains("MaskPath { path: ") && program.contains("label: Some("), "{program}");
    let data = plan.program.ops.iter().find_map(|op| match op {
        crate::program::Op::MountAside { data, .. } => Some(plan.program.show(*data).into_owned()),
        _ => None,
    });
    assert_eq!(data.as_deref(), Some("size=4k,context=\"u:r:mount_t:s0:c1,c2\""));
}

#[test]
fn without_labels_nothing_is_written() {
    let mut config: serde_json::Value = serde_json::from_str(CONFIG).unwrap();
    for (object, name) in
        [("process", "apparmorProfile"), ("process", "selinuxLabel"), ("linux", "mountLabel")]
    {
        config[object][name] = "".into();
    }
    let text = plan(&config.to_string()).explain("c").to_string();
    for word in ["label", "AppArmor", "SELinux"] {
        assert!(!text.contains(word), "{text}");
    }
}
