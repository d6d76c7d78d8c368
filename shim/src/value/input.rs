//! Documents that a verb reads: a file, or standard input if the name is `-`.

use std::io::Read as _;

use crate::failure::Failure;

/// Reads all of it; `what` names its contents in the error.
pub(crate) fn read(what: &str, file: &str) -> Result<Vec<u8>, Failure> {
    let text = if file == "-" {
        let mut text = Vec::new();
        std::io::stdin().lock().read_to_end(&mut text).map(|_| text)
    } else {
        std::fs::read(file)
    };
    text.map_err(|error| Failure::new(format!("read {what} {file}: {error}")))
}
