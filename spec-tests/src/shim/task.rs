//! A container as a client of the task API sees it: one method per RPC, and what tests often need.

use super::bed::{Bed, create_request};
use super::client::{PATIENCE, Pending, Reply, granted};
use super::launch::{any, service};
use super::pod::Pod;
use super::stdio::Streams;
use crate::bundle::Bundle;
use crate::outcome::Outcome;
use containerd_shim_protos::api as rpc;
use containerd_shim_protos::protobuf::well_known_types::any::Any;
use containerd_shim_protos::protobuf::{Message, MessageField};
use containerd_shim_protos::types::mount::Mount;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde_json::{Value, json};
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

/// The type of a process spec in `Exec`.
pub const PROCESS: &str = "types.containerd.io/opencontainers/runtime-spec/1/Process";
/// The type of resources in `Update`.
pub const RESOURCES: &str = "types.containerd.io/opencontainers/runtime-spec/1/LinuxResources";

/// A container, created or about to be.
pub struct Task<'b, 'a> {
    /// Where it lives.
    pub bed: &'b Bed<'a>,
    /// The shim that has it.
    pub pod: Rc<Pod>,
    /// What it was made from.
    pub bundle: Bundle,
    /// Its streams.
    pub streams: RefCell<Streams>,
    /// Its first process.
    pub pid: u32,
}

impl<'b, 'a> Task<'b, 'a> {
    /// A container that is not created yet.
    pub fn new(bed: &'b Bed<'a>, pod: Rc<Pod>, bundle: Bundle, streams: Streams) -> Self {
        Self { bed, pod, bundle, streams: RefCell::new(streams), pid: 0 }
    }

    /// Its id.
    pub fn id(&self) -> &str {
        &self.bundle.id
    }

    /// `Create`.
    pub fn create(&self, options: Option<Any>, rootfs: &[Mount]) -> Reply<rpc::CreateTaskResponse> {
        let request = create_request(&self.bundle, &self.streams.borrow(), options, rootfs);
        self.pod.ask("Create", &request)
    }

    /// `Start` of an exec, or of the container for an empty id.
    pub fn start(&self, exec: &str) -> Reply<rpc::StartResponse> {
        let request = rpc::StartRequest { id: self.id().into(), exec_id: exec.into(), ..Default::default() };
        self.pod.ask("Start", &request)
    }

    /// Starts the container, which must work.
    pub fn begin(&self) -> Outcome {
        granted("Start", self.start("")).map(drop)
    }

    /// `State`.
    pub fn state(&self, exec: &str) -> Reply<rpc::StateResponse> {
        let request = rpc::StateRequest { id: self.id().into(), exec_id: exec.into(), ..Default::default() };
        self.pod.ask("State", &request)
    }

    /// The status, which must be known.
    pub fn status(&self, exec: &str) -> Outcome<rpc::Status> {
        Ok(granted("State", self.state(exec))?.status.enum_value_or_default())
    }

    /// `Kill`.
    pub fn kill(&self, exec: &str, signal: u32, all: bool) -> Reply<rpc::Empty> {
        let request = rpc::KillRequest {
            id: self.id().into(),
            exec_id: exec.into(),
            signal,
            all,
            ..Default::default()
        };
        self.pod.ask("Kill", &request)
    }

    /// `Delete`.
    pub fn delete(&self, exec: &str) -> Reply<rpc::DeleteResponse> {
        let request = rpc::DeleteRequest { id: self.id().into(), exec_id: exec.into(), ..Default::default() };
        self.pod.ask("Delete", &request)
    }

    /// `Wait` that has been sent.
    pub fn waits(&self, exec: &str) -> Pending {
        let request = rpc::WaitRequest { id: self.id().into(), exec_id: exec.into(), ..Default::default() };
        let bytes = request.write_to_bytes().unwrap_or_default();
        self.pod.client.begin(service(self.pod.answer.version), "Wait", bytes)
    }

    /// `Wait`.
    pub fn wait(&self, exec: &str) -> Reply<rpc::WaitResponse> {
        self.waits(exec).answer(PATIENCE)
    }

    /// The exit status, which must come.
    pub fn exit(&self, exec: &str) -> Outcome<u32> {
        Ok(granted("Wait", self.wait(exec))?.exit_status)
    }

    /// Kills the first process and waits for its end.
    pub fn stop(&self) -> Outcome {
        granted("Kill", self.kill("", 9, false))?;
        self.exit("").map(drop)
    }

    /// Kills, waits and deletes.
    pub fn finish(&self) -> Outcome {
        self.stop()?;
        granted("Delete", self.delete("")).map(drop)
    }

