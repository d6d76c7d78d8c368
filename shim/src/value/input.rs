//! Documents that a verb reads: a file, or standard input if the name is `-`.

use std::io::Read as _;

use wharf::Finding;

use crate::failure::Failure;

/// Reads a document and logs the warnings about it. `what` names its contents, which config.json has at `part`.
pub(crate) fn document<T>(
    what: &str,
    file: &str,
    part: &str,
    parse: impl FnOnce(&[u8]) -> wharf::Result<(T, Vec<Finding>)>,
) -> Result<T, Failure> {
    let (document, warnings) = parse(&read(what, file)?)
        .map_err(|error| Failure::new(format!("read {what} {file}: {}", error.in_document(file, part))))?;
    for warning in warnings {
        log::warn!("{what} {file}: {warning}");
    }
    Ok(document)
}

fn read(what: &str, file: &str) -> Result<Vec<u8>, Failure> {
    let text = if file == "-" {
        let mut text = Vec::new();
        std::io::stdin().lock().read_to_end(&mut text).map(|_| text)
    } else {
        std::fs::read(file)
    };
    text.map_err(|error| Failure::new(format!("read {what} {file}: {error}")))
}
