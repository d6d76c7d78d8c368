//! Faults: killed runtimes, broken state, full disks, strange surroundings. After each the host must be clean again.

use crate::Test;

mod interrupted;
mod state;
mod surroundings;

/// All faults.
pub const AREAS: &[&[Test]] = &[interrupted::TESTS, state::TESTS, surroundings::TESTS];
