//! Moves devices into the container's namespace, and back if the creation fails.

use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use nix::errno::Errno;
use serde::{Deserialize, Serialize};

use super::device::{Device, DeviceKey, Link};
use super::{DeviceRequest, address, route};
use crate::error::{Error, ErrorKind, Result};
use crate::sys::namespace;
use crate::sys::netlink::{Attribute, Netlink, Packet, Refusal};

/// How many numbers to try for a device in a namespace where others make devices at the same time.
const TRIES: u32 = 16;

/// The devices of one creation.
#[derive(Debug)]
pub(crate) struct Handover {
    requests: Vec<DeviceRequest>,
    host: Netlink,
    container: Option<Netlink>,
    devices: Vec<Device>,
    /// How many of them may be in the container.
    begun: usize,
}

/// What is recorded before the first device is moved, for a clean-up if this process is killed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Intent {
    /// Device and inode number of the runtime's network namespace.
    host: (u64, u64),
    /// The path of the container's namespace, if it is not the container's alone.
    joined: Option<PathBuf>,
    devices: Vec<Device>,
}

impl Handover {
    /// Checks whether the devices exist, without changing anything. None if no device is asked for.
    pub(crate) fn prepare(requests: Vec<DeviceRequest>) -> Result<Option<Self>> {
        if requests.is_empty() {
            return Ok(None);
        }
        let host = Netlink::open()
            .map_err(|refusal| refused(refusal, "open the routing netlink").at("/linux/netDevices"))?;
        for request in &requests {
            find_on_host(&host, request)?;
        }
        Ok(Some(Self { requests, host, container: None, devices: Vec::new(), begun: 0 }))
    }

    /// Refuses the runtime's own namespace.
    pub(crate) fn refuse_own(path: &Path) -> Result<()> {
        let own = std::fs::metadata("/proc/thread-self/ns/net").map(|own| (own.dev(), own.ino()));
        match (std::fs::metadata(path).map(|joined| (joined.dev(), joined.ino())), own) {
            (Ok(joined), Ok(own)) if joined == own => Err(shared(&path.display().to_string())),
            // If it cannot be inspected now, joining it will fail.
            _ => Ok(()),
        }
    }

    /// Inspects the container's namespace, by the pidfd of its process: nothing may be in the way there. Records the
    /// devices, and returns what must be written down before they are moved.
    pub(crate) fn enter(&mut self, process: BorrowedFd<'_>, joined: Option<&Path>) -> Result<Intent> {
        let container = Netlink::open_in(process)
            .map_err(|refusal| refused(refusal, "open the routing netlink of the container"))?;
        let host = identity(self.host.namespace())?;
        if identity(container.namespace())? == host {
            return Err(shared("its network namespace"));
        }
        let container = self.container.insert(container);
        let mut taken: Vec<_> = Link::all(container)
            .map_err(|refusal| refused(refusal, "list the container's network devices"))?
            .into_iter()
            .map(|link| link.index)
            .collect();
        for request in &self.requests {
            let link = find_on_host(&self.host, request)?;
            refuse_clash(container, request)?;
            let mut device = Device::look(&self.host, request, link).map_err(|refusal| {
                refused(refusal, &format!("inspect network device {}", request.name)).at(request.pointer())
            })?;
            device.index_inside = free_index(device.index, &taken);
            taken.push(device.index_inside);
            self.devices.push(device);
        }
        Ok(Intent { host, joined: joined.map(Path::to_owned), devices: self.devices.clone() })
    }

    /// Moves the devices, configures them and brings them up. After a failure some may be in the container.
    pub(crate) fn carry_out(&mut self) -> Result<()> {
        let Some(container) = &self.container else { return Ok(()) };
        for device in &mut self.devices {
            self.begun += 1;
            let moved = move_in(&self.host, container, device);
            let context = |refusal, what: &str| {
                refused(refusal, &format!("{what} network device {}", device.request))
                    .at(device.request.pointer())
            };
            moved.map_err(|refusal| context(refusal, "move into the container"))?;
            let index = device.index_inside;
            let name = Link::find(container, DeviceKey::Index(index))
                .and_then(|link| link.ok_or_else(|| Errno::ENODEV.into()))
                .map_err(|refusal| context(refusal, "find in the container"))?
                .name;
            log::debug!("network device {} of the host is {name} in the container", device.request.name);
            let kept = address::in_order(&device.addresses).filter(|packet| address::is_kept(packet));
            for packet in kept {
                let request = address::request(packet, index, (&device.request.name, &name));
                add(container, request).map_err(|refusal| context(refusal, "add the addresses of"))?;
            }
            Link::change(container, index, Some(true), &[])
                .map_err(|refusal| context(refusal, "bring up"))?;
        }
        Ok(())
    }

