//! `hooks`.

use oci_spec::runtime::Spec;

use crate::finding::Report;
use crate::hook::HookKind;

pub(super) fn check(spec: &Spec, report: &mut Report) {
    let Some(hooks) = spec.hooks() else { return };
    for kind in HookKind::ALL {
        for (index, hook) in kind.of(hooks).iter().enumerate() {
            let at = format!("/hooks/{kind}/{index}");
            if !hook.path().is_absolute() {
                report.error(
                    format!("{at}/path"),
                    format!("the path {} is not absolute", hook.path().display()),
                );
            }
            if hook.timeout().is_some_and(|seconds| seconds <= 0) {
                report.error(format!("{at}/timeout"), "must be greater than zero");
            }
        }
    }
}
