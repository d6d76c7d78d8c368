//! Faults: killed runtimes, broken state, full disks, strange surroundings. After each the host must be clean again.

use crate::Test;

mod agent;
mod calls;
mod freeze;
mod hangs;
mod interrupted;
mod peers;
mod profiles;
mod state;
mod surroundings;

/// All faults.
pub const AREAS: &[&[Test]] = &[
    calls::TESTS,
    freeze::TESTS,
    hangs::TESTS,
    interrupted::TESTS,
    peers::TESTS,
    profiles::TESTS,
    state::TESTS,
    surroundings::TESTS,
];
