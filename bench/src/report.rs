//! The benchmark's whole report: where and how it was measured, the tables, and where the first contestant is behind.

use super::table::Table;
use std::fmt::Write as _;
use std::fs;

/// The contestants that are not runtimes.
pub const FLOORS: [&str; 2] = ["floor", "floor-min"];

/// Where and when something was measured.
#[derive(Debug, Clone)]
pub struct Surroundings {
    load_before: String,
    command: String,
}

impl Surroundings {
    /// Records the machine before anything is measured.
    pub fn look() -> Self {
        let mut words = std::env::args();
        let program = words.next().unwrap_or_default();
        let name = program.rsplit('/').next().unwrap_or_default().to_owned();
        let command = std::iter::once(name).chain(words).collect::<Vec<_>>().join(" ");
        // Paths as for a reader whose sources are elsewhere.
        let here =
            std::env::current_dir().map_or_else(|_| String::new(), |dir| format!("{}/", dir.display()));
        let command = if here.len() > 1 { command.replace(&here, "") } else { command };
        Self { load_before: load(), command }
    }

    /// The sentences on date, machine, load and command.
    pub fn sentences(&self, cgroups: &str) -> String {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
        let cpus = read("/proc/cpuinfo");
        let model = cpus.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        let model = model.map_or("an unnamed processor", |(_, name)| name);
        let count = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let virtual_machine = if cpus.contains(" hypervisor") { ", a virtual machine" } else { "" };
        format!(
            "Measured on {} on {count} processors ({model}{virtual_machine}), Linux {}, {cgroups}; load average {} \
             before, {} after. Command:\n\n```sh\n{}\n```\n",
            jiff::Timestamp::now().strftime("%Y-%m-%d"),
            read("/proc/sys/kernel/osrelease"),
            self.load_before,
            load(),
            self.command,
        )
    }
}

/// The load average of the last minute.
fn load() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().unwrap_or_default().to_owned()
}

/// What is known about each contestant.
pub fn versions(list: &[(String, String)]) -> String {
    list.iter().fold(String::new(), |mut text, (name, version)| {
        let _infallible = writeln!(text, "- {name}: {version}");
        text
    })
}

/// The sentence on the rows in which the first contestant is not the best.
pub fn honesty(table: &Table) -> String {
    let Some(first) = table.names.first() else { return String::new() };
    let behind = table.behind(&FLOORS);
    if table.names.iter().skip(1).all(|name| FLOORS.contains(&name.as_str())) {
        return String::new();
    }
    if behind.is_empty() {
        return format!("No other runtime is better than {first} in any of these rows.\n");
    }
    let mut text = format!("Where another runtime is better than {first} (medians):\n\n");
    for row in behind {
        let _infallible = writeln!(text, "- {row}");
    }
    text
}
