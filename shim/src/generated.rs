//! Completions and manual pages, made from the table by the tests and kept in the repository.
//!
//! `cargo test -p wharf-shim generated` fails when they are not what the table says; with `UPDATE_GENERATED=1` in the
//! environment it writes them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use clap::{Arg, ArgAction, Command, ValueHint};
use clap_complete::{Shell, generate};

use crate::options::{GLOBALS, HELP};
use crate::table::{Count, Opt, VERBS, Verb};
use crate::verb::completion::SCRIPTS;

fn program() -> Command {
    let command = Command::new("wharf")
        .about("Open Container Initiative runtime")
        .disable_help_flag(true)
        .disable_help_subcommand(true)
        .disable_version_flag(true)
        .subcommand_required(true)
        .args(GLOBALS.iter().map(argument));
    VERBS.iter().fold(command, |command, verb| command.subcommand(subcommand(verb)))
}

fn subcommand(verb: &'static Verb) -> Command {
    let details = verb.details.replace('\n', " ");
    let long =
        if details.is_empty() { verb.about.to_owned() } else { format!("{}\n\n{details}", verb.about) };
    let command = Command::new(verb.name)
        .about(verb.about)
        .long_about(long)
        .disable_help_flag(true)
        .args(verb.options.iter().chain([&HELP]).map(argument));
    operands(verb).into_iter().fold(command, Command::arg)
}

fn argument(option: &'static Opt) -> Arg {
    let mut arg = Arg::new(option.long).long(option.long).help(option.help).hide(option.hidden);
    if let Some(letter) = option.short {
        arg = arg.short(letter);
    }
    match option.value {
        None => arg.action(ArgAction::SetTrue),
        Some(name) => {
            let arg = arg.action(ArgAction::Append).value_name(name).value_hint(hint(name));
            if option.choices.is_empty() { arg } else { arg.value_parser(option.choices.to_vec()) }
        }
    }
}

fn hint(name: &str) -> ValueHint {
    match name {
        "DIR" => ValueHint::DirPath,
        "FILE" | "SOCKET" | "TARGET" => ValueHint::FilePath,
        _ => ValueHint::Unknown,
    }
}

/// The operands by the text of the usage: words in brackets may be left out, `...` may be repeated.
fn operands(verb: &'static Verb) -> Vec<Arg> {
    let text = verb
        .operands
        .replace("[command [argument ...]]", "[command ...]")
        .replace("[argument of ps ...]", "[argument ...]");
    let mut args = Vec::new();
    for (index, word) in text.replace(" ...", "...").split_whitespace().enumerate() {
        let name = word.trim_matches(['<', '>', '[', ']', '.']);
        let arg =
            Arg::new(format!("operand-{index}")).value_name(name.to_owned()).required(!word.starts_with('['));
        let arg = match name {
            "bundle" => arg.value_hint(ValueHint::DirPath),
            "file" => arg.value_hint(ValueHint::FilePath),
            "command" => arg.value_hint(ValueHint::CommandName),
            _ if name.contains('|') => {
                arg.value_parser(name.split('|').map(str::to_owned).collect::<Vec<_>>())
            }
            _ => arg,
        };
        args.push(if word.contains("...") { arg.num_args(0..).trailing_var_arg(verb.trailing) } else { arg });
    }
    args
}

/// Every file that is kept, by its path below the crate.
fn files() -> Vec<(PathBuf, Vec<u8>)> {
    let mut files = Vec::new();
    for (shell, name) in [(Shell::Bash, "wharf.bash"), (Shell::Fish, "wharf.fish"), (Shell::Zsh, "_wharf")] {
        let mut script = Vec::new();
        generate(shell, &mut program(), "wharf", &mut script);
        files.push((Path::new("completions").join(name), script));
    }
    files.push((Path::new("man").join("wharf.8"), page(program(), "wharf")));
    for verb in VERBS {
        let name = format!("wharf-{}", verb.name);
        let command = subcommand(verb).display_name(&name).bin_name(format!("wharf {}", verb.name));
        files.push((Path::new("man").join(format!("{name}.8")), page(command, &name)));
    }
    files
}

fn page(command: Command, name: &str) -> Vec<u8> {
    let mut page = Vec::new();
    let man = clap_mangen::Man::new(command).title(name).section("8").source("wharf").manual("wharf");
    man.render(&mut page).unwrap();
    page
}

#[test]
fn the_generated_files_are_those_of_the_table() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let update = std::env::var_os("UPDATE_GENERATED").is_some();
    let mut stale = Vec::new();
    for (path, text) in files() {
        if fs::read(root.join(&path)).ok().as_deref() == Some(&text) {
            continue;
        }
        if update {
            fs::create_dir_all(root.join(&path).parent().unwrap()).unwrap();
            fs::write(root.join(&path), text).unwrap();
        } else {
            stale.push(path);
        }
    }
    assert!(stale.is_empty(), "run UPDATE_GENERATED=1 cargo test -p wharf-shim generated: {stale:?}");
    let kept: usize =
        ["completions", "man"].iter().map(|dir| fs::read_dir(root.join(dir)).unwrap().count()).sum();
    assert_eq!(kept, files().len(), "a file of a verb that is gone");
}

#[test]
fn every_verb_and_option_is_in_every_completion_and_in_its_page() {
    let files: BTreeMap<String, String> = files()
        .into_iter()
        .map(|(path, text)| {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            // Roff writes a dash as `\-`.
            (name, String::from_utf8(text).unwrap().replace('\\', ""))
        })
        .collect();
    for name in ["wharf.bash", "wharf.fish", "_wharf"] {
        for verb in VERBS {
            assert!(files[name].contains(verb.name), "{name}: {}", verb.name);
        }
        for option in GLOBALS.iter().chain(VERBS.iter().flat_map(|verb| verb.options)) {
            assert!(files[name].contains(option.long) || option.hidden, "{name}: --{}", option.long);
        }
    }
    for (name, options) in VERBS
        .iter()
        .map(|verb| (format!("wharf-{}.8", verb.name), verb.options))
        .chain([("wharf.8".to_owned(), GLOBALS)])
    {
        for option in options {
            let there = files[&name].contains(&format!("--{}", option.long));
            assert_eq!(there, !option.hidden, "{name}: --{}", option.long);
        }
    }
    for verb in VERBS {
        assert!(files["wharf.8"].contains(&format!("wharf-{}(8)", verb.name)), "{}", verb.name);
        assert!(files[&format!("wharf-{}.8", verb.name)].contains(verb.about), "{}", verb.name);
    }
    assert_eq!(SCRIPTS.len(), 3);
}

#[test]
fn the_table_makes_a_command_that_clap_takes() {
    // It panics on two options of one name, operands in an impossible order, and the like.
    program().debug_assert();
    for verb in VERBS {
        let most = match verb.count {
            Count::Exactly(count) | Count::AtMost(count) | Count::Between(_, count) => Some(count),
            Count::AtLeast(_) => None,
        };
        let named = operands(verb);
        let open = named.iter().any(|arg| arg.get_num_args().is_some_and(|range| range.max_values() > 1));
        assert_eq!(most, (!open).then_some(named.len()), "{}", verb.name);
    }
}
