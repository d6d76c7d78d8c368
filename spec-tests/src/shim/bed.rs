//! The bed of one test: a stand-in containerd with a directory, an event socket, bundles, and the search for leftovers.

use super::Subject;
use super::daemon::Daemon;
use super::launch::{Call, read_answer, service};
use super::pod::Pod;
use super::stdio::Streams;
use super::task::Task;
use crate::bundle::Bundle;
use crate::cgroup;
use crate::host::Host;
use crate::outcome::{Fault, Outcome, fail};
use crate::runtime::brief;
use crate::spec::Spec;
use containerd_shim_protos::api::{CreateTaskRequest, Empty, ShutdownRequest};
use containerd_shim_protos::protobuf::MessageField;
use containerd_shim_protos::protobuf::well_known_types::any::Any;
use containerd_shim_protos::types::mount::Mount;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use rustix::fs::OFlags;
use rustix::process::{Signal, kill_process};
use serde_json::{Value, json};
use std::cell::{Cell, RefCell};
use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Where the state of containers is by default.
pub const STATE_ROOT: &str = "/run/containerd/runc";

/// Where a test works.
pub struct Bed<'a> {
    /// The shim under test.
    pub subject: &'a Subject,
    /// Facts about this machine.
    pub host: &'a Host,
    /// Where its events go.
    pub daemon: Daemon,
    /// The namespace of its containers.
    pub namespace: String,
    dir: TempDir,
    bundles: RefCell<Vec<Bundle>>,
    pods: RefCell<Vec<Rc<Pod>>>,
    tolerated: Cell<bool>,
}

static SERIAL: AtomicU32 = AtomicU32::new(0);

impl<'a> Bed<'a> {
    /// A fresh bed under `parent`.
    pub fn new(subject: &'a Subject, host: &'a Host, parent: &Path) -> Outcome<Self> {
        let mut builder = tempfile::Builder::new();
        let dir = builder.prefix("bed").permissions(fs::Permissions::from_mode(0o755)).tempdir_in(parent)?;
        let daemon = Daemon::listen(&dir.path().join("containerd.sock.ttrpc"))?;
        Ok(Self {
            subject,
            host,
            daemon,
            namespace: format!("suite-{}", std::process::id()),
            dir,
            bundles: RefCell::default(),
            pods: RefCell::default(),
            tolerated: Cell::new(false),
        })
    }

    /// The directory of this test.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// A bundle with a fresh id, in a directory with that name, with the log FIFO that containerd makes.
    pub fn bundle(&self, spec: &Spec) -> Outcome<Bundle> {
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        let id = format!("suite-{}-{serial}", std::process::id());
        let mut spec = spec.clone();
        if let Some(Value::Object(linux)) = spec.0.get_mut("linux")
            && !linux.contains_key("cgroupsPath")
        {
            linux.insert("cgroupsPath".into(), json!(format!("{}/{id}", cgroup::parent())));
        }
        let bundle = Bundle::make(self.dir().join(&id), id, &spec, None)?;
        fs::set_permissions(&bundle.dir, fs::Permissions::from_mode(0o711))?;
        mkfifo(&bundle.dir.join("log"), Mode::from_bits_truncate(0o700)).map_err(io::Error::from)?;
        self.bundles.borrow_mut().push(bundle.clone());
        Ok(bundle)
    }

    /// How to call the shim for a bundle.
    pub fn call(&self, bundle: &Bundle) -> Call {
        Call {
            program: self.subject.path.clone(),
            era: self.subject.era,
            namespace: self.namespace.clone(),
            id: bundle.id.clone(),
            bundle: bundle.dir.clone(),
            grpc: self.dir().join("containerd.sock"),
            ttrpc: self.daemon.path.clone(),
            options: None,
            socket_dir: None,
            env: Vec::new(),
            private_network: false,
        }
    }

    /// Starts a shim for a bundle.
    pub fn pod(&self, bundle: &Bundle) -> Outcome<Rc<Pod>> {
        self.pod_by(&self.call(bundle))
    }

