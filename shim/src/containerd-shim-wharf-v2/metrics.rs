//! Statistics as containerd has them: a message for each version of cgroups.

mod v1;
mod v2;

use containerd_shim_protos::protobuf::well_known_types::any::Any;
use containerd_shim_protos::protobuf::{Message as _, Result};
use wharf::Stats;

/// The message for the version that the host has.
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
