//! A container of a test, and the operations on it.

use super::{Answer, Bed, answers, script_args};
use crate::bundle::Bundle;
use crate::outcome::{Outcome, fail};
use crate::runtime::{Called, PATIENCE, brief};
use rustix::process::Pid;
use serde_json::Value;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// A container that exists.
pub struct Container<'b, 'a> {
    /// Where it lives.
    pub bed: &'b Bed<'a>,
    /// What it was made from.
    pub bundle: Bundle,
    /// The file that is its stdout.
    pub out: PathBuf,
}

impl Container<'_, '_> {
    /// Its id.
    pub fn id(&self) -> &str {
        &self.bundle.id
    }

    /// Starts it.
    pub fn start(&self) -> Outcome<Called> {
        self.bed.call(["start", self.id()])?.ok()
    }

    /// What `state` prints.
    pub fn state(&self) -> Outcome<Value> {
        self.bed.call(["state", self.id()])?.ok()?.json()
    }

    /// `status` of its state.
    pub fn status(&self) -> Outcome<String> {
        Ok(self.state()?["status"].as_str().unwrap_or_default().to_owned())
    }

    /// Host pid of its first process.
    pub fn pid(&self) -> Outcome<Pid> {
        let state = self.state()?;
        let pid = state["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
        pid.map_or_else(|| fail(format!("no pid in {state}")), Ok)
    }

    /// Sends a signal by the runtime.
    pub fn kill(&self, signal: &str) -> Outcome<Called> {
        self.bed.call(["kill", self.id(), signal])?.ok()
    }

    /// Deletes it.
    pub fn delete(&self) -> Outcome<Called> {
        self.bed.call(["delete", self.id()])?.ok()
    }

    /// Runs a program in it.
    pub fn exec(&self, args: &[&str]) -> Outcome<Called> {
        self.exec_with(&[], args)
    }

    /// Runs a program in it, with options for `exec`.
    pub fn exec_with(&self, options: &[&str], args: &[&str]) -> Outcome<Called> {
        let mut words = vec!["exec"];
        words.extend_from_slice(options);
        words.push(self.id());
        words.extend_from_slice(args);
        self.bed.call(words)
    }

    /// Runs a probe script in it.
    pub fn tries(&self, script: &[&[&str]]) -> Outcome<Vec<Answer>> {
        answers(&self.exec(&script_args(script))?.ok()?)
    }

    /// What it has written so far.
    pub fn output(&self) -> String {
        fs::read(&self.out).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// Waits until its output has this word.
    pub fn until_output(&self, word: &str) -> Outcome<String> {
        self.until(&format!("{word:?} in its output"), || {
            Ok(self.output().contains(word).then(|| self.output()))
        })
    }

    /// Waits until `state` reports this status.
    pub fn until_status(&self, status: &str) -> Outcome {
        self.until(&format!("status {status}"), || Ok((self.status()? == status).then_some(())))
    }

    /// Waits until something can be observed.
    pub fn until<T>(&self, what: &str, mut look: impl FnMut() -> Outcome<Option<T>>) -> Outcome<T> {
        let end = (Instant::now() + PATIENCE / 3).min(self.bed.end.get());
        while Instant::now() < end {
            if let Some(found) = look()? {
                return Ok(found);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        fail(format!("waited in vain for {what}; output {}", brief(&self.output())))
    }

    /// Waits for the end of its first process and returns the exit code, 128 + signal for a signal.
    pub fn end(&self, pid: Pid) -> Outcome<i32> {
        self.until("the end of the first process", || Ok(crate::reaper::exit_code(pid)))
    }

    /// Kills it and waits until it is stopped.
    pub fn stop(&self) -> Outcome {
        self.kill("KILL")?;
        self.until_status("stopped")
    }
}
