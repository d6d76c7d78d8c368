//! What can stand at the end of a command line, by the table.

use std::path::Path;

use crate::cli::options::{GLOBALS, HELP};
use crate::cli::{Opt, Verb, table};
use crate::verb::VERBS;

/// What a shell should offer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// The names of files.
    Files,
    /// The names of directories.
    Directories,
    /// Programs.
    Commands,
    /// These words, each with its description, which may be empty.
    Words(Vec<(String, String)>),
}

/// The part of a command line before the word that is completed.
#[derive(Default)]
struct Before<'w> {
    verb: Option<&'static Verb>,
    operands: usize,
    /// The option whose value comes next.
    expects: Option<&'static Opt>,
    /// Whether everything that follows is an operand.
    ended: bool,
    root: Option<&'w str>,
}

/// Completes the last of the words after the program's name. `ids` lists the containers of a state directory, or of the
/// default one if none is given.
pub(super) fn complete(words: &[&str], ids: impl Fn(Option<&Path>) -> Vec<String>) -> Answer {
    let (current, before) = words.split_last().map_or(("", &[][..]), |(last, before)| (*last, before));
    let Some(line) = read(before) else { return Answer::Words(Vec::new()) };
    if let Some(option) = line.expects {
        // bash splits `--name=value` into three words.
        return value(option, "", if current == "=" { "" } else { current });
    }
    if !line.ended && current.starts_with('-') {
        if let Some((name, text)) = current.split_once('=') {
            let option = find(line.options(), name);
            return option.map_or(Answer::Words(Vec::new()), |one| value(one, &format!("{name}="), text));
        }
        // The global options include it.
        let help = line.verb.map(|_| &HELP);
        let options = line.options().iter().chain(help).filter(|option| !option.hidden);
        let all = options.map(|option| (format!("--{}", option.long), option.help.to_owned())).collect();
        return matching(all, current);
    }
    let Some(verb) = line.verb else {
        let verbs = VERBS.iter().map(|verb| (verb.name.to_owned(), verb.about.to_owned()));
        return matching(verbs.collect(), current);
    };
    match operand(verb, line.operands) {
        Some("bundle") => Answer::Directories,
        Some("command") if line.operands == 1 => Answer::Commands,
        // Arguments follow a command.
        Some("file" | "command" | "argument") => Answer::Files,
        Some("container-id") => {
            let ids = ids(line.root.map(Path::new)).into_iter();
            matching(ids.map(|id| (id, String::new())).collect(), current)
        }
        Some(words) if words.contains('|') => {
            matching(words.split('|').map(|word| (word.to_owned(), String::new())).collect(), current)
        }
        _ => Answer::Words(Vec::new()),
    }
}

impl Before<'_> {
    fn options(&self) -> &'static [Opt] {
        self.verb.map_or(GLOBALS, |verb| verb.options)
    }
}

/// Reads complete words; none if there is no such verb.
fn read<'w>(words: &[&'w str]) -> Option<Before<'w>> {
    let mut line = Before::default();
    for &word in words {
        if let Some(option) = line.expects {
            if word != "=" {
                line.expects = None;
                if option.long == "root" {
                    line.root = Some(word);
                }
            }
        } else if line.ended || !word.starts_with('-') || word == "-" {
            match line.verb {
                None => line.verb = Some(table::find(VERBS, word)?),
                Some(verb) => {
                    line.operands += 1;
                    line.ended |= verb.trailing;
                }
            }
        } else if word == "--" {
            line.ended = true;
        } else if let Some((name, value)) = word.split_once('=') {
            if find(line.options(), name).is_some_and(|option| option.long == "root") {
                line.root = Some(value);
            }
        } else {
            line.expects = find(line.options(), word).filter(|option| option.value.is_some());
        }
    }
    Some(line)
}

