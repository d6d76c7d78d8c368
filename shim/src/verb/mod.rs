//! The verbs, each a function that the table names.

pub(crate) mod check;
pub(crate) mod checkpoint;
pub(crate) mod completion;
pub(crate) mod create;
pub(crate) mod delete;
pub(crate) mod events;
pub(crate) mod exec;
pub(crate) mod explain;
pub(crate) mod features;
pub(crate) mod kill;
pub(crate) mod list;
pub(crate) mod manual;
pub(crate) mod mounts;
pub(crate) mod pause;
pub(crate) mod ps;
pub(crate) mod restore;
pub(crate) mod resume;
pub(crate) mod run;
pub(crate) mod spec;
pub(crate) mod start;
pub(crate) mod state;
pub(crate) mod update;

use wharf::{Container, Error, Kind, Status};

use crate::failure::Failure;

/// Turns a refusal because of the container's state into runc's words for that state; other errors pass through.
fn refused(container: &Container, error: Error, words: impl FnOnce(Status) -> Option<String>) -> Failure {
    if error.kind() == Kind::WrongState
        && let Ok(state) = container.state()
        && let Some(words) = words(state.status)
    {
        return Failure::new(match error.remedy() {
            Some(hint) => format!("{words}; {hint}"),
            None => words,
        });
    }
    error.into()
}
