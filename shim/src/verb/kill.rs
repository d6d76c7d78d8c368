//! `kill`: sends a signal to a container.

use wharf::{ContainerId, Runtime, Status};

use crate::cli::options::REGEX;
use crate::cli::{Call, Context, Count, Opt, Verb};
use crate::failure::{Failure, hints, refused, texts};
use crate::selection;
use crate::value::signal;

/// Its line in the table.
pub(crate) const VERB: Verb = Verb::new(
    "kill",
    "<container-id> [signal]",
    Count::Between(1, 2),
    "send a signal to the first process of a container (default: TERM)",
    run,
)
.details("The signal is a number or a name, with or without SIG.")
.options(&[Opt::switch("all", "send it to all processes of the container").short('a'), REGEX]);

/// The default signal is TERM.
fn run(context: &Context, call: &Call) -> Result<u8, Failure> {
    let signal = signal::parse(call.operand(1)?.unwrap_or("TERM"))?;
    let all = call.options.flag("all");
    let runtime = context.runtime()?;
    if call.options.flag("regex") {
        let expression = call.operand(0)?.unwrap_or_default();
        return selection::each(&runtime, expression, |id| kill(&runtime, id, signal, all));
    }
    kill(&runtime, &call.id()?, signal, all).map(|()| 0)
}

fn kill(runtime: &Runtime, id: &ContainerId, signal: i32, all: bool) -> Result<(), Failure> {
    let container = runtime.open(id).map_err(hints::open)?;
    let sent = if all { container.kill_all(signal) } else { container.kill(signal) };
    sent.map_err(|error| {
        refused(&container, error, |status| {
            (status == Status::Stopped).then(|| texts::NOT_RUNNING.to_owned())
        })
    })
}
