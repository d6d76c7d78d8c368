//! Cgroups that systemd makes: one transient scope for each container.
//!
//! Where systemd runs, it owns the cgroup tree (systemd's "Control Group APIs and Delegation"): other programs ask it
//! for a scope with `Delegate=yes`. A scope is born with its processes, so the order differs from that of cgroupfs. The
//! container's process is made first and waits. Then systemd is asked, in one call, for a scope with all limits and
//! with the process. On cgroup version 2 the process moves on into a group below the scope, which has the same limits
//! and is the container's cgroup. The files without a property are written, and everything else is written again,
//! exactly; then the process goes on. Limits and device rules are properties as well as files, so that systemd, which
//! may write them again at any time (`systemctl daemon-reload`), writes the same.
//!
//! | file | idea |
//! |---|---|
//! | `unit` | `slice:prefix:name` to the scope and its place |
//! | `properties`, `device_policy` | cgroup files and device rules as properties |
//! | `sub_group` | what of the scope's cgroup is the container's |
//! | `annotations` | `org.systemd.property.*` |
//! | `value` | what properties consist of |
//! | `instance` | which systemd: that of the system or that of a user |
//! | `endpoint`, `bus`, `manager` | where it is reached, and the conversation (feature `systemd`) |

mod annotations;
#[cfg(feature = "systemd")]
mod bus;
mod device_policy;
#[cfg(feature = "systemd")]
mod endpoint;
#[cfg(feature = "fuzzing")]
pub(super) mod fuzz;
mod instance;
#[cfg(feature = "systemd")]
mod manager;
#[cfg(not(feature = "systemd"))]
#[path = "no_manager.rs"]
mod manager;
mod properties;
pub(super) mod sub_group;
mod unit;
mod value;

use std::collections::HashMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

pub(crate) use self::annotations::PREFIX as ANNOTATION_PREFIX;
pub(crate) use self::instance::Instance;
pub(super) use self::instance::refuse_on_v1;
pub(crate) use self::manager::Manager;
pub(super) use self::properties::{DEFAULT_PERIOD, in_force};
pub(super) use self::unit::{ScopeName, slice_path};
use super::devices::Rule;
use super::settings::Setting;
use value::{Property, PropertyValue};

/// A planned scope: everything that systemd is told, except the process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ScopePlan {
    /// The name of the unit, and who manages it.
    pub(crate) record: ScopeRecord,
    properties: Vec<Property>,
}

/// A scope that exists.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ScopeRecord {
    /// For example `docker-0123.scope`.
    pub(crate) unit: String,
    /// Who manages it.
    pub(crate) instance: Instance,
}

impl ScopePlan {
    /// What systemd will be told.
    pub(super) fn new(
        name: &ScopeName,
        id: &str,
        instance: Instance,
        settings: &[Setting],
        rules: &[Rule],
        annotations: Vec<Property>,
    ) -> Self {
        let text = |text: &str| PropertyValue::Str(text.to_owned());
        let mut properties = vec![
            Property::new("Description", PropertyValue::Str(format!("wharf container {id}"))),
            Property::new("Slice", text(name.slice())),
            Property::new("Delegate", PropertyValue::Bool(true)),
            Property::new("DefaultDependencies", PropertyValue::Bool(false)),
            // A unit that failed (a process was killed for lack of memory) is forgotten like any other.
            Property::new("CollectMode", text("inactive-or-failed")),
        ];
        // The statistics need these controllers too.
        for accounting in ["CPUAccounting", "MemoryAccounting", "IOAccounting", "TasksAccounting"] {
            properties.push(Property::new(accounting, PropertyValue::Bool(true)));
        }
        properties.extend(properties::of(settings, DEFAULT_PERIOD));
        properties.extend(device_policy::of(rules));
        for property in annotations {
            properties.retain(|other| other.name != property.name);
            properties.push(property);
        }
        Self { record: ScopeRecord { unit: name.unit().to_owned(), instance }, properties }
    }

    /// Makes the scope with a process in it.
    pub(crate) fn start(&self, manager: &mut Manager, pid: i32) -> crate::Result<()> {
        let pids = PropertyValue::Array("u", vec![PropertyValue::U32(pid.cast_unsigned())]);
        let mut properties = self.properties.clone();
        properties.push(Property::new("PIDs", pids));
        manager.start_scope(&self.record.unit, &properties)
    }
}

impl ScopeRecord {
    /// Changes the limits that have properties, until the next boot.
    pub(super) fn update(&self, settings: &[Setting], period: u64) -> crate::Result<()> {
        let properties = properties::of(settings, period);
        if properties.is_empty() {
            return Ok(());
        }
        Manager::connect(&self.instance, None)?.set_properties(&self.unit, &properties)
    }

    /// Changes the device rules, until the next boot.
    pub(super) fn update_devices(&self, rules: &[Rule]) -> crate::Result<()> {
        // A list is added to the existing one; an empty one removes everything first.
        let mut properties = vec![Property::new("DeviceAllow", PropertyValue::Array("(ss)", Vec::new()))];
        properties.extend(device_policy::of(rules));
        Manager::connect(&self.instance, None)?.set_properties(&self.unit, &properties)
    }

    /// Moves a process into the scope, into a cgroup relative to that of the unit.
    pub(crate) fn attach(&self, inside: &Path, pid: i32) -> crate::Result<()> {
        Manager::connect(&self.instance, None)?.attach(&self.unit, inside, pid)
    }

    /// Removes the scope; its processes must be dead or dying.
    pub(super) fn stop(&self) -> crate::Result<()> {
        Manager::connect(&self.instance, None)?.stop(&self.unit)
    }
}

/// The properties that a container's annotations ask for.
///
/// Those that only say how its own unit ends are always honoured. Others can run programs or shut the machine down
/// (CVE-2024-3154), and the author of the annotations need not be trusted that far: `trusted` says that they are.
pub(super) fn annotated(
    annotations: Option<&HashMap<String, String>>,
    trusted: bool,
) -> crate::Result<Vec<Property>> {
    annotations.map_or_else(|| Ok(Vec::new()), |all| annotations::properties(all, trusted))
}
