//! The bed of one test: its directory, its `--root` and its containers.

mod container;
mod leftovers;
mod script;

pub use container::Container;
pub use script::{Answer, answers, answers_of, script_args, script_spec};

use crate::bundle::Bundle;
use crate::cgroup;
use crate::console::Receiver;
use crate::host::Host;
use crate::outcome::{Outcome, check};
use crate::runtime::{Called, Invocation, Runtime};
use crate::spec::Spec;
use serde_json::{Value, json};
use std::cell::{Cell, RefCell};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Instant;
use tempfile::TempDir;

/// Where a test works.
pub struct Bed<'a> {
    /// The runtime under test.
    pub runtime: &'a Runtime,
    /// Facts about this machine.
    pub host: &'a Host,
    dir: TempDir,
    serial: Cell<u32>,
    bundles: RefCell<Vec<Bundle>>,
    tolerated: Cell<bool>,
    end: Cell<Instant>,
    mark: String,
}

static BEDS: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);

impl<'a> Bed<'a> {
    /// A fresh bed under `parent`.
    pub fn new(runtime: &'a Runtime, host: &'a Host, parent: &Path) -> Outcome<Self> {
        let mut builder = tempfile::Builder::new();
        // Processes in a user namespace must be able to pass through.
        let dir = builder.prefix("bed").permissions(fs::Permissions::from_mode(0o755)).tempdir_in(parent)?;
        Ok(Self {
            runtime,
            host,
            mark: format!("leaked-{}", dir.path().display()),
            dir,
            serial: Cell::new(0),
            bundles: RefCell::default(),
            tolerated: Cell::new(false),
            end: Cell::new(Instant::now() + runtime.limit),
        })
    }

    /// How often a race is tried, or how many cases of a sweep are: `full`, or a tenth of that in a quick run.
    pub fn rounds(&self, full: usize) -> usize {
        if self.runtime.quick { full.div_ceil(10) } else { full }
    }

    /// The step between the tried cases of a sweep with `full` cases.
    pub fn sample(&self, full: usize) -> usize {
        (full / self.rounds(full).max(1)).max(1)
    }

    /// The directory of this test.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The state directory that every call gets as `--root`.
    pub fn root(&self) -> PathBuf {
        match (&self.runtime.state, self.dir().file_name()) {
            (Some(state), Some(own)) => state.join(own),
            _ => self.dir().join("root"),
        }
    }

    /// Where the state of a container is.
    pub fn state_dir(&self, id: &str) -> PathBuf {
        self.root().join(id)
    }

    /// A bundle with a fresh id, whose cgroup is below one of the suite's own.
    pub fn bundle(&self, spec: &Spec) -> Outcome<Bundle> {
        self.serial.set(self.serial.get() + 1);
        let bed = BEDS.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let id = format!("suite-{}-{bed}", crate::session::own_number());
        let mut spec = spec.clone();
        if let Some(Value::Object(linux)) = spec.0.get_mut("linux")
            && !linux.contains_key("cgroupsPath")
        {
            linux.insert("cgroupsPath".into(), json!(self.cgroups_path(&id)));
        }
        let bundle = Bundle::make(
            self.dir().join(format!("bundle{}", self.serial.get())),
            id,
            &spec,
            self.host.ids.clone(),
        )?;
        self.bundles.borrow_mut().push(bundle.clone());
        Ok(bundle)
    }

    /// The cgroupsPath of a container in the form that the cgroup driver takes.
    pub fn cgroups_path(&self, id: &str) -> String {
        if self.runtime.systemd() {
            format!("{}:suite:{id}", self.slice())
        } else {
            format!("{}/{id}", cgroup::parent())
        }
    }

