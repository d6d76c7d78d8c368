//! What a runtime without privileges cannot do for a configuration, reported before it begins.
//!
//! Pure like the rest: the facts about the caller are values ([`Host`], [`IdRanges`]).

use oci_spec::runtime::{LinuxDeviceType, LinuxIdMapping, Spec};

use crate::finding::{Finding, Report};
use crate::host::Host;
use crate::linux::device::DEFAULT_MODE;
use crate::linux::idmap;
use crate::linux::mount::options;
use crate::linux::namespace::{Namespaces, Origin};
use crate::linux::rlimit;

/// Ids that newuidmap(1) or newgidmap(1) lets the caller map: first and count of each range of subuid(5) or subgid(5).
pub(crate) type IdRanges = Vec<(u32, u32)>;

/// Everything in a configuration for which the caller lacks the rights. `hard` returns the caller's own hard limit of a
/// resource, if known.
pub(crate) fn check(spec: &Spec, host: Host, hard: impl Fn(u32) -> Option<u64>) -> Vec<Finding> {
    let mut report = Report::default();
    if !host.raises_limits() {
        check_limits(spec, hard, &mut report);
    }
    let devices = spec.linux().as_ref().and_then(|linux| linux.net_devices().as_ref());
    if devices.is_some_and(|devices| !devices.is_empty()) && !host.moves_devices() {
        report.error(
            "/linux/netDevices",
            "moving network devices requires CAP_NET_ADMIN and CAP_SYS_ADMIN in their network namespace",
        );
    }
    if !host.is_admin() {
        let namespaces = Namespaces::of(spec.linux().as_ref());
        check_namespaces(&namespaces, &mut report);
        check_id_mapped_mounts(spec, &mut report);
        check_groups(spec, &namespaces, host, &mut report);
    }
    check_devices(spec, host, &mut report);
    report.into_findings()
}

/// A bound node is the host's own file, with its mode and owner on the host.
fn check_devices(spec: &Spec, host: Host, report: &mut Report) {
    let linux = spec.linux().as_ref();
    if host.makes_devices() && !Namespaces::of(linux).user.is_own() {
        return;
    }
    let devices = linux.and_then(|linux| linux.devices().as_deref()).unwrap_or_default();
    for (index, device) in devices.iter().enumerate().filter(|(_, device)| device.typ() != LinuxDeviceType::P)
    {
        let mode = device.file_mode().map(|mode| mode & 0o7777).filter(|mode| *mode != DEFAULT_MODE);
        let asked = [
            ("fileMode", mode.map(|mode| format!("{mode:04o}"))),
            ("uid", device.uid().filter(|uid| *uid != 0).map(|uid| uid.to_string())),
            ("gid", device.gid().filter(|gid| *gid != 0).map(|gid| gid.to_string())),
        ];
        for (property, value) in asked.into_iter().filter_map(|(property, value)| Some((property, value?))) {
            report.warning(
                format!("/linux/devices/{index}/{property}"),
                format!(
                    "{property} {value} of {} has no effect: a user namespace cannot make devices, so the host's node is \
                     bound, with its mode and owner",
                    device.path().display()
                ),
            );
        }
    }
}

fn check_limits(spec: &Spec, hard: impl Fn(u32) -> Option<u64>, report: &mut Report) {
    let limits = spec.process().as_ref().and_then(|process| process.rlimits().as_deref());
    for (index, limit) in limits.unwrap_or_default().iter().enumerate() {
        let (resource, _, wanted) = rlimit::values(limit);
        if let Some(own) = hard(resource).filter(|own| wanted > *own) {
            report.error(
                format!("/process/rlimits/{index}/hard"),
                format!(
                    "{} cannot be raised from {own} to {wanted}: that requires CAP_SYS_RESOURCE in the initial user namespace",
                    limit.typ()
                ),
            );
        }
    }
}

fn check_namespaces(namespaces: &Namespaces, report: &mut Report) {
    if !namespaces.user.is_own() {
        // runc's wording, which callers and test suites look for.
        report.error(
            "/linux/namespaces",
            "rootless container requires user namespaces: without privileges (CAP_SYS_ADMIN) a container needs one, \
             with uidMappings and gidMappings; `spec --rootless` writes such a configuration",
        );
        return;
    }
    if !namespaces.mount.is_own() {
        report.error("/linux/namespaces", "a container without a mount namespace requires CAP_SYS_ADMIN");
    }
    if !namespaces.user.is_new() {
        return;
    }
    let all = [
        ("network", &namespaces.network),
        ("ipc", &namespaces.ipc),
        ("uts", &namespaces.uts),
        ("mount", &namespaces.mount),
        ("cgroup", &namespaces.cgroup),
        ("pid", &namespaces.pid),
        ("time", &namespaces.time),
    ];
    for (kind, origin) in all {
        if let Origin::Joined(path, index) = origin {
            report.error(
                format!("/linux/namespaces/{index}/path"),
                format!(
                    "a new user namespace has no right to the {kind} namespace {}, and the caller has no privileges: \
                     join the user namespace that owns it as well",
                    path.display()
                ),
            );
        }
    }
}

