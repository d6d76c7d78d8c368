//! Id-mapped mounts: rows A37, A38, A41 to A46.

use super::mounts::Source;
use crate::outcome::{Outcome, check, same};
use crate::{Bed, Spec, Test, test};
use rustix::mount::MountFlags;
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::PathBuf;

pub(super) const TESTS: &[Test] = &[
    test("A37 A42", "idmap with mappings of its own shifts the owners", |bed| {
        bed.host.needs_root_because(OWNER)?;
        let source = volume(bed)?;
        let spec = Spec::new().set("/mounts/-", entry(&source, &["bind", "idmap"], Some(1000..2000)));
        same("owner", owner(bed, &spec, "/mnt/file")?, 2000)
    }),
    test("A43", "mappings without the idmap option apply too", |bed| {
        bed.host.needs_root_because(OWNER)?;
        let source = volume(bed)?;
        let spec = Spec::new().set("/mounts/-", entry(&source, &["bind"], Some(1000..2000)));
        same("owner", owner(bed, &spec, "/mnt/file")?, 2000)
    }),
    test("A42", "idmap without mappings takes those of the user namespace", |bed| {
        bed.host.needs_root_because(OWNER)?;
        let source = volume(bed)?;
        let spec = open_root(Spec::new()).set("/mounts/-", entry(&source, &["bind", "idmap"], None));
        same("owner", owner(bed, &spec, "/mnt/file")?, 1000)
    }),
    test("A42", "idmap without mappings and without user namespace is refused", |bed| {
        bed.host.needs_root_because("every container of a user has a user namespace")?;
        let source = volume(bed)?;
        bed.refuses(
            &Spec::new().set("/mounts/-", entry(&source, &["bind", "idmap"], None)),
            &["idmap", "mapping", "user namespace"],
        )
    }),
    test("A41", "uidMappings without gidMappings are refused", |bed| {
        let source = volume(bed)?;
        let mut mount = entry(&source, &["bind", "idmap"], Some(1000..2000));
        mount.as_object_mut().map(|mount| mount.remove("gidMappings"));
        bed.refuses(&Spec::new().set("/mounts/-", mount), &["mapping"])
    }),
    test("A38", "ridmap maps submounts and idmap does not", submounts),
    test("A44", "idmap is not limited to binds", |bed| {
        bed.host.needs_root_because("a user has only the ids of his own (A45 is about those)")?;
        bed.host.needs_kernel(6, 3)?;
        let mut mount = entry(&PathBuf::from("tmpfs"), &["idmap"], Some(0..2000));
        mount["type"] = json!("tmpfs");
        same("owner", owner(bed, &Spec::new().set("/mounts/-", mount), "/mnt")?, 2000)
    }),
    test("A45", "idmap of a file system of the user namespace itself works, or is refused by name", |bed| {
        bed.host.needs_kernel(6, 3)?;
        let bundle = bed.bundle(&open_root(Spec::new()))?;
        let host = host_id(&bundle.spec()?, 2000)?;
        let mut mount = entry(&PathBuf::from("tmpfs"), &["idmap"], Some(0..host));
        mount["type"] = json!("tmpfs");
        let mut spec = Spec(bundle.spec()?);
        spec = spec.set("/mounts/-", mount).args(&crate::bed::script_args(&[&["stat", "/mnt"]]));
        bundle.write_raw(&spec)?;
        let called = bed.run_bundle(&bundle)?;
        if called.status.success() {
            return same("owner", &crate::bed::answers(&called)?[0].worked()?["uid"], 2000);
        }
        called.refused(&["idmap", "map the ids", "/mounts/6"])
    }),
    test("A46", "an id-mapped mount leaves the files of the host alone", |bed| {
        bed.host.needs_root_because(OWNER)?;
        let source = volume(bed)?;
        let spec = Spec::new().set("/mounts/-", entry(&source, &["bind", "idmap"], Some(1000..2000)));
        bed.report(&spec)?;
        same("owner on the host", fs::metadata(source.join("file"))?.uid(), 1000)
    }),
];

/// Why a user cannot do it.
const OWNER: &str = "only the owner of a file system may map the ids of its mounts";

/// A directory with a file of user 1000.
fn volume(bed: &Bed<'_>) -> Outcome<PathBuf> {
    let dir = bed.dir().join("volume");
    fs::create_dir_all(&dir)?;
    fs::write(dir.join("file"), "text")?;
    chown(dir.join("file"), Some(1000), Some(1000))?;
    Ok(dir)
}

/// A mount at /mnt that maps ids from `range.start` on the disk to `range.end`.
fn entry(source: &std::path::Path, options: &[&str], range: Option<std::ops::Range<u32>>) -> Value {
    let mut entry = json!({"destination": "/mnt", "source": source.to_string_lossy(), "options": options});
    if let Some(range) = range {
        let map = json!([{"containerID": range.start, "hostID": range.end, "size": 100}]);
        entry["uidMappings"] = map.clone();
        entry["gidMappings"] = map;
    }
    entry
}

/// In a user namespace, host files that belong to root show as nobody's.
fn open_root(spec: Spec) -> Spec {
    spec.user_namespace(100_000, 65_536)
}

fn owner(bed: &Bed<'_>, spec: &Spec, path: &str) -> Outcome<u64> {
    let answers = bed.tries(spec, &[&["stat", path]])?;
    let found = answers[0].worked()?;
    same("group", &found["gid"], &found["uid"])?;
    Ok(found["uid"].as_u64().unwrap_or(u64::MAX))
}

/// The host's number for an id of the container.
fn host_id(spec: &Value, id: u32) -> Outcome<u32> {
    let map = spec["linux"]["uidMappings"].as_array().cloned().unwrap_or_default();
    let found = map.iter().find_map(|entry| {
        let offset = u64::from(id).checked_sub(entry["containerID"].as_u64()?)?;
        (offset < entry["size"].as_u64()?).then_some(entry["hostID"].as_u64()? + offset)
    });
    match found.and_then(|found| u32::try_from(found).ok()) {
        Some(found) => Ok(found),
        None => crate::outcome::skip("this user has too few subordinate ids"),
    }
}

fn submounts(bed: &Bed<'_>) -> Outcome {
    bed.host.needs_kernel(6, 3)?;
    let source = Source::tmpfs(&bed.dir().join("source"), MountFlags::empty())?;
    let below = Source::tmpfs(&source.0.join("below"), MountFlags::empty())?;
    fs::write(below.0.join("file"), "text")?;
    chown(below.0.join("file"), Some(1000), Some(1000))?;
    let with = |word| Spec::new().set("/mounts/-", entry(&source.0, &["rbind", word], Some(0..2000)));
    // 100 ids from 0: the file of user 1000 is outside the map and shows as nobody where the map applies.
    let deep = owner(bed, &with("ridmap"), "/mnt/below/file");
    let shallow = owner(bed, &with("idmap"), "/mnt/below/file");
    drop(below);
    let (deep, shallow) = (deep?, shallow?);
    check(deep == 65_534 && shallow == 1000, || format!("owner with ridmap {deep}, with idmap {shallow}"))
}
