//! `process.capabilities`: what the kernel will refuse. The spec asks for a warning, not an error.

use oci_spec::runtime::{Capabilities, Process};

use crate::finding::Report;

pub(super) fn check(process: &Process, at: &str, report: &mut Report) {
    let Some(sets) = process.capabilities() else { return };
    // capset(2): the effective set must be within the permitted one.
    let refused = missing(sets.effective().as_ref(), &[sets.permitted().as_ref()]);
    if !refused.is_empty() {
        report.warning(
            format!("{at}/capabilities/effective"),
            format!("{refused} cannot be granted: not in the permitted set"),
        );
    }
    // capabilities(7): an ambient capability is always permitted and inheritable.
    let refused = missing(sets.ambient().as_ref(), &[sets.permitted().as_ref(), sets.inheritable().as_ref()]);
    if !refused.is_empty() {
        report.warning(
            format!("{at}/capabilities/ambient"),
            // runc's wording, which its callers know.
            format!(
                "can't raise ambient capability {refused}: not in both the permitted and the inheritable set"
            ),
        );
    }
}

/// The names in `set` that are missing from one of `others`, sorted.
fn missing(set: Option<&Capabilities>, others: &[Option<&Capabilities>]) -> String {
    let in_all = |name| others.iter().all(|other| other.is_some_and(|other| other.contains(name)));
    let mut names: Vec<String> =
        set.into_iter().flatten().filter(|name| !in_all(name)).map(|name| format!("CAP_{name}")).collect();
    names.sort();
    names.join(", ")
}