/// The option with that spelling. Of several letters in one word the last one counts, as only it can have a value in
/// the next.
fn find(options: &'static [Opt], word: &str) -> Option<&'static Opt> {
    let name = word.trim_start_matches('-');
    let long = options.iter().find(|option| option.long == name);
    let letter = if word.starts_with("--") { None } else { name.chars().last() };
    long.or_else(|| options.iter().find(|option| letter.is_some() && option.short == letter))
}

fn value(option: &Opt, before: &str, current: &str) -> Answer {
    match option.value {
        Some("DIR") => Answer::Directories,
        Some("FILE" | "SOCKET" | "TARGET") => Answer::Files,
        _ => {
            let choices = option.choices.iter().map(|choice| (format!("{before}{choice}"), String::new()));
            matching(choices.collect(), &format!("{before}{current}"))
        }
    }
}

fn matching(mut words: Vec<(String, String)>, current: &str) -> Answer {
    words.retain(|(word, _)| word.starts_with(current));
    Answer::Words(words)
}

/// What the usage calls the operand at that place.
fn operand(verb: &'static Verb, index: usize) -> Option<&'static str> {
    let names: Vec<_> = verb
        .operands
        .split_whitespace()
        .map(|word| word.trim_matches(['<', '>', '[', ']', '.']))
        .filter(|word| !matches!(*word, "" | "of" | "ps"))
        .collect();
    let last = names.last().filter(|_| verb.operands.contains("..."));
    names.get(index).or(last).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn completed(line: &str) -> Answer {
        let words: Vec<_> = line.split(' ').collect();
        complete(&words, |root| {
            assert!(root.is_none_or(|root| root == Path::new("/state")), "{root:?}");
            if root.is_some() {
                vec!["there".into()]
            } else {
                vec!["web-1".into(), "web-2".into(), "db".into()]
            }
        })
    }

    fn words(line: &str) -> Vec<String> {
        match completed(line) {
            Answer::Words(words) => words.into_iter().map(|(word, _)| word).collect(),
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn every_verb_and_option_that_is_shown_is_offered() {
        assert_eq!(words(""), VERBS.iter().map(|verb| verb.name).collect::<Vec<_>>());
        for (line, options) in VERBS
            .iter()
            .map(|verb| (format!("{} --", verb.name), verb.options))
            .chain([("--".into(), GLOBALS)])
        {
            let offered = words(&line);
            for option in options {
                let count = offered.iter().filter(|word| **word == format!("--{}", option.long)).count();
                assert_eq!(count, usize::from(!option.hidden), "{line}{}", option.long);
            }
            assert_eq!(offered.iter().filter(|word| *word == "--help").count(), 1, "{line}");
        }
    }

    #[test]
    fn words_that_do_not_fit_are_left_out() {
        assert_eq!(words("st"), ["start", "state"]);
        assert_eq!(words("--log-"), ["--log-format", "--log-level"]);
        assert_eq!(words("kill --al"), ["--all"]);
        assert_eq!(words("frob "), [""; 0]);
    }

    #[test]
    fn values_of_options() {
        assert_eq!(words("--log-format "), ["text", "json"]);
        assert_eq!(words("--log-format = j"), ["json"], "as bash cuts it");
        assert_eq!(words("--log-format ="), ["text", "json"]);
        assert_eq!(words("--log-format=j"), ["--log-format=json"]);
        assert_eq!(words("list -f t"), ["table"]);
        assert_eq!(words("list -qf t"), ["table"]);
        assert_eq!(completed("--root "), Answer::Directories);
        assert_eq!(completed("--root=/r"), Answer::Directories);
        assert_eq!(completed("run --bundle "), Answer::Directories);
        assert_eq!(completed("run -b "), Answer::Directories);
        assert_eq!(completed("run --pid-file "), Answer::Files);
    }

    #[test]
    fn operands() {
        assert_eq!(words("state "), ["web-1", "web-2", "db"]);
        assert_eq!(words("state web"), ["web-1", "web-2"]);
        assert_eq!(words("--root /state state "), ["there"]);
        assert_eq!(words("--root=/state --debug state "), ["there"]);
        assert_eq!(words("kill --all w"), ["web-1", "web-2"]);
        assert_eq!(words("mounts "), ["add", "remove"]);
        assert_eq!(words("mounts add d"), ["db"]);
        assert_eq!(completed("mounts add db "), Answer::Files);
        assert_eq!(completed("check "), Answer::Directories);
        assert_eq!(words("completion "), ["bash", "fish", "zsh"]);
        assert_eq!(words("list "), [""; 0]);
    }

    #[test]
    fn the_command_of_an_exec_has_options_of_its_own() {
        assert_eq!(words("exec --t"), ["--tty"]);
        assert_eq!(words("exec d"), ["db"]);
        assert_eq!(completed("exec db l"), Answer::Commands);
        assert_eq!(completed("exec db ls --"), Answer::Files);
        assert_eq!(completed("exec -t db -- ls"), Answer::Files);
    }
}
