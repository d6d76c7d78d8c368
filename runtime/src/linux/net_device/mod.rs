//! Host network devices that become the container's (config-linux.md, Network Devices).
//!
//! The kernel moves a device in one step, with a new name if asked, and closes it: it loses its addresses and routes,
//! and keeps everything else. So the parent inspects it first, moves it, adds the permanent global addresses again as
//! they were, and brings the device up. From then on it is the container's, and the runtime does not touch it.
//!
//! Until the creation is complete, everything can be undone: the parent holds the container's namespace open, so the
//! device outlives the container's processes, and is returned with its name, number, addresses, routes and state.

mod address;
mod device;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzz;
mod handover;
mod route;

use std::fmt;

use oci_spec::runtime::Linux;
use serde::{Deserialize, Serialize};

use crate::finding::escape;

pub(crate) use handover::{Handover, Intent, clash, names_in, shared};

/// A device to move.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DeviceRequest {
    /// Its name in the runtime's network namespace.
    pub(crate) name: String,
    /// Its name in the container's namespace, or a template for one (`eth%d`); none if it keeps its name.
    pub(crate) rename: Option<String>,
}

impl DeviceRequest {
    /// The name, or template, in the container.
    pub(crate) fn name_inside(&self) -> &str {
        self.rename.as_deref().unwrap_or(&self.name)
    }

    /// Whether the kernel chooses the name.
    pub(crate) fn is_template(&self) -> bool {
        self.name_inside().contains('%')
    }

    /// The property that asks for it.
    fn pointer(&self) -> String {
        format!("/linux/netDevices/{}", escape(&self.name))
    }
}

impl fmt::Display for DeviceRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.rename {
            Some(inside) => write!(f, "{} as {inside}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

/// The devices that a configuration names, by name. Callers write an empty new name for none.
pub(crate) fn requests(linux: Option<&Linux>) -> Vec<DeviceRequest> {
    let mut all: Vec<_> = linux
        .and_then(|linux| linux.net_devices().as_ref())
        .into_iter()
        .flatten()
        .map(|(name, device)| DeviceRequest {
            name: name.clone(),
            rename: device.name().clone().filter(|inside| !inside.is_empty() && inside != name),
        })
        .collect();
    all.sort_by(|a, b| a.name.cmp(&b.name));
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wishes_are_sorted_and_an_empty_or_equal_name_is_none() {
        let linux: Linux = serde_json::from_value(serde_json::json!({"netDevices": {
            "veth1": {"name": "eth%d"}, "eth0": {}, "a": {"name": ""}, "b": {"name": "b"},
        }}))
        .expect("a valid object");
        let all = requests(Some(&linux));
        let words: Vec<_> = all.iter().map(ToString::to_string).collect();
        assert_eq!(words, ["a", "b", "eth0", "veth1 as eth%d"]);
        assert_eq!(
            all.iter().map(DeviceRequest::is_template).collect::<Vec<_>>(),
            [false, false, false, true]
        );
        assert_eq!(requests(None), []);
        assert_eq!(
            DeviceRequest { name: "a~b".to_owned(), rename: None }.pointer(),
            "/linux/netDevices/a~0b",
            "RFC 6901"
        );
    }
}
