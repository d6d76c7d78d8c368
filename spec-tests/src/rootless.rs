//! Turns a configuration for root into one that an ordinary user can run: a user namespace with the user's ids, and
//! nothing that only root can do. What cannot be had that way is a reason to skip the test.

use crate::cgroup;
use crate::outcome::{Outcome, skip};
use crate::spec::Spec;
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

/// The host ids that an ordinary user may map, as (container id, host id, size).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ids {
    uids: Vec<(u64, u64, u64)>,
    gids: Vec<(u64, u64, u64)>,
}

impl Ids {
    /// The user's own id as 0, and the subordinate ones above it, if there are any and programs to map them.
    pub fn of_user() -> Self {
        let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        let name = login(uid);
        let range = |helper: &str, file: &str| {
            let found = std::env::var_os("PATH")
                .is_some_and(|paths| std::env::split_paths(&paths).any(|dir| dir.join(helper).is_file()));
            let table = if found { fs::read_to_string(file).unwrap_or_default() } else { String::new() };
            subordinate(&table, &name, uid)
        };
        let map = |own: u32, range: Option<(u64, u64)>| {
            let own = [(0, u64::from(own), 1)];
            own.into_iter().chain(range.map(|(first, count)| (1, first, count))).collect()
        };
        Self {
            uids: map(uid, range("newuidmap", "/etc/subuid")),
            gids: map(gid, range("newgidmap", "/etc/subgid")),
        }
    }

    fn sizes(&self) -> (u64, u64) {
        let sum = |map: &[(u64, u64, u64)]| map.iter().map(|(_, _, size)| size).sum();
        (sum(&self.uids), sum(&self.gids))
    }
}

/// Name of a user, or the number.
fn login(uid: u32) -> String {
    let table = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let found = table.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        (fields.get(2)?.parse() == Ok(uid)).then(|| fields[0].to_owned())
    });
    found.unwrap_or_else(|| uid.to_string())
}

/// First id and number of ids of a user's first range in /etc/subuid.
fn subordinate(table: &str, name: &str, uid: u32) -> Option<(u64, u64)> {
    table.lines().find_map(|line| {
        let mut fields = line.split(':');
        let owner = fields.next()?;
        (owner == name || owner == uid.to_string()).then_some(())?;
        Some((fields.next()?.parse().ok()?, fields.next()?.trim().parse().ok()?))
    })
}

/// The configuration in a form that this user can run.
pub fn adapt(spec: &Spec, ids: &Ids) -> Outcome<Spec> {
    let mut spec = spec.clone();
    if !spec.0.pointer("/linux/namespaces").is_some_and(Value::is_array) {
        return skip("needs root: a container of a user needs a user namespace");
    }
    let (uids, gids) = ids.sizes();
    spec = user_namespace(spec, ids, uids.min(gids))?;
    spec = resources(spec)?;
    for (pointer, room) in [("/process/user/uid", uids), ("/process/user/gid", gids)] {
        if spec.0.pointer(pointer).and_then(Value::as_u64).is_some_and(|id| id >= room && id <= 0xffff_fffe) {
            return skip("this user has no subordinate ids for the user of the container");
        }
    }
    let groups = spec.0.pointer("/process/user/additionalGids").and_then(Value::as_array);
    if groups.into_iter().flatten().filter_map(Value::as_u64).any(|gid| gid >= gids) {
        return skip("this user has no subordinate ids for the groups of the container");
    }
    if gids <= 5
        && let Some(Value::Array(mounts)) = spec.0.get_mut("mounts")
    {
        for options in mounts.iter_mut().filter_map(|entry| entry["options"].as_array_mut()) {
            options.retain(|option| option != "gid=5");
        }
    }
    Ok(spec)
}

fn user_namespace(mut spec: Spec, ids: &Ids, room: u64) -> Outcome<Spec> {
    let namespaces = spec.0.pointer("/linux/namespaces").and_then(Value::as_array);
    let user = namespaces.into_iter().flatten().find(|entry| entry["type"] == "user");
    if user.is_some_and(|entry| entry.get("path").is_some()) {
        return Ok(spec);
    }
    let maps = ["/linux/uidMappings", "/linux/gidMappings"].map(|pointer| spec.0.pointer(pointer));
    let wanted = match (user.is_some(), maps) {
        (false, [None, None]) => room,
        (true, [Some(uids), Some(gids)]) if uids == gids => match plain(uids) {
            Some(size) => size,
            None => return Ok(spec),
        },
        // The maps, or their absence, are what the test is about.
        _ => return Ok(spec),
    };
    if wanted > room {
        return skip(format!("needs root, or more than the {room} ids of this user"));
    }
    if user.is_none() {
        spec = spec.namespace("user", None);
    }
    let (uids, gids) = (first(&ids.uids, wanted), first(&ids.gids, wanted));
    Ok(spec.set("/linux/uidMappings", uids).set("/linux/gidMappings", gids))
}

