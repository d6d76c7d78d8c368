//! Measures shims through containerd and its client: how long commands take, and where the time goes from `ctr run` to
//! the first instruction of the container's program.
//!
//! Nothing is traced. The program in the container reports when it began, and the kernel reports files that are made
//! and opened on the way (inotify(7)), which splits the way into parts: see [`way`].

mod way;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use wharf_bench::FIRST;
use wharf_bench::report::Surroundings;
use wharf_bench::table::{least, median};
use wharf_spec_tests::{Host, markers, program};

const USAGE: &str = "\
ctr-figures [--rounds N] NAME=SHIM[,BINARY]...
ctr-figures --put FILE --into FILE

Measures shims through a containerd that runs, and prints markdown; BINARY is the runtime that the shim calls. The image is that
of the scenarios in spec-tests/managers; bench/ctr-figures.sh starts all of it in a box. The second form puts what was printed
between the markers `ctr` of a file.";

/// A shim, as ctr gets it.
struct Entry {
    name: String,
    shim: PathBuf,
    options: Vec<String>,
}

struct Options {
    entries: Vec<Entry>,
    rounds: usize,
    put: Option<(PathBuf, PathBuf)>,
}

type Result<T> = std::result::Result<T, String>;

fn main() -> ExitCode {
    let options = match program::options("ctr-figures", USAGE, parse()) {
        Ok(options) => options,
        Err(code) => return code,
    };
    match run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ctr-figures: {error}");
            ExitCode::FAILURE
        }
    }
}

fn parse() -> std::result::Result<Option<Options>, lexopt::Error> {
    use lexopt::prelude::{Long, Short, Value, ValueExt as _};
    let mut options = Options { entries: Vec::new(), rounds: 20, put: None };
    let (mut put, mut into) = (None, None);
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("rounds") => options.rounds = parser.value()?.parse::<std::num::NonZeroUsize>()?.get(),
            Long("put") => put = Some(parser.value()?.into()),
            Long("into") => into = Some(parser.value()?.into()),
            Long("help") | Short('h') => return Ok(None),
            Value(text) => options.entries.push(entry(&text.string()?)?),
            other => return Err(other.unexpected()),
        }
    }
    options.put = match (put, into) {
        (Some(put), Some(into)) => Some((put, into)),
        (None, None) => None,
        _ => return Err("--put and --into go together".into()),
    };
    if options.entries.is_empty() && options.put.is_none() {
        return Err("no NAME=SHIM".into());
    }
    Ok(Some(options))
}

fn entry(text: &str) -> std::result::Result<Entry, lexopt::Error> {
    let (name, rest) = text.split_once('=').ok_or_else(|| format!("NAME=SHIM, not {text}"))?;
    let (shim, binary) = rest.split_once(',').map_or((rest, None), |(shim, binary)| (shim, Some(binary)));
    let shim = fs::canonicalize(shim).map_err(|error| format!("{shim}: {error}"))?;
    let options = match binary {
        Some(binary) => {
            ["--runtime", "io.containerd.runc.v2", "--runc-binary", binary].map(str::to_owned).into()
        }
        None => vec!["--runtime".to_owned(), shim.display().to_string()],
    };
    Ok(Entry { name: name.into(), shim, options })
}

fn run(options: &Options) -> Result<()> {
    if let Some((put, into)) = &options.put {
        let text = fs::read_to_string(put).map_err(|error| format!("{}: {error}", put.display()))?;
        return markers::write(into, "ctr", &text);
    }
    let surroundings = Surroundings::look();
    let dir = tempfile::tempdir().map_err(|error| error.to_string())?;
    let bench = Bench::new(dir.path())?;
    let mut calls: Vec<Vec<[f64; CALLS.len()]>> = options.entries.iter().map(|_| Vec::new()).collect();
    let mut ways: Vec<Vec<way::Way>> = options.entries.iter().map(|_| Vec::new()).collect();
    for round in 0..=options.rounds {
        let mut order: Vec<usize> = (0..options.entries.len()).collect();
        fastrand::shuffle(&mut order);
        for at in order {
            let entry = &options.entries[at];
            let call = Bench::life(entry)?;
            // The first round fills caches and makes the directories to watch.
            if round > 0 {
                calls[at].push(call);
                ways[at].push(bench.first(entry)?);
            }
        }
        eprintln!("round {round} of {}", options.rounds);
    }
    let names: Vec<&str> = options.entries.iter().map(|entry| entry.name.as_str()).collect();
    println!("{}", surroundings.sentences(Host::probe().cgroups.name()));
    println!(
        "Through `ctr`, median / minimum of {}, ms; `ctr` itself and containerd are in all of it:\n",
        options.rounds
    );
    println!("{}", head("command", &names));
    for (at, name) in CALLS.iter().enumerate() {
        let cell = |samples: &Vec<[f64; CALLS.len()]>| samples.iter().map(|one| one[at]).collect::<Vec<_>>();
        println!("{}", line(name, calls.iter().map(cell)));
    }
    println!(
        "\nFrom `ctr run` to the first instruction of the program, and on to the end of `ctr`, median / minimum, ms:\n"
    );
    println!("{}", head("phase", &names));
    for phase in way::PHASES {
        let cell =
            |samples: &Vec<way::Way>| samples.iter().filter_map(|one| (phase.get)(one)).collect::<Vec<_>>();
        println!("{}", line(phase.name, ways.iter().map(cell)));
    }
    Ok(())
}

