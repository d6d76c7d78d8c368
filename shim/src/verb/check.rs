//! `check`: everything that is wrong with a bundle, before it is used.

use wharf::{Bundle, Console, CreateOptions, Finding};

use crate::cli::options::{BUNDLE, CONFIG, CONSOLE_SOCKET, DETACH, TEXT_FORMAT};
use crate::cli::{Call, Context, Count, Opt, Verb};
use crate::failure::Failure;
use crate::launch;
use crate::output;

/// Its line in the table.
pub(crate) const VERB: Verb = Verb::new(
    "check",
    "[bundle]",
    Count::AtMost(1),
    "check a bundle and print every problem found",
    run,
)
.details(
    "This changes nothing on the host. The exit code is 0 if there are no findings, and 1 otherwise.\n\
     Each finding names a property of config.json as a JSON pointer.",
)
.options(&[
    BUNDLE,
    CONFIG,
    Opt { help: "check for create or run --detach, which need a place for the terminal", ..DETACH },
    Opt { help: "the same, with this socket for the terminal; nothing connects to it", ..CONSOLE_SOCKET },
    Opt { short: None, ..TEXT_FORMAT },
]);

/// Exit code 0 without findings, 1 with any.
fn run(context: &Context, call: &Call) -> Result<u8, Failure> {
    let format = call.options.format()?;
    let findings = findings(context, call)?;
    if format == "json" { output::json_pretty(&findings, "  ") } else { output::lines(&findings) }?;
    Ok(u8::from(!findings.is_empty()))
}

fn findings(context: &Context, call: &Call) -> Result<Vec<Finding>, Failure> {
    let (dir, config) = launch::bundle_paths(call, call.operands.first().map(std::path::Path::new))?;
    // A malformed document cannot be checked further.
    let (bundle, shape) = Bundle::inspect(dir, config)?;
    let Some(bundle) = bundle else { return Ok(shape) };
    let runtime = context.runtime()?;
    let socket = call.options.path("console-socket")?;
    if socket.is_none() && !call.options.flag("detach") {
        return Ok(runtime.check(&bundle));
    }
    let console = socket.map_or(Console::None, |socket| Console::Socket(socket.to_owned()));
    Ok(runtime.check_with(&bundle, &CreateOptions::new().console(console)))
}
