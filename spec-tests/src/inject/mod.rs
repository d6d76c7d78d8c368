//! Disturbs a runtime at each of its system calls: kills the process that makes the call, lets the call fail, or stops the
//! process for a moment.
//!
//! Whatever happens, the command ends in time and without the text of a panic, and `delete --force` leaves nothing. When
//! the command reports success all the same, the container is isolated as after an undisturbed one; when a command on a
//! running container fails, that container is as it was.

mod calls;
mod fingerprint;
mod registers;
mod sample;
mod scenes;
pub mod tracer;

pub use sample::sample;
pub use scenes::{VERBS, Verb};

use crate::bed::Bed;
use crate::host::Host;
use crate::outcome::{Fault, Outcome, check, fail, skip};
use crate::runner::{Verdict, untouched};
use crate::runtime::{Called, Runtime, brief};
use crate::untouched::Untouched;
use fingerprint::differences;
use nix::errno::Errno;
use scenes::{Stage, settled};
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};
use tracer::{Action, Log, Place};

/// A command that takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the tracer of a runtime says when something ends badly; each in lower case.
const PANICS: [&str; 7] =
    ["panicked at", "panic:", "fatal error:", "fatal runtime error", "goroutine ", "smashing", "assertion"];

/// Signals by which a program ends that does something wrong.
const CRASHES: [i32; 5] = [4, 6, 7, 8, 11];

/// A kind of disturbance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// The process is killed.
    Kill,
    /// The call fails.
    Fail,
    /// The process stops for a moment.
    Stop,
}

/// All of them, by the names that options take.
pub const MODES: [(&str, Mode); 3] = [("kill", Mode::Kill), ("fail", Mode::Fail), ("stop", Mode::Stop)];

/// The errors with which calls fail.
pub const ERRNOS: [Errno; 3] = [Errno::ENOMEM, Errno::EINTR, Errno::EPERM];

/// A command that ran undisturbed.
pub struct Baseline {
    verb: Verb,
    calls: Vec<(Place, i64)>,
    before: Option<Value>,
    after: Value,
}

impl Baseline {
    /// Runs the command once and records its calls.
    pub fn record(verb: Verb, runtime: &Runtime, host: &Host, work: &Path) -> Outcome<Self> {
        let bed = Bed::new(runtime, host, work)?;
        let answer = Self::record_in(verb, &bed);
        let clean = bed.clean_up();
        let baseline = answer?;
        clean?;
        Ok(baseline)
    }

    fn record_in(verb: Verb, bed: &Bed<'_>) -> Outcome<Self> {
        let stage = verb.prepare(bed)?;
        // To look at a paused container is to resume it.
        let before = if verb == Verb::Resume { None } else { verb.state(bed, &stage)? };
        let (called, log) = trace(bed, verb, &stage, Action::Record, Place { task: 0, call: 0 })?;
        let called = called.ok()?;
        let after = verb.after(bed, &stage, &called)?;
        let before = before.or_else(|| {
            (verb == Verb::Resume).then(|| {
                let mut paused = after.clone();
                paused["status"] = "paused".into();
                paused
            })
        });
        check(!log.calls.is_empty(), || "the tracer saw no call".into())?;
        Ok(Self { verb, calls: log.calls, before, after })
    }

    /// In one line, what was recorded.
    pub fn summary(&self) -> String {
        let tasks = self.calls.iter().map(|(place, _)| place.task).max().unwrap_or(0);
        format!("{}: {} calls of {tasks} processes", self.verb.name(), self.calls.len())
    }

    /// Everything that can be done to this command in these ways.
    pub fn points(&self, modes: &[Mode], errnos: &[Errno]) -> Vec<Point<'_>> {
        let mut points = Vec::new();
        for (place, number) in &self.calls {
            for mode in modes {
                let actions = match mode {
                    Mode::Kill => vec![Action::Kill],
                    Mode::Stop => vec![Action::Stop],
                    Mode::Fail => {
                        let given = errnos.iter().filter(|errno| !calls::cannot_fail(*number, **errno));
                        given.copied().map(Action::Fail).collect()
                    }
                };
                let point = |action| Point { baseline: self, place: *place, number: *number, action };
                points.extend(actions.into_iter().map(point));
            }
        }
        points
    }
}

/// One disturbance of one call.
#[derive(Clone, Copy)]
pub struct Point<'b> {
    baseline: &'b Baseline,
    place: Place,
    number: i64,
    action: Action,
}

