//! Files of `/proc` and mount options for fuzz targets.

use std::hint::black_box;

use super::mount::options;
use super::{idmap, mountinfo, process_stat, process_status};

/// The same bytes as each of the files.
pub(crate) fn proc_files(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    for mount in mountinfo::parse(bytes) {
        assert!(!mount.device.contains(' '), "a field has a blank");
    }
    black_box(process_stat::parse(bytes));
    black_box(process_status::parse(&text));
    let map = idmap::parse(&text);
    assert!(map.is_sorted(), "an id map that cannot be compared");
}

/// Options of one mount, one a line. Each is understood, is data, or is refused by its number.
pub(crate) fn mount_options(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let words: Vec<String> = text.lines().map(str::to_owned).collect();
    if let Err((number, _)) = options::parse(&words) {
        assert!(number < words.len(), "a word that was not given is refused");
    }
}
