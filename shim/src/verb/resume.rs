//! `resume`: resumes a paused container.

use wharf::Status;

use crate::cli::options::ID;
use crate::cli::{Call, Context, Count, Verb};
use crate::failure::{Failure, refused, texts};

/// Its line in the table.
pub(crate) const VERB: Verb =
    Verb::new("resume", ID, Count::Exactly(1), "continue the processes of a paused container", run);

/// Returns once the processes go on.
fn run(context: &Context, call: &Call) -> Result<u8, Failure> {
    let container = context.open(&call.id()?)?;
    container.resume().map_err(|error| {
        refused(&container, error, |status| (status != Status::Paused).then(|| texts::NOT_PAUSED.to_owned()))
    })?;
    Ok(0)
}
