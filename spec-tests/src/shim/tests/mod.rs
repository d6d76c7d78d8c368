//! What a shim must do, by area.

mod bootstrap;
mod carried;
mod carried_clients;
mod checkpoint;
mod crashes;
mod events;
mod exec;
mod leaks;
mod lifecycle;
mod loggers;
mod options;
mod pods;
mod protocol;
mod resources;
mod rootfs;
mod sandbox_containers;
mod sandboxes;
mod streams;
mod watch;

use super::Test;

/// The tables of all areas.
pub const AREAS: &[&[Test]] = &[
    bootstrap::TESTS,
    protocol::TESTS,
    lifecycle::TESTS,
    rootfs::TESTS,
    exec::TESTS,
    watch::TESTS,
    streams::TESTS,
    carried::TESTS,
    carried_clients::TESTS,
    loggers::TESTS,
    resources::TESTS,
    options::TESTS,
    events::TESTS,
    pods::TESTS,
    sandboxes::TESTS,
    sandbox_containers::TESTS,
    checkpoint::TESTS,
    crashes::TESTS,
    leaks::TESTS,
];
