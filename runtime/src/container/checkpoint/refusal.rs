//! What criu cannot save, or not restore as it was.

use oci_spec::runtime::Spec;

use crate::error::{Error, ErrorKind, Result};
use crate::host::Host;
use crate::linux::mount::added::AddedMount;
use crate::linux::namespace::{Namespaces, Origin};
use crate::linux::seccomp::Listener;
use crate::plan::mount::entry::Entry;
use crate::program::blame::Place;

/// criu makes processes with arbitrary ids and inspects all of them.
pub(crate) fn refuse_without_root() -> Result<()> {
    if Host::probe()?.is_rootless() {
        return Err(Error::new(ErrorKind::Unsupported, "checkpoint and restore need root of the host"));
    }
    Ok(())
}

/// A restore makes only the configuration's mounts, and takes no others from the images.
pub(super) fn refuse_added_mounts(added: &[AddedMount]) -> Result<()> {
    let Some(mount) = added.first() else { return Ok(()) };
    let sentence = format!("a mount was added on {} in the container", mount.destination.display());
    Err(Error::new(ErrorKind::Unsupported, format!("{sentence}, which a restore would not bring back"))
        .with_hint("remove it first"))
}

/// Refuses what criu could not save, or could not restore as it was.
pub(crate) fn refuse_what_cannot_be_saved(spec: &Spec) -> Result<()> {
    let linux = spec.linux().as_ref();
    let namespaces = Namespaces::of(linux);
    let refuse = |what: &str, pointer: &str| {
        Err(Error::new(
            ErrorKind::Unsupported,
            format!("a container {what} cannot be checkpointed or restored"),
        )
        .at(pointer))
    };
    if !namespaces.mount.is_new() {
        return refuse("without a mount namespace of its own", "/linux/namespaces");
    }
    for (origin, name) in
        [(&namespaces.user, "user"), (&namespaces.cgroup, "cgroup"), (&namespaces.time, "time")]
    {
        if let Origin::Joined(_, index) = origin {
            return refuse(&format!("that joined a {name} namespace"), &format!("/linux/namespaces/{index}"));
        }
    }
    // In a joined namespace they stay where they are, whatever becomes of the container.
    let stay = matches!(namespaces.network, Origin::Joined(..));
    if !stay
        && linux.and_then(|linux| linux.net_devices().as_ref()).is_some_and(|devices| !devices.is_empty())
    {
        return refuse(
            "with network devices of the host in a network namespace of its own",
            "/linux/netDevices",
        );
    }
    if linux.is_some_and(|linux| linux.intel_rdt().is_some()) {
        return refuse("in a resctrl group", "/linux/intelRdt");
    }
    for (index, mount) in spec.mounts().iter().flatten().enumerate() {
        // criu would mount them without the map.
        let maps = [mount.uid_mappings(), mount.gid_mappings()];
        let mapped =
            Entry::new(mount, Place::item("/mounts", index)).is_ok_and(|entry| entry.options.idmap.is_some());
        if mapped || maps.into_iter().flatten().any(|map| !map.is_empty()) {
            return refuse("with an id-mapped mount", &format!("/mounts/{index}"));
        }
    }
    let seccomp = linux.and_then(|linux| linux.seccomp().as_ref());
    if seccomp.is_some_and(|seccomp| Listener::of(seccomp).is_some()) {
        return refuse("with a seccomp listener", "/linux/seccomp/listenerPath");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(linux: serde_json::Value) -> Option<String> {
        let spec: Spec = serde_json::from_value(serde_json::json!({"ociVersion": "1.2.0", "linux": linux}))
            .expect("valid");
        refuse_what_cannot_be_saved(&spec).err().and_then(|error| error.pointer().map(str::to_owned))
    }

    #[test]
    fn what_criu_cannot_bring_back_is_refused_by_name() {
        let mount = serde_json::json!({"type": "mount"});
        assert_eq!(refused(serde_json::json!({})).as_deref(), Some("/linux/namespaces"));
        assert_eq!(refused(serde_json::json!({"namespaces": [mount]})), None);
        let joined = serde_json::json!({"namespaces": [mount, {"type": "user", "path": "/u"}]});
        assert_eq!(refused(joined).as_deref(), Some("/linux/namespaces/1"));
        let network = serde_json::json!({"namespaces": [mount, {"type": "network", "path": "/n"}]});
        assert_eq!(refused(network), None);
    }
}