fn check_id_mapped_mounts(spec: &Spec, report: &mut Report) {
    for (index, mount) in spec.mounts().iter().flatten().enumerate() {
        let Ok(options) = options::parse(mount.options().as_deref().unwrap_or_default()) else { continue };
        let maps =
            options.idmap.is_some() || mount.uid_mappings().as_ref().is_some_and(|maps| !maps.is_empty());
        if maps && options.bind.is_some() {
            // Linux: only the owner of a file system may map the ids of its mounts; the user that mounted it inside
            // owns it.
            report.error(
                format!("/mounts/{index}"),
                "an id-mapped bind mount requires CAP_SYS_ADMIN over the file system that is bound",
            );
        }
    }
}

fn check_groups(spec: &Spec, namespaces: &Namespaces, host: Host, report: &mut Report) {
    let gids = spec.linux().as_ref().and_then(|linux| linux.gid_mappings().as_deref()).unwrap_or_default();
    let asked = spec.process().as_ref().and_then(|process| process.user().additional_gids().as_ref());
    if asked.is_some_and(|asked| !asked.is_empty())
        && namespaces.user.is_new()
        && !host.maps_ids()
        && idmap::is_own_id(gids, host.egid)
    {
        report.error(
            "/process/user/additionalGids",
            "cannot set any additional groups in a rootless container that maps only the caller's own group: map \
             more groups of /etc/subgid",
        );
    }
}

/// The mappings that newuidmap(1) and newgidmap(1) are going to refuse, according to their files: a name service may
/// give a user other ranges, so these are warnings.
pub(crate) fn check_ranges(spec: &Spec, host: Host, uids: &IdRanges, gids: &IdRanges) -> Vec<Finding> {
    let mut report = Report::default();
    let linux = spec.linux().as_ref();
    let lists = [
        ("uid", linux.and_then(|linux| linux.uid_mappings().as_deref()), host.euid, uids),
        ("gid", linux.and_then(|linux| linux.gid_mappings().as_deref()), host.egid, gids),
    ];
    if host.maps_ids() || !Namespaces::of(linux).user.is_new() {
        return report.into_findings();
    }
    for (kind, mappings, own, ranges) in lists {
        for (index, mapping) in mappings.unwrap_or_default().iter().enumerate() {
            if !may_map(mapping, own, ranges) {
                let last = u64::from(mapping.host_id()) + u64::from(mapping.size()).saturating_sub(1);
                report.warning(
                    format!("/linux/{kind}Mappings/{index}"),
                    format!(
                        "the ids {} to {last} of the host are not all given to the caller in /etc/sub{kind}, and new{kind}map will \
                         refuse to map them",
                        mapping.host_id()
                    ),
                );
            }
        }
    }
    report.into_findings()
}

/// newuidmap(1): the range lies in one of the user's ranges, or is just the user's own id.
fn may_map(mapping: &LinuxIdMapping, own: u32, ranges: &IdRanges) -> bool {
    let (first, size) = (u64::from(mapping.host_id()), u64::from(mapping.size()));
    idmap::is_own_id(std::slice::from_ref(mapping), own)
        || ranges.iter().any(|&(start, count)| {
            first >= u64::from(start) && first + size <= u64::from(start) + u64::from(count)
        })
}

