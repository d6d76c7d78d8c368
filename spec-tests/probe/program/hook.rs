//! The probe as a hook: it appends one JSON line about itself to a file.

use crate::json::{maybe, object, text, texts};
use crate::report;
use std::ffi::c_int;
use std::io::{Read, Write};
use std::time::Duration;

/// Options: `exit=N`, `sleep=MS`, `stderr=TEXT`, `no-stdin` (leave stdin unread), `root` (list / as well),
/// `init` (command line of the process whose pid is in the state on stdin), `report` (all that a process can see of itself).
pub fn record(file: &str, label: &str, options: &[&str], args: &[String]) -> c_int {
    let option = |name: &str| options.iter().find_map(|o| o.strip_prefix(name).and_then(|o| o.strip_prefix('=')));
    let stdin = if options.contains(&"no-stdin") {
        None
    } else {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).ok().map(|_| text)
    };
    let mut members = vec![
        ("label".to_owned(), text(label)),
        ("pid".to_owned(), std::process::id().to_string()),
        ("args".to_owned(), texts(args.iter().map(String::as_str))),
        ("env".to_owned(), report::environment()),
        ("cwd".to_owned(), maybe(std::env::current_dir().ok().map(|dir| dir.display().to_string()))),
        ("stdin".to_owned(), maybe(stdin.clone())),
        ("namespaces".to_owned(), report::namespaces()),
        ("fds".to_owned(), report::fds()),
        ("status".to_owned(), report::status()),
        ("time".to_owned(), text(&format!("{:?}", std::time::SystemTime::now()))),
    ];
    if options.contains(&"root") {
        members.push(("root".to_owned(), report::directory("/")));
    }
    if options.contains(&"report") {
        members.push(("report".to_owned(), report::everything(args)));
    }
    if options.contains(&"init") {
        members.push(("init".to_owned(), maybe(stdin.as_deref().and_then(command_line))));
    }
    let line = object(members);
    let written = std::fs::OpenOptions::new()
        .append(true)
        .create(true)
        .open(file)
        .and_then(|mut file| file.write_all(format!("{line}\n").as_bytes()));
    if let Some(message) = option("stderr") {
        eprintln!("{message}");
    }
    if let Some(ms) = option("sleep").and_then(|ms| ms.parse().ok()) {
        std::thread::sleep(Duration::from_millis(ms));
    }
    match (written, option("exit")) {
        (Err(error), _) => {
            eprintln!("probe: append to {file}: {error}");
            99
        }
        (Ok(()), Some(code)) => code.parse().unwrap_or(2),
        (Ok(()), None) => 0,
    }
}

/// The command line of the process that a state names.
fn command_line(state: &str) -> Option<String> {
    let after = state.split_once("\"pid\"")?.1.trim_start_matches([':', ' ']);
    let end = after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len());
    std::fs::read_to_string(format!("/proc/{}/cmdline", &after[..end])).ok()
}