    /// Starts a shim with a prepared call.
    pub fn pod_by(&self, call: &Call) -> Outcome<Rc<Pod>> {
        let flags = OFlags::NONBLOCK.bits().cast_signed();
        let log =
            OpenOptions::new().read(true).write(true).custom_flags(flags).open(call.bundle.join("log"))?;
        let ran = call.start()?;
        let output = ran.ok("start")?.output;
        let answer = read_answer(call.era, &output)?;
        let known = self.pods.borrow().iter().find(|pod| pod.answer == answer && pod.alive()).cloned();
        if let Some(pod) = known {
            return Ok(pod);
        }
        let pod = Rc::new(Pod::connect(answer, log, &call.id)?);
        self.pods.borrow_mut().push(Rc::clone(&pod));
        Ok(pod)
    }

    /// A shim with a created container of this configuration and output streams.
    pub fn created(&self, spec: &Spec) -> Outcome<Task<'_, 'a>> {
        self.created_with(spec, Streams::output(self.dir())?)
    }

    /// A shim with a created container and these streams.
    pub fn created_with(&self, spec: &Spec, streams: Streams) -> Outcome<Task<'_, 'a>> {
        let bundle = self.bundle(spec)?;
        let pod = self.pod(&bundle)?;
        self.create_in(&pod, bundle, streams)
    }

    /// A created container in a running shim.
    pub fn create_in(&self, pod: &Rc<Pod>, bundle: Bundle, streams: Streams) -> Outcome<Task<'_, 'a>> {
        let mut task = Task::new(self, Rc::clone(pod), bundle, streams);
        task.pid = super::client::granted("Create", task.create(None, &[]))?.pid;
        Ok(task)
    }

    /// A started container.
    pub fn started(&self, spec: &Spec) -> Outcome<Task<'_, 'a>> {
        let task = self.created(spec)?;
        task.begin()?;
        Ok(task)
    }

    /// A started container that waits for signals.
    pub fn waiting(&self, spec: &Spec) -> Outcome<Task<'_, 'a>> {
        let task = self.started(&spec.clone().args(&["/probe", "wait"]))?;
        task.streams.borrow_mut().until("ready")?;
        Ok(task)
    }

    /// A container that is not created yet, in a shim of its own.
    pub fn planned(&self, spec: &Spec, streams: Streams) -> Outcome<Task<'_, 'a>> {
        let bundle = self.bundle(spec)?;
        let pod = self.pod(&bundle)?;
        Ok(Task::new(self, pod, bundle, streams))
    }

    /// This test breaks things on purpose: leftovers are cleaned up but not reported.
    pub fn tolerate_leftovers(&self) {
        self.tolerated.set(true);
    }

