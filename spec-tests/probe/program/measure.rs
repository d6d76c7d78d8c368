//! A stopwatch: runs a program and tells what it cost.
//!
//! It is the probe that starts it, and not the benchmark, because the kernel counts the memory of the process that a
//! program was started from into that program's peak (getrusage(2), `ru_maxrss`).

use crate::json::object;
use crate::sys;
use std::process::{Command, Stdio};
use std::time::Instant;

/// Runs a program to its end; CPU and memory are those of the program and of all its descendants that were waited for.
pub fn run(argv: &[&str]) -> String {
    let Some((program, args)) = argv.split_first() else { return object([("errno".into(), "22".into())]) };
    let begin = Instant::now();
    let child = Command::new(program).args(args).stdin(Stdio::null()).stdout(Stdio::null()).spawn();
    let pid = match child {
        Ok(child) => child.id(),
        Err(error) => return object([("errno".into(), error.raw_os_error().unwrap_or(-1).to_string())]),
    };
    let ended = sys::wait_with_usage(i32::try_from(pid).unwrap_or(-1));
    let wall = begin.elapsed();
    match ended {
        Ok(usage) => object([
            ("status".into(), usage.status.to_string()),
            ("wall_us".into(), wall.as_micros().to_string()),
            ("cpu_us".into(), usage.cpu_us.to_string()),
            ("rss_kib".into(), usage.rss_kib.to_string()),
        ]),
        Err(errno) => object([("errno".into(), errno.to_string())]),
    }
}
