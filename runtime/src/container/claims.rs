//! What a creation takes from the host besides cgroups: network devices, and membership of resctrl groups.

use std::os::fd::BorrowedFd;
use std::path::Path;

use oci_spec::runtime::Spec;

use super::store::Directory;
use crate::error::{Error, Result};
use crate::linux::intel_rdt::{self, RdtMembership};
use crate::linux::namespace::Namespaces;
use crate::linux::net_device::{self, Handover};

/// The claims of one creation. Finding them changes nothing; all can be undone.
#[derive(Debug, Default)]
pub(super) struct Claims {
    devices: Option<Handover>,
    rdt: Option<(intel_rdt::GroupRequest, RdtMembership)>,
}

impl Claims {
    /// Checks whether the host has what the configuration claims. `resctrl` is where that file system is mounted, if
    /// the caller knows.
    pub(super) fn find(spec: &Spec, id: &str, resctrl: Option<&Path>) -> Result<Self> {
        Ok(Self { devices: find_devices(spec)?, rdt: find_rdt(spec, id, resctrl)? })
    }

    /// Everything that is missing.
    pub(super) fn missing(spec: &Spec, resctrl: Option<&Path>) -> Vec<Error> {
        // No container can have this id.
        let id = "?";
        let devices = net_device::requests(spec.linux().as_ref())
            .into_iter()
            .filter_map(|request| Handover::prepare(vec![request]).err());
        let shared = refuse_own_network(spec).err();
        shared.into_iter().chain(devices).chain(find_rdt(spec, id, resctrl).err()).collect()
    }

    /// The resctrl groups, for the record.
    pub(super) fn membership(&self) -> Option<RdtMembership> {
        self.rdt.as_ref().map(|(_, membership)| membership.clone())
    }

    /// Moves the network devices into a process' namespace, with a note for a later clean-up.
    pub(super) fn move_devices(
        &mut self,
        spec: &Spec,
        directory: &Directory,
        process: BorrowedFd<'_>,
    ) -> Result<()> {
        let Some(devices) = &mut self.devices else { return Ok(()) };
        let namespaces = Namespaces::of(spec.linux().as_ref());
        let intent = devices.enter(process, namespaces.network.joined())?;
        directory.note_devices(&intent)?;
        devices.carry_out()
    }

    /// Makes the missing resctrl groups, and moves a process into them.
    pub(super) fn join_rdt(&mut self, pid: i32) -> Result<()> {
        let Some((request, membership)) = &mut self.rdt else { return Ok(()) };
        membership.make_clos(request)?;
        membership.write(&request.schemata)?;
        membership.make_monitor()?;
        membership.assign(pid)
    }

    /// The creation is complete: the claims now belong to the container.
    pub(super) fn keep(&self, directory: &Directory) {
        if self.devices.is_some() {
            directory.forget_devices();
        }
    }

    /// The creation has failed: gives everything back to the host.
    pub(super) fn undo(&mut self) {
        if let Some(devices) = &mut self.devices {
            devices.give_back();
        }
        if let Some((_, membership)) = &mut self.rdt {
            membership.undo();
        }
    }
}

fn find_devices(spec: &Spec) -> Result<Option<Handover>> {
    refuse_own_network(spec)?;
    Handover::prepare(net_device::requests(spec.linux().as_ref()))
}

fn refuse_own_network(spec: &Spec) -> Result<()> {
    let linux = spec.linux().as_ref();
    match Namespaces::of(linux).network.joined() {
        Some(path) if !net_device::requests(linux).is_empty() => Handover::refuse_own(path),
        _ => Ok(()),
    }
}

fn find_rdt(
    spec: &Spec,
    id: &str,
    resctrl: Option<&Path>,
) -> Result<Option<(intel_rdt::GroupRequest, RdtMembership)>> {
    let Some(request) = intel_rdt::GroupRequest::of(spec.linux().as_ref(), id) else { return Ok(None) };
    let membership = match resctrl {
        Some(root) => RdtMembership::prepare(&request, root)?,
        None => RdtMembership::prepare(&request, &intel_rdt::find_root()?)?,
    };
    Ok(Some((request, membership)))
}
