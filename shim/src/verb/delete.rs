//! `delete`: the end of a container.

use wharf::{Delete, Kind, Status};

use crate::args::Call;
use crate::context::Context;
use crate::failure::Failure;
use crate::texts;

/// With --force a container that does not exist is as good as deleted.
pub(crate) fn run(context: &Context, call: &Call) -> Result<u8, Failure> {
    let runtime = context.runtime()?;
    let id = call.id()?;
    let how = match (call.options.flag("force"), call.options.flag("strict")) {
        (true, true) => {
            return Err(Failure::usage(Some(call.verb), "--force and --strict contradict each other"));
        }
        (true, false) => Delete::Force,
        (false, true) => Delete::Strict,
        (false, false) => Delete::Stopped,
    };
    match runtime.delete(&id, how) {
        Err(error) if error.kind() == Kind::NotFound && how == Delete::Force => Ok(0),
        Err(error) if error.kind() == Kind::WrongState => {
            match runtime.open(&id).and_then(|container| container.state()) {
                Ok(state) if state.status != Status::Stopped => {
                    Err(Failure::new(texts::delete_not_stopped(id.as_str(), state.status)))
                }
                _ => Err(error.into()),
            }
        }
        other => other.map(|()| 0).map_err(Failure::from),
    }
}
