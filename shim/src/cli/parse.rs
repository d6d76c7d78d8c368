//! Parses the command line by the table: options on either side of the operands, `--name=value`, `--name value`, and
//! long options with a single dash from callers that were written for Go's flag package.

use std::ffi::{OsStr, OsString};

use lexopt::{Arg, Parser};

use crate::cli::call::{Call, Given};
use crate::cli::options::{GLOBALS, HELP, Opt};
use crate::cli::table::{self, Count, Verb};
use crate::failure::{Failure, texts};

/// The whole command line.
pub(crate) struct Parsed {
    /// The options before the verb, as far as they could be parsed: they say where a failure is logged.
    pub(crate) globals: Given,
    /// The request.
    pub(crate) request: Result<Request, Failure>,
}

/// What the caller asks for.
pub(crate) enum Request {
    /// The help of a verb or of the program.
    Help(Option<&'static Verb>),
    /// The version.
    Version,
    /// A verb, which can fail.
    Verb(&'static Verb, Call),
}

/// Parses a command line, including the name of the program. `verbs` is the table.
pub(crate) fn parse(verbs: &'static [Verb], arguments: impl IntoIterator<Item = OsString>) -> Parsed {
    let mut globals = Given::new(GLOBALS);
    let mut words = Words { parser: Parser::from_iter(arguments), ended: false };
    let request = read(verbs, &mut words, &mut globals);
    Parsed { globals, request }
}

fn read(verbs: &'static [Verb], words: &mut Words, globals: &mut Given) -> Result<Request, Failure> {
    let name = loop {
        match words.next(None, GLOBALS)? {
            Some(Word::Option(option, _)) if option.long == "help" => return Ok(Request::Help(None)),
            Some(Word::Option(option, _)) if option.long == "version" => return Ok(Request::Version),
            Some(Word::Option(option, value)) => globals.push(option, value),
            Some(Word::Operand(name)) => break name,
            None => return Ok(Request::Help(None)),
        }
    };
    let known = |name: &OsStr| {
        let verb = name.to_str().and_then(|name| table::find(verbs, name));
        verb.ok_or_else(|| {
            // runc's wording.
            Failure::new(format!("No help topic for '{}'; see wharf --help", name.display()))
                .with_code(texts::UNKNOWN_VERB_CODE)
        })
    };
    if name == "help" || name == "h" {
        return match words.next(None, &[])? {
            Some(Word::Operand(name)) => Ok(Request::Help(Some(known(&name)?))),
            _ => Ok(Request::Help(None)),
        };
    }
    let verb = known(&name)?;
    let mut call = Call { verb: verb.name, options: Given::new(verb.options), operands: Vec::new() };
    while let Some(word) = words.next(Some(verb.name), verb.options)? {
        match word {
            Word::Option(option, _) if option.long == "help" => return Ok(Request::Help(Some(verb))),
            Word::Option(option, value) => call.options.push(option, value),
            Word::Operand(operand) => {
                call.operands.push(operand);
                if verb.trailing {
                    call.operands.extend(words.rest());
                }
            }
        }
    }
    count(verb, call.operands.len())?;
    Ok(Request::Verb(verb, call))
}

/// Checks the number of operands.
fn count(verb: &Verb, given: usize) -> Result<(), Failure> {
    let wanted = match verb.count {
        Count::Exactly(count) if given != count => format!("exactly {count}"),
        Count::AtLeast(count) if given < count => format!("a minimum of {count}"),
        Count::AtMost(count) if given > count => format!("a maximum of {count}"),
        Count::Between(least, _) if given < least => format!("a minimum of {least}"),
        Count::Between(_, most) if given > most => format!("a maximum of {most}"),
        _ => return Ok(()),
    };
    Err(Failure::usage(Some(verb.name), format!("wharf: {:?} requires {wanted} argument(s)", verb.name)))
}

/// The command line, word by word.
struct Words {
    parser: Parser,
    /// Whether `--` was seen.
    ended: bool,
}

enum Word {
    Option(&'static Opt, OsString),
    Operand(OsString),
}

impl Words {
    fn next(&mut self, verb: Option<&'static str>, table: &'static [Opt]) -> Result<Option<Word>, Failure> {
        let unknown = |name: &str| Failure::usage(verb, format!("flag provided but not defined: -{name}"));
        if let Some((name, value)) = self.single_dash(table) {
            let option = find(table, |option| option.long == name).ok_or_else(|| unknown(&name))?;
            return self.value(verb, option, value).map(Some);
        }
        let (option, long) = match self.parser.next() {
            Ok(None) => return Ok(None),
            Ok(Some(Arg::Value(operand))) => return Ok(Some(Word::Operand(operand))),
            Ok(Some(Arg::Long(name))) => {
                (find(table, |option| option.long == name).ok_or_else(|| unknown(name))?, true)
            }
            Ok(Some(Arg::Short(letter))) => {
                let option = find(table, |option| option.short == Some(letter));
                (option.ok_or_else(|| unknown(&letter.to_string()))?, false)
            }
            Err(error) => return Err(Failure::usage(verb, error.to_string())),
        };
        // After a letter there may be more letters, which are not its value.
        let value = if option.value.is_none() && long { self.parser.optional_value() } else { None };
        self.value(verb, option, value).map(Some)
    }

    /// A long option with a single dash.
    fn single_dash(&mut self, table: &'static [Opt]) -> Option<(String, Option<OsString>)> {
        if self.ended {
            return None;
        }
        let mut raw = self.parser.try_raw_args()?;
        let word = raw.peek()?;
        if word == "--" {
            self.ended = true;
            return None;
        }
        let text = word.to_str()?.strip_prefix('-')?;
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, Some(OsString::from(value))),
            None => (text, None),
        };
        // A single letter is a short option, and lexopt handles what no table knows.
        if name.chars().count() < 2 || find(table, |option| option.long == name).is_none() {
            return None;
        }
        let name = name.to_owned();
        raw.next();
        Some((name, value))
    }

    /// Completes an option: the value of a switch is true, or what Go's flag package takes for true and false.
    fn value(
        &mut self,
        verb: Option<&'static str>,
        option: &'static Opt,
        inline: Option<OsString>,
    ) -> Result<Word, Failure> {
        let value = match (option.value, inline) {
            (None, None) => "true".into(),
            (None, Some(value)) => match value.to_str() {
                Some("1" | "t" | "T" | "true" | "TRUE" | "True") => "true".into(),
                Some("0" | "f" | "F" | "false" | "FALSE" | "False") => "false".into(),
                _ => {
                    let message =
                        format!("invalid boolean value \"{}\" for --{}", value.display(), option.long);
                    return Err(Failure::usage(verb, message));
                }
            },
            (Some(_), Some(value)) => value,
            (Some(_), None) => self
                .parser
                .value()
                .map_err(|_| Failure::usage(verb, format!("flag needs an argument: -{}", option.long)))?,
        };
        Ok(Word::Option(option, value))
    }

    /// Everything that is left, unchanged.
    fn rest(&mut self) -> Vec<OsString> {
        self.parser.raw_args().map(Iterator::collect).unwrap_or_default()
    }
}

fn find(table: &'static [Opt], matches: impl Fn(&Opt) -> bool) -> Option<&'static Opt> {
    table.iter().chain([&HELP]).find(|option| matches(option))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verb::VERBS;
    use std::path::Path;

    fn parsed(line: &str) -> Parsed {
        parse(VERBS, std::iter::once("wharf").chain(line.split_whitespace()).map(OsString::from))
    }

    fn call(line: &str) -> Call {
        match parsed(line).request {
            Ok(Request::Verb(_, call)) => call,
            Ok(_) => panic!("{line}: not a verb"),
            Err(failure) => panic!("{line}: {}", failure.message()),
        }
    }

    fn message(line: &str) -> String {
        match parsed(line).request {
            Err(failure) => failure.message().to_owned(),
            Ok(_) => panic!("{line}: accepted"),
        }
    }

    #[test]
    fn what_managers_call_is_understood() {
        for line in [
            "--root /r --log /l --log-format json create --bundle /b --pid-file /p --console-socket /s id",
            "--root=/r --log=/l --log-format=json create -b /b --pid-file=/p id",
            "--root /r --debug --log /l --rootless=true --criu /c start id",
            "--systemd-cgroup create --bundle /b --no-pivot --no-new-keyring --preserve-fds 3 id",
            "run --bundle /b --detach --pid-file /p --no-subreaper id",
            "run -no-subreaper -bundle /b -detach=true id",
            "exec --process /f --detach --pid-file /p id",
            "kill --all id 9",
            "kill id KILL",
            "kill id 9 --all",
            "delete --force id",
            "delete id --force",
            "list --format=json",
            "ps --format json id",
            "events --stats id",
            "events --interval=5s id",
            "update --resources=- id",
            "update --resources - id",
            "update --memory-swap -1 --pids-limit -1 id",
            "checkpoint --image-path /i --work-path /w --leave-running --file-locks id",
            "checkpoint --image-path /i --parent-path ../p --pre-dump --tcp-established --ext-unix-sk id",
            "restore --image-path /i --work-path /w --detach --pid-file /p -no-subreaper --bundle /b id",
            "features",
            "state id",
            "spec --rootless -b /b",
        ] {
            call(line);
        }
    }

    #[test]
    fn options_are_the_same_in_every_spelling() {
        for line in [
            "create --bundle /b --no-pivot web",
            "create --bundle=/b --no-pivot web",
            "create web --no-pivot --bundle /b",
            "create -b /b web --no-pivot=true",
            "create -b=/b -no-pivot web",
            "create -b/b -no-pivot=1 web",
            "create -bundle /b -no-pivot -- web",
            "create --no-pivot=false --no-pivot -bundle=/b web",
            "create --bundle /a --bundle /b --no-pivot web",
        ] {
            let call = call(line);
            assert_eq!(call.options.path("bundle").unwrap(), Some(Path::new("/b")), "{line}");
            assert!(call.options.flag("no-pivot"), "{line}");
            assert!(!call.options.flag("no-new-keyring"), "{line}");
            assert_eq!(call.operand(0).unwrap(), Some("web"), "{line}");
        }
    }

    #[test]
    fn after_the_id_of_exec_everything_belongs_to_the_command() {
        let call = call("exec -t --env A=b -e C=d web ls --help -t -- -x");
        assert_eq!(call.operands, ["web", "ls", "--help", "-t", "--", "-x"]);
        assert_eq!(call.options.all("env").unwrap(), ["A=b", "C=d"]);
        assert!(call.options.flag("tty") && !call.options.flag("detach"));
    }

    #[test]
    fn letters_can_stand_together() {
        let call = call("exec -dt -u 5 web sh");
        assert!(call.options.flag("tty") && call.options.flag("detach"));
        assert_eq!(call.options.text("user").unwrap(), Some("5"));
    }

    #[test]
    fn after_two_dashes_nothing_is_an_option() {
        let Err(failure) = parsed("state -- -no-such --help").request else { panic!() };
        assert_eq!(failure.message(), "wharf: \"state\" requires exactly 1 argument(s)");
        assert_eq!(call("kill -- -id -all").operands, ["-id", "-all"]);
    }

    #[test]
    fn wrong_use_is_reported_in_the_words_of_runc() {
        assert_eq!(message("run --foo x"), "flag provided but not defined: -foo");
        assert_eq!(message("--foo"), "flag provided but not defined: -foo");
        assert_eq!(message("start"), "wharf: \"start\" requires exactly 1 argument(s)");
        assert_eq!(message("exec"), "wharf: \"exec\" requires a minimum of 1 argument(s)");
        assert_eq!(message("kill a b c"), "wharf: \"kill\" requires a maximum of 2 argument(s)");
        assert_eq!(message("kill"), "wharf: \"kill\" requires a minimum of 1 argument(s)");
        assert_eq!(message("create --bundle"), "flag needs an argument: -bundle");
        assert_eq!(message("run --detach=maybe x"), "invalid boolean value \"maybe\" for --detach");
        assert!(message("frob").starts_with("No help topic for 'frob'"));
    }

    #[test]
    fn an_unknown_verb_still_has_its_log() {
        let parsed = parsed("--log /l --log-format json frob");
        assert_eq!(parsed.globals.path("log").unwrap(), Some(Path::new("/l")));
        assert!(parsed.request.is_err());
    }

    #[test]
    fn help_and_version_win() {
        for line in ["", "--help", "-h", "help", "h", "-help", "--root /r -h"] {
            assert!(matches!(parsed(line).request, Ok(Request::Help(None))), "{line}");
        }
        for line in ["run --help", "run -h", "run x -h", "help run", "run --detach -help"] {
            assert!(
                matches!(parsed(line).request, Ok(Request::Help(Some(verb))) if verb.name == "run"),
                "{line}"
            );
        }
        for line in ["--version", "-v", "-version", "--debug -v"] {
            assert!(matches!(parsed(line).request, Ok(Request::Version)), "{line}");
        }
    }

    #[test]
    fn values_are_checked_and_named() {
        let call = call("update --pids-limit x --cpu-quota -1 web");
        let failure = call.options.number::<i64>("pids-limit").unwrap_err();
        assert!(failure.message().contains("--pids-limit"));
        assert_eq!(call.options.number::<i64>("cpu-quota").unwrap(), Some(-1));
        assert!(call.options.number::<u64>("cpu-quota").is_err());
        assert_eq!(call.options.number::<u64>("cpu-burst").unwrap(), None);
    }

    #[test]
    fn an_empty_path_and_foreign_bytes_are_refused() {
        use std::os::unix::ffi::OsStringExt;
        let call = call("create --pid-file= web");
        assert!(call.options.path("pid-file").is_err());
        let words = ["wharf".into(), "state".into(), OsString::from_vec(vec![0xff])];
        let Ok(Request::Verb(_, call)) = parse(VERBS, words).request else { panic!() };
        assert!(call.id().is_err());
    }
}
