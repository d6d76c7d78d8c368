//! `explain`: prints the ordered plan of a container.

use std::path::Path;

use wharf::ContainerId;

use crate::cli::options::{BUNDLE, CONFIG, NO_NEW_KEYRING, NO_PIVOT, PRESERVE_FDS, TEXT_FORMAT};
use crate::cli::{Call, Context, Count, Opt, Verb};
use crate::failure::{Failure, hints};
use crate::launch;
use crate::output;

/// Its line in the table.
pub(crate) const VERB: Verb = Verb::new(
    "explain",
    "[bundle]",
    Count::AtMost(1),
    "print what create would do with a bundle, step by step",
    run,
)
.details("This changes nothing on the host.")
.options(&[
    BUNDLE,
    CONFIG,
    Opt { short: None, ..TEXT_FORMAT },
    Opt::value("id", "ID", "container id to plan for (default: the name of the bundle's directory)"),
    NO_PIVOT,
    NO_NEW_KEYRING,
    PRESERVE_FDS,
]);

/// Plans and prints; changes nothing.
fn run(context: &Context, call: &Call) -> Result<u8, Failure> {
    let format = call.options.format()?;
    let bundle = launch::open_bundle(call, call.operands.first().map(Path::new))?;
    let id = match call.options.text("id")? {
        Some(id) => ContainerId::new(id)?,
        None => id_of(bundle.dir())?,
    };
    let options = launch::create_options(&call.options)?;
    let explanation = context.runtime()?.explain(&id, &bundle, &options).map_err(hints::create)?;
    if format == "json" {
        output::json_pretty(&explanation, "  ")
    } else {
        output::text(&explanation.to_string())
    }
}

fn id_of(dir: &Path) -> Result<ContainerId, Failure> {
    let absolute = std::path::absolute(dir)
        .map_err(|error| Failure::new(format!("make {} absolute: {error}", dir.display())))?;
    let name = absolute.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    ContainerId::new(name).map_err(|error| {
        Failure::new(format!(
            "the name of the bundle's directory is not a valid container id; use --id: {error}"
        ))
    })
}
