//! The bed of one test: its directory, its `--root`, its containers, and the search for what they left behind.

use crate::bundle::Bundle;
use crate::cgroup;
use crate::host::Host;
use crate::outcome::{Fault, Outcome, check, fail};
use crate::runtime::{Called, Invocation, PATIENCE, Runtime, brief};
use crate::spec::Spec;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open, pidfd_send_signal};
use serde_json::{Value, json};
use std::cell::{Cell, RefCell};
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Where a test works.
pub struct Bed<'a> {
    /// The runtime that is judged.
    pub runtime: &'a Runtime,
    /// What this machine is.
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
        // Processes of a user namespace must be able to walk through.
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

    /// The directory of this test.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The state directory that every call gets as `--root`.
    pub fn root(&self) -> PathBuf {
        self.dir().join("root")
    }

    /// Where the state of a container is.
    pub fn state_dir(&self, id: &str) -> PathBuf {
        self.root().join(id)
    }

    /// A bundle with a fresh id, whose cgroup is below one of the suite's own.
    pub fn bundle(&self, spec: &Spec) -> Outcome<Bundle> {
        self.serial.set(self.serial.get() + 1);
        let bed = BEDS.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let id = format!("suite-{}-{bed}", std::process::id());
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
        Invocation::new(&self.runtime.path, self.dir())
            .until(self.end.get())
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

    /// Runs a script of the probe and gives the answers, one per operation.
    pub fn tries(&self, spec: &Spec, script: &[&[&str]]) -> Outcome<Vec<Answer>> {
        self.tries_in(&self.bundle(&script_spec(spec.clone(), script))?)
    }

    /// Runs a bundle made with [`script_spec`] and gives the answers.
    pub fn tries_in(&self, bundle: &Bundle) -> Outcome<Vec<Answer>> {
        answers(&self.run_bundle(bundle)?.ok()?)
    }

    /// A created container.
    pub fn create(&self, bundle: &Bundle) -> Outcome<Container<'_, 'a>> {
        let called = self.call(["create", "--bundle", &bundle.dir.to_string_lossy(), &bundle.id])?.ok()?;
        Ok(Container { bed: self, bundle: bundle.clone(), out: called.out })
    }

    /// The container of a bundle that was created by a call of its own.
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

    /// `create` must refuse this configuration, name one of these words, and leave nothing. A runtime that has a `check`
    /// command must find it without privileges, too.
    pub fn refuses(&self, spec: &Spec, words: &[&str]) -> Outcome {
        self.refuses_bundle(&self.bundle(spec)?, words)
    }

    /// As [`Bed::refuses`], for a bundle that was made by hand.
    pub fn refuses_bundle(&self, bundle: &Bundle, words: &[&str]) -> Outcome {
        crate::checks::finds(self, bundle, words)?;
        self.refuses_bundle_when_tried(bundle, words)
    }

    /// As [`Bed::refuses`], for what only the attempt can show, because nobody knows the answer before.
    pub fn refuses_bundle_when_tried(&self, bundle: &Bundle, words: &[&str]) -> Outcome {
        self.refuses_to_create(bundle, &[], words)
    }

    /// As [`Bed::refuses`], for what is wrong with the call: `create` gets these options, too.
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

    /// What is left of a container on this host.
    pub fn leftovers(&self, bundle: &Bundle) -> Vec<String> {
        let mut found = Vec::new();
        if self.state_dir(&bundle.id).symlink_metadata().is_ok() {
            found.push("its state directory".to_owned());
        }
        found.extend(self.cgroups(bundle).iter().map(|path| format!("cgroup {}", path.display())));
        if self.runtime.systemd() {
            found.extend(units(self.host.root, &bundle.id).into_iter().map(|unit| format!("unit {unit}")));
        }
        let dir = bundle.dir.to_string_lossy().into_owned();
        let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        for line in table.lines() {
            if let Some(target) = line.split(' ').nth(4).filter(|target| target.starts_with(&dir)) {
                found.push(format!("mount {target}"));
            }
        }
        found.extend(bundle.processes().into_iter().map(|pid| format!("process {}", pid.as_raw_pid())));
        found
    }

    /// Cgroups of a container that exist, whichever driver made them.
    fn cgroups(&self, bundle: &Bundle) -> Vec<PathBuf> {
        let hierarchies = &self.host.hierarchies;
        if self.runtime.systemd() {
            return cgroup::named(hierarchies, &bundle.id);
        }
        let configured = bundle.spec().ok().and_then(|spec| {
            let path = spec.pointer("/linux/cgroupsPath")?.as_str()?;
            Some(path.trim_start_matches('/').to_owned())
        });
        let names: Vec<String> = [configured, Some(bundle.id.clone())]
            .into_iter()
            .flatten()
            .filter(|name| name.contains(&bundle.id))
            .collect();
        let paths = hierarchies.iter().flat_map(|hierarchy| names.iter().map(|name| hierarchy.join(name)));
        paths.filter(|path| path.is_dir()).collect()
    }

    /// This test breaks the state on purpose: what is left afterwards is cleaned up but not reported.
    pub fn tolerate_leftovers(&self) {
        self.tolerated.set(true);
    }

    /// Deletes every container and tells what stayed nevertheless.
    pub fn clean_up(&self) -> Outcome {
        let mut left = Vec::new();
        self.end.set(Instant::now() + Duration::from_secs(20));
        for bundle in self.bundles.borrow().iter() {
            if self.state_dir(&bundle.id).exists() {
                let deleted = self.call(["delete", "--force", &bundle.id]);
                if let Err(Fault::Failed(text)) = deleted {
                    left.push(text);
                }
            }
            // The end of a killed process is seen by others a moment after `delete` came back.
            let end = Instant::now() + Duration::from_secs(2);
            let mut remains = self.leftovers(bundle);
            while !remains.is_empty() && Instant::now() < end {
                std::thread::sleep(Duration::from_millis(20));
                remains = self.leftovers(bundle);
            }
            self.sweep(bundle);
            left.extend(remains);
        }
        left.extend(self.end_strays().into_iter().map(|pid| format!("process {pid} of the runtime")));
        if left.is_empty() || self.tolerated.get() {
            return Ok(());
        }
        fail(format!("left behind after delete --force: {}", left.join(", ")))
    }

    /// Leaves the directory with its bundles, and names it.
    pub fn keep(self) -> PathBuf {
        self.dir.keep()
    }

    /// Kills what still runs of the calls of this bed and does not end by itself soon.
    fn end_strays(&self) -> Vec<i32> {
        let end = Instant::now() + Duration::from_secs(1);
        while !self.strays().is_empty() {
            if Instant::now() > end {
                let held = self.strays();
                for (_, handle) in &held {
                    let _gone = pidfd_send_signal(handle, Signal::KILL);
                }
                return held.into_iter().map(|(pid, _)| pid).collect();
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Vec::new()
    }

    /// Processes of the calls of this bed, by the mark in the environment that they began with.
    fn strays(&self) -> Vec<(i32, OwnedFd)> {
        let mark = format!("{}={}", crate::runtime::MARKER, self.mark);
        let is_ours = |pid: i32| {
            let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            environment.split(|byte| *byte == 0).any(|variable| variable == mark.as_bytes())
        };
        let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
        let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
        pids.filter(|pid| is_ours(*pid))
            .filter_map(|pid| Some((pid, pidfd_open(Pid::from_raw(pid)?, PidfdFlags::empty()).ok()?)))
            // The number may have gone to another process until it was held.
            .filter(|(pid, _)| is_ours(*pid))
            .collect()
    }

    /// Removes by hand what the runtime left.
    fn sweep(&self, bundle: &Bundle) {
        for pid in bundle.processes() {
            let _gone = kill_process(pid, Signal::KILL);
        }
        for path in self.cgroups(bundle) {
            for pid in cgroup::members(&path) {
                let _gone = kill_process(pid, Signal::KILL);
            }
            cgroup::remove(&path);
        }
        let dir = bundle.dir.to_string_lossy().into_owned();
        let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        for target in table.lines().rev().filter_map(|line| line.split(' ').nth(4)) {
            if target.starts_with(&dir) {
                let _gone = rustix::mount::unmount(target, rustix::mount::UnmountFlags::DETACH);
            }
        }
    }
}

/// Units of systemd, failed ones included, whose name has this word.
fn units(root: bool, word: &str) -> Vec<String> {
    let mut command = std::process::Command::new("systemctl");
    if !root {
        command.arg("--user");
    }
    let words = ["list-units", "--all", "--plain", "--no-legend", "--no-pager"];
    let Ok(answer) = command.args(words).arg(format!("*{word}*")).output() else { return Vec::new() };
    let table = String::from_utf8_lossy(&answer.stdout).into_owned();
    table.lines().filter_map(|line| line.split_whitespace().next().map(str::to_owned)).collect()
}

/// The answer of one operation of a probe script.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The operation.
    pub op: String,
    /// 0, or why it failed.
    pub errno: i64,
    /// What it found.
    pub value: Value,
}

impl Answer {
    /// Passes when the operation worked.
    pub fn worked(&self) -> Outcome<&Value> {
        if self.errno == 0 {
            Ok(&self.value)
        } else {
            fail(format!("`{}` failed with errno {}", self.op, self.errno))
        }
    }

    /// Passes when the operation failed with one of these errnos (any, when the list is empty).
    pub fn failed(&self, errnos: &[i64]) -> Outcome {
        check(self.errno != 0, || format!("`{}` worked", self.op))?;
        check(errnos.is_empty() || errnos.contains(&self.errno), || {
            format!("`{}` failed with errno {}, wanted {errnos:?}", self.op, self.errno)
        })
    }
}

/// The configuration with a probe script as its program.
#[must_use]
pub fn script_spec(spec: Spec, script: &[&[&str]]) -> Spec {
    spec.args(&script_args(script))
}

/// The arguments that make the probe run a script.
pub fn script_args<'s>(script: &[&[&'s str]]) -> Vec<&'s str> {
    let mut args = vec!["/probe", "try"];
    for (i, op) in script.iter().enumerate() {
        if i > 0 {
            args.push("--");
        }
        args.extend_from_slice(op);
    }
    args
}

