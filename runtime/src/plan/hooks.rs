//! The child's hooks: createContainer and startContainer.

use oci_spec::runtime::{Hook, Spec};
use serde::Serialize;

use super::Request;
use crate::program::blame::{Blame, Place};
use crate::program::{ChildHook, List, Op, Program, Text};

/// The state document that hooks get on standard input (runtime.md, State).
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct HookState<'s> {
    pub(crate) oci_version: &'s str,
    pub(crate) id: &'s str,
    pub(crate) status: &'static str,
    pub(crate) pid: i32,
    pub(crate) bundle: &'s str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) annotations: Option<std::collections::BTreeMap<&'s str, &'s str>>,
}

impl<'s> HookState<'s> {
    /// The state of a container.
    pub(crate) fn new(spec: &'s Spec, id: &'s str, bundle: &'s str, status: &'static str, pid: i32) -> Self {
        let annotations = spec
            .annotations()
            .as_ref()
            .map(|all| all.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect());
        Self { oci_version: spec.version(), id, status, pid, bundle, annotations }
    }

    /// The document.
    pub(crate) fn json(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }
}

/// A placeholder for the pid, which only the child knows.
const PID_MARK: i32 = i32::MIN;

/// Stores the state document in two parts around the pid.
fn store_state(
    program: &mut Program,
    spec: &Spec,
    request: &Request<'_>,
    status: &'static str,
) -> (Text, Text) {
    let bundle = request.bundle.to_string_lossy();
    let document = HookState::new(spec, request.id, &bundle, status, PID_MARK).json();
    let mark = PID_MARK.to_string();
    let at = document.windows(mark.len()).position(|window| window == mark.as_bytes()).unwrap_or(0);
    (program.text(&document[..at]), program.text(&document[at + mark.len()..]))
}

/// What hooks of one kind get from the container.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct HookContext {
    /// The environment of a hook whose `env` is absent; without one it is empty.
    pub(crate) env: Option<List>,
    /// The seccomp filter, with its flags.
    pub(crate) filter: Option<(Text, u32)>,
}

/// The step that runs the child's hooks of one kind, if there are any. `status` is the container's in the state
/// document; `kind` is the place of the hooks in the configuration, and what the step does.
pub(crate) fn plan(
    program: &mut Program,
    spec: &Spec,
    request: &Request<'_>,
    hooks: Option<&Vec<Hook>>,
    status: &'static str,
    (base, verb): (&'static str, &'static str),
    around: HookContext,
) {
    let hooks = hooks.map(Vec::as_slice).unwrap_or_default();
    if hooks.is_empty() {
        return;
    }
    let state = store_state(program, spec, request, status);
    let first = program.hooks.len() as u16;
    for hook in hooks {
        let path = program.text(hook.path().as_os_str().as_encoded_bytes());
        let own_name = [hook.path().to_string_lossy().into_owned()];
        let args = hook.args().as_deref().filter(|args| !args.is_empty()).unwrap_or(&own_name);
        let argv = program.list(args, 0);
        let envp = match (hook.env(), around.env) {
            (None, Some(env)) => env,
            (env, _) => program.list(env.as_deref().unwrap_or_default(), 0),
        };
        let timeout = hook
            .timeout()
            .map_or(-1, |seconds| i32::try_from(seconds.saturating_mul(1000)).unwrap_or(i32::MAX));
        program.hooks.push(ChildHook { path, argv, envp, timeout, filter: around.filter });
    }
    program.push(Op::Hooks { first, count: hooks.len() as u16, state }, Blame::new(verb, Place::of(base)));
}
