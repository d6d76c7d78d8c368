//! `completion`: the script that lets a shell complete the command line.

mod words;

use std::path::Path;

use wharf::Runtime;

use crate::cli::{Call, Context, Count, Verb};
use crate::failure::Failure;
use crate::output;
use words::Answer;

/// Its line in the table.
pub(crate) const VERB: Verb = Verb::new(
    "completion",
    "bash|fish|zsh",
    Count::AtLeast(1),
    "print a shell completion script",
    run,
)
.details(
    "For bash: source <(wharf completion bash). For fish: wharf completion fish | source. For zsh: write it\n\
     to a file _wharf in a directory of $fpath.",
)
.trailing();

/// The shells, and their scripts.
const SCRIPTS: [(&str, &str); 3] = [
    ("bash", include_str!("completion/wharf.bash")),
    ("fish", include_str!("completion/wharf.fish")),
    ("zsh", include_str!("completion/wharf.zsh")),
];

/// How the scripts ask: the words of the command line follow, and the last one is completed.
const QUESTION: &str = "words";

/// Prints a script, or answers one.
fn run(context: &Context, call: &Call) -> Result<u8, Failure> {
    let first = call.operand(0)?.unwrap_or_default();
    if first == QUESTION {
        return answer(context, call);
    }
    if call.operands.len() > 1 {
        return Err(Failure::usage(Some(call.verb), "completion takes one operand, the name of a shell"));
    }
    let script = SCRIPTS.iter().find(|(name, _)| *name == first);
    let (_, script) = script.ok_or_else(|| {
        Failure::usage(Some(call.verb), format!("unknown shell {first:?}: not bash, fish or zsh"))
    })?;
    output::text(script)
}

/// The first line says what is offered; words follow, one per line, with a tab before the description.
fn answer(context: &Context, call: &Call) -> Result<u8, Failure> {
    let line = (1..call.operands.len())
        .map(|index| Ok(call.operand(index)?.unwrap_or_default()))
        .collect::<Result<Vec<_>, Failure>>()?;
    let ids = |root: Option<&Path>| ids(root.unwrap_or(context.root()));
    match words::complete(&line, ids) {
        Answer::Files => output::text("files\n"),
        Answer::Directories => output::text("directories\n"),
        Answer::Commands => output::text("commands\n"),
        Answer::Words(words) => {
            let lines = words.into_iter().map(|(word, about)| match about.as_str() {
                "" => word,
                about => format!("{word}\t{about}"),
            });
            output::lines(&std::iter::once("words".to_owned()).chain(lines).collect::<Vec<_>>())
        }
    }
}

/// Offers no containers if the directory is not readable.
fn ids(root: &Path) -> Vec<String> {
    let listed = std::path::absolute(root).ok().and_then(|root| Runtime::builder().root(root).build().ok());
    let listed = listed.and_then(|runtime| runtime.list().ok()).unwrap_or_default();
    listed.into_iter().map(|container| container.id).collect()
}
