//! `delete`: removes a container.

use wharf::{ContainerId, Delete, Kind, Runtime, Status};

use crate::args::Call;
use crate::context::Context;
use crate::failure::Failure;
use crate::options::{ID, REGEX};
use crate::selection;
use crate::table::{Count, Opt, Verb};
use crate::texts;

/// Its line in the table.
pub(crate) const VERB: Verb = Verb {
    name: "delete",
    operands: ID,
    count: Count::Exactly(1),
    trailing: false,
    about: "delete a stopped container and everything that create made",
    details: "A container that is created but not started is killed and deleted as well.",
    options: &[
        Opt::switch("force", "kill the container first; no error if it does not exist").short('f'),
        Opt::switch(
            "strict",
            "refuse a container that is created but not started, as the specification wants",
        ),
        REGEX,
    ],
    enters_containers: false,
    run,
};

/// With --force, a container that does not exist counts as deleted.
fn run(context: &Context, call: &Call) -> Result<u8, Failure> {
    let runtime = context.runtime()?;
    let how = match (call.options.flag("force"), call.options.flag("strict")) {
        (true, true) => {
            return Err(Failure::usage(Some(call.verb), "--force and --strict contradict each other"));
        }
        (true, false) => Delete::Force,
        (false, true) => Delete::Strict,
        (false, false) => Delete::Stopped,
    };
    if call.options.flag("regex") {
        let expression = call.operand(0)?.unwrap_or_default();
        return selection::each(&runtime, expression, |id| delete(&runtime, id, how));
    }
    delete(&runtime, &call.id()?, how).map(|()| 0)
}

fn delete(runtime: &Runtime, id: &ContainerId, how: Delete) -> Result<(), Failure> {
    match runtime.delete(id, how) {
        Err(error) if error.kind() == Kind::NotFound && how == Delete::Force => Ok(()),
        Err(error) if error.kind() == Kind::WrongState => {
            match runtime.open(id).and_then(|container| container.state()) {
                Ok(state) if state.status != Status::Stopped => {
                    Err(Failure::new(texts::delete_not_stopped(id.as_str(), state.status)))
                }
                _ => Err(error.into()),
            }
        }
        other => other.map_err(Failure::from),
    }
}
