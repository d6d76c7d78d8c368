//! The help, generated from the table.

use std::fmt::Write;

use crate::cli::options::{GLOBALS, HELP, Opt};
use crate::cli::table::Verb;
use crate::cli::version;

/// The help of one of the verbs, or of the program.
pub(crate) fn text(verbs: &[Verb], verb: Option<&Verb>) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    match verb {
        Some(verb) => of_verb(&mut text, verb),
        None => of_program(&mut text, verbs),
    }
    .ok();
    text
}

fn of_program(out: &mut String, verbs: &[Verb]) -> std::fmt::Result {
    let name = version::program_name();
    writeln!(out, "NAME:\n   {name} - Open Container Initiative runtime\n")?;
    writeln!(out, "USAGE:\n   {name} [global options] command [options] [arguments]\n")?;
    writeln!(out, "VERSION:\n   {}\n", version::NUMBER)?;
    writeln!(out, "COMMANDS:")?;
    for verb in verbs {
        writeln!(out, "   {:<12}{}", verb.name, verb.about)?;
    }
    writeln!(out, "   {:<12}print the help of a command\n", "help")?;
    writeln!(out, "GLOBAL OPTIONS:")?;
    options(out, GLOBALS.iter())
}

fn of_verb(out: &mut String, verb: &Verb) -> std::fmt::Result {
    let name = version::program_name();
    writeln!(out, "NAME:\n   {name} {} - {}\n", verb.name, verb.about)?;
    let operands = if verb.operands.is_empty() { String::new() } else { format!(" {}", verb.operands) };
    writeln!(out, "USAGE:\n   {name} {} [options]{operands}\n", verb.name)?;
    if !verb.details.is_empty() {
        writeln!(out, "DESCRIPTION:\n   {}\n", verb.details.replace('\n', "\n   "))?;
    }
    writeln!(out, "OPTIONS:")?;
    options(out, verb.options.iter().chain([&HELP]))
}

fn options<'a>(out: &mut String, options: impl Iterator<Item = &'a Opt>) -> std::fmt::Result {
    let shown: Vec<_> =
        options.filter(|option| !option.hidden).map(|option| (spelling(option), option.help)).collect();
    let width = shown.iter().map(|(spelling, _)| spelling.len()).max().unwrap_or(0) + 2;
    for (spelling, help) in shown {
        writeln!(out, "   {spelling:<width$}{help}")?;
    }
    Ok(())
}

fn spelling(option: &Opt) -> String {
    let value = option.value.map(|name| format!(" {name}")).unwrap_or_default();
    let letter = option.short.map(|letter| format!(", -{letter}{value}")).unwrap_or_default();
    format!("--{}{value}{letter}", option.long)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verb::VERBS;

    #[test]
    fn the_help_is_the_reviewed_one() {
        let all = VERBS.iter().map(|verb| text(VERBS, Some(verb)));
        let whole: Vec<_> =
            [text(VERBS, None).replace(version::NUMBER, "VERSION")].into_iter().chain(all).collect();
        insta::assert_snapshot!(whole.join("\n----\n"));
    }

    #[test]
    fn no_line_is_much_wider_than_a_terminal() {
        for verb in VERBS.iter().map(Some).chain([None]) {
            for line in text(VERBS, verb).lines() {
                assert!(line.chars().count() <= 160, "{line}");
            }
        }
    }
}