/// The answers that a probe script printed.
pub fn answers(called: &Called) -> Outcome<Vec<Answer>> {
    let value = called.json()?;
    let Some(list) = value.as_array() else { return fail("the probe printed no list") };
    let answers: Vec<Answer> = list
        .iter()
        .map(|item| Answer {
            op: item["op"].as_str().unwrap_or_default().to_owned(),
            errno: item["errno"].as_i64().unwrap_or(9999),
            value: item["value"].clone(),
        })
        .collect();
    match answers.iter().find(|answer| answer.errno == 9999) {
        Some(unknown) => fail(format!("the probe does not know `{}`", unknown.op)),
        None => Ok(answers),
    }
}

/// A container that exists.
pub struct Container<'b, 'a> {
    /// Where it lives.
    pub bed: &'b Bed<'a>,
    /// What it was made from.
    pub bundle: Bundle,
    /// The file that is its stdout.
    pub out: PathBuf,
}

impl Container<'_, '_> {
    /// Its id.
    pub fn id(&self) -> &str {
        &self.bundle.id
    }

    /// Starts it.
    pub fn start(&self) -> Outcome<Called> {
        self.bed.call(["start", self.id()])?.ok()
    }

    /// What `state` prints.
    pub fn state(&self) -> Outcome<Value> {
        self.bed.call(["state", self.id()])?.ok()?.json()
    }