    /// Gives the host back every moved device as it was. Failures are only warnings: this is the end of a creation that
    /// has already failed.
    pub(crate) fn give_back(&mut self) {
        let Some(container) = &self.container else { return };
        for device in self.devices[..self.begun].iter().rev() {
            let found = Link::find(container, DeviceKey::Index(device.index_inside));
            match found {
                Ok(Some(link)) if link.hardware == device.hardware => {
                    give_back(&self.host, Some(container), device, link.index);
                }
                // It was not moved, or is no longer there.
                Ok(_) => {}
                Err(refusal) => {
                    log::warn!(
                        "{}",
                        refused(refusal, &format!("look for network device {}", device.request))
                    );
                }
            }
        }
        self.begun = 0;
    }
}

impl Intent {
    /// Gives the host back the devices that an interrupted creation had moved: those in a namespace that outlives the
    /// container, and those that the kernel itself returned under another name when the namespace ended.
    pub(crate) fn undo(&self) {
        if let Err(error) = self.try_undo() {
            log::warn!("{error}");
        }
    }

    fn try_undo(&self) -> Result<()> {
        let host = Netlink::open().map_err(|refusal| refused(refusal, "open the routing netlink"))?;
        if identity(host.namespace())? != self.host {
            let names: Vec<_> = self.devices.iter().map(|device| device.request.name.as_str()).collect();
            return Err(Error::new(
                ErrorKind::System,
                format!(
                    "the network devices {} are not handed back, since they come from another network namespace",
                    names.join(", ")
                ),
            ));
        }
        let joined = self
            .joined
            .as_ref()
            .and_then(|path| namespace::open(path).ok())
            .and_then(|namespace| Netlink::open_in(namespace.as_fd()).ok());
        for device in self.devices.iter().rev() {
            let there =
                |refusal| refused(refusal, &format!("look for network device {}", device.request.name));
            if Link::find(&host, DeviceKey::Name(&device.request.name)).map_err(there)?.is_some() {
                continue;
            }
            let sought = |link: &Link| {
                link.hardware == device.hardware && link.index == device.index_inside || device.may_be(link)
            };
            let container = match &joined {
                Some(joined) => Link::all(joined).map_err(there)?.into_iter().find(sought),
                None => None,
            };
            if let (Some(link), Some(joined)) = (container, &joined) {
                give_back(&host, Some(joined), device, link.index);
            } else if let Some(link) =
                Link::all(&host).map_err(there)?.into_iter().find(|link| device.may_be(link))
            {
                give_back(&host, None, device, link.index);
            }
        }
        Ok(())
    }
}

fn refused(Refusal { errno, words }: Refusal, what: &str) -> Error {
    let error = Error::os(errno, what);
    match words {
        Some(words) if !words.is_empty() => error.with_hint(format!("the kernel says: {words}")),
        _ => match errno {
            Errno::EPERM => error.with_hint("it needs CAP_NET_ADMIN on the host and in the container"),
            Errno::EACCES => error.with_hint("IPv6 may be switched off there (net.ipv6.conf.*.disable_ipv6)"),
            _ => error,
        },
    }
}

/// The devices would be moved to where they already are.
pub(crate) fn shared(what: &str) -> Error {
    let what = format!(
        "cannot move network devices into the container: {what} is the runtime's own network namespace"
    );
    Error::invalid("/linux/netDevices", what)
}

fn identity(namespace: BorrowedFd<'_>) -> Result<(u64, u64)> {
    crate::sys::path::fstat(namespace.as_raw_fd())
        .map(|stat| (stat.st_dev, stat.st_ino))
        .map_err(|errno| Error::os(errno, "inspect a network namespace"))
}

