//! `manual`: the manual pages.

use std::fs;

use crate::cli::{Call, Context, Count, Opt, Verb, man_page, table};
use crate::failure::Failure;
use crate::output;
use crate::verb::VERBS;

/// Its line in the table.
pub(crate) const VERB: Verb = Verb::new("manual", "[command]", Count::AtMost(1), "print a manual page, or write all of them", run)
.details("To read one: wharf manual run | man -l -. To install all: wharf manual --into /usr/local/share/man/man8.")
.options(&[Opt::value(
        "into",
        "DIR",
        "write the pages of all commands to DIR, which is created if needed",
    )]);

/// Prints or writes them.
fn run(_context: &Context, call: &Call) -> Result<u8, Failure> {
    let name = call.operand(0)?;
    let Some(dir) = call.options.path("into")? else {
        let unknown = |name: &str| Failure::new(format!("there is no command {name:?}; see wharf --help"));
        let verb = name.map(|name| table::find(VERBS, name).ok_or_else(|| unknown(name))).transpose()?;
        return output::text(&man_page::text(VERBS, verb));
    };
    if name.is_some() {
        return Err(Failure::usage(
            Some(call.verb),
            "--into writes the pages of all commands and takes no command",
        ));
    }
    fs::create_dir_all(dir).map_err(|error| Failure::new(format!("create {}: {error}", dir.display())))?;
    for verb in VERBS.iter().map(Some).chain([None]) {
        let path = dir.join(format!("{}.8", man_page::name(verb)));
        fs::write(&path, man_page::text(VERBS, verb))
            .map_err(|error| Failure::new(format!("write {}: {error}", path.display())))?;
    }
    Ok(0)
}
