//! Statistics in containerd's form: one message for each version of cgroups.

/// The use of RDMA devices: the messages of both versions have the same fields and names.
macro_rules! rdma {
    ($stats:expr, $message:ident, $entry:ident) => {{
        let entries = |devices: &std::collections::BTreeMap<String, wharf::stats::RdmaStats>| {
            let entry = |(device, stats): (&String, &wharf::stats::RdmaStats)| {
                let mut entry = $entry::new();
                entry.device.clone_from(device);
                entry.hca_handles = stats.hca_handles;
                entry.hca_objects = stats.hca_objects;
                entry
            };
            devices.iter().map(entry).collect()
        };
        let mut rdma = $message::new();
        rdma.current = entries(&$stats.rdma_current);
        rdma.limit = entries(&$stats.rdma_limit);
        MessageField::some(rdma)
    }};
}

/// Fills fields of a message that have the kernel's own names.
macro_rules! by_name {
    ($message:ident, $numbers:expr, $($field:ident)+) => {
        $($message.$field = number($numbers, stringify!($field));)+
    };
}

mod v1;
mod v2;

use std::collections::BTreeMap;

use containerd_shim_protos::protobuf::well_known_types::any::Any;
use containerd_shim_protos::protobuf::{Message as _, Result};
use wharf::Stats;

/// The message for the host's version.
pub(crate) fn encode(stats: &Stats) -> Result<Any> {
    let mut any = Any::new();
    if stats.unified {
        "io.containerd.cgroups.v2.Metrics".clone_into(&mut any.type_url);
        any.value = v2::metrics(stats).write_to_bytes()?;
    } else {
        "io.containerd.cgroups.v1.Metrics".clone_into(&mut any.type_url);
        any.value = v1::metrics(stats).write_to_bytes()?;
    }
    Ok(any)
}

/// A number that the kernel reports by name; 0 if it does not.
fn number(numbers: &BTreeMap<String, u64>, name: &str) -> u64 {
    numbers.get(name).copied().unwrap_or(0)
}
