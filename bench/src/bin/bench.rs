//! `bench NAME=PATH...`: what OCI runtimes cost, side by side. See `wharf_bench`.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::ExitCode;

use wharf_bench::arguments::{Options, USAGE};
use wharf_bench::bar::Bar;
use wharf_bench::bundle::Image;
use wharf_bench::contestant::Contestant;
use wharf_bench::mounted::Mounted;
use wharf_bench::report::Surroundings;
use wharf_bench::rows::Bench;
use wharf_bench::stopwatch::Stopwatch;
use wharf_bench::table::Table;
use wharf_bench::{FLOOR, chart, interrupt, machine, report};
use wharf_spec_tests::{Outcome, PROBE, markers, program, session};

fn main() -> ExitCode {
    let options = match program::options("bench", USAGE, Options::parse(std::env::args_os().skip(1))) {
        Ok(options) => options,
        Err(code) => return code,
    };
    match measure(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            eprintln!("bench: {fault}");
            ExitCode::FAILURE
        }
    }
}

fn measure(options: &Options) -> Outcome {
    let surroundings = Surroundings::look();
    interrupt::watch()?;
    let mut session = session::prepare()?;
    let work = session.work().to_owned();
    // /run, where runtimes have their state on most hosts. On a disk its file system would be measured.
    let memory = work.join("memory");
    fs::create_dir(&memory)?;
    let _mounted = Mounted::tmpfs(&memory)?;
    let watch = Stopwatch::new(&install(&work, "probe", PROBE)?, &work);
    let mut contestants = options
        .contestants
        .iter()
        .map(|(name, path)| Contestant::new(name, path, &work, &memory, watch.clone()))
        .collect::<Outcome<Vec<_>>>()?;
    let runtimes: Vec<_> = contestants.iter().map(|one| one.runtime.clone()).collect();
    session.accommodate(&runtimes)?;
    let versions: Vec<_> = contestants.iter().map(|one| (one.name.clone(), one.runtime.version())).collect();
    eprint!("{}", report::versions(&versions));
    for note in &session.notes {
        eprintln!("{note}");
    }
    if options.floor {
        let floor = install(&work, "floor", FLOOR)?;
        for (name, word) in report::FLOORS.into_iter().zip(["--plain", "--minimal"]) {
            let mut one = Contestant::new(name, &floor.to_string_lossy(), &work, &memory, watch.clone())?;
            one.runtime.globals.push(word.to_owned());
            contestants.push(one);
        }
    }
    let image = Image::make(&work, &session.host)?;
    let names = contestants.iter().map(|one| one.name.clone()).collect();
    let table = Table { names, ..Table::default() };
    let (host, bar) = (session.host.clone(), Bar::new());
    let mut bench = Bench { contestants, image, host, options: options.clone(), table, bar };
    bench.measure();
    if interrupt::came() {
        return wharf_spec_tests::outcome::fail("interrupted; everything is cleaned up");
    }
    let table = &bench.table;
    let mut text = surroundings.sentences(session.host.cgroups.name()) + "\n" + &report::versions(&versions);
    for note in &table.notes {
        text = text + "\n" + note + "\n";
    }
    text = text + "\n" + &table.markdown() + "\n" + &report::honesty(table);
    if options.machine {
        text = text + "\n" + &machine::measure(&watch, &bench.image, &work, options.runs, table)?;
    }
    println!("{text}");
    if let Some(path) = &options.json {
        fs::write(path, table.json().to_string())?;
    }
    if let Some(path) = &options.chart {
        chart::write(table, path).map_err(wharf_spec_tests::Fault::Failed)?;
    }
    if let Some(path) = &options.into {
        markers::write(path, "bench", &text).map_err(wharf_spec_tests::Fault::Failed)?;
    }
    Ok(())
}

fn install(dir: &std::path::Path, name: &str, program: &[u8]) -> Outcome<std::path::PathBuf> {
    let path = dir.join(name);
    fs::write(&path, program)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
    Ok(path)
}
