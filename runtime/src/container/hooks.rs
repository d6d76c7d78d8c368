//! The hooks that the runtime itself runs, each kind at its point in a container's life.

use oci_spec::runtime::Spec;

use super::record::Record;
use crate::error::Result;
use crate::hook::{HookKind, HookPolicy, Watch, run_hooks, run_hooks_watching};
use crate::plan::hooks::HookState;

/// Runs the prestart and createRuntime hooks.
pub(super) fn run_runtime_hooks(spec: &Spec, record: &Record, pid: i32, watch: Watch<'_>) -> Result<()> {
    let state = state(spec, record, "creating", pid);
    [HookKind::Prestart, HookKind::CreateRuntime].into_iter().try_for_each(|kind| {
        let Some(hooks) = spec.hooks().as_ref() else { return Ok(()) };
        run_hooks_watching(kind, kind.of(hooks), &state, &record.bundle, watch)
    })
}

/// Runs the poststart hooks.
pub(super) fn run_poststart(record: &Record, spec: &Spec, watch: Watch<'_>) -> Result<()> {
    let (kind, Some(hooks)) = (HookKind::Poststart, spec.hooks().as_ref()) else { return Ok(()) };
    let state = state(spec, record, "running", record.init.map_or(0, |init| init.pid));
    run_hooks_watching(kind, kind.of(hooks), &state, &record.bundle, watch)
}

/// Runs the poststop hooks; a failure is a warning, and the rest still run (runtime.md, Lifecycle, step 13).
pub(super) fn run_poststop(record: &Record, spec: &Spec) -> Result<()> {
    let (kind, Some(hooks)) = (HookKind::Poststop, spec.hooks().as_ref()) else { return Ok(()) };
    let state = state(spec, record, "stopped", 0);
    run_hooks(kind, kind.of(hooks), &state, &record.bundle, HookPolicy::WarnAndGoOn)
}

/// The state document that the hooks get.
fn state(spec: &Spec, record: &Record, status: &'static str, pid: i32) -> Vec<u8> {
    HookState::new(spec, &record.id, &record.bundle.to_string_lossy(), status, pid).json()
}
