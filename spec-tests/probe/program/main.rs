//! The probe: a static program that runs inside a container and tells what it sees.
//!
//! It is the whole payload of the conformance suite, so no image is needed. `main` is the C entry point, because
//! the standard library's own start-up would hide what is measured: it ignores SIGPIPE and reopens closed stdio.
#![no_main]
#![deny(unsafe_op_in_unsafe_fn)]

mod act;
mod hook;
mod json;
mod load;
mod measure;
mod report;
mod script;
mod spy;
mod sys;

use std::ffi::{CStr, c_char, c_int};
use std::io::Write;

const USAGE: &str = "usage: probe report | try OP... [-- OP...]... | wait | idle | exit N | true | die SIGNAL | hook FILE LABEL [OPTION...] | \
     alloc MIB | fork-bomb N | spin MS | cat | zombies N | leave | hoard-keys | count FILE | delay MS COMMAND... | \
     await FILE COMMAND... | hold MIB | family MIB... | line COMMAND... | say OUT ERR | say-and TEXT COMMAND... | pour MIB | brood N | bomb | gulp MIB | burn THREADS | latency SECONDS | \
     spy MARK SECRET STOP | \
     measure PROGRAM [ARGUMENT...]";

/// The C entry point.
///
/// # Safety
///
/// The C runtime calls it once, with `argc` valid strings in `argv`.
// SAFETY: this program is not linked with any other definition of `main`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn main(argc: c_int, argv: *const *const c_char) -> c_int {
    let count = usize::try_from(argc).unwrap_or(0);
    let args: Vec<String> = (0..count)
        // SAFETY: the C runtime promises `argc` pointers to NUL-terminated strings.
        .map(|i| unsafe { CStr::from_ptr(*argv.add(i)) }.to_string_lossy().into_owned())
        .collect();
    run(&args)
}

fn run(args: &[String]) -> c_int {
    let words: Vec<&str> = args.iter().skip(1).map(String::as_str).collect();
    match words.as_slice() {
        ["report"] => print(&report::everything(args)),
        ["try", script @ ..] => print(&script::run(script)),
        ["wait"] => act::wait(),
        ["idle"] => act::idle(),
        ["true"] => 0,
        ["exit", code] => code.parse().unwrap_or(2),
        ["die", signal] => act::die(signal.parse().unwrap_or(9)),
        ["hook", file, label, options @ ..] => hook::record(file, label, options, args),
        ["alloc", mib] => act::allocate(mib.parse().unwrap_or(1)),
        ["fork-bomb", count] => print(&act::fork_many(count.parse().unwrap_or(1))),
        ["spin", ms] => act::spin(ms.parse().unwrap_or(1)),
        ["cat"] => act::cat(),
        ["zombies", count] => act::zombies(count.parse().unwrap_or(1)),
        ["hoard-keys"] => act::hoard_keys(),
        ["leave"] => act::leave(),
        ["say-and", text, rest @ ..] => {
            act::say_line(text);
            run_rest(args, rest)
        }
        ["say", out, err] => act::say_both(out, err),
        ["pour", mib] => act::pour(mib.parse().unwrap_or(1)),
        ["bomb"] => load::bomb(),
        ["gulp", mib] => load::gulp(mib),
        ["burn", threads] => load::burn(threads.parse().unwrap_or(1)),
        ["latency", seconds] => print(&load::latency(seconds.parse().unwrap_or(1))),
        ["brood", count] => act::brood(count.parse().unwrap_or(1)),
        ["line", rest @ ..] => {
            let _end = std::io::stdin().read_line(&mut String::new());
            run_rest(args, rest)
        }
        ["measure", argv @ ..] => print(&measure::run(argv)),
        ["spy", mark, secret, stop] => print(&spy::look(mark, secret, stop)),
        ["count", file] => act::count(file),
        ["await", file, rest @ ..] => {
            act::until_there(file);
            run_rest(args, rest)
        }
        ["hold", mib] => act::hold(mib.parse().unwrap_or(1)),
        ["family", sizes @ ..] => act::family(sizes),
        ["delay", ms, rest @ ..] => {
            std::thread::sleep(std::time::Duration::from_millis(ms.parse().unwrap_or(1)));
            run_rest(args, rest)
        }
        _ => {
            eprintln!("{USAGE}");
            64
        }
    }
}

/// The words after those that said when.
fn run_rest(args: &[String], rest: &[&str]) -> c_int {
    let mut again = vec![args[0].clone()];
    again.extend(rest.iter().map(ToString::to_string));
    run(&again)
}

fn print(text: &str) -> c_int {
    let mut out = std::io::stdout().lock();
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("probe: write to stdout: {error}");
            1
        }
    }
}
