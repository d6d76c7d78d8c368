//! System calls and instructions, which no load of the machine changes.

use super::{Bench, Path, TRUE, Unit};
use super::{Contestant, Kind};

impl Bench {
    pub(super) fn counts(&mut self) {
        let strace = ["/usr/bin/strace", "/bin/strace"].map(Path::new).into_iter().find(|path| path.exists());
        let perf = ["/usr/bin/perf", "/bin/perf"].map(Path::new).into_iter().find(|path| path.exists());
        for contestant in &self.contestants {
            let Ok(bundle) = contestant.bundle(&self.image, Kind::B, 0, &TRUE) else { continue };
            if let Some(strace) = strace
                && let Some(calls) = system_calls(strace, contestant, &bundle)
            {
                self.table.count("system calls of run B", Unit::Count, &contestant.name, calls);
            }
            contestant.clean_up(&self.host, 1);
            if let Some(perf) = perf
                && let Some(instructions) = instructions(perf, contestant, &bundle)
            {
                let title = "instructions of run B in user space, thousands";
                self.table.count(title, Unit::Count, &contestant.name, instructions / 1000.0);
            }
            contestant.clean_up(&self.host, 1);
        }
    }
}

/// All calls of the runtime, and of what it starts up to the end of the container.
fn system_calls(strace: &Path, contestant: &Contestant, bundle: &Path) -> Option<f64> {
    let args = ["run", "--bundle", &bundle.to_string_lossy(), &contestant.id(0)];
    let called = contestant.through(strace, &["-f", "-c", "-U", "calls,name"], &args).ok()?;
    let total = called.stderr.lines().rev().find(|line| line.trim_end().ends_with("total"))?;
    total.split_whitespace().next()?.parse().ok()
}

fn instructions(perf: &Path, contestant: &Contestant, bundle: &Path) -> Option<f64> {
    let args = ["run", "--bundle", &bundle.to_string_lossy(), &contestant.id(0)];
    let before = ["stat", "-x", ",", "-e", "instructions:u", "--"];
    let called = contestant.through(perf, &before, &args).ok()?;
    let line = called.stderr.lines().find(|line| line.contains("instructions"))?;
    line.split(',').next()?.parse().ok()
}