    /// Waits until something can be observed.
    pub fn until<T>(&self, what: &str, mut look: impl FnMut() -> Outcome<Option<T>>) -> Outcome<T> {
        let end = Instant::now() + Duration::from_secs(20);
        loop {
            if let Some(found) = look()? {
                return Ok(found);
            }
            if Instant::now() >= end {
                return fail(format!("waited in vain for {what}"));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// What is left of a container on this host.
    pub fn leftovers(&self, bundle: &Bundle) -> Vec<String> {
        let mut found = Vec::new();
        if Path::new(STATE_ROOT).join(&self.namespace).join(&bundle.id).symlink_metadata().is_ok() {
            found.push("its state directory".to_owned());
        }
        for hierarchy in &self.host.hierarchies {
            let path = hierarchy.join(cgroup::parent().trim_start_matches('/')).join(&bundle.id);
            if path.is_dir() {
                found.push(format!("cgroup {}", path.display()));
            }
        }
        found.extend(bundle.mounts().into_iter().map(|target| format!("mount {target}")));
        found.extend(bundle.processes().into_iter().map(|pid| format!("process {}", pid.as_raw_pid())));
        found
    }

    /// Waits until nothing is left of a container.
    pub fn until_gone(&self, bundle: &Bundle) -> Outcome {
        let mut left = Vec::new();
        self.until("the container to be gone", || {
            left = self.leftovers(bundle);
            Ok(left.is_empty().then_some(()))
        })
        .or_else(|_| fail(format!("left behind: {}", left.join(", "))))
    }

    /// Ends every container and shim, as a daemon does when it cleans up, and reports what remained.
    pub fn clean_up(self) -> Outcome {
        let mut left = Vec::new();
        for pod in self.pods.borrow().iter().filter(|pod| pod.alive()) {
            for bundle in self.bundles.borrow().iter() {
                pod.discard(&bundle.id);
            }
            let request = ShutdownRequest::default();
            let asked = pod.client.begin(
                service(pod.answer.version),
                "Shutdown",
                containerd_shim_protos::protobuf::Message::write_to_bytes(&request).unwrap_or_default(),
            );
            let _closed: Result<Empty, _> = asked.answer(Duration::from_secs(10));
            pod.client.hang_up();
            if !pod.ends(Duration::from_secs(10))? {
                left.push(format!("shim {} after Shutdown", pod.pid));
                pod.kill(Signal::KILL);
            }
        }
        for bundle in self.bundles.borrow().iter() {
            // If no container was made, `delete` has nothing to go by.
            let made = bundle.dir.join("options.json").exists() || bundle.dir.join("runtime").exists();
            match self.call(bundle).delete() {
                Ok(ran) if ran.code == 0 || !made => {}
                Ok(ran) => left.push(format!("`delete` ended with {}: {}", ran.code, brief(&ran.text()))),
                Err(Fault::Failed(text) | Fault::Skipped(text)) => left.push(text),
            }
            if self.until_gone(bundle).is_err() {
                left.extend(self.leftovers(bundle));
            }
            self.sweep(bundle);
        }
        // The next start of its group takes over what a killed shim leaves.
        for pod in self.pods.borrow().iter().filter(|pod| !pod.crashed()) {
            if super::client::socket_path(&pod.answer.address).exists() {
                left.push(format!("socket {}", pod.answer.address));
            }
        }
        if left.is_empty() || self.tolerated.get() {
            return Ok(());
        }
        fail(format!("left behind: {}", left.join(", ")))
    }

    /// What the shims of this bed logged.
    pub fn logs(&self) -> String {
        self.pods.borrow().iter().map(|pod| pod.log()).collect()
    }

    /// Removes by hand what the shim left.
    fn sweep(&self, bundle: &Bundle) {
        for pid in bundle.processes() {
            let _gone = kill_process(pid, Signal::KILL);
        }
        for target in bundle.mounts().iter().rev() {
            let _gone = nix::mount::umount2(target.as_str(), nix::mount::MntFlags::MNT_DETACH);
        }
        for hierarchy in &self.host.hierarchies {
            let parent = hierarchy.join(cgroup::parent().trim_start_matches('/'));
            let frozen = parent.join(&bundle.id).join("freezer.state");
            if frozen.exists() {
                let _thawed = fs::write(frozen, "THAWED");
            }
            cgroup::remove(&parent.join(&bundle.id));
        }
        let _gone = fs::remove_dir_all(Path::new(STATE_ROOT).join(&self.namespace).join(&bundle.id));
    }
}

/// The request that creates a container.
pub fn create_request(
    bundle: &Bundle,
    streams: &Streams,
    options: Option<Any>,
    rootfs: &[Mount],
) -> CreateTaskRequest {
    CreateTaskRequest {
        id: bundle.id.clone(),
        bundle: bundle.dir.to_string_lossy().into_owned(),
        rootfs: rootfs.to_vec(),
        terminal: streams.addresses.terminal,
        stdin: streams.addresses.stdin.clone(),
        stdout: streams.addresses.stdout.clone(),
        stderr: streams.addresses.stderr.clone(),
        options: options.map_or_else(MessageField::none, MessageField::some),
        ..CreateTaskRequest::default()
    }
}

/// A mount for the root file system.
pub fn mount(kind: &str, source: &Path, options: &[&str]) -> Mount {
    Mount {
        type_: kind.into(),
        source: source.to_string_lossy().into_owned(),
        options: options.iter().map(ToString::to_string).collect(),
        ..Mount::default()
    }
}

/// The directory of a bundle according to the daemon's own state.
pub fn state_dir(bed: &Bed<'_>, root: &Path, id: &str) -> PathBuf {
    root.join(&bed.namespace).join(id)
}