fn find_on_host(host: &Netlink, request: &DeviceRequest) -> Result<Link> {
    let what = format!("find network device {}", request.name);
    match Link::find(host, DeviceKey::Name(&request.name)) {
        Ok(Some(link)) if link.name == request.name && link.stays() => Err(Error::invalid(
            request.pointer(),
            format!(
                "network device {} cannot be moved: the kernel ties it to its network namespace",
                request.name
            ),
        )),
        Ok(Some(link)) if link.name == request.name => Ok(link),
        // The host may know it by an alternative name, which would not be restored.
        Ok(_) => Err(Error::os(Errno::ENODEV, what)
            .at(request.pointer())
            .with_hint("no network device of the runtime's network namespace has this name")),
        Err(refusal) => Err(refused(refusal, &what).at(request.pointer())),
    }
}

/// Two devices in a namespace cannot have the same name; with a template the kernel chooses.
fn refuse_clash(container: &Netlink, request: &DeviceRequest) -> Result<()> {
    if request.is_template() {
        return Ok(());
    }
    let inside = request.name_inside();
    match Link::find(container, DeviceKey::Name(inside)) {
        Ok(None) => Ok(()),
        Ok(Some(_)) => Err(clash(request)),
        Err(refusal) => {
            Err(refused(refusal, &format!("look for network device {inside}")).at(request.pointer()))
        }
    }
}

/// The new name of a device is taken.
pub(crate) fn clash(request: &DeviceRequest) -> Error {
    let inside = request.name_inside();
    let what = format!("move network device {request}: the container has a network device {inside} already");
    Error::os(Errno::EEXIST, what)
        .at(request.pointer())
        .with_hint("a name like \"eth%d\" lets the kernel choose the number")
}

/// Names of the devices in a namespace, by entering it, which takes privileges.
pub(crate) fn names_in(namespace: BorrowedFd<'_>) -> Result<Vec<String>> {
    let what = "list network devices";
    let netlink = Netlink::open_in(namespace).map_err(|refusal| refused(refusal, what))?;
    let all = Link::all(&netlink).map_err(|refusal| refused(refusal, what))?;
    Ok(all.into_iter().map(|link| link.name).collect())
}

/// The device's number, or the lowest above all that are taken.
fn free_index(wished: u32, taken: &[u32]) -> u32 {
    if taken.contains(&wished) { taken.iter().max().map_or(1, |most| most + 1) } else { wished }
}

/// Moves a device; its new number may have been taken in the meantime.
fn move_in(host: &Netlink, container: &Netlink, device: &mut Device) -> Result<(), Refusal> {
    let mut tries = 0..TRIES;
    loop {
        match push(host, container, device.index, device.request.name_inside(), Some(device.index_inside)) {
            Err(Refusal { errno: Errno::EBUSY, .. }) if tries.next().is_some() => {
                let taken: Vec<_> = Link::all(container)?.into_iter().map(|link| link.index).collect();
                device.index_inside = free_index(device.index_inside, &taken);
            }
            done => return done,
        }
    }
}

/// Moves a device from one namespace to another, with a name, and a number if that matters (Linux 5.13).
fn push(from: &Netlink, to: &Netlink, index: u32, name: &str, new_index: Option<u32>) -> Result<(), Refusal> {
    let mut attributes = vec![
        Attribute::text(libc::IFLA_IFNAME, name),
        Attribute::number(libc::IFLA_NET_NS_FD, to.namespace().as_raw_fd() as u32),
    ];
    attributes.extend(new_index.map(|index| Attribute::number(libc::IFLA_NEW_IFINDEX, index)));
    Link::change(from, index, None, &attributes)
}

/// Brings a device home, from the container's namespace or from another name on the host, and restores it.
fn give_back(host: &Netlink, container: Option<&Netlink>, device: &Device, index: u32) {
    let home = match container {
        Some(container) => bring_home(host, container, device, index),
        None => rename(host, device, index).map(|()| index),
    };
    match home {
        Ok(index) => restore(host, device, index),
        Err(refusal) => {
            log::warn!("{}", refused(refusal, &format!("hand back network device {}", device.request.name)));
        }
    }
}

