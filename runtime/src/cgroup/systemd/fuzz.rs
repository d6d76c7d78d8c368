//! Names, annotations and messages for fuzz targets.

use std::collections::HashMap;
use std::hint::black_box;
use std::path::{Component, Path};

use super::instance::Instance;
use super::unit::{ScopeName, slice_path};
use super::{annotations, bus, properties, sub_group};

/// The text as the name of a scope, of a slice and of a sub group, and as the value of an annotation. Nothing leads out
/// of the tree of systemd.
pub(in super::super) fn names(text: &str) {
    let climbs = |path: &Path| path.components().any(|part| !matches!(part, Component::Normal(_)));
    if let Ok(name) = ScopeName::parse(Some(Path::new(text)), "fuzz", &Instance::System) {
        assert!(!climbs(&name.inside()), "the scope leads out");
        assert!(!name.unit().contains('/') && !name.slice().contains('/'), "a unit is a path");
    }
    assert!(slice_path(text).is_none_or(|path| !climbs(&path)), "the slice leads out");
    let given = |key: &str| HashMap::from([(key.to_owned(), text.to_owned())]);
    if let Ok(Some(name)) = sub_group::name(Some(&given(sub_group::ANNOTATION))) {
        assert!(!name.contains('/') && name != "..", "the sub group leads out");
    }
    for trusted in [false, true] {
        black_box(annotations::properties(&given("org.systemd.property.TimeoutStopUSec"), trusted).ok());
    }
    black_box(properties::in_force(text));
    black_box(bus::addresses(text));
}

/// A whole message, and what is in it.
pub(in super::super) fn bus(bytes: &[u8]) {
    let Ok(length) = bus::length(bytes) else { return };
    let Some(whole) = bytes.get(..length) else { return };
    if let Ok(message) = bus::decode(whole) {
        black_box(message.unmarshall_all().ok());
    }
}
