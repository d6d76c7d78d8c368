//! Shares of processor caches and memory bandwidth, through the resctrl file system (config-linux.md, `IntelRdt`; the
//! kernel's Documentation/filesystems/resctrl.rst).
//!
//! A class of service (CLOS) is a directory; its `schemata` says what its tasks get, and its `tasks` lists them. A
//! monitoring group is a directory below its `mon_groups`. Children inherit both, so one write adds a container.

mod group;
mod root;
pub(crate) mod schema;
mod stats;

use std::fmt;

use oci_spec::runtime::{Linux, LinuxIntelRdt};

pub(crate) use group::RdtMembership;
pub(crate) use root::find as find_root;
pub use stats::{CacheOccupancy, IntelRdtStats, L3CacheInfo, MemoryBandwidth, MemoryBandwidthInfo};

/// Directories that the kernel makes: no class of service can have their names.
const RESERVED: [&str; 3] = ["info", "mon_groups", "mon_data"];

/// Which class of service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Clos {
    /// The default one, the root of the file system.
    Default,
    /// One that the configuration names.
    Named(String),
    /// The container's own, named after its id.
    Own(String),
}

/// What a configuration asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GroupRequest {
    pub(crate) clos: Clos,
    pub(crate) schemata: Schemata,
    /// The name of the monitoring group, if one is wanted.
    pub(crate) monitor: Option<String>,
}

/// What is written to the file `schemata`, in this order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Schemata {
    pub(crate) l3: Option<String>,
    pub(crate) memory: Option<String>,
    pub(crate) lines: Vec<String>,
}

impl GroupRequest {
    /// Reads the configuration of the container with this id; none if it does not use resctrl.
    pub(crate) fn of(linux: Option<&Linux>, id: &str) -> Option<Self> {
        let rdt = linux?.intel_rdt().as_ref()?;
        Some(Self {
            clos: match given(rdt.clos_id().as_ref()).as_deref() {
                None => Clos::Own(id.to_owned()),
                Some("/") => Clos::Default,
                Some(name) => Clos::Named(name.to_owned()),
            },
            schemata: Schemata::of(rdt),
            monitor: rdt.enable_monitoring().unwrap_or(false).then(|| id.to_owned()),
        })
    }
}

/// Callers write an empty text if they mean none.
fn given(text: Option<&String>) -> Option<String> {
    text.filter(|text| !text.is_empty()).cloned()
}

impl Schemata {
    /// Reads the configuration.
    pub(crate) fn of(rdt: &LinuxIntelRdt) -> Self {
        Self {
            l3: given(rdt.l3_cache_schema().as_ref()),
            memory: given(rdt.mem_bw_schema().as_ref()),
            lines: rdt.schemata().clone().unwrap_or_default(),
        }
    }

    /// Whether there is nothing to write.
    pub(crate) fn is_empty(&self) -> bool {
        self.l3.is_none() && self.memory.is_none() && self.lines.is_empty()
    }

    /// The writes, each with the property that asks for it. They are separate: the kernel refuses a write that names a
    /// resource twice, and `schemata` may override the others.
    fn writes(&self) -> Vec<(&'static str, String)> {
        let line = |property, text: &String| (property, format!("{text}\n"));
        let lines: String = self.lines.iter().flat_map(|line| [line, "\n"]).collect();
        self.l3
            .iter()
            .map(|text| line("l3CacheSchema", text))
            .chain(self.memory.iter().map(|text| line("memBwSchema", text)))
            .chain((!lines.is_empty()).then_some(("schemata", lines)))
            .collect()
    }
}

impl fmt::Display for GroupRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.clos {
            Clos::Default => f.write_str("put the process into the default resctrl group")?,
            Clos::Named(name) | Clos::Own(name) => write!(f, "put the process into resctrl group {name}")?,
        }
        for (_, text) in self.schemata.writes() {
            write!(f, ", with {}", text.trim_end().replace('\n', " "))?;
        }
        if let Some(name) = &self.monitor {
            write!(f, ", and into its monitoring group {name}")?;
        }
        Ok(())
    }
}

/// Checks whether a class of service can have this name; the error says why not.
pub(crate) fn check_name(name: &str) -> Result<(), String> {
    if name.contains('/') {
        Err(format!("{name:?} has a slash; only \"/\" alone, the default class, may"))
    } else if RESERVED.contains(&name) {
        Err(format!("{name:?} is a directory of the kernel's in every resctrl file system"))
    } else if name == "." || name == ".." || name.len() > 255 || name.contains(['\n', '\0']) {
        Err(format!("{name:?} cannot be the name of a resctrl group"))
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(rdt: serde_json::Value) -> GroupRequest {
        let linux: Linux =
            serde_json::from_value(serde_json::json!({"intelRdt": rdt})).expect("a valid object");
        GroupRequest::of(Some(&linux), "web").expect("an object that is there")
    }

    #[test]
    fn nothing_is_asked_for_without_the_property() {
        assert_eq!(GroupRequest::of(None, "web"), None);
        assert_eq!(GroupRequest::of(Some(&Linux::default()), "web"), None);
    }

    #[test]
    fn the_class_of_service_is_the_named_one_or_the_containers() {
        assert_eq!(request(serde_json::json!({})).clos, Clos::Own("web".to_owned()));
        assert_eq!(request(serde_json::json!({"closID": ""})).clos, Clos::Own("web".to_owned()));
        assert_eq!(request(serde_json::json!({"closID": "/"})).clos, Clos::Default);
        assert_eq!(request(serde_json::json!({"closID": "gold"})).clos, Clos::Named("gold".to_owned()));
        assert_eq!(request(serde_json::json!({"enableMonitoring": true})).monitor.as_deref(), Some("web"));
        assert_eq!(request(serde_json::json!({"enableMonitoring": false})).monitor, None);
    }

    #[test]
    fn writes_are_in_the_order_of_the_specification() {
        let all = request(serde_json::json!({
            "schemata": ["L2:0=f", "MB:0=30"], "memBwSchema": "MB:0=20", "l3CacheSchema": "L3:0=f",
        }));
        assert_eq!(
            all.schemata.writes(),
            [
                ("l3CacheSchema", "L3:0=f\n".to_owned()),
                ("memBwSchema", "MB:0=20\n".to_owned()),
                ("schemata", "L2:0=f\nMB:0=30\n".to_owned())
            ]
        );
        assert_eq!(
            all.to_string(),
            "put the process into resctrl group web, with L3:0=f, with MB:0=20, with L2:0=f MB:0=30"
        );
        assert!(
            request(serde_json::json!({"closID": "gold", "l3CacheSchema": "", "schemata": []}))
                .schemata
                .is_empty()
        );
        let monitored = request(serde_json::json!({"closID": "/", "enableMonitoring": true}));
        assert_eq!(
            monitored.to_string(),
            "put the process into the default resctrl group, and into its monitoring group web"
        );
    }

    #[test]
    fn names_stay_inside_the_file_system() {
        for good in ["gold", "a-b_c.1", "...", "infos"] {
            assert_eq!(check_name(good), Ok(()), "{good}");
        }
        for bad in ["a/b", "/a", "//", "..", ".", "info", "mon_groups", "mon_data", "a\nb", "a\0"] {
            assert!(check_name(bad).is_err(), "{bad:?}");
        }
        assert!(check_name(&"x".repeat(256)).is_err());
    }
}
