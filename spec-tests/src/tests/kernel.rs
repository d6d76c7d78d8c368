//! Kernels that lack something that a runtime needs: part of C3.

use crate::outcome::{Outcome, check, skip};
use crate::runtime::{Called, brief};
use crate::{Bed, Bundle, Spec, Test, test};

/// Calls that Linux has had only since 5.2 to 5.12, and that a runtime may rely on.
const CALLS: [&str; 8] =
    ["openat2", "mount_setattr", "open_tree", "move_mount", "fsopen", "fsmount", "clone3", "close_range"];

pub(super) const TESTS: &[Test] = &[
    test(
        "C3",
        "on an old kernel a container runs, or one sentence tells why not and nothing is left",
        |bed| {
            needs("setarch")?;
            let bundle = bed.bundle(&Spec::new().args(&["/probe", "true"]))?;
            let dir = bundle.dir.to_string_lossy();
            let call = bed.command(["run", "--bundle", &dir, &bundle.id]).under(&[
                "setarch",
                "x86_64",
                "--uname-2.6",
            ]);
            works_or_tells(bed, &bundle, &call.call()?, "Linux")
        },
    ),
    test(
        "C3",
        "without a system call a container runs, or one sentence tells why not and nothing is left",
        |bed| {
            bed.host.needs_root_because("newuidmap has no privileges under strace")?;
            needs("strace")?;
            for name in CALLS {
                let bundle = bed.bundle(&Spec::new().args(&["/probe", "true"]))?;
                let dir = bundle.dir.to_string_lossy();
                let (trace, inject) = (format!("trace={name}"), format!("inject={name}:error=ENOSYS"));
                let strace = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", &trace, "-e", &inject];
                let called = bed.command(["run", "--bundle", &dir, &bundle.id]).under(&strace).call()?;
                works_or_tells(bed, &bundle, &called, "implemented")?;
            }
            Ok(())
        },
    ),
];

fn works_or_tells(bed: &Bed<'_>, bundle: &Bundle, called: &Called, word: &str) -> Outcome {
    if called.status.success() {
        return Ok(());
    }
    called.refused(&[word])?;
    check(called.stderr.trim().lines().count() == 1, || {
        format!("more than a line: {}", brief(&called.stderr))
    })?;
    let left = bed.leftovers(bundle);
    check(left.is_empty(), || format!("run failed and left {}", left.join(", ")))
}

/// Skips without a program.
pub(crate) fn needs(program: &str) -> Outcome {
    if program == "setarch" && !cfg!(target_arch = "x86_64") {
        return skip("setarch has no old kernels for this processor");
    }
    let found = ["/usr/bin", "/bin"].iter().any(|dir| std::path::Path::new(dir).join(program).is_file());
    if found { Ok(()) } else { skip(format!("needs the program {program}")) }
}
