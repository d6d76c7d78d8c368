//! `check`: everything that is wrong with a bundle, before anything is done with it.

use std::path::Path;

use crate::args::Call;
use crate::context::Context;
use crate::failure::Failure;
use crate::launch;
use crate::output;

/// Exit code 0 without findings, 1 with any.
pub(crate) fn run(context: &Context, call: &Call) -> Result<u8, Failure> {
    let bundle = launch::open_bundle(call, call.operands.first().map(Path::new))?;
    let runtime = context.runtime()?;
    let findings: Vec<_> = bundle.warnings().iter().cloned().chain(runtime.check(&bundle)).collect();
    match call.options.text("format")? {
        None | Some("text") => {
            output::lines(&findings)?;
        }
        Some("json") => {
            output::json_pretty(&findings, "  ")?;
        }
        Some(other) => {
            return Err(Failure::new(format!("invalid format option {other:?}: not text or json")));
        }
    }
    Ok(u8::from(!findings.is_empty()))
}