impl Point<'_> {
    /// The command, the place of the call (which process, and which of its calls), its name, and what happens.
    pub fn name(&self) -> String {
        let what = match self.action {
            Action::Record => "nothing".to_owned(),
            Action::Kill => "kill".to_owned(),
            Action::Stop => "stop".to_owned(),
            Action::Fail(errno) => format!("{errno:?}"),
        };
        let Place { task, call } = self.place;
        format!("{} {task}.{call} {} {what}", self.baseline.verb.name(), calls::name(self.number))
    }

    /// The command that is disturbed.
    pub fn verb(&self) -> Verb {
        self.baseline.verb
    }

    /// Tries it; once more if it hangs, for a busy machine may be as slow once.
    pub fn judge(&self, runtime: &Runtime, host: &Host, work: &Path) -> Verdict {
        let begun = Instant::now();
        let outcome = match self.try_once(runtime, host, work) {
            Err(Fault::Failed(reason)) if reason.contains("HANG") => self.try_once(runtime, host, work),
            other => other,
        };
        Verdict { name: self.name(), outcome, took: begun.elapsed() }
    }

    fn try_once(&self, runtime: &Runtime, host: &Host, work: &Path) -> Outcome {
        Bed::new(runtime, host, work).and_then(|bed| {
            let before = Untouched::now(work, bed.dir());
            let answer = self.try_in(&bed);
            let clean = bed.clean_up().and_then(|()| untouched(&before, work, bed.dir()));
            match worse(answer, clean) {
                Err(Fault::Failed(reason)) if runtime.keep => {
                    fail(format!("{reason} [in {}]", bed.keep().display()))
                }
                other => other,
            }
        })
    }

    fn try_in(&self, bed: &Bed<'_>) -> Outcome {
        let verb = self.baseline.verb;
        let stage = verb.prepare(bed)?;
        let (called, log) = trace(bed, verb, &stage, self.action, self.place)?;
        let ended = called.code();
        let judged = ended_well(&called, &log).and_then(|()| self.look(bed, &stage, &called));
        let deleted = deleted(bed, &stage);
        // Not each run makes the same calls: a process may have to wait or not.
        let other = log.hit.filter(|number| *number != self.number);
        let other =
            other.map_or_else(String::new, |number| format!(" after {} was disturbed", calls::name(number)));
        worse(judged, deleted).map_err(|fault| match fault {
            Fault::Failed(text) => Fault::Failed(format!("ended with {ended}{other}: {text}")),
            skipped @ Fault::Skipped(_) => skipped,
        })?;
        if log.hit.is_none() { skip("the call was not made this time, or cannot fail so") } else { Ok(()) }
    }

    /// Whether the container is isolated as it should be.
    fn look(&self, bed: &Bed<'_>, stage: &Stage, called: &Called) -> Outcome {
        let Baseline { verb, before, after, .. } = self.baseline;
        if called.status.success() {
            let mut seen = verb.after(bed, stage, called)?;
            fewer_devices(&mut seen, after);
            let found = differences(&seen, after);
            return check(found.is_empty(), || format!("it succeeded, but {}", found.join("; ")));
        }
        let Some(mut seen) = verb.state(bed, stage)? else { return Ok(()) };
        // A failed command may have done its work, or a part of it: each limit is an old or a new one.
        let before = before.as_ref().unwrap_or(after);
        fewer_devices(&mut seen, before);
        let key = |value: &Value, file: &str| value["limits"][file].clone();
        if let Some(limits) = seen["limits"].as_object_mut() {
            for (file, limit) in limits {
                if *limit == key(after, file) {
                    *limit = key(before, file);
                }
            }
        }
        for part in ["status", "inside"] {
            if seen[part] == after[part] {
                seen[part] = before[part].clone();
            }
        }
        let found = differences(&seen, before);
        check(found.is_empty(), || format!("it failed, and now {}", found.join("; ")))
    }
}

fn ended_well(called: &Called, log: &Log) -> Outcome {
    // A language's runtime gives up without memory, and there is no way to stop it.
    let memory = log.hit.is_some_and(calls::is_about_memory);
    if !memory {
        quiet(called)?;
    }
    match log.died.iter().find(|(_, signal)| CRASHES.contains(signal)) {
        Some((task, signal)) if !memory => {
            fail(format!("process {task} died of signal {signal}; stderr {}", brief(&called.stderr)))
        }
        _ => Ok(()),
    }
}

fn deleted(bed: &Bed<'_>, stage: &Stage) -> Outcome {
    let id = &stage.bundle.id;
    let called = bed.command(["delete", "--force", id]).patience(PATIENCE).call()?;
    quiet(&called)?;
    called.ok()?;
    let left = settled(bed, &stage.bundle);
    check(left.is_empty(), || format!("delete --force left {}", left.join(", ")))
}

/// Fewer devices than without the disturbance are no weaker isolation: a cgroup above may forbid a default device, and the
/// runtime has to live with that.
fn fewer_devices(seen: &mut Value, wanted: &Value) {
    let lines = |value: &Value| -> Vec<String> {
        let text = value["limits"]["devices.list"].as_str().unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    };
    let (found, known) = (lines(seen), lines(wanted));
    if !found.is_empty() && found.iter().all(|line| known.contains(line)) {
        seen["limits"]["devices.list"] = wanted["limits"]["devices.list"].clone();
    }
}

/// Both reasons, if there are two.
fn worse(one: Outcome, other: Outcome) -> Outcome {
    match (one, other) {
        (Err(Fault::Failed(one)), Err(Fault::Failed(other))) => fail(format!("{one}; {other}")),
        (Err(Fault::Failed(text)), _) | (_, Err(Fault::Failed(text))) => fail(text),
        (one, other) => one.and(other),
    }
}

fn quiet(called: &Called) -> Outcome {
    let said = called.stderr.to_lowercase();
    let panics = PANICS.iter().any(|word| said.contains(word));
    check(!panics, || format!("`{}` panicked: {}", called.line, brief(&called.stderr)))
}

/// Runs the command under the tracer.
fn trace(bed: &Bed<'_>, verb: Verb, stage: &Stage, action: Action, place: Place) -> Outcome<(Called, Log)> {
    let file = bed.dir().join("trace.log");
    let program = std::env::current_exe()?.to_string_lossy().into_owned();
    let order = tracer::words(action, place, verb.also(stage), &file.to_string_lossy());
    let words: Vec<&str> = [program.as_str()].into_iter().chain(order.iter().map(String::as_str)).collect();
    let called = verb.command(bed, stage)?.under(&words).patience(PATIENCE).call()?;
    let log = fs::read_to_string(&file);
    match log {
        Ok(text) => Ok((called, Log::parse(&text))),
        Err(_) => fail(format!("the tracer ended with {}: {}", called.code(), brief(&called.stderr))),
    }
}
