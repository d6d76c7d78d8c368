//! Images of a checkpoint and answers of criu for fuzz targets.

use std::hint::black_box;
use std::path::Path;

use prost::Message as _;

use super::message::Response;
use super::{image, log, pages, session};

/// The same bytes as each of the images that are read before a restore.
pub(crate) fn images(bytes: &[u8]) {
    black_box(image::parse_seccomp(bytes));
    assert!(
        image::parse_descriptors(bytes).is_none_or(|names| names.len() <= 3),
        "more streams than there are"
    );
    black_box(pages::parse(bytes));
    black_box(pages::parse_tree(bytes));
    black_box(pages::parse_state(bytes));
    black_box(pages::owner(&String::from_utf8_lossy(bytes)));
}

/// An answer and a log. What is quoted of them has a bound.
pub(crate) fn answers(bytes: &[u8]) {
    if let Ok(response) = Response::decode(bytes) {
        let error = session::failure("checkpoint", &response, None, Path::new("/log"));
        black_box(error.to_string());
    }
    let quoted = log::quote(&String::from_utf8_lossy(bytes));
    assert!(quoted.chars().count() <= 4096, "a whole log becomes an error");
}
