//! `resume`: resumes a paused container.

use wharf::Status;

use crate::cli::call::Call;
use crate::cli::context::Context;
use crate::cli::options::ID;
use crate::cli::table::{Count, Verb};
use crate::failure::{Failure, refused, texts};

/// Its line in the table.
pub(crate) const VERB: Verb = Verb {
    name: "resume",
    operands: ID,
    count: Count::Exactly(1),
    trailing: false,
    about: "continue the processes of a paused container",
    details: "",
    options: &[],
    enters_containers: false,
    run,
};

/// Returns once the processes go on.
fn run(context: &Context, call: &Call) -> Result<u8, Failure> {
    let container = context.open(&call.id()?)?;
    container.resume().map_err(|error| {
        refused(&container, error, |status| (status != Status::Paused).then(|| texts::NOT_PAUSED.to_owned()))
    })?;
    Ok(0)
}