    /// `status` of its state.
    pub fn status(&self) -> Outcome<String> {
        Ok(self.state()?["status"].as_str().unwrap_or_default().to_owned())
    }

    /// Host pid of its first process.
    pub fn pid(&self) -> Outcome<Pid> {
        let state = self.state()?;
        let pid = state["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
        pid.map_or_else(|| fail(format!("no pid in {state}")), Ok)
    }

    /// Sends a signal by the runtime.
    pub fn kill(&self, signal: &str) -> Outcome<Called> {
        self.bed.call(["kill", self.id(), signal])?.ok()
    }

    /// Deletes it.
    pub fn delete(&self) -> Outcome<Called> {
        self.bed.call(["delete", self.id()])?.ok()
    }

    /// Runs a program in it.
    pub fn exec(&self, args: &[&str]) -> Outcome<Called> {
        self.exec_with(&[], args)
    }

    /// Runs a program in it, with options for `exec`.
    pub fn exec_with(&self, options: &[&str], args: &[&str]) -> Outcome<Called> {
        let mut words = vec!["exec"];
        words.extend_from_slice(options);
        words.push(self.id());
        words.extend_from_slice(args);
        self.bed.call(words)
    }

    /// Runs a probe script in it.
    pub fn tries(&self, script: &[&[&str]]) -> Outcome<Vec<Answer>> {
        answers(&self.exec(&script_args(script))?.ok()?)
    }

    /// What it has written so far.
    pub fn output(&self) -> String {
        fs::read(&self.out).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// Waits until its output has this word.
    pub fn until_output(&self, word: &str) -> Outcome<String> {
        self.until(&format!("{word:?} in its output"), || {
            Ok(self.output().contains(word).then(|| self.output()))
        })
    }

    /// Waits until `state` says this.
    pub fn until_status(&self, status: &str) -> Outcome {
        self.until(&format!("status {status}"), || Ok((self.status()? == status).then_some(())))
    }

    /// Waits until something can be seen.
    pub fn until<T>(&self, what: &str, mut look: impl FnMut() -> Outcome<Option<T>>) -> Outcome<T> {
        let end = (Instant::now() + PATIENCE / 3).min(self.bed.end.get());
        while Instant::now() < end {
            if let Some(found) = look()? {
                return Ok(found);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        fail(format!("waited in vain for {what}; output {}", brief(&self.output())))
    }

    /// Waits for the end of its first process and gives the exit code, 128 + signal for a signal.
    pub fn end(&self, pid: Pid) -> Outcome<i32> {
        self.until("the end of the first process", || Ok(crate::reaper::exit_code(pid)))
    }

    /// Kills it and waits until it is stopped.
    pub fn stop(&self) -> Outcome {
        self.kill("KILL")?;
        self.until_status("stopped")
    }
}
