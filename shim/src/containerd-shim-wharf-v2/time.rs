//! Points in time, in protobuf's form.

use std::time::{SystemTime, UNIX_EPOCH};

use containerd_shim_protos::protobuf::well_known_types::timestamp::Timestamp;

/// The protocol's zero time, January 1 of the year 1: it has not happened.
pub(crate) fn never() -> Timestamp {
    let mut timestamp = Timestamp::new();
    timestamp.seconds = -62_135_596_800;
    timestamp
}

/// Now.
pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut timestamp = Timestamp::new();
    timestamp.seconds = since.as_secs() as i64;
    timestamp.nanos = since.subsec_nanos() as i32;
    timestamp
}
