//! The rules for the properties of Linux, each broken once.

use serde_json::{Value, json};

use super::{all, expect, full};

#[test]
fn namespaces() {
    expect(
        &json!({"/linux/namespaces/1/path": "ns/net"}),
        &["error: /linux/namespaces/1/path: the path ns/net is not absolute"],
    );
    expect(
        &json!({"/linux/namespaces/1/path": " "}),
        &["error: /linux/namespaces/1/path: the path   is not absolute"],
    );
    expect(
        &json!({"/linux/namespaces/0": {"type": "uts"}}),
        &["error: /linux/namespaces/4/type: duplicated ns: this namespace is already entry 0"],
    );
    expect(
        &json!({"/linux/namespaces/7": {"type": "pid", "path": "/p"}}),
        &[
            "error: /linux/namespaces/7/type: duplicated ns: this namespace is already entry 0",
            "error: /linux/timeOffsets: time namespace offsets specified, but",
        ],
    );
    expect(
        &json!({"/linux/namespaces/7/path": "/p"}),
        &["error: /linux/timeOffsets: time namespace offsets specified, but"],
    );
    expect(
        &json!({"/linux/timeOffsets/realtime": {}}),
        &["error: /linux/timeOffsets/realtime: this clock cannot have an offset"],
    );
    expect(
        &json!({"/linux/timeOffsets/boottime/nanosecs": 1_000_000_000}),
        &["error: /linux/timeOffsets/boottime/nanosecs: must be less"],
    );
    expect(
        &json!({"/linux/namespaces/2": {"type": "pid", "path": "/p"}, "/linux/namespaces/0": {"type": "mount"}, "/linux/maskedPaths/0": "proc"}),
        &["error: /linux/maskedPaths/0: the path \"proc\" is not absolute"],
    );
    expect(
        &json!({"/linux/readonlyPaths/0": ""}),
        &["error: /linux/readonlyPaths/0: the path \"\" is not absolute"],
    );
    let shared = json!([{"type": "uts"}]);
    expect(
        &json!({"/linux": {"namespaces": shared, "maskedPaths": ["/a"], "readonlyPaths": ["/a"]}, "/mounts": null}),
        &[
            "error: /linux/maskedPaths: needs a mount namespace",
            "error: /linux/readonlyPaths: needs a mount namespace",
        ],
    );
}

#[test]
fn id_mappings() {
    let at = "error: /linux/uidMappings";
    expect(
        &json!({"/linux": {"namespaces": [{"type": "uts"}], "uidMappings": [{"containerID": 0, "hostID": 0, "size": 1}]}, "/mounts": null}),
        &[&format!("{at}: cannot be applied")],
    );
    expect(
        &json!({"/linux/uidMappings": null}),
        &[&format!("{at}: user namespaces enabled, but no uid mappings found: without")],
    );
    expect(
        &json!({"/linux/gidMappings": []}),
        &["error: /linux/gidMappings: user namespaces enabled, but no gid mappings found: without"],
    );
    expect(
        &json!({"/linux/namespaces/5/path": "/p", "/linux/uidMappings": null, "/linux/gidMappings": null}),
        &[],
    );
    expect(
        &json!({"/linux/uidMappings/1/containerID": 9, }),
        &[&format!("{at}/1/containerID: the range overlaps with that of mapping 0")],
    );
    expect(
        &json!({"/linux/uidMappings/1/hostID": 991, }),
        &[&format!("{at}/1/hostID: the range overlaps with that of mapping 0")],
    );
    expect(&json!({"/linux/uidMappings/1/hostID": 990, }), &[]);
    expect(
        &json!({"/linux/uidMappings/1/hostID": 4_294_967_286_u32, }),
        &[&format!("{at}/1/hostID: the range goes beyond the last id")],
    );
    expect(&json!({"/linux/uidMappings/1/hostID": 4_294_967_285_u32, }), &[]);
    let many: Vec<_> = (0..341).map(|id| json!({"containerID": id, "hostID": id, "size": 1})).collect();
    expect(
        &json!({"/linux/uidMappings": many}),
        &[&format!("{at}: 341 mappings; the kernel takes at most 340")],
    );
}

