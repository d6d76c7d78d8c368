//! Attacks: how an image, a volume or a running container tries to reach the host. Each is a published flaw of a
//! runtime.

use crate::Test;

mod capabilities;
mod checkpoint;
mod exec;
mod host_mounts;
mod host_nodes;
mod image;
mod leaks;
mod lookups;
mod mounts;
mod removal;
mod removal_races;
mod users;
pub(crate) mod watch;

/// All attacks.
pub const AREAS: &[&[Test]] = &[
    image::TESTS,
    exec::TESTS,
    leaks::TESTS,
    watch::TESTS,
    host_mounts::TESTS,
    host_nodes::TESTS,
    checkpoint::TESTS,
    mounts::TESTS,
    removal::TESTS,
    removal_races::TESTS,
    lookups::TESTS,
    users::TESTS,
    capabilities::TESTS,
];
