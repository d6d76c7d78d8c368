//! The rules for the configuration as a whole, its mounts and its hooks, each broken once.

use serde_json::{Value, json};

use super::{all, expect, full};

#[test]
fn a_correct_configuration_has_no_finding() {
    assert_eq!(all(&full()), []);
}

#[test]
fn top_level() {
    expect(&json!({"/ociVersion": "banana"}), &["error: /ociVersion: \"banana\" is not a version in SemVer"]);
    expect(&json!({"/ociVersion": "1.0"}), &["error: /ociVersion: \"1.0\" is not"]);
    expect(&json!({"/ociVersion": ""}), &["error: /ociVersion: \"\" is not"]);
    expect(
        &json!({"/ociVersion": "2.0.0"}),
        &["error: /ociVersion: version 2.0.0 of the spec is not supported"],
    );
    expect(
        &json!({"/ociVersion": "0.5.0-dev"}),
        &["error: /ociVersion: version 0.5.0-dev of the spec is not"],
    );
    expect(&json!({"/ociVersion": "1.9.0"}), &["warning: /ociVersion: 1.9.0 is newer than 1.3"]);
    expect(&json!({"/ociVersion": "1.0.2-dev"}), &[]);
    expect(&json!({"/root": null}), &["error: /root: required, but missing"]);
    expect(&json!({"/root/path": ""}), &["error: /root/path: the path is empty"]);
    expect(&json!({"/process": null}), &[]);
    expect(&json!({"/mounts": null, "/hooks": null, "/annotations": null}), &[]);
    expect(&json!({"/annotations": {"": "x", "b": ""}}), &["error: /annotations/: a key must not be empty"]);
    expect(&json!({"/hostname": "x".repeat(64)}), &[]);
    expect(
        &json!({"/hostname": "x".repeat(65)}),
        &["error: /hostname: 65 bytes; the kernel takes at most 64"],
    );
    let alone = json!({"/linux": null, "/mounts": null});
    expect(
        &alone,
        &[
            "error: /hostname: unable to set hostname without a private UTS namespace",
            "error: /domainname: unable to set domainname without a private UTS namespace",
        ],
    );
    expect(&json!({"/linux": null, "/mounts": null, "/hostname": null, "/domainname": null}), &[]);
}

#[test]
fn mounts() {
    let mount = |mount: Value| json!({"/mounts/0": mount});
    expect(
        &mount(json!({"destination": "", "type": "proc"})),
        &["error: /mounts/0/destination: the path is empty"],
    );
    expect(
        &mount(json!({"destination": "a", "type": "proc"})),
        &["warning: /mounts/0/destination: a relative destination"],
    );
    expect(&mount(json!({"destination": "/a"})), &["error: /mounts/0/type: neither a type"]);
    expect(&mount(json!({"destination": "/a", "options": ["remount", "ro"]})), &[]);
    expect(&mount(json!({"destination": "/a", "options": ["rshared"]})), &[]);
    expect(
        &mount(json!({"destination": "/a", "options": ["bind"]})),
        &["error: /mounts/0/source: a bind mount needs"],
    );
    expect(
        &mount(json!({"destination": "/a", "source": "", "options": ["bind"]})),
        &["error: /mounts/0/source: a bind"],
    );
    expect(
        &mount(json!({"destination": "/a", "source": "/b", "type": "bind"})),
        &["error: /mounts/0/type: a bind mount is"],
    );
    expect(
        &mount(json!({"destination": "/a", "type": "ext4", "options": ["ro", "loop"]})),
        &["error: /mounts/0/options/1: the option \"loop\""],
    );
    expect(
        &mount(json!({"destination": "/a", "type": "proc", "options": ["tmpcopyup"]})),
        &["error: /mounts/0/options: the option `tmpcopyup`"],
    );
    let ids = json!([{"containerID": 0, "hostID": 0, "size": 1}]);
    expect(
        &json!({"/mounts/2/gidMappings": null}),
        &["error: /mounts/2/gidMappings: must be given together with uidMappings"],
    );
    expect(
        &json!({"/mounts/2/uidMappings": []}),
        &["error: /mounts/2/uidMappings: must be given together with gidMappings"],
    );
    let no_user = json!({"/linux/namespaces": [{"type": "mount"}, {"type": "uts"}, {"type": "ipc"}, {"type": "network"}], "/linux/uidMappings": null,
        "/linux/gidMappings": null, "/linux/timeOffsets": null, "/linux/sysctl": {}, "/mounts/2/uidMappings": null, "/mounts/2/gidMappings": null});
    expect(
        &no_user,
        &["error: /mounts/2/options: id-mapped mounts must have both uid and gid mappings specified"],
    );
    expect(&json!({"/mounts/2/uidMappings": null, "/mounts/2/gidMappings": null}), &[]);
    expect(
        &json!({"/mounts/0": {"destination": "/a", "type": "tmpfs", "options": ["idmap"], "uidMappings": ids, "gidMappings": ids}}),
        &[],
    );
    expect(&json!({"/mounts/2/uidMappings/0/size": 0}), &["error: /mounts/2/uidMappings/0/size: maps no id"]);
}

#[test]
fn hooks() {
    for kind in ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"] {
        let at = format!("error: /hooks/{kind}");
        expect(
            &json!({"/hooks": {kind: [{"path": "/h"}, {"path": "h", "timeout": 0}]}}),
            &[
                &format!("{at}/1/path: the path h is not absolute"),
                &format!("{at}/1/timeout: must be greater than zero"),
            ],
        );
        expect(
            &json!({"/hooks": {kind: [{"path": "/h", "timeout": -1}]}}),
            &[&format!("{at}/0/timeout: must be greater")],
        );
    }
}

#[test]
fn all_findings_come_in_one_order() {
    let changes = json!({"/linux/sysctl": {"vm.z": "", "vm.a": "", "vm.m": "", "vm.b": ""}, "/process/cwd": "x", "/ociVersion": "x"});
    expect(
        &changes,
        &[
            "error: /ociVersion: ",
            "error: /process/cwd: ",
            "error: /linux/sysctl/vm.a: ",
            "error: /linux/sysctl/vm.b: ",
            "error: /linux/sysctl/vm.m: ",
            "error: /linux/sysctl/vm.z: ",
        ],
    );
}
