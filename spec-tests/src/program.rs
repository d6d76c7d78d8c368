//! What the programs of this crate share: how wrong calls and requests for help end.

use std::process::ExitCode;

/// The options of a call, or the exit code with which the program ends at once: 0 after its help, 2 after a wrong call.
pub fn options<O>(
    program: &str,
    help: &str,
    parsed: Result<Option<O>, lexopt::Error>,
) -> Result<O, ExitCode> {
    match parsed {
        Ok(Some(options)) => Ok(options),
        Ok(None) => {
            println!("{help}");
            Err(ExitCode::SUCCESS)
        }
        Err(error) => {
            eprintln!("{program}: {error}\n\n{help}");
            Err(ExitCode::from(2))
        }
    }
}
