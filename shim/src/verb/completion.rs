//! `completion`: the script that lets a shell complete the command line.

use crate::args::Call;
use crate::context::Context;
use crate::failure::Failure;
use crate::output;
use crate::table::{Count, Verb};

/// Its line in the table.
pub(crate) const VERB: Verb = Verb {
    name: "completion",
    operands: "bash|fish|zsh",
    count: Count::Exactly(1),
    trailing: false,
    about: "print the script that lets a shell complete the command line",
    details: "For bash: source <(wharf completion bash). For fish: wharf completion fish | source. For zsh: put it into a\n\
        file _wharf in a directory of $fpath.",
    options: &[],
    enters_containers: false,
    run,
};

/// The shells, and their scripts: made from the table, and kept in the repository so that the program needs nothing to
/// make them with.
pub(crate) const SCRIPTS: [(&str, &str); 3] = [
    ("bash", include_str!("../../completions/wharf.bash")),
    ("fish", include_str!("../../completions/wharf.fish")),
    ("zsh", include_str!("../../completions/_wharf")),
];

/// Prints it.
fn run(_context: &Context, call: &Call) -> Result<u8, Failure> {
    let shell = call.operand(0)?.unwrap_or_default();
    let script = SCRIPTS.iter().find(|(name, _)| *name == shell);
    let (_, script) = script.ok_or_else(|| {
        Failure::usage(Some(call.verb), format!("unknown shell {shell:?}: not bash, fish or zsh"))
    })?;
    output::text(script)
}
