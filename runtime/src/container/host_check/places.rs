//! Places in the image for mounts and device nodes: what exists there must be of the same kind.

use std::path::Path;

use oci_spec::runtime::Mount;

use super::image::{Image, Lookup, plain};
use crate::bundle::Bundle;
use crate::finding::Finding;
use crate::host::Host;
use crate::linux::device;
use crate::linux::mount::options;
use crate::linux::namespace::Namespaces;
use crate::plan::mounts_of;

pub(super) fn check(bundle: &Bundle, host: Option<Host>, image: &Image, findings: &mut Vec<Finding>) {
    let spec = bundle.spec();
    // Without its own mount namespace nothing is mounted for the container.
    if !Namespaces::of(spec.linux().as_ref()).mount.is_own() {
        return;
    }
    let listed = spec.mounts().is_some();
    for (index, mount) in mounts_of(spec).iter().enumerate() {
        let pointer = if listed { format!("/mounts/{index}/destination") } else { "/mounts".to_owned() };
        findings
            .extend(mount_point(bundle.dir(), mount, index, image).map(|what| Finding::error(pointer, what)));
    }
    let linux = spec.linux().as_ref();
    let configured = linux.and_then(|linux| linux.devices().as_ref());
    let binds = Namespaces::of(linux).user.is_own() || host.is_some_and(|host| !host.makes_devices());
    for node in device::nodes(configured) {
        let path = Path::new(&node.path);
        let Lookup::Here(entry) = image.find_itself(path) else { continue };
        let kind = node.mode & libc::S_IFMT;
        let is_same = entry.is(kind) && (kind == libc::S_IFIFO || entry.device == node.device);
        // A bound node leaves an empty file for the next container.
        let is_place = binds && kind != libc::S_IFIFO && entry.is(libc::S_IFREG) && entry.size == 0;
        if is_same || is_place {
            continue;
        }
        let index = configured.into_iter().flatten().position(|device| device.path() == path);
        let pointer =
            index.map_or_else(|| "/root/path".to_owned(), |index| format!("/linux/devices/{index}/path"));
        findings.push(Finding::error(
            pointer,
            format!("the image has {} at {}, which is not this device", name(entry.mode), node.path),
        ));
    }
}

/// What is wrong with a mount's place, as earlier mounts leave it.
fn mount_point(bundle: &Path, mount: &Mount, index: usize, image: &Image) -> Option<String> {
    let options = options::parse(mount.options().as_deref().unwrap_or_default()).ok()?;
    if options.remount {
        return None;
    }
    let destination = mount.destination();
    let typ = mount.typ().as_deref().unwrap_or_default();
    let found = image.find_below(destination, index);
    if options.bind.is_none() && matches!(typ, "proc" | "sysfs") {
        let Lookup::Here(_) = found else { return None };
        if image.has_link(&plain(destination)) {
            // CVE-2019-19921: behind a link, another container could replace what the masks are put on.
            return Some(format!(
                "{} is or goes through a symbolic link of the image",
                destination.display()
            ));
        }
    }
    let Lookup::Here(entry) = found else { return None };
    let wants_directory = match (options.bind, mount.source()) {
        (None, _) if typ.is_empty() => return None,
        (None, _) => true,
        (Some(_), source) => bundle.join(source.as_ref()?).metadata().ok()?.is_dir(),
    };
    if entry.is(libc::S_IFDIR) == wants_directory {
        return None;
    }
    let (what, onto) =
        if wants_directory { ("a directory", name(entry.mode)) } else { ("a file", "a directory") };
    Some(format!("{what} cannot be mounted over {onto}, which {} is in the image", destination.display()))
}

fn name(mode: u32) -> &'static str {
    match mode & libc::S_IFMT {
        libc::S_IFREG => "a regular file",
        libc::S_IFDIR => "a directory",
        libc::S_IFCHR => "a character device",
        libc::S_IFBLK => "a block device",
        libc::S_IFIFO => "a named pipe",
        libc::S_IFSOCK => "a socket",
        libc::S_IFLNK => "a symbolic link",
        _ => "something",
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use serde_json::json;

    use super::*;

    fn found(namespaces: &serde_json::Value, host: Host, make: impl Fn(&Path)) -> Vec<String> {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("rootfs/opt")).unwrap();
        make(&dir.path().join("rootfs/opt/node"));
        let device = json!({"type": "c", "path": "/opt/node", "major": 1, "minor": 3});
        let map = json!([{"containerID": 0, "hostID": 0, "size": 1}]);
        let config = json!({
            "ociVersion": "1.2.0",
            "root": {"path": "rootfs"},
            "linux": {
                "namespaces": namespaces, "devices": [device], "uidMappings": map, "gidMappings": map,
            },
        });
        let bundle = Bundle::from_bytes(config.to_string().as_bytes(), dir.path()).unwrap();
        let image = Image::open(&dir.path().join("rootfs"), bundle.spec()).unwrap();
        let mut findings = Vec::new();
        check(&bundle, Some(host), &image, &mut findings);
        findings.into_iter().map(|finding| finding.message).collect()
    }

    #[test]
    fn the_place_of_a_node_that_is_bound_may_be_an_empty_file() {
        let (own, user) = (json!([{"type": "mount"}]), json!([{"type": "mount"}, {"type": "user"}]));
        let without = Host { initial_user_namespace: false, ..Host::of_root() };
        let refusal =
            |what: &str| vec![format!("the image has {what} at /opt/node, which is not this device")];
        let empty = |path: &Path| std::fs::write(path, "").unwrap();
        assert_eq!(found(&own, Host::of_root(), empty), refusal("a regular file"));
        assert_eq!(found(&user, Host::of_root(), empty), [""; 0]);
        assert_eq!(found(&own, without, empty), [""; 0]);
        for (namespaces, host) in [(&own, Host::of_root()), (&user, Host::of_root()), (&own, without)] {
            let full = |path: &Path| std::fs::write(path, "text").unwrap();
            assert_eq!(found(namespaces, host, full), refusal("a regular file"));
            let link = |path: &Path| symlink("/dev/null", path).unwrap();
            assert_eq!(found(namespaces, host, link), refusal("a symbolic link"));
            assert_eq!(found(namespaces, host, |_| ()), [""; 0]);
        }
    }
}