#[test]
fn devices() {
    let at = "error: /linux/devices/0";
    expect(
        &json!({"/linux/devices/0/path": "dev/x"}),
        &[&format!("{at}/path: the path dev/x is not absolute")],
    );
    for path in ["/", "/dev/..", "/dev/../x"] {
        expect(
            &json!({"/linux/devices/0/path": path}),
            &[&format!("{at}/path: the path {path} does not name a file")],
        );
    }
    expect(
        &json!({"/linux/devices/0/minor": 230}),
        &["error: /linux/devices/3/path: entry 0 asks for a different device"],
    );
    expect(
        &json!({"/linux/devices/2/major": 4096}),
        &["error: /linux/devices/2/major: must be from 0 to 4095"],
    );
    expect(
        &json!({"/linux/devices/2/minor": -1}),
        &["error: /linux/devices/2/minor: must be from 0 to 1048575"],
    );
    expect(
        &json!({"/linux/devices/2/fileMode": 0o20_660}),
        &["error: /linux/devices/2/fileMode: 8624 is octal 20660"],
    );
    expect(
        &json!({"/linux/devices/2/fileMode": 0o200_000}),
        &["error: /linux/devices/2/fileMode: 65536 is octal"],
    );
    expect(
        &json!({"/linux/devices/2/gid": u32::MAX}),
        &["error: /linux/devices/2/gid: 4294967295 is not an id"],
    );
}

#[test]
fn sysctl() {
    let sysctl = |key: &str| json!({"/linux/sysctl": {key: "1"}});
    let at = "error: /linux/sysctl";
    expect(
        &sysctl("vm.swappiness"),
        &[&format!("{at}/vm.swappiness: sysctl \"vm.swappiness\" is not in a separate kernel namespace")],
    );
    expect(
        &sysctl("kernel/core_pattern"),
        &[&format!("{at}/kernel~1core_pattern: sysctl \"kernel/core_pattern\" is not in")],
    );
    expect(&sysctl("net.//.x"), &[&format!("{at}/net.~1~1.x: \"net.//.x\" is not the name of a sysctl")]);
    expect(&sysctl("kernel.hostname"), &[&format!("{at}/kernel.hostname: contradicts /hostname")]);
    expect(
        &sysctl("kernel.domainname"),
        &[&format!("{at}/kernel.domainname: contradicts /domainname, which is")],
    );
    expect(&json!({"/linux/sysctl": {"kernel.hostname": "web", "kernel/domainname": "example.org\n"}}), &[]);
    expect(
        &json!({"/linux/sysctl": {"net.a.b": "1", "net/a/b": "2"}}),
        &[&format!("{at}/net~1a~1b: /proc/sys/net/a/b is set by two keys")],
    );
    for (range, unmapped) in
        [("0 9", None), ("9 0", None), ("0 2147483647", Some("2147483647")), ("10\t11", Some("10"))]
    {
        let told = unmapped.map(|gid| {
            format!(
                "{at}/net.ipv4.ping_group_range: group {gid} has no mapping in the user namespace; both ends"
            )
        });
        let told: Vec<_> = told.iter().map(String::as_str).collect();
        expect(&json!({"/linux/sysctl": {"net.ipv4.ping_group_range": range}}), &told);
    }
    let without = |removed: &str| -> Value {
        let kept = ["mount", "ipc", "uts", "network"].into_iter().filter(|typ| *typ != removed);
        kept.map(|typ| json!({"type": typ})).collect()
    };
    for (namespace, key, words) in [
        ("ipc", "kernel.sem", "is not allowed in the hosts ipc namespace"),
        ("network", "net.core.somaxconn", "not allowed in host network namespace"),
        ("user", "user.max_mnt_namespaces", "is not allowed in the host's user namespace"),
    ] {
        let changes =
            json!({"/linux": {"namespaces": without(namespace), "sysctl": {key: "1"}}, "/mounts": null});
        expect(&changes, &[&format!("{at}/{key}: sysctl {key:?} {words}")]);
    }
}