    /// The slice in which the systemd driver puts containers that do not name another.
    pub fn slice(&self) -> &'static str {
        if self.host.root { "system.slice" } else { "user.slice" }
    }

    /// A call of the runtime with this bed's `--root`.
    pub fn command<'s>(&self, args: impl IntoIterator<Item = &'s str>) -> Invocation {
        let root = self.root();
        let call = Invocation::new(&self.runtime.path, self.dir());
        let call = match self.runtime.before {
            Some(commands) => call.after(commands),
            None => call,
        };
        call.until(self.end.get())
            .mark(&self.mark)
            .args(&self.runtime.globals)
            .args(["--root".as_ref(), root.as_os_str()])
            .args(args)
    }

    /// Calls the runtime and waits.
    pub fn call<'s>(&self, args: impl IntoIterator<Item = &'s str>) -> Outcome<Called> {
        self.command(args).call()
    }

    /// `run` in the foreground.
    pub fn run(&self, spec: &Spec) -> Outcome<Called> {
        self.run_bundle(&self.bundle(spec)?)
    }

    /// `run` of a bundle in the foreground.
    pub fn run_bundle(&self, bundle: &Bundle) -> Outcome<Called> {
        self.call(["run", "--bundle", &bundle.dir.to_string_lossy(), &bundle.id])
    }

    /// What the probe reports from inside a container of this configuration.
    pub fn report(&self, spec: &Spec) -> Outcome<Value> {
        self.run(spec)?.ok()?.json()
    }

    /// Runs a script of the probe and returns the answers, one per operation.
    pub fn tries(&self, spec: &Spec, script: &[&[&str]]) -> Outcome<Vec<Answer>> {
        self.tries_in(&self.bundle(&script_spec(spec.clone(), script))?)
    }

    /// Runs a bundle made with [`script_spec`] and returns the answers.
    pub fn tries_in(&self, bundle: &Bundle) -> Outcome<Vec<Answer>> {
        answers(&self.run_bundle(bundle)?.ok()?)
    }

    /// A created container.
    pub fn create(&self, bundle: &Bundle) -> Outcome<Container<'_, 'a>> {
        let called = self.call(["create", "--bundle", &bundle.dir.to_string_lossy(), &bundle.id])?.ok()?;
        Ok(Container { bed: self, bundle: bundle.clone(), out: called.out })
    }

    /// A call of `create` for a container with a terminal.
    pub fn create_with_console(&self, bundle: &Bundle, console: &Receiver) -> Outcome<Called> {
        let (path, dir) = (console.path.to_string_lossy(), bundle.dir.to_string_lossy());
        self.call(["create", "--console-socket", &path, "--bundle", &dir, &bundle.id])
    }

    /// The container of a bundle that was created by a separate call.
    pub fn adopt(&self, bundle: &Bundle) -> Container<'_, 'a> {
        Container { bed: self, bundle: bundle.clone(), out: PathBuf::from("/dev/null") }
    }

    /// A started container.
    pub fn started(&self, spec: &Spec) -> Outcome<Container<'_, 'a>> {
        let container = self.create(&self.bundle(spec)?)?;
        container.start()?;
        Ok(container)
    }

    /// A started container whose probe waits for signals.
    pub fn waiting(&self, spec: &Spec) -> Outcome<Container<'_, 'a>> {
        let container = self.started(&spec.clone().args(&["/probe", "wait"]))?;
        container.until_output("ready")?;
        Ok(container)
    }

    /// `create` must refuse this configuration, name one of these words, and leave nothing behind. If the runtime has a
    /// `check` command, that must find the mistake too, without privileges.
    pub fn refuses(&self, spec: &Spec, words: &[&str]) -> Outcome {
        self.refuses_bundle(&self.bundle(spec)?, words)
    }

    /// As [`Bed::refuses`], for a bundle that was made by hand.
    pub fn refuses_bundle(&self, bundle: &Bundle, words: &[&str]) -> Outcome {
        crate::checks::finds(self, bundle, words)?;
        self.refuses_bundle_when_tried(bundle, words)
    }

    /// As [`Bed::refuses`], for mistakes that only an attempt can show, because the outcome cannot be known before.
    pub fn refuses_bundle_when_tried(&self, bundle: &Bundle, words: &[&str]) -> Outcome {
        self.refuses_to_create(bundle, &[], words)
    }

    /// As [`Bed::refuses`], for mistakes in the call: `create` gets these options, too.
    pub fn refuses_call(&self, spec: &Spec, options: &[&str], words: &[&str]) -> Outcome {
        let bundle = self.bundle(spec)?;
        crate::checks::finds_call(self, &bundle, options, words)?;
        self.refuses_to_create(&bundle, options, words)
    }

    fn refuses_to_create(&self, bundle: &Bundle, options: &[&str], words: &[&str]) -> Outcome {
        let dir = bundle.dir.to_string_lossy();
        self.call([&["create", "--bundle", &dir], options, &[&bundle.id]].concat())?.refused(words)?;
        let left = self.leftovers(bundle);
        check(left.is_empty(), || format!("create failed and left {}", left.join(", ")))
    }

    /// Keeps the directory with its bundles, and returns its path.
    pub fn keep(self) -> PathBuf {
        self.dir.keep()
    }
}
