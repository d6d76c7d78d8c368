//! `explain`: the ordered plan of a container.

use std::path::Path;

use wharf::ContainerId;

use crate::args::Call;
use crate::context::Context;
use crate::failure::Failure;
use crate::launch;
use crate::output;

/// Plans and prints; nothing is done.
pub(crate) fn run(context: &Context, call: &Call) -> Result<u8, Failure> {
    let bundle = launch::open_bundle(call, call.operands.first().map(Path::new))?;
    let id = match call.options.text("id")? {
        Some(id) => ContainerId::new(id)?,
        None => id_of(bundle.dir())?,
    };
    let options = launch::create_options(&call.options)?;
    let explanation = context.runtime()?.explain(&id, &bundle, &options)?;
    match call.options.text("format")? {
        None | Some("text") => output::text(&explanation.to_string()),
        Some("json") => output::json_pretty(&explanation, "  "),
        Some(other) => Err(Failure::new(format!("invalid format option {other:?}: not text or json"))),
    }
}

fn id_of(dir: &Path) -> Result<ContainerId, Failure> {
    let absolute = std::path::absolute(dir)
        .map_err(|error| Failure::new(format!("make {} absolute: {error}", dir.display())))?;
    let name = absolute.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    ContainerId::new(name).map_err(|error| {
        Failure::new(format!("the name of the bundle's directory is no container id, use --id: {error}"))
    })
}
