//! `pause`: suspends a container.

use wharf::Status;

use crate::cli::options::ID;
use crate::cli::{Call, Context, Count, Verb};
use crate::failure::{Failure, refused, texts};

/// Its line in the table.
pub(crate) const VERB: Verb =
    Verb::new("pause", ID, Count::Exactly(1), "suspend all processes of a container", run);

/// Returns once all processes are suspended.
fn run(context: &Context, call: &Call) -> Result<u8, Failure> {
    let container = context.open(&call.id()?)?;
    container.pause().map_err(|error| {
        refused(&container, error, |status| {
            let alive = matches!(status, Status::Running | Status::Created);
            (!alive).then(|| texts::NOT_RUNNING_OR_CREATED.to_owned())
        })
    })?;
    Ok(0)
}