    /// `Exec` of a process spec with streams.
    pub fn add(&self, exec: &str, process: &Value, streams: &Streams) -> Reply<rpc::Empty> {
        self.add_any(exec, any(PROCESS, serde_json::to_vec(process).unwrap_or_default()), streams)
    }

    /// `Exec` of anything.
    pub fn add_any(&self, exec: &str, spec: Any, streams: &Streams) -> Reply<rpc::Empty> {
        let request = rpc::ExecProcessRequest {
            id: self.id().into(),
            exec_id: exec.into(),
            terminal: streams.addresses.terminal,
            stdin: streams.addresses.stdin.clone(),
            stdout: streams.addresses.stdout.clone(),
            stderr: streams.addresses.stderr.clone(),
            spec: MessageField::some(spec),
            ..Default::default()
        };
        self.pod.ask("Exec", &request)
    }

    /// An exec that has been started with output streams.
    pub fn exec(&self, exec: &str, args: &[&str]) -> Outcome<Streams> {
        let streams = Streams::output(self.bed.dir())?;
        self.exec_with(exec, &process(args), streams)
    }

    /// An exec that has been started with these streams.
    pub fn exec_with(&self, exec: &str, process: &Value, streams: Streams) -> Outcome<Streams> {
        granted("Exec", self.add(exec, process, &streams))?;
        granted("Start of the exec", self.start(exec))?;
        Ok(streams)
    }

    /// `Pids`.
    pub fn pids(&self) -> Reply<rpc::PidsResponse> {
        self.pod.ask("Pids", &rpc::PidsRequest { id: self.id().into(), ..Default::default() })
    }

    /// `Pause`.
    pub fn pause(&self) -> Reply<rpc::Empty> {
        self.pod.ask("Pause", &rpc::PauseRequest { id: self.id().into(), ..Default::default() })
    }

    /// `Resume`.
    pub fn resume(&self) -> Reply<rpc::Empty> {
        self.pod.ask("Resume", &rpc::ResumeRequest { id: self.id().into(), ..Default::default() })
    }

    /// `CloseIO` of stdin.
    pub fn close_stdin(&self, exec: &str) -> Reply<rpc::Empty> {
        let request = rpc::CloseIORequest {
            id: self.id().into(),
            exec_id: exec.into(),
            stdin: true,
            ..Default::default()
        };
        self.pod.ask("CloseIO", &request)
    }

    /// `ResizePty`.
    pub fn resize(&self, exec: &str, width: u32, height: u32) -> Reply<rpc::Empty> {
        let request = rpc::ResizePtyRequest {
            id: self.id().into(),
            exec_id: exec.into(),
            width,
            height,
            ..Default::default()
        };
        self.pod.ask("ResizePty", &request)
    }

    /// `Update`.
    pub fn update(&self, resources: &Value) -> Reply<rpc::Empty> {
        let request = rpc::UpdateTaskRequest {
            id: self.id().into(),
            resources: MessageField::some(any(RESOURCES, serde_json::to_vec(resources).unwrap_or_default())),
            ..Default::default()
        };
        self.pod.ask("Update", &request)
    }

    /// `Stats`.
    pub fn stats(&self) -> Reply<rpc::StatsResponse> {
        self.pod.ask("Stats", &rpc::StatsRequest { id: self.id().into(), ..Default::default() })
    }

    /// `Checkpoint`.
    pub fn checkpoint(&self, path: &str) -> Reply<rpc::Empty> {
        let request =
            rpc::CheckpointTaskRequest { id: self.id().into(), path: path.into(), ..Default::default() };
        self.pod.ask("Checkpoint", &request)
    }

    /// `Connect`.
    pub fn connect(&self) -> Reply<rpc::ConnectResponse> {
        self.pod.ask("Connect", &rpc::ConnectRequest { id: self.id().into(), ..Default::default() })
    }

    /// Waits until the kernel no longer has the first process, whatever the shim says.
    pub fn until_dead(&self) -> Outcome<bool> {
        let Some(pid) = Pid::from_raw(self.pid.cast_signed()) else { return Ok(true) };
        let Ok(handle) = pidfd_open(pid, PidfdFlags::empty()) else { return Ok(true) };
        Ok(crate::runtime::readable(&handle, Duration::from_secs(20))?)
    }

    /// Whether the first process is alive.
    pub fn lives(&self) -> bool {
        let status = std::fs::read_to_string(format!("/proc/{}/stat", self.pid)).unwrap_or_default();
        status.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
    }
}

/// A process spec for `Exec`.
pub fn process(args: &[&str]) -> Value {
    json!({
        "args": args,
        "cwd": "/",
        "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
        "user": {"uid": 0, "gid": 0},
    })
}
