//! What is measured.

use super::arguments::Options;
use super::bar::Bar;
use super::bundle::{Image, Kind};
use super::contestant::Contestant;
use super::stopwatch::{Cost, Stopwatch};
use super::table::{Table, Unit};
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};
use wharf_spec_tests::outcome::{Outcome, fail};
use wharf_spec_tests::{Host, cgroup};

mod counts;
mod crowd;
mod memory;
mod parallel;

/// A measurement in progress.
pub struct Bench {
    /// The contestants.
    pub contestants: Vec<Contestant>,
    /// The root file system of all bundles.
    pub image: Image,
    /// The machine.
    pub host: Host,
    /// The options.
    pub options: Options,
    /// The results so far.
    pub table: Table,
    /// What the user sees in the meantime.
    pub bar: Bar,
}

/// The groups of rows, by the word that chooses them.
type Group = (&'static str, fn(&mut Bench));

/// Every group, in the order of measuring.
pub const GROUPS: [Group; 7] = [
    ("run", Bench::run),
    ("life", Bench::life),
    ("bursts", Bench::bursts),
    ("parallel", Bench::parallel),
    ("crowd", Bench::crowd),
    ("memory", Bench::memory),
    ("counts", Bench::counts),
];

const TRUE: [&str; 1] = ["/bin/true"];
const SLEEP: [&str; 2] = ["/bin/sleep", "100000"];

impl Bench {
    /// Measures everything that was asked for.
    ///
    /// A contestant that fails has no figures, and the table says why.
    pub fn measure(&mut self) {
        let only = self.options.only.clone();
        let wanted = |word: &str| only.is_empty() || only.iter().any(|one| one == word);
        let groups: Vec<Group> = GROUPS.into_iter().filter(|(word, _)| wanted(word)).collect();
        for (at, (_, group)) in groups.iter().enumerate() {
            self.bar.group(at + 1, groups.len());
            group(self);
            for contestant in &self.contestants {
                contestant.clean_up(&self.host, 0);
            }
        }
        self.bar.end();
    }

    /// The contestants in a different order each time.
    fn shuffled(&self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.contestants.len()).collect();
        fastrand::shuffle(&mut order);
        order
    }

    /// Calls `one` in random order for each contestant that has not failed in `title`, `runs` times.
    fn rounds(
        &mut self,
        title: &str,
        unit: Unit,
        runs: usize,
        gap: Duration,
        one: &mut dyn FnMut(&Contestant, &Image, &mut Table) -> Outcome,
    ) {
        self.bar.row(title, (runs + 1) * self.contestants.len());
        for round in 0..=runs {
            for index in self.shuffled() {
                let contestant = &self.contestants[index];
                let failures = &self.table.row(title, unit).failures;
                if self.bar.step().is_err() || failures.contains_key(&contestant.name) {
                    continue;
                }
                std::thread::sleep(gap);
                // The first round warms the caches.
                let mut warming = Table::default();
                let table = if round == 0 { &mut warming } else { &mut self.table };
                if let Err(fault) = one(contestant, &self.image, table) {
                    contestant.clean_up(&self.host, 1);
                    let failures = &mut self.table.row(title, unit).failures;
                    failures.insert(contestant.name.clone(), fault.to_string());
                }
            }
        }
    }

    fn run(&mut self) {
        for kind in [Kind::A, Kind::B] {
            let title = format!("run {kind:?}");
            self.rounds(
                &title,
                Unit::Time,
                self.options.runs,
                self.options.gap,
                &mut |contestant, image, table| {
                    let cost = run_once(contestant, image, kind)?;
                    table.add(&title, &contestant.name, cost);
                    table.count(
                        &format!("peak RSS, run {kind:?}, KiB"),
                        Unit::Kibibytes,
                        &contestant.name,
                        cost.rss,
                    );
                    Ok(())
                },
            );
        }
    }

    /// With longer pauses: waiting for an RCU grace period costs most after the machine was idle.
    fn bursts(&mut self) {
        let title = "run B, 150 ms apart";
        self.rounds(
            title,
            Unit::Time,
            self.options.runs,
            Duration::from_millis(150),
            &mut |contestant, image, table| {
                table.add(title, &contestant.name, run_once(contestant, image, Kind::B)?);
                Ok(())
            },
        );
    }

    /// A container's whole life, with each step measured. The CPU time of `create` includes the container's first
    /// process.
    fn life(&mut self) {
        self.rounds(
            "create B",
            Unit::Time,
            self.options.runs,
            self.options.gap,
            &mut |contestant, image, table| {
                let gap = Duration::from_millis(20);
                let (name, id) = (&contestant.name, contestant.id(0));
                let bundle = contestant.bundle(image, Kind::B, 0, &SLEEP)?;
                let mut create =
                    contestant.measure(&["create", "--bundle", &bundle.to_string_lossy(), &id])?;
                create.cpu += contestant.init_cpu(0)?;
                table.add("create B", name, create);
                let mut step = |title: &str, args: &[&str]| -> Outcome<Cost> {
                    std::thread::sleep(gap);
                    let cost = contestant.measure(args)?;
                    table.add(title, name, cost);
                    Ok(cost)
                };
                let start = step("start B", &["start", &id])?;
                step("state", &["state", &id])?;
                step("exec B", &["exec", &id, "/bin/true"])?;
                step("kill", &["kill", &id, "KILL"])?;
                contestant.until_stopped(0)?;
                let delete = step("delete B", &["delete", &id])?;
                let sum = Cost {
                    wall: create.wall + start.wall + delete.wall,
                    cpu: create.cpu + start.cpu + delete.cpu,
                    rss: create.rss,
                };
                table.add("create + start + delete B", name, sum);
                Ok(())
            },
        );
    }
}

/// One `run` of `true`.
fn run_once(contestant: &Contestant, image: &Image, kind: Kind) -> Outcome<Cost> {
    let bundle = contestant.bundle(image, kind, 0, &TRUE)?;
    contestant.measure(&["run", "--bundle", &bundle.to_string_lossy(), &contestant.id(0)])
}
