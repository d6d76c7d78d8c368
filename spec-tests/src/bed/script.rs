//! Scripts of the probe: operations tried inside a container, one after another, and their answers.

use crate::outcome::{Outcome, check, fail};
use crate::runtime::Called;
use crate::spec::Spec;
use serde_json::Value;

/// The answer of one operation of a probe script.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The operation.
    pub op: String,
    /// 0, or why it failed.
    pub errno: i64,
    /// What it found.
    pub value: Value,
}

impl Answer {
    /// Passes if the operation worked.
    pub fn worked(&self) -> Outcome<&Value> {
        if self.errno == 0 {
            Ok(&self.value)
        } else {
            fail(format!("`{}` failed with errno {}", self.op, self.errno))
        }
    }

    /// Passes if the operation failed with one of these errnos (any, if the list is empty).
    pub fn failed(&self, errnos: &[i64]) -> Outcome {
        check(self.errno != 0, || format!("`{}` worked", self.op))?;
        check(errnos.is_empty() || errnos.contains(&self.errno), || {
            format!("`{}` failed with errno {}, wanted {errnos:?}", self.op, self.errno)
        })
    }
}

/// The configuration with a probe script as its program.
#[must_use]
pub fn script_spec(spec: Spec, script: &[&[&str]]) -> Spec {
    spec.args(&script_args(script))
}

/// The arguments that make the probe run a script.
pub fn script_args<'s>(script: &[&[&'s str]]) -> Vec<&'s str> {
    let mut args = vec!["/probe", "try"];
    for (i, op) in script.iter().enumerate() {
        if i > 0 {
            args.push("--");
        }
        args.extend_from_slice(op);
    }
    args
}

/// The answers that a probe script printed.
pub fn answers(called: &Called) -> Outcome<Vec<Answer>> {
    answers_in(&called.json()?)
}

/// The answers in what a probe script printed outside of a container.
pub fn answers_of(text: &str) -> Outcome<Vec<Answer>> {
    answers_in(&serde_json::from_str(text)?)
}

fn answers_in(value: &Value) -> Outcome<Vec<Answer>> {
    let Some(list) = value.as_array() else { return fail("the probe printed no list") };
    let answers: Vec<Answer> = list
        .iter()
        .map(|item| Answer {
            op: item["op"].as_str().unwrap_or_default().to_owned(),
            errno: item["errno"].as_i64().unwrap_or(9999),
            value: item["value"].clone(),
        })
        .collect();
    match answers.iter().find(|answer| answer.errno == 9999) {
        Some(unknown) => fail(format!("the probe does not know `{}`", unknown.op)),
        None => Ok(answers),
    }
}