/// The size of a map as [`Spec::user_namespace`] writes it: one range that starts with root of the container.
fn plain(map: &Value) -> Option<u64> {
    let [only] = &map.as_array()?[..] else { return None };
    let size = only["size"].as_u64().filter(|size| *size > 0)?;
    (only["containerID"] == 0).then_some(size)
}

/// The map of the first ids of the container.
fn first(map: &[(u64, u64, u64)], mut count: u64) -> Value {
    let mut entries = Vec::new();
    for (inside, outside, size) in map {
        let size = count.min(*size);
        if size > 0 {
            entries.push(json!({"containerID": inside, "hostID": outside, "size": size}));
        }
        count -= size;
    }
    Value::Array(entries)
}

/// Only root can have device rules; other limits need a cgroup that the user owns.
fn resources(mut spec: Spec) -> Outcome<Spec> {
    let Some(Value::Object(resources)) = spec.0.pointer_mut("/linux/resources") else { return Ok(spec) };
    if resources.get("devices") == Some(&json!([{"allow": false, "access": "rwm"}])) {
        resources.remove("devices");
    }
    if resources.contains_key("devices") {
        return skip("needs root: device rules");
    }
    if !resources.is_empty() && cgroup::delegated().is_none() {
        return skip("this user has no cgroup to set limits in");
    }
    if cgroup::delegated().is_none() {
        spec = spec.without("/linux/cgroupsPath").without("/linux/resources");
    }
    Ok(spec)
}

/// Whether this is the error of a caller that would have to be root.
pub(crate) fn is_lack_of_privilege(error: Option<i32>) -> bool {
    let denied = [rustix::io::Errno::PERM, rustix::io::Errno::ACCESS].map(|errno| Some(errno.raw_os_error()));
    denied.contains(&error) && !rustix::process::geteuid().is_root()
}

/// The topmost v2 cgroup on the path to ours that belongs to us.
pub(crate) fn own_cgroup(mount: &Path, place: &Path) -> Option<String> {
    use std::os::unix::fs::MetadataExt;
    let uid = rustix::process::geteuid().as_raw();
    let ours = |dir: &&Path| dir.starts_with(mount) && fs::metadata(dir).is_ok_and(|meta| meta.uid() == uid);
    let top = place.ancestors().filter(ours).last()?;
    Some(format!("/{}", top.strip_prefix(mount).ok()?.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(count: u64) -> Ids {
        Ids { uids: vec![(0, 1000, 1), (1, 100_000, count)], gids: vec![(0, 1000, 1), (1, 200_000, count)] }
    }

    #[test]
    fn the_range_of_the_user_is_found_by_name_and_by_number() {
        let table = "other:1:2\nme:100000:65536\n1001:300000:10\n";
        assert_eq!(subordinate(table, "me", 1000), Some((100_000, 65_536)));
        assert_eq!(subordinate(table, "you", 1001), Some((300_000, 10)));
        assert_eq!(subordinate(table, "nobody", 5), None);
    }

    #[test]
    fn a_plain_configuration_gets_the_ids_of_the_user() {
        let spec = adapt(&Spec::new(), &ids(65_536)).unwrap();
        let namespaces = spec.0.pointer("/linux/namespaces").unwrap().as_array().unwrap();
        assert!(namespaces.iter().any(|entry| entry["type"] == "user"));
        assert_eq!(spec.0.pointer("/linux/uidMappings/1/hostID").unwrap(), 100_000);
        assert_eq!(spec.0.pointer("/linux/gidMappings/1/hostID").unwrap(), 200_000);
        assert!(spec.0.pointer("/linux/resources/devices").is_none());
    }

    #[test]
    fn a_map_keeps_its_size_and_an_odd_one_stays_as_it_is() {
        let spec = adapt(&Spec::new().user_namespace(500_000, 1000), &ids(65_536)).unwrap();
        let map = json!([{"containerID": 0, "hostID": 1000, "size": 1}, {"containerID": 1, "hostID": 100_000, "size": 999}]);
        assert_eq!(spec.0.pointer("/linux/uidMappings"), Some(&map));
        let odd = [
            Spec::new().user_namespace(500_000, 0),
            Spec::new().namespace("user", None),
            Spec::new().set("/linux/uidMappings", map.clone()),
            Spec::new()
                .namespace("user", None)
                .set("/linux/uidMappings", map.clone())
                .set("/linux/gidMappings", map),
        ];
        for spec in odd {
            assert_eq!(
                adapt(&spec, &ids(65_536)).unwrap().0.pointer("/linux/uidMappings"),
                spec.0.pointer("/linux/uidMappings")
            );
        }
    }

    #[test]
    fn more_ids_than_the_user_has_are_a_reason_to_skip() {
        assert!(adapt(&Spec::new().user_namespace(500_000, 70_000), &ids(65_536)).is_err());
        assert!(adapt(&Spec::new().user_namespace(500_000, 65_537), &ids(65_536)).is_ok());
        assert!(adapt(&Spec::new().set("/process/user/uid", 70_000), &ids(65_536)).is_err());
    }
}
