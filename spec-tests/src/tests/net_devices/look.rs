//! Containers that get network devices, and what a test sees of these on the host and inside.

use crate::network::{self, Network};
use crate::outcome::{Outcome, check, fail, same};
use crate::runtime::PATIENCE;
use crate::{Bed, Bundle, Container, Spec};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// A configuration that names these devices.
pub(super) fn spec(devices: Value) -> Spec {
    Spec::new().args(&["/probe", "wait"]).set("/linux/netDevices", devices)
}

/// A created container, by a runtime in this namespace.
pub(super) fn create<'b, 'a>(bed: &'b Bed<'a>, host: &Network, spec: &Spec) -> Outcome<Container<'b, 'a>> {
    let bundle = bed.bundle(spec)?;
    let dir = bundle.dir.to_string_lossy().into_owned();
    let called =
        bed.command(["create", "--bundle", &dir, &bundle.id]).in_network(&host.path()).call()?.ok()?;
    Ok(Container { bed, bundle, out: called.out })
}

/// `create` by a runtime in this namespace must refuse this, name one of these words, and leave nothing behind; and
/// `check`, if there is one, must find it.
pub(super) fn refuses(bed: &Bed<'_>, host: &Network, spec: &Spec, words: &[&str]) -> Outcome {
    crate::checks::finds_in(bed, &bed.bundle(spec)?, words, &host.path())?;
    refuses_when_tried(bed, host, spec, words)
}

/// The same for mistakes that only an attempt can show.
pub(super) fn refuses_when_tried(bed: &Bed<'_>, host: &Network, spec: &Spec, words: &[&str]) -> Outcome {
    let bundle = bed.bundle(spec)?;
    let dir = bundle.dir.to_string_lossy().into_owned();
    let called = bed.command(["create", "--bundle", &dir, &bundle.id]).in_network(&host.path()).call()?;
    called.refused(words)?;
    let left = bed.leftovers(&bundle);
    check(left.is_empty(), || format!("create failed and left {}", left.join(", ")))
}

/// A container with a device `suite0` that was moved.
pub(super) fn moved<'b, 'a>(bed: &'b Bed<'a>, devices: Value) -> Outcome<(Network, Container<'b, 'a>)> {
    let host = Network::new()?;
    host.veth("suite0", "peer0")?;
    let container = create(bed, &host, &spec(devices))?;
    Ok((host, container))
}

/// The device in the container that had these addresses on the host, while it was up.
pub(super) fn with_addresses(bed: &Bed<'_>, all: &[&str]) -> Outcome<Value> {
    let host = Network::new()?;
    host.sysctl("ipv6/conf/default/accept_dad", "0")?;
    host.veth("suite0", "peer0")?;
    host.ip("link set suite0 up")?;
    for address in all {
        host.ip(&format!("address add {address} dev suite0"))?;
    }
    inside(&create(bed, &host, &spec(json!({"suite0": {}})))?, "suite0")
}

/// A device with everything that a move removes.
pub(super) fn prepare(host: &Network) -> Outcome {
    host.sysctl("ipv6/conf/default/accept_dad", "0")?;
    host.veth("suite0", "peer0")?;
    host.ip("link set suite0 mtu 1402 address 02:00:00:00:07:01")?;
    host.ip("link set suite0 up")?;
    for address in [
        "10.7.0.1/24 broadcast 10.7.0.255 label suite0:web",
        "10.7.0.2/24",
        "10.8.0.1 peer 10.8.0.2/32",
        "169.254.7.1/16 scope link",
        "fd07::1/64",
        "fd07::2/64",
    ] {
        host.ip(&format!("address add {address} dev suite0"))?;
    }
    host.ip("route add 10.99.0.0/16 via 10.7.0.9")?;
    host.ip("route add default via 10.7.0.7 metric 5")?;
    host.ip("-6 route add fd99::/32 via fd07::9").map(drop)
}

/// Create fails in a hook that has seen the device in the container, or later; the device is back as it was.
pub(super) fn fails_after_move(bed: &Bed<'_>, base: Spec, program: Option<&str>) -> Outcome {
    let host = Network::new()?;
    prepare(&host)?;
    let before = state_of(&host, "suite0")?;
    let routes = routes(&host)?;
    let base = base.set("/linux/netDevices", json!({"suite0": {"name": "eth0"}}));
    let base = base.args(&[program.unwrap_or("/probe"), "wait"]);
    let (seen, bundle) = hooked(bed, base, if program.is_some() { "exit 0" } else { "exit 1" })?;
    let dir = bundle.dir.to_string_lossy().into_owned();
    let called = bed.command(["run", "--bundle", &dir, &bundle.id]).in_network(&host.path()).call()?;
    let text = fs::read_to_string(&seen).unwrap_or_default();
    check(text.contains("eth0:"), || format!("the hook saw no device eth0 in the container: {text}"))?;
    called.refused(&[])?;
    let left = bed.leftovers(&bundle);
    check(left.is_empty(), || format!("it failed and left {}", left.join(", ")))?;
    same("the device", state_of(&host, "suite0")?, before)?;
    same("routes", self::routes(&host)?, routes)
}

