//! A plan for people: every step in order, who takes it, and which property asked for it.

use std::fmt;

use serde::Serialize;

use super::{ParentStep, Plan};
use crate::finding::Finding;
use crate::program::Op;

/// The ordered steps of a creation.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Explanation {
    /// The container id that the plan is for.
    pub id: String,
    /// The steps.
    pub steps: Vec<ExplainedStep>,
    /// The warnings that a creation would give.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// One step of a creation.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct ExplainedStep {
    /// `parent` (the caller of the runtime) or `child` (the process that becomes the container's).
    pub by: &'static str,
    /// What is done, and to what.
    pub action: String,
    /// The property of `config.json` that asks for it, as a JSON pointer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pointer: Option<String>,
}

impl Plan {
    /// Puts the plan into words.
    pub(crate) fn explain(&self, id: &str) -> Explanation {
        let mut steps = vec![ExplainedStep {
            by: "parent",
            action: "record the intent to create the container".to_owned(),
            pointer: None,
        }];
        let by_systemd = self.steps.iter().any(|(step, _)| matches!(step, ParentStep::EnterScope(_)));
        if !by_systemd {
            steps.push(ExplainedStep {
                by: "parent",
                action: "make the cgroups and apply the limits".to_owned(),
                pointer: Some("/linux/resources".to_owned()),
            });
        }
        let mut born = String::from("make the child process");
        for (flag, name) in [(libc::CLONE_NEWUSER, "user"), (libc::CLONE_NEWPID, "pid")] {
            if self.born_with & flag != 0 {
                born.push_str(", in a new ");
                born.push_str(name);
                born.push_str(" namespace");
            }
        }
        for (path, ..) in &self.born_joined {
            born.push_str(", in the namespace ");
            born.push_str(&path.to_string_lossy());
        }
        steps.push(ExplainedStep {
            by: "parent",
            action: born,
            pointer: Some("/linux/namespaces".to_owned()),
        });
        for (op, blame) in self.program.ops.iter().zip(&self.program.blames) {
            let (by, action) = match op {
                Op::Ask { step, .. } => match self.steps.get(usize::from(*step)) {
                    Some((step, _)) => ("parent", step.to_string()),
                    None => continue,
                },
                _ => ("child", blame.sentence(&self.program)),
            };
            steps.push(ExplainedStep { by, action, pointer: blame.place.pointer() });
            if *op == Op::Emerge {
                steps.extend(self.emerged.iter().map(|(step, blame)| ExplainedStep {
                    by: "parent",
                    action: step.to_string(),
                    pointer: blame.place.pointer(),
                }));
            }
        }
        Explanation {
            id: id.to_owned(),
            steps,
            warnings: self.findings.iter().map(Finding::sentence).collect(),
        }
    }
}

impl Plan {
    /// What each operation of the child does, and which property asked for it.
    pub(crate) fn child_steps(&self) -> impl Iterator<Item = String> {
        self.program.ops.iter().zip(&self.program.blames).map(|(op, blame)| {
            let asked = match op {
                Op::Ask { step, .. } => self.steps.get(usize::from(*step)).map(|(step, _)| step.to_string()),
                _ => None,
            };
            let what = asked.unwrap_or_else(|| blame.sentence(&self.program));
            match blame.place.pointer() {
                Some(pointer) => format!("{what} (config.json {pointer})"),
                None => what,
            }
        })
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, step) in self.steps.iter().enumerate() {
            write!(f, "{:>4}  {:<6}  {}", number + 1, step.by, step.action)?;
            if let Some(pointer) = &step.pointer {
                write!(f, "  ({pointer})")?;
            }
            writeln!(f)?;
        }
        for warning in &self.warnings {
            writeln!(f, "warning: {warning}")?;
        }
        Ok(())
    }
}
