//! The runc-compatible command line of wharf.
//!
//! `table` holds every verb and option once; `args` parses by it, and `help` prints it. A verb is a function in its own
//! file under `verb/`: it turns options into one call of the library, and the answer into the output that callers of
//! runc parse. The error messages that callers match are in `texts`.

mod args;
mod columns;
mod context;
mod criu;
mod duration;
mod failure;
mod foreground;
mod help;
mod inherited;
mod input;
mod interruption;
mod launch;
mod log_target;
mod logger;
mod man_page;
mod notify;
mod options;
mod output;
mod pid_file;
mod pidfd_socket;
mod process;
mod protect;
mod relay;
mod selection;
mod signal;
mod size;
#[allow(unsafe_code, reason = "the one place of this program that may: see its documentation")]
mod sys;
mod table;
mod terminal;
mod texts;
mod user;
mod verb;
mod version;

use std::process::ExitCode;

use crate::args::{Call, Request};
use crate::context::Context;
use crate::failure::Failure;
use crate::sys::allocator::Allocator;

#[global_allocator]
static ALLOCATOR: Allocator = Allocator::new();

fn main() -> ExitCode {
    protect::forbid_inspection();
    wharf::worker::keep_exit_statuses();
    let args::Parsed { globals, request } = args::parse(std::env::args_os());

    // Both come before the first file is opened: the one starts the program again, and the other must not take a file
    // of ours for one of the caller's. Their failures are reported below, once it is known where to.
    let entering = matches!(&request, Ok(Request::Verb(call)) if call.verb.enters_containers);
    let protected = if entering { protect::own_binary() } else { Ok(()) };
    let inherited = match &request {
        Ok(Request::Verb(call)) => inherited::claim(call),
        _ => Ok(inherited::Inherited::default()),
    };

    let done = logger::set_up(&globals).and_then(|()| match request? {
        Request::Help(verb) => output::text(&help::text(verb)),
        Request::Version => output::text(&version::text()),
        Request::Verb(call) => {
            protected?;
            perform(&call, &Context::new(&globals, inherited?)?)
        }
    });
    match done {
        Ok(code) => ExitCode::from(code),
        Err(failure) => ExitCode::from(failure.report()),
    }
}

fn perform(call: &Call, context: &Context) -> Result<u8, Failure> {
    log::debug!("wharf {} {}, root {}", version::NUMBER, call.verb.name, context.root().display());
    (call.verb.run)(context, call)
}
