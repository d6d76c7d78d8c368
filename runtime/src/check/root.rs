//! `root`.

use oci_spec::runtime::Spec;

use crate::finding::Report;

pub(super) fn check(spec: &Spec, report: &mut Report) {
    match spec.root() {
        None => report.error("/root", "required, but missing"),
        Some(root) if root.path().as_os_str().is_empty() => {
            report.error("/root/path", "the path is empty");
        }
        Some(_) => {}
    }
}
