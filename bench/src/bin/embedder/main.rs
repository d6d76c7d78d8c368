//! Measures the library in a program of its own: creation from small and from large programs, and many containers at
//! once.
//!
//! Each kind of program is a separate process, this one started again with `--as KIND`, which prints its figures as
//! JSON.

mod embedder;
mod heap;

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use embedder::{KINDS, Kind};
use serde_json::Value;
use wharf_bench::bundle::{self, Image};
use wharf_bench::report::Surroundings;
use wharf_spec_tests::outcome::fail;
use wharf_spec_tests::runtime::Invocation;
use wharf_spec_tests::{Fault, Outcome, markers, program, session};

const USAGE: &str = "\
embedder [OPTION]...

Measures the library wharf in programs that embed it and prints markdown. Needs root.

  --runs N       containers of each kind of program (50)
  --many N       containers of one program at the same time (1000)
  --into FILE    put the tables between the markers `library` of this file";

struct Options {
    runs: usize,
    many: usize,
    into: Option<PathBuf>,
    /// If this process is one of those under measurement: its kind, the directory of bundles, the state directory.
    kind: Option<(String, PathBuf, PathBuf)>,
}

fn main() -> ExitCode {
    let options = match program::options("embedder", USAGE, parse()) {
        Ok(options) => options,
        Err(code) => return code,
    };
    let done = match &options.kind {
        Some((kind, bundles, root)) => embedder::be(kind, options.runs, bundles, root).map_err(Fault::Failed),
        None => measure(&options),
    };
    match done {
        Ok(text) => println!("{text}"),
        Err(fault) => {
            eprintln!("embedder: {fault}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

fn parse() -> Result<Option<Options>, lexopt::Error> {
    use lexopt::prelude::{Long, Short, ValueExt as _};
    let mut options = Options { runs: 50, many: 1000, into: None, kind: None };
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("runs") => options.runs = parser.value()?.parse::<std::num::NonZeroUsize>()?.get(),
            Long("many") => options.many = parser.value()?.parse::<std::num::NonZeroUsize>()?.get(),
            Long("into") => options.into = Some(parser.value()?.into()),
            Long("as") => {
                options.kind =
                    Some((parser.value()?.string()?, parser.value()?.into(), parser.value()?.into()));
            }
            Long("help") | Short('h') => return Ok(None),
            other => return Err(other.unexpected()),
        }
    }
    Ok(Some(options))
}

fn measure(options: &Options) -> Outcome<String> {
    let surroundings = Surroundings::look();
    let session = session::prepare()?;
    session.host.needs_root()?;
    let work = session.work();
    let image = Image::make(work, &session.host)?;
    let bundles = work.join("bundles");
    for n in 0..options.many.max(1) {
        let cgroup = format!("{}/embedded-{n}", wharf_spec_tests::cgroup::parent());
        image.bundle(&bundles.join(format!("{n}")), bundle::Kind::B, &cgroup, &["/bin/sleep", "100000"])?;
    }
    let call = |kind: &str, runs: usize| -> Outcome<Value> {
        let root = work.join(format!("state-{kind}"));
        let program = std::env::current_exe()?;
        let words = ["--runs", &runs.to_string(), "--as", kind].map(std::ffi::OsString::from);
        let call = Invocation::new(&program, work).args(words).args([&bundles, &root]);
        call.patience(Duration::from_secs(300)).call()?.ok()?.json()
    };
    let mut text = surroundings.sentences(session.host.cgroups.name());
    text += "\nThe library, bundle B, from programs of several kinds; medians:\n\n\
             | program | create, ms | create and start, ms | CPU of the whole life, ms |\n|---|--:|--:|--:|\n";
    let figure = |answer: &Value, name: &str| answer[name].as_f64().unwrap_or(f64::NAN);
    for Kind { name, sentence, .. } in KINDS {
        let answer = call(name, options.runs)?;
        let [create, running, cpu] = ["create_ms", "running_ms", "cpu_ms"].map(|name| figure(&answer, name));
        let _infallible = writeln!(text, "| {sentence} | {create:.2} | {running:.2} | {cpu:.2} |");
    }
    let answer = call(embedder::MANY, options.many)?;
    let [made, ended, memory, files] =
        ["running_s", "ended_s", "rss_kib", "descriptors"].map(|name| figure(&answer, name));
    if !files.is_finite() {
        return fail(format!("{answer}"));
    }
    let _infallible = writeln!(
        text,
        "\n{} containers of one program at the same time: created and started in {made:.1} s, killed, waited for and \
         deleted in {ended:.1} s; each takes {memory:.1} KiB and {files:.1} descriptors of the program.",
        options.many
    );
    if let Some(file) = &options.into {
        markers::write(file, "library", &text).map_err(Fault::Failed)?;
    }
    Ok(text)
}
