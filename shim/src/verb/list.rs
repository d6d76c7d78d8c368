//! `list`: the containers of a state directory.

use nix::sys::stat::stat;
use wharf::{Listed, State};

use crate::cli::options::FORMAT;
use crate::cli::{Call, Context, Count, Opt, Verb};
use crate::failure::{Failure, hints};
use crate::output;
use crate::output::columns;

/// Its line in the table.
pub(crate) const VERB: Verb =
    Verb::new("list", "", Count::Exactly(0), "list the containers of a state directory", run)
        .options(&[FORMAT, Opt::switch("quiet", "print only the ids").short('q')]);

/// Containers whose state cannot be read are reported in the log and, with --quiet, still listed: they can be deleted
/// by their id.
fn run(context: &Context, call: &Call) -> Result<u8, Failure> {
    let format = call.options.format()?;
    if context.root_is_named() {
        // A misspelt root is not an empty one; the default root is made with the first container.
        let root = context.root();
        stat(root).map_err(|errno| {
            Failure::new(format!("open {}: {}", root.display(), errno.desc().to_ascii_lowercase()))
        })?;
    }
    let listed = context.runtime()?.list()?;
    if call.options.flag("quiet") {
        let ids: Vec<_> = listed.iter().map(|container| &container.id).collect();
        return output::lines(&ids);
    }
    let states = readable(listed);
    if format == "json" {
        // go-runc and others expect what Go prints for an empty list.
        return if states.is_empty() { output::text("null\n") } else { output::json_line(&states) };
    }
    output::text(&table(&states))
}

fn readable(listed: Vec<Listed>) -> Vec<State> {
    let mut states = Vec::with_capacity(listed.len());
    for container in listed {
        match container.state {
            Ok(state) => states.push(state),
            Err(error) => {
                log::warn!("read the state of container {}: {}", container.id, hints::open(error).message());
            }
        }
    }
    states
}

fn table(states: &[State]) -> String {
    let header = ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"].map(str::to_owned);
    let row = |state: &State| {
        [
            state.id.clone(),
            state.pid.to_string(),
            state.status.to_string(),
            state.bundle.display().to_string(),
            state.created.clone(),
            state.owner.clone(),
        ]
    };
    let rows: Vec<_> = std::iter::once(header).chain(states.iter().map(row)).collect();
    columns::lay_out(&rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_list_is_a_header_alone() {
        assert_eq!(table(&[]), "ID          PID         STATUS      BUNDLE      CREATED     OWNER\n");
    }
}