fn head(what: &str, names: &[&str]) -> String {
    format!("| {what} | {} |\n|---|{}", names.join(" | "), "--:|".repeat(names.len()))
}

fn line(name: &str, columns: impl Iterator<Item = Vec<f64>>) -> String {
    columns.fold(format!("| {name} |"), |line, samples| match (median(samples.clone()), least(samples)) {
        (Some(middle), Some(least)) => format!("{line} {middle:.1} / {least:.1} |"),
        _ => line + " - |",
    })
}

/// What is timed, in the order of the table.
const CALLS: [&str; 4] = ["`ctr run -d`", "`ctr task exec`, of `true`", "`ctr task kill`", "`ctr task rm`"];

const IMAGE: &str = "docker.io/library/scenario:1";

/// The directory that the container sees, and its contents.
struct Bench {
    dir: PathBuf,
}

impl Bench {
    fn new(dir: &Path) -> Result<Self> {
        use std::os::unix::fs::PermissionsExt as _;
        let wrong = |error: std::io::Error| error.to_string();
        let program = dir.join("first");
        fs::write(&program, FIRST).map_err(wrong)?;
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).map_err(wrong)?;
        Ok(Self { dir: dir.to_owned() })
    }

    /// A container's life, milliseconds of each of [`CALLS`].
    fn life(entry: &Entry) -> Result<[f64; CALLS.len()]> {
        let run =
            [&["run", "-d"], strings(&entry.options).as_slice(), &[IMAGE, "life", "sleep", "1000"]].concat();
        let times = [
            timed(&run)?,
            timed(&["task", "exec", "--exec-id", "more", "life", "true"])?,
            timed(&["task", "kill", "-s", "KILL", "life"])?,
            {
                // The exit is an event that arrives a moment after the signal.
                until_stopped("life")?;
                timed(&["task", "rm", "life"])?
            },
        ];
        ctr(&["container", "rm", "life"])?;
        Ok(times)
    }

    /// The way to the first instruction.
    fn first(&self, entry: &Entry) -> Result<way::Way> {
        let mount = format!("type=bind,src={},dst=/out,options=rbind:rw", self.dir.display());
        let tail = ["--mount", &mount, IMAGE, way::ID, "/out/first", "/out/time"];
        let words = [&["run", "--rm"], strings(&entry.options).as_slice(), &tail].concat();
        let watch = way::Watch::start(&entry.shim)?;
        let begin = way::now();
        ctr(&words)?;
        let end = way::now();
        let time =
            fs::read(self.dir.join("time")).map_err(|error| format!("the program told no time: {error}"))?;
        let first = way::read(&time)?;
        fs::remove_file(self.dir.join("time")).map_err(|error| error.to_string())?;
        watch.end(begin, first, end)
    }
}

fn strings(list: &[String]) -> Vec<&str> {
    list.iter().map(String::as_str).collect()
}

fn timed(words: &[&str]) -> Result<f64> {
    let begin = Instant::now();
    ctr(words)?;
    Ok(begin.elapsed().as_secs_f64() * 1000.0)
}

fn ctr(words: &[&str]) -> Result<String> {
    let call = Command::new("ctr").args(words).stdin(Stdio::null()).output();
    let output = call.map_err(|error| format!("ctr: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(format!("ctr {}: {}: {}", words.join(" "), output.status, said.trim()))
}

fn until_stopped(id: &str) -> Result<()> {
    let end = Instant::now() + std::time::Duration::from_secs(30);
    while Instant::now() < end {
        let list = ctr(&["task", "ls"])?;
        if list.lines().any(|line| line.split_whitespace().next() == Some(id) && line.contains("STOPPED")) {
            return Ok(());
        }
    }
    Err(format!("{id} does not stop"))
}
