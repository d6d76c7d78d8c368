//! `ps`: the processes of a container.

use std::process::{Command, Stdio};

use crate::cli::options::FORMAT;
use crate::cli::{Call, Context, Count, Verb};
use crate::failure::{Failure, texts};
use crate::output;

/// Its line in the table.
pub(crate) const VERB: Verb = Verb::new(
    "ps",
    "<container-id> [argument of ps ...]",
    Count::AtLeast(1),
    "print the processes of a container",
    run,
)
.details(
    "The table comes from ps(1) on the host, called with the given arguments (default: -ef), which must\n\
     print a PID column.",
)
.options(&[FORMAT])
.trailing();

/// The table is what the host's ps(1) prints about them.
fn run(context: &Context, call: &Call) -> Result<u8, Failure> {
    let format = call.options.format()?;
    let pids = context.open(&call.id()?)?.processes()?;
    if format == "json" {
        return output::json_line(&pids);
    }
    let mut command = Command::new("ps");
    match &call.operands[1..] {
        [] => command.arg("-ef"),
        arguments => command.args(arguments),
    };
    let answer = command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| Failure::new(format!("run ps of the host: {error}")))?;
    if !answer.status.success() {
        let complaint = String::from_utf8_lossy(&answer.stderr);
        return Err(Failure::new(format!("ps of the host failed: {}", complaint.trim())));
    }
    output::text(&select(&String::from_utf8_lossy(&answer.stdout), &pids)?)
}

/// The header, and the lines whose PID column has one of the pids.
fn select(table: &str, pids: &[i32]) -> Result<String, Failure> {
    let mut lines = table.lines();
    let no_column = || Failure::new(texts::NO_PID_COLUMN);
    let header = lines.next().ok_or_else(no_column)?;
    let column = header.split_whitespace().position(|name| name == "PID").ok_or_else(no_column)?;
    let mut selected = format!("{header}\n");
    for line in lines {
        let pid = line.split_whitespace().nth(column).and_then(|pid| pid.parse::<i32>().ok());
        if pid.is_some_and(|pid| pids.contains(&pid)) {
            selected.push_str(line);
            selected.push('\n');
        }
    }
    Ok(selected)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_chosen_by_the_pid_column() {
        let table =
            "UID   PID  PPID CMD\nroot   1     0 init 12\nroot  12     1 sh\n 7   120    12 sleep 1\n";
        assert_eq!(
            select(table, &[12, 120]).unwrap(),
            "UID   PID  PPID CMD\nroot  12     1 sh\n 7   120    12 sleep 1\n"
        );
        assert_eq!(select(table, &[]).unwrap(), "UID   PID  PPID CMD\n");
        assert_eq!(select("USER CMD\nroot sh\n", &[1]).unwrap_err().message(), texts::NO_PID_COLUMN);
        assert!(select("", &[1]).is_err());
    }
}
