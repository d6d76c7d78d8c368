//! Root: rows A12 to A14.

use crate::outcome::{Outcome, same};
use crate::{Bed, Spec, Test, test};

/// The tests of this area.
pub(super) const TESTS: &[Test] = &[
    test("A12", "a configuration without root is refused", missing),
    test("A13", "root.path may be absolute", absolute),
    test("A13", "root.path that does not exist is refused", nowhere),
    test("A13", "root.path that is a file is refused", not_a_directory),
    test("A14", "root.readonly makes the whole rootfs read-only", read_only),
];

fn missing(bed: &Bed<'_>) -> Outcome {
    bed.refuses(&Spec::new().without("/root"), &["root"])
}

fn absolute(bed: &Bed<'_>) -> Outcome {
    let bundle = bed.bundle(&Spec::new())?;
    bundle.write_spec(&Spec::new().set("/root/path", bundle.rootfs.to_string_lossy().into_owned()))?;
    let seen = bed.run_bundle(&bundle)?.ok()?.json()?;
    same("pid", &seen["pid"], 1)
}

fn nowhere(bed: &Bed<'_>) -> Outcome {
    bed.refuses(&Spec::new().set("/root/path", "nowhere"), &["root", "nowhere"])
}

fn not_a_directory(bed: &Bed<'_>) -> Outcome {
    bed.refuses(&Spec::new().set("/root/path", "config.json"), &["root", "config.json", "directory"])
}

fn read_only(bed: &Bed<'_>) -> Outcome {
    let script: &[&[&str]] = &[
        &["write", "/x", "x"],
        &["mkdir", "/tmp/x"],
        &["chmod", "/etc", "700"],
        &["write", "/dev/shm/x", "x"],
    ];
    let answers = bed.tries(&Spec::new().set("/root/readonly", true), script)?;
    for answer in &answers[..3] {
        answer.failed(&[30])?;
    }
    answers[3].worked()?;
    let answers = bed.tries(&Spec::new().set("/root/readonly", false), script)?;
    answers.iter().try_for_each(|answer| answer.worked().map(drop))
}