/// The ranges of a user in the text of a subuid(5) file, which identifies the user by name or number.
pub(crate) fn ranges(text: &str, name: Option<&str>, uid: u32) -> IdRanges {
    let uid = uid.to_string();
    text.lines()
        .filter_map(|line| {
            let mut fields = line.trim().split(':');
            let who = fields.next()?;
            let (start, count) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
            (who == uid || Some(who) == name).then_some((start, count))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    const USER: Host =
        Host { euid: 1000, egid: 1000, grantable: 0, effective: 0, initial_user_namespace: true };

    fn spec(change: impl FnOnce(&mut Value)) -> Spec {
        let mut spec = json!({
            "ociVersion": "1.2.0",
            "root": {"path": "rootfs"},
            "process": {"user": {"uid": 0, "gid": 0}, "cwd": "/", "args": ["sh"]},
            "mounts": [],
            "linux": {
                "namespaces": [{"type": "user"}, {"type": "mount"}, {"type": "pid"}],
                "uidMappings": [{"containerID": 0, "hostID": 1000, "size": 1}],
                "gidMappings": [{"containerID": 0, "hostID": 1000, "size": 1}],
            },
        });
        change(&mut spec);
        serde_json::from_value(spec).unwrap()
    }

    fn pointers(change: impl FnOnce(&mut Value)) -> Vec<String> {
        check(&spec(change), USER, |_| Some(1024)).into_iter().map(|finding| finding.pointer).collect()
    }

    #[test]
    fn a_plain_rootless_configuration_is_fine_and_root_may_do_all() {
        assert_eq!(pointers(|_| {}), [""; 0]);
        let host = spec(|spec| spec["linux"]["namespaces"] = json!([{"type": "mount"}]));
        assert_eq!(check(&host, Host::of_root(), |_| Some(1)), []);
        assert_eq!(check(&host, USER, |_| None).len(), 1);
    }

    #[test]
    fn what_takes_privileges_is_told() {
        assert_eq!(
            pointers(|spec| spec["linux"]["namespaces"] =
                json!([{"type": "user"}, {"type": "mount"}, {"type": "network", "path": "/n"}])),
            ["/linux/namespaces/2/path"]
        );
        assert_eq!(
            pointers(
                |spec| spec["linux"]["namespaces"] = json!([{"type": "user", "path": "/u"}, {"type": "mount"}, {"type": "network", "path": "/n"}])
            ),
            [""; 0]
        );
        assert_eq!(
            pointers(|spec| spec["linux"]["namespaces"] = json!([{"type": "user"}])),
            ["/linux/namespaces"]
        );
        let bind =
            json!([{"destination": "/d", "type": "none", "source": "/s", "options": ["bind", "idmap"]}]);
        assert_eq!(pointers(|spec| spec["mounts"] = bind), ["/mounts/0"]);
        let tmpfs = json!([{"destination": "/d", "type": "tmpfs", "source": "s", "options": ["idmap"]}]);
        assert_eq!(pointers(|spec| spec["mounts"] = tmpfs), [""; 0]);
        let limits = json!([{"type": "RLIMIT_NOFILE", "soft": 1, "hard": 1024}, {"type": "RLIMIT_NPROC", "soft": 1, "hard": 1025}]);
        assert_eq!(pointers(|spec| spec["process"]["rlimits"] = limits), ["/process/rlimits/1/hard"]);
        assert_eq!(pointers(|spec| spec["linux"]["netDevices"] = json!({"eth0": {}})), ["/linux/netDevices"]);
        assert_eq!(pointers(|spec| spec["linux"]["netDevices"] = json!({})), [""; 0]);
        let groups = json!([0]);
        assert_eq!(
            pointers(|spec| spec["process"]["user"]["additionalGids"] = groups),
            ["/process/user/additionalGids"]
        );
    }

    #[test]
    fn mode_and_owner_that_a_bound_node_cannot_have_are_told() {
        let devices = json!([
            {"type": "c", "path": "/dev/zero", "major": 1, "minor": 5, "fileMode": 0o20666, "uid": 0, "gid": 0},
            {"type": "c", "path": "/dev/fuse", "major": 10, "minor": 229, "fileMode": 0o600, "gid": 5},
            {"type": "p", "path": "/run/pipe", "fileMode": 0o600, "uid": 5},
        ]);
        let told = ["/linux/devices/1/fileMode", "/linux/devices/1/gid"];
        assert_eq!(pointers(|spec| spec["linux"]["devices"] = devices.clone()), told);
        let of_root = |namespaces: Value| {
            let spec = spec(|spec| {
                spec["linux"]["devices"] = devices.clone();
                spec["linux"]["namespaces"] = namespaces;
            });
            check(&spec, Host::of_root(), |_| None).len()
        };
        assert_eq!(of_root(json!([{"type": "user"}, {"type": "mount"}])), 2);
        assert_eq!(of_root(json!([{"type": "mount"}])), 0);
    }

    #[test]
    fn ranges_of_a_user_by_name_and_number() {
        let text = "other:1:2\nme:100000:65536\n1000:5:1\nme:bad:1\n\n";
        let found = ranges(text, Some("me"), 1000);
        assert_eq!(found, [(100_000, 65_536), (5, 1)]);
        let config = spec(|spec| {
            spec["linux"]["uidMappings"] = json!([
                {"containerID": 0, "hostID": 1000, "size": 1},
                {"containerID": 1, "hostID": 100_000, "size": 65_536},
                {"containerID": 70_000, "hostID": 165_000, "size": 1000},
            ]);
        });
        let findings = check_ranges(&config, USER, &found, &found);
        let at: Vec<_> = findings.iter().map(|finding| finding.pointer.as_str()).collect();
        assert_eq!(at, ["/linux/uidMappings/2"]);
    }
}
