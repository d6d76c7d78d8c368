//! `mounts`: adds mounts to a running container, or removes them.

use wharf::Status;

use crate::cli::{Call, Context, Count, Verb};
use crate::failure::{Failure, refused, texts};
use crate::value::input;

/// Its line in the table.
pub(crate) const VERB: Verb = Verb::new("mounts", "add|remove <container-id> <file>", Count::Exactly(3), "add mounts to a running container, or remove them", run)
.details("The file holds a JSON object with the property mounts of config.json, or that list alone; - is standard\n\
        input. If one entry fails, none takes effect. Only added mounts can be removed, with everything mounted\n\
        below them; only the destinations of the entries count.").enters_containers();

/// Adds or removes all of them or none.
fn run(context: &Context, call: &Call) -> Result<u8, Failure> {
    let action = call.operand(0)?.unwrap_or_default();
    let change = match action {
        "add" => wharf::Container::add_mounts,
        "remove" => wharf::Container::remove_mounts,
        _ => {
            return Err(Failure::usage(
                Some(call.verb),
                format!("unknown action {action:?}: not add or remove"),
            ));
        }
    };
    let id = call.id_at(1)?;
    let file = call.operand(2)?.unwrap_or_default();
    let mounts = input::document("mounts", file, "", wharf::document::read_mounts)?;
    let container = context.open(&id)?;
    change(&container, &mounts).map_err(|error| {
        refused(&container, error.in_document(file, ""), |status| {
            (status == Status::Stopped).then(|| texts::NOT_RUNNING.to_owned())
        })
    })?;
    Ok(0)
}
