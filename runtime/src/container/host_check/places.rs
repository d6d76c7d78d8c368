//! Places of the image for mounts and device nodes: what is there must be of the kind that is put there.

use std::path::Path;

use oci_spec::runtime::Mount;

use super::image::{Found, Image, plain};
use crate::bundle::Bundle;
use crate::check::finding::Finding;
use crate::linux::device;
use crate::linux::mount::options;
use crate::linux::namespace::Namespaces;
use crate::plan::mounts_of;

pub(super) fn check(bundle: &Bundle, image: &Image, findings: &mut Vec<Finding>) {
    let spec = bundle.spec();
    // Without a mount namespace of its own nothing is mounted for the container.
    if !Namespaces::of(spec.linux().as_ref()).mount.is_own() {
        return;
    }
    let listed = spec.mounts().is_some();
    for (index, mount) in mounts_of(spec).iter().enumerate() {
        let pointer = if listed { format!("/mounts/{index}/destination") } else { "/mounts".to_owned() };
        findings
            .extend(mount_point(bundle.dir(), mount, index, image).map(|what| Finding::error(pointer, what)));
    }
    let configured = spec.linux().as_ref().and_then(|linux| linux.devices().as_ref());
    for node in device::nodes(configured) {
        let path = Path::new(&node.path);
        let Found::Here(entry) = image.find(path) else { continue };
        let kind = node.mode & libc::S_IFMT;
        if image.has_link(&plain(path))
            || (entry.is(kind) && (kind == libc::S_IFIFO || entry.device == node.device))
        {
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

/// What is wrong with the place of a mount, as the mounts before it leave it.
fn mount_point(bundle: &Path, mount: &Mount, index: usize, image: &Image) -> Option<String> {
    let options = options::parse(mount.options().as_deref().unwrap_or_default()).ok()?;
    if options.remount {
        return None;
    }
    let destination = mount.destination();
    let typ = mount.typ().as_deref().unwrap_or_default();
    let found = image.find_below(destination, index);
    if options.bind.is_none() && matches!(typ, "proc" | "sysfs") {
        let Found::Here(_) = found else { return None };
        if image.has_link(&plain(destination)) {
            // CVE-2019-19921: behind a link another container could exchange what the masks are put on.
            return Some(format!(
                "{} is or goes through a symbolic link of the image",
                destination.display()
            ));
        }
    }
    let Found::Here(entry) = found else { return None };
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
        _ => "something",
    }
}
