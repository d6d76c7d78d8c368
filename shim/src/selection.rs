//! `--regex`: the containers whose ids match an expression.

use regex_lite::Regex;
use wharf::{ContainerId, Runtime};

use crate::failure::Failure;

/// Acts on each container whose id contains a match; a failure does not spare the others.
pub(crate) fn each(
    runtime: &Runtime,
    expression: &str,
    mut act: impl FnMut(&ContainerId) -> Result<(), Failure>,
) -> Result<u8, Failure> {
    let expression = Regex::new(expression)
        .map_err(|error| Failure::new(format!("invalid regular expression {expression:?}: {error}")))?;
    let listed = runtime.list()?;
    let ids = listed.iter().map(|listed| listed.id.as_str()).filter(|id| expression.is_match(id));
    let (mut done, mut failed) = (0, 0);
    for id in ids {
        match ContainerId::new(id).map_err(Failure::from).and_then(|id| act(&id)) {
            Ok(()) => done += 1,
            Err(failure) => {
                log::error!("{id}: {}", failure.message());
                failed += 1;
            }
        }
    }
    match (done, failed) {
        (0, 0) => {
            log::warn!("no container matches {:?}", expression.as_str());
            Ok(0)
        }
        (_, 0) => Ok(0),
        _ => Err(Failure::new(format!("failed for {failed} of {} containers", done + failed))),
    }
}