/// The runtime is killed once the device is in the container, and then this happens; `delete --force` brings it back.
pub(super) fn killed(bed: &Bed<'_>, then: impl Fn(&Network, &Network) -> Outcome) -> Outcome {
    let (host, joined) = (Network::new()?, Network::new()?);
    prepare(&host)?;
    let before = state_of(&host, "suite0")?;
    let routes = routes(&host)?;
    let (seen, bundle) = hooked(
        bed,
        spec(json!({"suite0": {"name": "eth%d"}})).namespace("network", Some(&joined.path())),
        "exec sleep 60",
    )?;
    let dir = bundle.dir.to_string_lossy().into_owned();
    let running = bed.command(["create", "--bundle", &dir, &bundle.id]).in_network(&host.path()).spawn()?;
    let end = Instant::now() + PATIENCE / 2;
    let mut there = false;
    while !there && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(10));
        there = fs::read_to_string(&seen).is_ok_and(|text| text.contains("eth0:"));
    }
    running.signal(Signal::KILL);
    running.finish(PATIENCE)?;
    check(there, || "the device was not moved before the createContainer hooks".to_owned())?;
    then(&host, &joined)?;
    bed.command(["delete", "--force", &bundle.id]).in_network(&host.path()).call()?.ok()?;
    same("names there", joined.names()?, ["lo"])?;
    same("the device", state_of(&host, "suite0")?, before)?;
    same("routes", self::routes(&host)?, routes)
}

/// A bundle with a createContainer hook, which runs in the container's namespaces, records which devices it sees and
/// goes on with these shell commands.
pub(super) fn hooked(bed: &Bed<'_>, spec: Spec, then: &str) -> Outcome<(PathBuf, Bundle)> {
    let seen = bed.dir().join("seen");
    // A hook in a user namespace may be an unmapped user here, so the file is writable for all.
    fs::write(&seen, "")?;
    fs::set_permissions(&seen, fs::Permissions::from_mode(0o666))?;
    let script = format!("cat /proc/self/net/dev > {}; {then}", seen.display());
    let hook = json!({"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/bin:/usr/bin"]});
    Ok((seen, bed.bundle(&spec.hook("createContainer", hook))?))
}

/// The device in the container, which must be there.
pub(super) fn inside(container: &Container<'_, '_>, name: &str) -> Outcome<Value> {
    let there = network::of(container.pid()?);
    match network::device(&there, name)? {
        Some(device) => Ok(device),
        None => fail(format!("the container has no device {name}, but {:?}", network::names(&there)?)),
    }
}

pub(super) fn absent(host: &Network, name: &str) -> Outcome {
    check(!host.names()?.contains(&name.to_owned()), || format!("{name} is on the host still"))
}

pub(super) fn up(device: &Value) -> Outcome {
    let up = device["flags"].as_array().is_some_and(|flags| flags.contains(&json!("UP")));
    check(up, || format!("{} is not up: {}", device["ifname"], device["flags"]))
}

/// Everything that `ip` reports about a device, except what changes by itself.
pub(super) fn state_of(network: &Network, name: &str) -> Outcome<Value> {
    state_in(&network.path(), name)
}

pub(super) fn state_in(namespace: &str, name: &str) -> Outcome<Value> {
    let Some(mut device) = network::device(namespace, name)? else {
        return fail(format!("{namespace} has no device {name}, but {:?}", network::names(namespace)?));
    };
    // The other end shows whether there is a carrier, a moment later.
    for key in ["operstate", "flags"] {
        if let Some(flags) = device[key].as_array_mut() {
            flags.retain(|flag| flag != "LOWER_UP" && flag != "NO-CARRIER");
        } else if let Some(device) = device.as_object_mut() {
            device.remove(key);
        }
    }
    for address in device["addr_info"].as_array_mut().into_iter().flatten() {
        if let Some(address) = address.as_object_mut() {
            address.remove("tentative");
        }
    }
    // The link-local address appears when the carrier does.
    if let Some(all) = device["addr_info"].as_array_mut() {
        all.retain(|address| address["family"] != "inet6" || address["scope"] != "link");
    }
    Ok(device)
}

/// The routes that were added by hand, sorted.
pub(super) fn routes(network: &Network) -> Outcome<Vec<String>> {
    let mut all = Vec::new();
    for family in ["-4", "-6"] {
        let found = network.ip(&format!("{family} route show"))?;
        for route in found.as_array().into_iter().flatten() {
            if route["dst"] != "fe80::/64" {
                let fields = ["dst", "gateway", "dev", "protocol", "metric", "prefsrc"];
                all.push(fields.map(|key| route[key].to_string()).join(" "));
            }
        }
    }
    all.sort();
    Ok(all)
}

/// The addresses of a family, as `local/prefix`.
pub(super) fn addresses(device: &Value, family: &str) -> Vec<String> {
    list(device, |address| address["family"] == family)
}

/// The global IPv6 addresses, as `local/prefix`.
pub(super) fn global(device: &Value) -> Vec<String> {
    list(device, |address| address["family"] == "inet6" && address["scope"] == "global")
}

pub(super) fn list(device: &Value, wanted: impl Fn(&Value) -> bool) -> Vec<String> {
    let all = device["addr_info"].as_array().into_iter().flatten().filter(|address| wanted(address));
    all.map(|address| format!("{}/{}", address["local"].as_str().unwrap_or("?"), address["prefixlen"]))
        .collect()
}

pub(super) fn address<'d>(device: &'d Value, local: &str) -> Outcome<&'d Value> {
    let found =
        device["addr_info"].as_array().into_iter().flatten().find(|address| address["local"] == local);
    found.map_or_else(|| fail(format!("no address {local} in {}", device["addr_info"])), Ok)
}