/// Older kernels can only rename a device that is down.
fn rename(host: &Netlink, device: &Device, index: u32) -> Result<(), Refusal> {
    Link::change(host, index, Some(false), &[])?;
    Link::change(host, index, None, &[Attribute::text(libc::IFLA_IFNAME, &device.request.name)])
}

/// Restores what a device lost in its moves.
fn restore(host: &Netlink, device: &Device, index: u32) {
    let warn = |refusal, what: &str| {
        log::warn!(
            "{}",
            refused(refusal, &format!("{what} network device {} of the host", device.request.name))
        );
    };
    if let Some(master) = device.master
        && let Err(refusal) = Link::change(host, index, None, &[Attribute::number(libc::IFLA_MASTER, master)])
    {
        warn(refusal, "give its bridge or bond back to");
    }
    let own = (device.request.name.as_str(), device.request.name.as_str());
    for packet in address::in_order(&device.addresses).filter(|packet| address::is_restored(packet)) {
        match add(host, address::request(packet, index, own)) {
            Ok(()) | Err(Refusal { errno: Errno::EEXIST, .. }) => {}
            Err(refusal) => warn(refusal, "restore an address of"),
        }
    }
    if device.up {
        if let Err(refusal) = Link::change(host, index, Some(true), &[]) {
            warn(refusal, "bring up");
        }
        for packet in route::in_order(&device.routes) {
            match add(host, route::request(packet, index)) {
                Ok(()) | Err(Refusal { errno: Errno::EEXIST, .. }) => {}
                Err(refusal) => warn(refusal, "restore a route of"),
            }
        }
    }
}

/// Moves a device back, with its old name and number unless they have been taken.
fn bring_home(host: &Netlink, container: &Netlink, device: &Device, index: u32) -> Result<u32, Refusal> {
    let name = &device.request.name;
    match push(container, host, index, name, Some(device.index)) {
        Ok(()) => return Ok(device.index),
        Err(Refusal { errno: Errno::EBUSY, .. }) => {
            push(container, host, index, name, None)?;
            let home = Link::find(host, DeviceKey::Name(name))?;
            return home.map(|link| link.index).ok_or_else(|| Errno::ENODEV.into());
        }
        Err(Refusal { errno: Errno::EEXIST, .. }) => {}
        Err(refusal) => return Err(refusal),
    }
    log::warn!("the host has another network device {name} now: the one from the container gets a new name");
    // The kernel moves first and then renames, so the device may already be home.
    match Link::find(host, DeviceKey::Index(device.index))? {
        Some(link) if link.hardware == device.hardware => {}
        _ => push(container, host, index, "dev%d", Some(device.index))?,
    }
    Ok(device.index)
}

fn add(netlink: &Netlink, request: Option<Packet>) -> Result<(), Refusal> {
    request.map_or(Err(Errno::EBADMSG.into()), |request| netlink.change(request, NLM_F_CREATE | NLM_F_EXCL))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_keeps_its_number_where_that_is_free() {
        assert_eq!(free_index(7, &[1, 2]), 7);
        assert_eq!(free_index(2, &[1, 2, 9]), 10);
    }

    #[test]
    fn nothing_is_done_without_a_wish() {
        assert!(Handover::prepare(Vec::new()).expect("nothing to fail").is_none());
    }

    #[test]
    fn a_device_that_is_not_there_is_named() {
        let request = DeviceRequest { name: "wharf-none".to_owned(), rename: None };
        let error = Handover::prepare(vec![request]).expect_err("no such device");
        assert_eq!(error.pointer(), Some("/linux/netDevices/wharf-none"));
        assert!(error.to_string().starts_with("find network device wharf-none: no such device"), "{error}");
    }

    #[test]
    fn the_own_namespace_is_refused_by_any_path() {
        for path in ["/proc/self/ns/net", "/proc/thread-self/ns/net"] {
            let error = Handover::refuse_own(Path::new(path)).expect_err("the own namespace");
            assert_eq!(error.pointer(), Some("/linux/netDevices"));
        }
        Handover::refuse_own(Path::new("/nonexistent")).expect("nothing to see");
    }
}
