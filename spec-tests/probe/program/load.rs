//! Loads: what takes as much as it can get, and what suffers from it.

use crate::json::object;
use std::ffi::c_int;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Starts copies of itself for ever, and so do they.
pub fn bomb() -> c_int {
    loop {
        match Command::new("/proc/self/exe").arg("bomb").stdout(Stdio::null()).spawn() {
            Ok(child) => std::mem::forget(child),
            Err(_) => std::thread::yield_now(),
        }
    }
}

/// Touches this much memory, lets it go, and begins again. The one that allocates is a child: when it is killed for
/// lack of memory, the next takes its place.
pub fn gulp(mib: &str) -> c_int {
    loop {
        let child = Command::new("/proc/self/exe").args(["alloc", mib]).stdout(Stdio::null()).spawn();
        match child {
            Ok(mut child) => drop(child.wait()),
            Err(_) => std::thread::yield_now(),
        }
    }
}

/// Burns CPU on this many threads for ever.
pub fn burn(threads: usize) -> c_int {
    let spin = || {
        loop {
            std::hint::black_box(crate::act::spin(1000));
        }
    };
    for _ in 1..threads {
        std::thread::spawn(spin);
    }
    spin()
}

/// Wakes up every 5 ms and starts a process; tells how much longer than that the rounds took, in microseconds, and how
/// many processes were refused.
pub fn latency(seconds: u64) -> String {
    let pause = Duration::from_millis(5);
    let end = Instant::now() + Duration::from_secs(seconds);
    let (mut late, mut refused) = (Vec::new(), 0);
    while Instant::now() < end {
        let begin = Instant::now();
        std::thread::sleep(pause);
        let done = Command::new("/proc/self/exe").arg("true").spawn().and_then(|mut child| child.wait());
        if !done.is_ok_and(|status| status.success()) {
            refused += 1;
        }
        late.push(begin.elapsed().saturating_sub(pause).as_micros());
    }
    late.sort_unstable();
    let at = |share: usize| late.get((late.len() * share / 100).min(late.len().saturating_sub(1))).copied().unwrap_or(0);
    let numbers = [("rounds", late.len() as u128), ("refused", refused), ("p50", at(50)), ("p99", at(99)), ("max", at(100))];
    object(numbers.map(|(name, number)| (name.to_owned(), number.to_string())))
}
