//! Words with NULs between them as the command line of `wharf`: a request or a refusal, and nothing is done.
#![no_main]
#![allow(dead_code, unused_imports, reason = "the modules of the program, without its main function")]

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;

#[path = "../../shim/src/announce/mod.rs"]
mod announce;
#[path = "../../shim/src/cli/mod.rs"]
mod cli;
#[path = "../../shim/src/failure/mod.rs"]
mod failure;
#[path = "../../shim/src/foreground/mod.rs"]
mod foreground;
#[path = "../../shim/src/launch/mod.rs"]
mod launch;
#[path = "../../shim/src/logging/mod.rs"]
mod logging;
#[path = "../../shim/src/output/mod.rs"]
mod output;
#[path = "../../shim/src/protect.rs"]
mod protect;
#[path = "../../shim/src/selection.rs"]
mod selection;
#[path = "../../shim/src/sys/mod.rs"]
mod sys;
#[path = "../../shim/src/value/mod.rs"]
mod value;
#[path = "../../shim/src/verb/mod.rs"]
mod verb;

use cli::Request;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let words = bytes.split(|byte| *byte == 0).map(|word| OsString::from_vec(word.to_vec()));
    let parsed = cli::parse(verb::VERBS, words);
    match parsed.request {
        Ok(Request::Verb(known, call)) => {
            assert!(verb::VERBS.iter().any(|one| one.name == known.name), "a verb from nowhere");
            let _ = call.id();
            for name in call.options.names() {
                let _ = call.options.text(name);
                let _ = call.options.number::<u64>(name);
            }
        }
        Ok(Request::Help(known)) => drop(cli::help::text(verb::VERBS, known)),
        Ok(Request::Version) => {}
        Err(failure) => drop(failure.message().to_owned()),
    }
});
