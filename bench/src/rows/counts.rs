//! System calls and instructions, which do not depend on the machine's load.

use super::{Bench, Contestant, Kind, Outcome, Path, SLEEP, TRUE, Unit};
use wharf_spec_tests::outcome::fail;

/// What is counted, with the arguments after the global options.
const COUNTED: [&str; 3] = ["run B", "state", "exec B"];

impl Bench {
    pub(super) fn counts(&mut self) {
        let found = |names: [&'static str; 2]| names.map(Path::new).into_iter().find(|path| path.exists());
        let strace = found(["/usr/bin/strace", "/bin/strace"]);
        let perf = found(["/usr/bin/perf", "/bin/perf"]).filter(|perf| {
            let answer =
                std::process::Command::new(perf).args(["stat", "-x", ",", "-e", EVENT, "true"]).output();
            answer.is_ok_and(|answer| counted(&String::from_utf8_lossy(&answer.stderr)).is_ok())
        });
        let ways: [(&str, Option<&Path>, Way, f64); 2] = [
            ("system calls of", strace, system_calls, 1.0),
            ("instructions in user space, thousands, of", perf, instructions, 1000.0),
        ];
        for (what, program, count, unit) in ways {
            let Some(program) = program else {
                self.table
                    .notes
                    .push(format!("No row \"{what} ...\": this machine has no means to count them."));
                continue;
            };
            self.bar.row(what, COUNTED.len() * self.contestants.len());
            for contestant in &self.contestants {
                for operation in COUNTED {
                    let title = format!("{what} {operation}");
                    let done = self.bar.step().and_then(|()| {
                        let args = self.begin(contestant, operation)?;
                        count(program, contestant, &args.iter().map(String::as_str).collect::<Vec<_>>())
                    });
                    contestant.clean_up(&self.host, 1);
                    match done {
                        Ok(number) => self.table.count(&title, Unit::Count, &contestant.name, number / unit),
                        Err(fault) => {
                            let failures = &mut self.table.row(&title, Unit::Count).failures;
                            failures.insert(contestant.name.clone(), fault.to_string());
                        }
                    }
                }
            }
        }
    }

    /// Makes what an operation needs, and returns its arguments.
    fn begin(&self, contestant: &Contestant, operation: &str) -> Outcome<Vec<String>> {
        let id = contestant.id(0);
        if operation == "run B" {
            let bundle = contestant.bundle(&self.image, Kind::B, 0, &TRUE)?;
            return Ok(["run", "--bundle", &bundle.to_string_lossy(), &id].map(str::to_owned).into());
        }
        let bundle = contestant.bundle(&self.image, Kind::B, 0, &SLEEP)?;
        contestant.call(&["create", "--bundle", &bundle.to_string_lossy(), &id])?;
        contestant.call(&["start", &id])?;
        let words: &[&str] = if operation == "state" { &["state", &id] } else { &["exec", &id, "/bin/true"] };
        Ok(words.iter().map(ToString::to_string).collect())
    }
}

/// A way to count: the counting program, the contestant, the arguments.
type Way = fn(&Path, &Contestant, &[&str]) -> Outcome<f64>;

const EVENT: &str = "instructions:u";

/// All system calls of the runtime, and of what it starts, up to the end of the container.
fn system_calls(strace: &Path, contestant: &Contestant, args: &[&str]) -> Outcome<f64> {
    let called = contestant.through(strace, &["-f", "-c", "-U", "calls,name"], args).call()?;
    let total = called.stderr.lines().rev().find(|line| line.trim_end().ends_with("total"));
    let number = total.and_then(|line| line.split_whitespace().next()?.parse().ok());
    number.map_or_else(
        || fail(format!("strace printed no total: {}", wharf_spec_tests::runtime::brief(&called.stderr))),
        Ok,
    )
}

fn instructions(perf: &Path, contestant: &Contestant, args: &[&str]) -> Outcome<f64> {
    counted(&contestant.through(perf, &["stat", "-x", ",", "-e", EVENT, "--"], args).call()?.stderr)
}

/// The number in what perf stat prints, if the machine can count.
fn counted(text: &str) -> Outcome<f64> {
    let line = text.lines().find(|line| line.contains("instructions")).unwrap_or_default();
    let number = line.split(',').next().and_then(|word| word.parse().ok());
    number.map_or_else(|| fail(format!("perf stat printed {line:?}")), Ok)
}
