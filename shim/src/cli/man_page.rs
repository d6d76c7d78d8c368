//! A manual page, generated from the table: man(7).

use std::fmt::Write;

use crate::cli::options::{GLOBALS, HELP, Opt};
use crate::cli::table::Verb;

/// The name of the page of a verb, or of the program.
pub(crate) fn name(verb: Option<&Verb>) -> String {
    verb.map_or("wharf".to_owned(), |verb| format!("wharf-{}", verb.name))
}

/// The page of one of the verbs, or of the program.
pub(crate) fn text(verbs: &[Verb], verb: Option<&Verb>) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    page(&mut text, verbs, verb).ok();
    text
}

fn page(out: &mut String, verbs: &[Verb], verb: Option<&Verb>) -> std::fmt::Result {
    let name = name(verb);
    writeln!(out, ".TH {} 8 \"\" wharf wharf", escaped(&name.to_uppercase()))?;
    let about = verb.map_or("Open Container Initiative runtime", |verb| verb.about);
    writeln!(out, ".SH NAME\n{} \\- {}", escaped(&name), escaped(about))?;
    writeln!(out, ".SH SYNOPSIS")?;
    match verb {
        Some(verb) => {
            write!(out, "\\fBwharf {}\\fR [\\fIoptions\\fR]", escaped(verb.name))?;
            if !verb.operands.is_empty() {
                write!(out, " {}", escaped(verb.operands))?;
            }
            writeln!(out)?;
        }
        None => writeln!(
            out,
            "\\fBwharf\\fR [\\fIglobal options\\fR] \\fIcommand\\fR [\\fIoptions\\fR] [\\fIarguments\\fR]"
        )?,
    }
    if let Some(verb) = verb.filter(|verb| !verb.details.is_empty()) {
        writeln!(out, ".SH DESCRIPTION\n{}", escaped(verb.details))?;
    }
    if let Some(verb) = verb {
        options(out, "OPTIONS", verb.options.iter().chain([&HELP]))?;
    } else {
        writeln!(out, ".SH COMMANDS")?;
        for verb in verbs {
            let page = escaped(&self::name(Some(verb)));
            writeln!(out, ".TP\n\\fB{page}\\fR(8)\n{}", escaped(verb.about))?;
        }
        options(out, "GLOBAL OPTIONS", GLOBALS.iter())?;
    }
    writeln!(out, ".SH SEE ALSO")?;
    match verb {
        Some(_) => writeln!(out, "\\fBwharf\\fR(8)"),
        None => writeln!(out, "\\fBrunc\\fR(8), \\fBcontainers.conf\\fR(5)"),
    }
}

fn options<'o>(out: &mut String, title: &str, options: impl Iterator<Item = &'o Opt>) -> std::fmt::Result {
    writeln!(out, ".SH {title}")?;
    for option in options.filter(|option| !option.hidden) {
        writeln!(out, ".TP")?;
        if let Some(letter) = option.short {
            write!(out, "\\fB\\-{letter}\\fR, ")?;
        }
        write!(out, "\\fB\\-\\-{}\\fR", escaped(option.long))?;
        if let Some(value) = option.value {
            write!(out, " \\fI{}\\fR", escaped(value))?;
        }
        writeln!(out, "\n{}", escaped(option.help))?;
    }
    Ok(())
}

/// Escapes text for roff, whose requests are lines that begin with a dot or an apostrophe.
fn escaped(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-").replace('\'', "\\(aq").replace('`', "\\(ga");
    let lines = text.split('\n').map(|line| match line.strip_prefix('.') {
        Some(rest) => format!("\\&.{rest}"),
        None => line.to_owned(),
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verb::VERBS;

    #[test]
    fn a_page_is_the_reviewed_one() {
        let kill = VERBS.iter().find(|verb| verb.name == "kill");
        insta::assert_snapshot!([text(VERBS, None), text(VERBS, kill)].join("\n----\n"));
    }

    #[test]
    fn every_option_that_is_shown_is_in_its_page() {
        for verb in VERBS.iter().map(Some).chain([None]) {
            let page = text(VERBS, verb).replace('\\', "");
            for option in verb.map_or(GLOBALS, |verb| verb.options) {
                let there = page.contains(&format!("fB--{}fR", option.long));
                assert_eq!(there, !option.hidden, "{}: --{}", name(verb), option.long);
            }
            // A line that begins with a dot is a request; text never does.
            let known = [".TH ", ".SH ", ".TP"];
            for line in text(VERBS, verb).lines().filter(|line| line.starts_with(['.', '\''])) {
                assert!(known.iter().any(|request| line.starts_with(request)), "{line}");
            }
        }
    }

    #[test]
    fn text_is_escaped() {
        assert_eq!(escaped(".x\n'y\\n-z"), "\\&.x\n\\(aqy\\en\\-z");
    }
}
