//! Network devices of the host: rows A127 to A135.
//!
//! The runtime itself is called in a network namespace that the test has made, so that no device of this machine is
//! touched. A runtime that ignores the property cannot pass: each test first sees the device in the container.

mod look;

use crate::network::{self, Network};
use crate::outcome::{Fault, check, same};
use crate::{Spec, Test, test};
use look::{
    absent, address, addresses, create, fails_after_move, global, inside, killed, moved, prepare, refuses,
    refuses_when_tried, spec, state_in, state_of, up, with_addresses,
};
use serde_json::{Value, json};

/// Messages of runtimes that need a network namespace other than their own.
const NO_NAMESPACE: &[&str] = &["network namespace", "net namespace"];

pub(super) const TESTS: &[Test] = &[
    test("A127", "a network device is moved into the container", |bed| {
        let (host, container) = moved(bed, json!({"suite0": {}}))?;
        inside(&container, "suite0")?;
        absent(&host, "suite0")
    }),
    test("A127", "a network device gets the name that is wished for it", |bed| {
        let (host, container) = moved(bed, json!({"suite0": {"name": "eth0"}}))?;
        inside(&container, "eth0")?;
        same("names inside", network::names(&network::of(container.pid()?))?, ["lo", "eth0"])?;
        absent(&host, "suite0")
    }),
    test("A127", "several network devices are moved, each under its name", |bed| {
        let host = Network::new()?;
        for number in 0..3 {
            host.veth(&format!("suite{number}"), &format!("peer{number}"))?;
        }
        let devices = json!({"suite0": {"name": "b"}, "suite1": {"name": "a"}, "suite2": {}});
        let container = create(bed, &host, &spec(devices))?;
        for (name, peer) in [("b", "peer0"), ("a", "peer1"), ("suite2", "peer2")] {
            let index = inside(&container, name)?["ifindex"].clone();
            let peer = host.ip(&format!("link show {peer}"))?;
            same("number of the other end", &peer[0]["link_index"], &index)?;
        }
        Ok(())
    }),
    test("A127", "a network device is moved into a namespace that is joined by path", |bed| {
        let (host, joined) = (Network::new()?, Network::new()?);
        host.veth("suite0", "peer0")?;
        let container = create(
            bed,
            &host,
            &spec(json!({"suite0": {"name": "eth0"}})).namespace("network", Some(&joined.path())),
        )?;
        inside(&container, "eth0")?;
        same("names there", joined.names()?, ["lo", "eth0"])
    }),
    test("A127", "a network device is moved into a container with a user namespace", |bed| {
        let host = Network::new()?;
        host.veth("suite0", "peer0")?;
        host.ip("address add 10.7.0.1/24 dev suite0")?;
        let spec = spec(json!({"suite0": {"name": "eth0"}})).user_namespace(100_000, 65_536);
        let container = create(bed, &host, &spec)?;
        let device = inside(&container, "eth0")?;
        up(&device)?;
        same("addresses", addresses(&device, "inet"), ["10.7.0.1/24"])
    }),
    test("A127", "a network device that does not exist is refused", |bed| {
        let host = Network::new()?;
        refuses(bed, &host, &spec(json!({"suite7": {}})), &["suite7"])
    }),
    test("A127", "names that no network device can have are refused", |bed| {
        let host = Network::new()?;
        host.veth("suite0", "peer0")?;
        for name in ["a/b", "a b", "a:b", ".", "..", "abcdefghijklmnop", "e%s", "e%d%d"] {
            refuses(bed, &host, &spec(json!({"suite0": {"name": name}})), &["netDevices", name])?;
            refuses(bed, &host, &spec(json!({name: {"name": "eth0"}})), &["netDevices", name])?;
        }
        same("names", host.names()?.contains(&"suite0".to_owned()), true)
    }),
    test(
        "A128",
        "a name that the container's namespace has already is refused, and the device stays",
        |bed| {
            let host = Network::new()?;
            host.veth("suite0", "peer0")?;
            host.ip("address add 10.7.0.1/24 dev suite0")?;
            host.ip("link set suite0 up")?;
            // What the processes in a namespace see, every user may see.
            let other = bed.waiting(&Spec::new())?;
            let there = network::of(other.pid()?);
            network::ip(&there, "link add eth0 type veth peer eth1")?;
            let before = (state_of(&host, "suite0")?, state_in(&there, "eth0")?);
            for devices in [json!({"suite0": {"name": "eth0"}}), json!({"suite0": {"name": "lo"}})] {
                let spec = spec(devices).namespace("network", Some(&there));
                refuses(bed, &host, &spec, &["exist", "eth0", "device lo"])?;
                same("both devices", &(state_of(&host, "suite0")?, state_in(&there, "eth0")?), &before)?;
            }
            Ok(())
        },
    ),
    test("A128", "two network devices with one name in the container are refused", |bed| {
        let host = Network::new()?;
        host.veth("suite0", "suite1")?;
        let devices = json!({"suite0": {"name": "eth0"}, "suite1": {"name": "eth0"}});
        refuses(bed, &host, &spec(devices), &["eth0"])?;
        check(host.names()?.contains(&"suite0".to_owned()), || "the device is gone".to_owned())
    }),
    test("A129", "a template lets the kernel choose the first free name", |bed| {
        let host = Network::new()?;
        host.veth("suite0", "peer0")?;
        host.ip("address add 10.7.0.1/24 dev suite0")?;
        let container = create(bed, &host, &spec(json!({"suite0": {"name": "eth%d"}})))?;
        let device = inside(&container, "eth0")?;
        up(&device)?;
        same("addresses", addresses(&device, "inet"), ["10.7.0.1/24"])
    }),
    test("A129", "a template never clashes with a name that is there", |bed| {
        let (host, joined) = (Network::new()?, Network::new()?);
        // The device's own name is taken there too.
        host.veth("eth0", "peer0")?;
        host.ip("address add 10.7.0.1/24 dev eth0")?;
        let hardware = state_of(&host, "eth0")?["address"].clone();
        joined.veth("eth0", "other")?;
        let spec = spec(json!({"eth0": {"name": "eth%d"}})).namespace("network", Some(&joined.path()));
        let container = create(bed, &host, &spec)?;
        let name = joined
            .names()?
            .into_iter()
            .find(|name| !["lo", "eth0", "other"].contains(&name.as_str()))
            .ok_or_else(|| Fault::Failed("the device is not there".to_owned()))?;
        check(name.starts_with("eth") && name[3..].parse::<u32>().is_ok(), || format!("its name is {name}"))?;
        let device = inside(&container, &name)?;
        same("hardware address", &device["address"], &hardware)?;
        up(&device)?;
        same("addresses", addresses(&device, "inet"), ["10.7.0.1/24"])
    }),
    test("A129", "several network devices may have one template", |bed| {
        let host = Network::new()?;
        host.veth("suite0", "peer0")?;
        host.veth("suite1", "peer1")?;
        let container =
            create(bed, &host, &spec(json!({"suite0": {"name": "eth%d"}, "suite1": {"name": "eth%d"}})))?;
        up(&inside(&container, "eth0")?)?;
        up(&inside(&container, "eth1")?)
    }),
    test("A130", "permanent global addresses of both families are kept", |bed| {
        let device = with_addresses(
            bed,
            &["10.7.0.1/24", "10.7.0.2/24", "192.0.2.9/32", "fd07::1/64", "fd07::2/128"],
        )?;
        same("IPv4", addresses(&device, "inet"), ["10.7.0.1/24", "192.0.2.9/32", "10.7.0.2/24"])?;
        // The kernel lists the newest first, so this order is the one that the host had.
        same("IPv6", global(&device), ["fd07::2/128", "fd07::1/64"])
    }),
    test("A130", "label, broadcast, peer and metric of an IPv4 address are kept", |bed| {
        let device = with_addresses(
            bed,
            &["10.7.0.1/24 broadcast 10.7.0.127 label suite0:web metric 77", "10.8.0.1 peer 10.8.0.2/32"],
        )?;
        let first = address(&device, "10.7.0.1")?;
        same("label", &first["label"], "suite0:web")?;
        same("broadcast", &first["broadcast"], "10.7.0.127")?;
        same("metric", &first["metric"], 77)?;
        let second = address(&device, "10.8.0.1")?;
        same("peer", (&second["address"], &second["prefixlen"]), (&json!("10.8.0.2"), &json!(32)))?;
        check(second["broadcast"].is_null(), || format!("broadcast {}", second["broadcast"]))
    }),
    test("A130", "peer, metric, flags and lifetime of an IPv6 address are kept", |bed| {
        let device = with_addresses(
            bed,
            &[
                "fd07::1/64 noprefixroute nodad metric 77",
                "fd08::1 peer fd08::2/128",
                "fd09::1/64 preferred_lft 0",
            ],
        )?;
        let first = address(&device, "fd07::1")?;
        same("noprefixroute", &first["noprefixroute"], true)?;
        same("nodad", &first["nodad"], true)?;
        same("metric", &first["metric"], 77)?;
        let second = address(&device, "fd08::1")?;
        same("peer", (&second["address"], &second["prefixlen"]), (&json!("fd08::2"), &json!(128)))?;
        let third = address(&device, "fd09::1")?;
        same("deprecated", &third["deprecated"], true)?;
        same("preferred lifetime", &third["preferred_life_time"], 0)
    }),
    test("A130", "addresses that are not permanent or not global are not taken along", |bed| {
        let device = with_addresses(
            bed,
            &[
                "10.7.0.1/24",
                "10.7.1.1/24 valid_lft 5000 preferred_lft 5000",
                "169.254.7.1/16 scope link",
                "10.7.2.1/24 scope host",
                "fd07::1/64",
                "fd07::2/64 valid_lft 5000 preferred_lft 5000",
                "fe80::7/64",
            ],
        )?;
        same("IPv4", addresses(&device, "inet"), ["10.7.0.1/24"])?;
        same("IPv6", global(&device), ["fd07::1/64"])?;
        check(!addresses(&device, "inet6").contains(&"fe80::7/64".to_owned()), || {
            "the link-local address was taken along".to_owned()
        })
    }),
    test("A131", "hardware address, MTU, queue length, group and alias stay as they are", |bed| {
        let host = Network::new()?;
        host.veth("suite0", "peer0")?;
        host.ip(
            "link set suite0 address 02:00:00:00:07:01 mtu 1402 txqueuelen 123 group 7 alias suite-alias",
        )?;
        let keys = ["address", "mtu", "txqlen", "group", "ifalias"];
        let picked = |device: &Value| keys.map(|key| device[key].clone());
        let before = picked(&state_of(&host, "suite0")?);
        let container = create(bed, &host, &spec(json!({"suite0": {"name": "eth0"}})))?;
        same("attributes", picked(&inside(&container, "eth0")?), before)
    }),
    test("A132", "a network device is up in the container, whether it was before or not", |bed| {
        let host = Network::new()?;
        host.veth("suite0", "peer0")?;
        host.veth("suite1", "peer1")?;
        host.ip("link set suite0 up")?;
        host.ip("link set suite1 down")?;
        let container = create(bed, &host, &spec(json!({"suite0": {}, "suite1": {}})))?;
        up(&inside(&container, "suite0")?)?;
        up(&inside(&container, "suite1")?)
    }),
    test("A133", "no later operation touches the device again", |bed| {
        let (_host, container) = moved(bed, json!({"suite0": {"name": "eth0"}}))?;
        inside(&container, "eth0")?;
        let there = network::of(container.pid()?);
        network::ip(&there, "link set eth0 down")?;
        network::ip(&there, "link set eth0 name changed0")?;
        network::ip(&there, "address add 10.9.0.1/24 dev changed0")?;
        let wanted = network::device(&there, "changed0")?;
        container.start()?;
        container.until_output("ready")?;
        container.exec(&["/probe", "true"])?.ok()?;
        container.bed.call(["update", "--pids-limit", "50", container.id()])?.ok()?;
        same("the device", network::device(&there, "changed0")?, wanted)
    }),
    test("A133", "delete leaves the device in a namespace that outlives the container", |bed| {
        let (host, joined) = (Network::new()?, Network::new()?);
        host.veth("suite0", "peer0")?;
        host.ip("address add 10.7.0.1/24 dev suite0")?;
        let spec = spec(json!({"suite0": {"name": "eth0"}})).namespace("network", Some(&joined.path()));
        let container = create(bed, &host, &spec)?;
        container.start()?;
        container.until_output("ready")?;
        container.stop()?;
        let called = bed.command(["delete", container.id()]).in_network(&host.path()).call()?;
        called.ok()?;
        let device = network::device(&joined.path(), "eth0")?;
        same(
            "addresses",
            device.map(|device| addresses(&device, "inet")),
            Some(vec!["10.7.0.1/24".to_owned()]),
        )?;
        absent(&host, "suite0")
    }),
    test("A134", "network devices without a network namespace are refused", |bed| {
        let host = Network::new()?;
        host.veth("suite0", "peer0")?;
        let before = state_of(&host, "suite0")?;
        for name in ["suite0", "lo"] {
            refuses(bed, &host, &spec(json!({name: {}})).no_namespace("network"), NO_NAMESPACE)?;
        }
        same("the device", state_of(&host, "suite0")?, before)
    }),
    test("A134", "network devices are refused where the joined namespace is the runtime's own", |bed| {
        let host = Network::new()?;
        host.veth("suite0", "peer0")?;
        let before = state_of(&host, "suite0")?;
        let joins = |path| spec(json!({"suite0": {"name": "eth0"}})).namespace("network", Some(path));
        refuses(bed, &host, &joins("/proc/self/ns/net"), NO_NAMESPACE)?;
        // Others may not follow a process' descriptors, so `check` does not know where this path leads.
        refuses_when_tried(bed, &host, &joins(&host.path()), NO_NAMESPACE)?;
        same("the device", &state_of(&host, "suite0")?, &before)
    }),
    test("A135", "when create fails after the move, the device is back as it was", |bed| {
        fails_after_move(bed, Spec::new(), None)
    }),
    test("A135", "when create fails, the device comes back from a namespace that is joined", |bed| {
        let joined = Network::new()?;
        fails_after_move(bed, Spec::new().namespace("network", Some(&joined.path())), None)?;
        same("names there", joined.names()?, ["lo"])
    }),
    test("A135", "when create fails, the device comes back from a container with a user namespace", |bed| {
        fails_after_move(bed, Spec::new().user_namespace(100_000, 65_536), None)
    }),
    test("A135", "when the program does not exist, the device is back as it was", |bed| {
        fails_after_move(bed, Spec::new(), Some("/nonexistent"))
    }),
    test("A135", "when the second of two devices cannot be moved, the first is back as it was", |bed| {
        let host = Network::new()?;
        prepare(&host)?;
        // The kernel ties bridges to their namespace.
        if host.ip("link add suitebr type bridge").is_err() {
            return crate::outcome::skip("this kernel has no bridges");
        }
        let before = state_of(&host, "suite0")?;
        let spec = spec(json!({"suite0": {"name": "eth0"}, "suitebr": {}}));
        if ((6, 12)..(6, 15)).contains(&bed.host.kernel) {
            // These kernels do not say which devices cannot be moved.
            refuses_when_tried(bed, &host, &spec, &["suitebr"])?;
        } else {
            refuses(bed, &host, &spec, &["suitebr"])?;
        }
        same("the device", state_of(&host, "suite0")?, before)
    }),
    test("A135", "delete --force brings the device back after a create that was killed", |bed| {
        killed(bed, |_, _| Ok(()))
    }),
    test(
        "A135",
        "delete --force gives a device its name back that the kernel returned under another",
        |bed| {
            killed(bed, |host, joined| {
                // As for a physical device whose namespace has ended.
                joined.ip(&format!("link set eth0 netns {}", host.path())).map(drop)
            })
        },
    ),
];