#[test]
fn letters_of_a_device_rule() {
    let at = "/linux/resources/devices/0/access";
    for access in ["rr", "mrwmrw", ""] {
        expect(&json!({at: access}), &[]);
    }
    let ignored = format!("warning: {at}: \"rwx\" has letters other than r, w and m, which are ignored");
    expect(&json!({at: "rwx"}), &[&ignored]);
    for access in ["x", "RW", " "] {
        expect(&json!({at: access}), &[&format!("error: {at}: {access:?} has none of r, w and m")]);
    }
}

#[test]
fn resources() {
    let at = "error: /linux/resources";
    for (pointer, value, message) in [
        ("/devices/1/major", json!(-2), "must be -1"),
        ("/memory/limit", json!(-2), "must be -1"),
        ("/memory/swap", json!(999), "is the limit of memory and swap together"),
        ("/memory/swappiness", json!(101), "must be from 0 to 100"),
        ("/cpu/period", json!(999), "must be from 1000 to 1000000"),
        ("/cpu/idle", json!(2), "must be 0 or 1"),
        ("/cpu/cpus", json!("0-"), "\"0-\" is neither"),
        ("/cpu/mems", json!("a"), "\"a\" is neither"),
        ("/cpu/burst", json!(1001), "cannot be above the quota"),
        ("/pids/limit", json!(-2), "must be -1"),
        ("/network/priorities/0/name", json!("a/b"), "\"a/b\" is not the name"),
        ("/blockIO/weight", json!(9), "must be from 10 to 1000"),
        ("/blockIO/leafWeight", json!(1001), "must be from 10 to 1000"),
        ("/blockIO/weightDevice/0/weight", json!(1), "must be from 10 to 1000"),
        ("/blockIO/weightDevice/0/minor", json!(-1), "not the number of a device"),
        ("/blockIO/throttleReadIOPSDevice/0/major", json!(-1), "not the number of a device"),
        ("/hugepageLimits/0/pageSize", json!("2mB"), "\"2mB\" is not a size"),
        ("/hugepageLimits/0/pageSize", json!("../../2MB"), "\"../../2MB\" is not a size"),
        ("/hugepageLimits/0/pageSize", json!("MB"), "\"MB\" is not a size"),
        ("/hugepageLimits/0/pageSize", json!("02MB"), "\"02MB\" is not a size"),
        ("/rdma/mlx5_1", json!({}), "needs hcaHandles"),
        ("/unified/..", json!("1"), "\"..\" is not the name of a cgroup file"),
        ("/unified/", json!("1"), "\"\" is not the name"),
    ] {
        expect(
            &json!({format!("/linux/resources{pointer}"): value}),
            &[&format!("{at}{pointer}: {message}")],
        );
    }
    expect(
        &json!({"/linux/resources/unified": {"../x": "1"}}),
        &[&format!("{at}/unified/..~1x: \"../x\" is not the name")],
    );
    expect(&json!({"/linux/resources/cpu": {"quota": 999}}), &[&format!("{at}/cpu/quota: must be -1")]);
    expect(&json!({"/linux/resources/cpu": {"quota": -1, "burst": 5, "period": 0}}), &[]);
    expect(
        &json!({"/linux/resources/memory": {"limit": -1, "swap": 5}}),
        &[&format!("{at}/memory/swap: memory and swap together cannot")],
    );
    expect(&json!({"/linux/resources/memory": {"limit": 5, "swap": -1}}), &[]);
    let twice = json!([{"pageSize": "2MB", "limit": 0}, {"pageSize": "2MB", "limit": 1}]);
    expect(
        &json!({"/linux/resources/hugepageLimits": twice}),
        &[&format!("{at}/hugepageLimits/1/pageSize: \"2MB\" is limited twice")],
    );
}

