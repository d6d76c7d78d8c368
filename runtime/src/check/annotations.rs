//! `annotations`.

use oci_spec::runtime::Spec;

use super::finding::Report;

pub(super) fn check(spec: &Spec, report: &mut Report) {
    if spec.annotations().as_ref().is_some_and(|annotations| annotations.contains_key("")) {
        // RFC 6901: the token of the empty name is empty.
        report.error("/annotations/", "a key must not be empty");
    }
}
