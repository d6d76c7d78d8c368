//! A runtime under measurement.

use super::bundle::{Image, Kind};
use super::stopwatch::{Cost, Stopwatch};
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use wharf_spec_tests::outcome::{Outcome, fail};
use wharf_spec_tests::runtime::{Called, Invocation, Runtime};
use wharf_spec_tests::{Host, cgroup};

/// One contestant with its state directory and its bundles.
#[derive(Debug)]
pub struct Contestant {
    /// Its name in the tables.
    pub name: String,
    /// The program.
    pub runtime: Runtime,
    root: PathBuf,
    dir: PathBuf,
    watch: Stopwatch,
}

impl Contestant {
    /// `name=path` with a directory of its own below `dir`, and its state below `memory`.
    ///
    /// # Errors
    ///
    /// If the program is not there.
    pub fn new(name: &str, path: &str, dir: &Path, memory: &Path, watch: Stopwatch) -> Outcome<Self> {
        let runtime = Runtime::find(path.as_ref())?;
        let dir = dir.join("contestants").join(name);
        let root = memory.join(name);
        fs::create_dir_all(&dir)?;
        fs::create_dir(&root)?;
        Ok(Self { name: name.to_owned(), runtime, root, dir, watch })
    }

    /// The id of the `n`th container.
    pub fn id(&self, n: usize) -> String {
        format!("bench-{}-{}-{n}", self.name, std::process::id())
    }

    /// The bundle of the `n`th container, written on first use.
    ///
    /// # Errors
    ///
    /// If it cannot be written.
    pub fn bundle(&self, image: &Image, kind: Kind, n: usize, args: &[&str]) -> Outcome<PathBuf> {
        let dir = self.dir.join(format!("{kind:?}-{n}-{}", args.first().map_or("", |arg| &arg[5..])));
        if dir.join("config.json").exists() {
            return Ok(dir);
        }
        image.bundle(&dir, kind, &self.cgroup(n), args)
    }

    /// A directory for bundles of a special kind.
    pub fn directory(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// The cgroup of the `n`th container.
    pub fn cgroup(&self, n: usize) -> String {
        format!("{}/{}", cgroup::parent(), self.id(n))
    }

    /// The arguments of a call.
    pub fn words(&self, args: &[&str]) -> Vec<OsString> {
        let mut words: Vec<OsString> = self.runtime.globals.iter().map(OsString::from).collect();
        words.extend(["--root".into(), self.root.clone().into_os_string()]);
        words.extend(args.iter().map(OsString::from));
        words
    }

    /// A measured call.
    ///
    /// # Errors
    ///
    /// If it fails or hangs.
    pub fn measure(&self, args: &[&str]) -> Outcome<Cost> {
        self.watch.call(&self.runtime.path, self.words(args))
    }

    /// A measured call that is not yet made.
    pub fn prepare(&self, args: &[&str]) -> Invocation {
        self.watch.prepare(&self.runtime.path, self.words(args))
    }

    /// A call of another program that calls the runtime, such as a tracer.
    pub fn through(&self, program: &Path, before: &[&str], args: &[&str]) -> Invocation {
        let words = before.iter().map(OsString::from).chain([self.runtime.path.clone().into_os_string()]);
        Invocation::new(program, &self.dir).args(words).args(self.words(args))
    }

    /// A call that is not measured, not yet made.
    pub fn unmeasured(&self, args: &[&str]) -> Invocation {
        Invocation::new(&self.runtime.path, &self.dir).args(self.words(args))
    }

    /// A call that is not measured.
    ///
    /// # Errors
    ///
    /// If it fails or hangs.
    pub fn call(&self, args: &[&str]) -> Outcome<Called> {
        self.unmeasured(args).call()?.ok()
    }

    /// The CPU time so far of a container's first process, microseconds.
    pub fn init_cpu(&self, n: usize) -> Outcome<f64> {
        let pid = self.call(&["state", &self.id(n)])?.json()?["pid"].as_u64().unwrap_or(0);
        let spent = fs::read_to_string(format!("/proc/{pid}/schedstat"))?;
        let nanoseconds = spent.split(' ').next().and_then(|word| word.parse::<f64>().ok());
        nanoseconds.map_or_else(|| fail(format!("/proc/{pid}/schedstat: {spent:?}")), |ns| Ok(ns / 1000.0))
    }

    /// Waits until a container that was killed has ended.
    ///
    /// # Errors
    ///
    /// If it does not within 30 s.
    pub fn until_stopped(&self, n: usize) -> Outcome {
        let end = Instant::now() + Duration::from_secs(30);
        while Instant::now() < end {
            if self.call(&["state", &self.id(n)])?.json()?["status"] == "stopped" {
                return Ok(());
            }
        }
        fail(format!("{}: {} does not stop", self.name, self.id(n)))
    }

    /// Deletes what may be left of the first `count` containers.
    pub fn clean_up(&self, host: &Host, count: usize) {
        let delete = |n: usize| {
            if self.root.join(self.id(n)).exists() {
                let _gone = self.call(&["delete", "--force", &self.id(n)]);
            }
        };
        std::thread::scope(|scope| {
            for lane in 0..count.min(2) {
                scope.spawn(move || (lane..count).step_by(2).for_each(delete));
            }
        });
        // A killed process leaves its cgroup a moment later, without a notice.
        let end = Instant::now() + Duration::from_secs(5);
        for hierarchy in &host.hierarchies {
            let parent = hierarchy.join(cgroup::parent().trim_start_matches('/'));
            loop {
                cgroup::remove(&parent);
                let busy = (0..count).any(|n| parent.join(self.id(n)).exists());
                if !busy || Instant::now() > end {
                    break;
                }
                std::thread::sleep(Duration::from_millis(2));
            }
        }
    }
}
