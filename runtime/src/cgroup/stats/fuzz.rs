//! The files of a cgroup for fuzz targets.

use std::hint::black_box;

use super::{BlkioStats, number, numbers, pressure, rdma, table, v1, v2};

/// The same text as each of the files.
pub(in super::super) fn files(text: &str) {
    black_box(numbers(text));
    black_box(number(text));
    black_box(table(text));
    black_box(rdma(text));
    black_box(pressure(text));
    let mut blkio = BlkioStats::default();
    v2::io(text, &mut blkio);
    blkio.io_serviced_recursive.extend(text.lines().filter_map(v1::blkio_line));
    serde_json::to_string(&blkio).expect("numbers and words are JSON");
}
