//! `delete`: removes a container.

use wharf::{ContainerId, Delete, ErrorKind, Runtime, Status};

use crate::cli::options::{ID, REGEX};
use crate::cli::{Call, Context, Count, Opt, Verb};
use crate::failure::{Failure, hints, refused, texts};
use crate::selection;

/// Its line in the table.
pub(crate) const VERB: Verb = Verb::new(
    "delete",
    ID,
    Count::Exactly(1),
    "delete a stopped container and everything that create made",
    run,
)
.details("A container that was created but never started is killed first.")
.options(&[
    Opt::switch("force", "kill the container first; no error if it does not exist").short('f'),
    Opt::switch("strict", "refuse a container that was never started, as the specification requires"),
    REGEX,
]);

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
    let Err(error) = runtime.delete(id, how) else { return Ok(()) };
    match (error.kind(), how) {
        (ErrorKind::NotFound, Delete::Force) => Ok(()),
        (ErrorKind::WrongState, _) => {
            let container = runtime.open(id).map_err(hints::open)?;
            Err(refused(&container, error, |status| {
                (status != Status::Stopped).then(|| texts::delete_not_stopped(id.as_str(), status))
            }))
        }
        (_, Delete::Force) => Err(error.into()),
        _ => Err(hints::open(error)),
    }
}