#[test]
fn network_devices() {
    let at = "error: /linux/netDevices";
    expect(&json!({"/linux/netDevices": {}}), &[]);
    expect(
        &json!({"/linux/netDevices": {"eth0": {}, "eth1": {"name": "net0"}, "eth2": {"name": "e%d"}, "eth3": {"name": "e%d"},
            "eth4": {"name": ""}}}),
        &[],
    );
    for name in [".", "..", "a/b", "a b", "a:b", "abcdefghijklmnop", "lo", "e%d"] {
        let pointer = format!("{at}/{}: ", name.replace('/', "~1"));
        expect(&json!({"/linux/netDevices": {name: {"name": "x"}}}), &[&pointer]);
    }
    for name in [".", "..", "a/b", "a b", "a:b", "abcdefghijklmnop", "lo", "e%s", "e%", "%d%d"] {
        expect(&json!({"/linux/netDevices": {"eth0": {"name": name}}}), &[&format!("{at}/eth0/name: ")]);
    }
    expect(&json!({"/linux/netDevices": {"": {}}}), &[&format!("{at}/: the name is empty")]);
    expect(
        &json!({"/linux/netDevices": {"a": {"name": "x"}, "b": {"name": "x"}}}),
        &[&format!("{at}/b/name: \"x\" is also the name of \"a\"")],
    );
    expect(
        &json!({"/linux/netDevices": {"a": {"name": "b"}, "b": {}}}),
        &[&format!("{at}/b: \"b\" is also the name of \"a\"")],
    );
    let mut config = full();
    config["linux"]["namespaces"].as_array_mut().unwrap().remove(1);
    config["linux"]["netDevices"] = json!({"eth0": {}});
    config["linux"]["sysctl"] = json!({});
    let found: Vec<_> = all(&config).iter().map(ToString::to_string).collect();
    assert_eq!(found, [format!("{at}: needs a network namespace in /linux/namespaces")]);
}

#[test]
fn intel_rdt() {
    let rdt = |value: Value| json!({"/linux/intelRdt": value});
    let at = "error: /linux/intelRdt";
    expect(&rdt(json!({})), &[]);
    for name in ["", "/", "gold"] {
        expect(&rdt(json!({"closID": name})), &[]);
    }
    for name in ["a/b", "..", "info", "mon_groups", "a\nb"] {
        expect(&rdt(json!({"closID": name})), &[&format!("{at}/closID: ")]);
    }
    expect(
        &rdt(
            json!({"l3CacheSchema": "L3:0=7f0;1=1f", "memBwSchema": "MB:0=20;1=70", "schemata": ["L2:0=f", "NEW:x"],
            "enableMonitoring": true}),
        ),
        &[],
    );
    expect(&rdt(json!({"l3CacheSchema": "", "memBwSchema": "", "schemata": []})), &[]);
    for bad in [
        "0=f",
        "L2:0=f",
        "MB:0=20",
        " L3:0=f",
        "l3:0=f",
        "L3:",
        "L3:0",
        "L3:0=x",
        "L3:0=f\nMB:0=20",
        "L3:0=f\n",
    ] {
        expect(&rdt(json!({"l3CacheSchema": bad})), &[&format!("{at}/l3CacheSchema: ")]);
    }
    for bad in ["0=20", "L3:0=f", " MB:0=20", "mb:0=20", "MB:0=f0", "MB:0=20\nL3:0=f"] {
        expect(&rdt(json!({"memBwSchema": bad})), &[&format!("{at}/memBwSchema: ")]);
    }
    for bad in ["L3:0=f\nMB:0=20", "L3", ""] {
        expect(&rdt(json!({"schemata": ["L3:0=f", bad]})), &[&format!("{at}/schemata/1: ")]);
    }
    expect(
        &rdt(json!({"l3CacheSchema": "L3CODE:0=f", "enableCMT": true})),
        &[
            "note: /linux/intelRdt/enableCMT: not a property of the runtime spec; ignored",
            "warning: /linux/intelRdt/l3CacheSchema: should start with",
        ],
    );
}
