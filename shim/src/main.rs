//! The runc-compatible command line of wharf.
//!
//! A verb is a file in `verb/`: it turns options into one call of the library, and the answer into the output that
//! callers of runc parse.
//!
//! | folder | idea |
//! |---|---|
//! | `cli` | the words of the command line, and help and manual pages about them |
//! | `value` | the values of options: sizes, signals, users |
//! | `verb` | one file for each verb, and the table of all |
//! | `launch` | what `create`, `run`, `exec` and `restore` share |
//! | `announce` | the pid file, the pidfd socket and the service manager, which learn of a new process |
//! | `foreground` | stands in for a process: its signals, its terminal, its exit code |
//! | `output`, `logging` | standard output, and the log |
//! | `failure` | why a command failed, in the words that callers match, with hints for the command line |
//!
//! Imports go from `verb` down; a test keeps them free of circles.

mod announce;
mod cli;
mod failure;
mod foreground;
mod launch;
mod logging;
mod output;
mod protect;
mod selection;
#[allow(unsafe_code, reason = "the one place of this program that may: see its documentation")]
mod sys;
mod value;
mod verb;

use std::io::Write as _;
use std::process::ExitCode;

use crate::cli::inherited::Inherited;
use crate::cli::{Call, Context, Parsed, Request, Verb, help, inherited, parse, table, version};
use crate::failure::{Failure, Usage};
use crate::sys::allocator::Allocator;
use crate::verb::VERBS;

#[global_allocator]
static ALLOCATOR: Allocator = Allocator::new();

fn main() -> ExitCode {
    protect::forbid_inspection();
    wharf::worker::keep_exit_statuses();
    let Parsed { globals, request } = parse(VERBS, std::env::args_os());

    // Both come before this program opens a file: the first starts it again, and the second must not mistake one of its
    // own files for one of the caller's. Their failures are reported below, once the log is set up.
    let entering = matches!(&request, Ok(Request::Verb(verb, _)) if verb.enters_containers);
    let protected = if entering { protect::own_binary() } else { Ok(()) };
    let inherited = match &request {
        Ok(Request::Verb(_, call)) => inherited::claim(call),
        _ => Ok(Inherited::default()),
    };

    let done = logging::set_up(&globals).and_then(|()| match request? {
        Request::Help(verb) => output::text(&help::text(VERBS, verb)),
        Request::Version => output::text(&version::text()),
        Request::Verb(verb, call) => {
            protected?;
            perform(verb, &call, &Context::new(&globals, inherited?)?)
        }
    });
    ExitCode::from(done.unwrap_or_else(|failure| report(&failure)))
}

fn perform(verb: &Verb, call: &Call, context: &Context) -> Result<u8, Failure> {
    log::debug!("wharf {} {}, root {}", version::NUMBER, call.verb, context.root().display());
    (verb.run)(context, call)
}

/// Writes the help, the log line and the message of a failure, and returns the exit code.
fn report(failure: &Failure) -> u8 {
    let message = failure.message();
    if let Some(usage) = failure.wrong_use() {
        let verb = match usage {
            Usage::Program => None,
            Usage::Verb(name) => table::find(VERBS, name),
        };
        let text = format!("Incorrect Usage: {message}\n\n{}", help::text(VERBS, verb));
        // There is no way left to report that the output is closed.
        std::io::stdout().write_all(text.as_bytes()).ok();
    }
    logging::error(message);
    failure.code()
}
