//! A pod without a container that holds it, as containerd's sandbox controller and its CRI plugin see it.

use super::bed::Bed;
use super::client::{PATIENCE, Pending, Refusal, Reply, code, granted};
use super::launch::any;
use super::pod::Pod;
use super::stdio::Streams;
use super::task::Task;
use crate::bundle::Bundle;
use crate::outcome::{Outcome, skip};
use crate::spec::Spec;
use containerd_shim_protos::protobuf::well_known_types::any::Any;
use containerd_shim_protos::protobuf::{Message, MessageField};
use containerd_shim_protos::sandbox_api as rpc;
use std::fs;
use std::rc::Rc;

/// The service.
pub const SERVICE: &str = "containerd.runtime.sandbox.v1.Sandbox";
/// The type of a pod's configuration.
pub const CONFIG: &str = "runtime.v1.PodSandboxConfig";

/// Modes of namespaces in the CRI.
pub mod mode {
    /// Shared by the pod.
    pub const POD: u64 = 0;
    /// Each container's own.
    pub const CONTAINER: u64 = 1;
    /// The host's.
    pub const NODE: u64 = 2;
}

/// A pod's configuration (`PodSandboxConfig` of the CRI), encoded by hand: the crate of messages does not have it.
#[derive(Debug, Clone)]
pub struct Config {
    /// The host name.
    pub hostname: String,
    /// The cgroup of the pod.
    pub cgroup: String,
    /// Modes of the network, pid and IPC namespaces.
    pub modes: [u64; 3],
    /// Name servers, search domains and options.
    pub dns: Option<[Vec<String>; 3]>,
    /// Kernel parameters.
    pub sysctls: Vec<(String, String)>,
    /// First host id and length of the user namespace.
    pub users: Option<(u64, u64)>,
}

impl Config {
    /// What kubelet asks for by default: network, IPC and host name of the pod, a pid namespace for each container.
    pub fn new() -> Self {
        Self {
            hostname: "blue".into(),
            cgroup: String::new(),
            modes: [mode::POD, mode::CONTAINER, mode::POD],
            dns: None,
            sysctls: Vec::new(),
            users: None,
        }
    }

    /// With another mode for the network (0), pid (1) or IPC (2) namespace.
    #[must_use]
    pub fn mode(mut self, which: usize, mode: u64) -> Self {
        self.modes[which] = mode;
        self
    }

    /// With a kernel parameter.
    #[must_use]
    pub fn sysctl(mut self, name: &str, value: &str) -> Self {
        self.sysctls.push((name.into(), value.into()));
        self
    }

    /// The message.
    pub fn encode(&self) -> Vec<u8> {
        let texts =
            |number, all: &[String]| all.iter().flat_map(|text| bytes(number, text.as_bytes())).collect();
        let mut all = bytes(2, self.hostname.as_bytes());
        if let Some([servers, searches, options]) = &self.dns {
            let parts: [Vec<u8>; 3] = [texts(1, servers), texts(2, searches), texts(3, options)];
            all.extend(bytes(4, &parts.concat()));
        }
        let mut namespaces = Vec::new();
        for (index, mode) in self.modes.into_iter().enumerate() {
            namespaces.extend(number(index as u64 + 1, mode));
        }
        if let Some((host, length)) = self.users {
            let map = [number(1, host), number(2, 0), number(3, length)].concat();
            let users = [number(1, mode::POD), bytes(2, &map), bytes(3, &map)].concat();
            namespaces.extend(bytes(5, &users));
        }
        let mut linux = [bytes(1, self.cgroup.as_bytes()), bytes(2, &bytes(1, &namespaces))].concat();
        for (name, value) in &self.sysctls {
            let entry = [bytes(1, name.as_bytes()), bytes(2, value.as_bytes())].concat();
            linux.extend(bytes(3, &entry));
        }
        all.extend(bytes(8, &linux));
        all
    }
}

impl Default for Config {
    fn default() -> Self {
        Self::new()
    }
}

/// A field of bytes.
fn bytes(number: u64, value: &[u8]) -> Vec<u8> {
    [varint(number << 3 | 2), varint(value.len() as u64), value.to_vec()].concat()
}

/// A field with a number.
fn number(number: u64, value: u64) -> Vec<u8> {
    [varint(number << 3), varint(value)].concat()
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut all = Vec::new();
    while value >= 0x80 {
        all.push(value as u8 | 0x80);
        value >>= 7;
    }
    all.push(value as u8);
    all
}

/// A sandbox, created or about to be.
pub struct Sandbox<'b, 'a> {
    /// Where it lives.
    pub bed: &'b Bed<'a>,
    /// The shim that has it.
    pub pod: Rc<Pod>,
    /// Its bundle, which has no configuration that counts.
    pub bundle: Bundle,
}

impl<'b, 'a> Sandbox<'b, 'a> {
    /// The shim of a sandbox that is not created yet. Skips where the shim has no such service.
    pub fn planned(bed: &'b Bed<'a>) -> Outcome<Self> {
        Self::with_environment(bed, &[])
    }

    /// The same in a shim that has these variables.
    pub fn with_environment(bed: &'b Bed<'a>, variables: &[(&str, &str)]) -> Outcome<Self> {
        let bundle = bed.bundle(&Spec::new())?;
        let mut call = bed.call(&bundle);
        call.env.extend(variables.iter().map(|(name, value)| ((*name).into(), (*value).into())));
        let pod = bed.pod_by(&call)?;
        let sandbox = Self { bed, pod, bundle };
        match sandbox.ping() {
            Err(Refusal::Status { code: code::UNIMPLEMENTED, .. }) => skip("the shim has no sandbox service"),
            _ => Ok(sandbox),
        }
    }

    /// A running sandbox; with a network namespace unless it is the host's.
    pub fn running(bed: &'b Bed<'a>, config: &Config, network: &str) -> Outcome<Self> {
        let sandbox = Self::planned(bed)?;
        granted("CreateSandbox", sandbox.create(config, network))?;
        granted("StartSandbox", sandbox.start())?;
        Ok(sandbox)
    }

    /// Its id.
    pub fn id(&self) -> &str {
        &self.bundle.id
    }

    /// `CreateSandbox`.
    pub fn create(&self, config: &Config, network: &str) -> Reply<rpc::CreateSandboxResponse> {
        self.create_with(any(CONFIG, config.encode()), network)
    }

    /// `CreateSandbox` with anything.
    pub fn create_with(&self, options: Any, network: &str) -> Reply<rpc::CreateSandboxResponse> {
        self.ask(
            "CreateSandbox",
            &rpc::CreateSandboxRequest {
                sandbox_id: self.id().into(),
                bundle_path: self.bundle.dir.to_string_lossy().into_owned(),
                options: MessageField::some(options),
                netns_path: network.into(),
                ..Default::default()
            },
        )
    }

    /// `StartSandbox`.
    pub fn start(&self) -> Reply<rpc::StartSandboxResponse> {
        self.ask(
            "StartSandbox",
            &rpc::StartSandboxRequest { sandbox_id: self.id().into(), ..Default::default() },
        )
    }

    /// `SandboxStatus`.
    pub fn status(&self) -> Reply<rpc::SandboxStatusResponse> {
        let request =
            rpc::SandboxStatusRequest { sandbox_id: self.id().into(), verbose: true, ..Default::default() };
        self.ask("SandboxStatus", &request)
    }

    /// `PingSandbox`.
    pub fn ping(&self) -> Reply<rpc::PingResponse> {
        self.ask("PingSandbox", &rpc::PingRequest { sandbox_id: self.id().into(), ..Default::default() })
    }

    /// `WaitSandbox` that has been sent.
    pub fn waits(&self) -> Pending {
        let request = rpc::WaitSandboxRequest { sandbox_id: self.id().into(), ..Default::default() };
        self.pod.client.begin(SERVICE, "WaitSandbox", request.write_to_bytes().unwrap_or_default())
    }

    /// `WaitSandbox`.
    pub fn wait(&self) -> Reply<rpc::WaitSandboxResponse> {
        self.waits().answer(PATIENCE)
    }

    /// `StopSandbox`.
    pub fn stop(&self) -> Reply<rpc::StopSandboxResponse> {
        self.ask(
            "StopSandbox",
            &rpc::StopSandboxRequest { sandbox_id: self.id().into(), ..Default::default() },
        )
    }

    /// `ShutdownSandbox`.
    pub fn shutdown(&self) -> Reply<rpc::ShutdownSandboxResponse> {
        let request = rpc::ShutdownSandboxRequest { sandbox_id: self.id().into(), ..Default::default() };
        self.ask("ShutdownSandbox", &request)
    }

    /// Any of its methods.
    pub fn ask<Q: Message, A: Message>(&self, method: &str, question: &Q) -> Reply<A> {
        self.pod.client.call(SERVICE, method, question)
    }

    /// The configuration of a container of the pod, with the namespaces that the CRI writes: of the process that the
    /// status tells.
    pub fn joined(&self, spec: &Spec, kinds: &[&str]) -> Outcome<Spec> {
        let pid = granted("SandboxStatus", self.status())?.pid;
        Ok(kinds.iter().fold(spec.clone(), |spec, kind| {
            let link = match *kind {
                "network" => "net",
                other => other,
            };
            spec.namespace(kind, Some(&format!("/proc/{pid}/ns/{link}")))
        }))
    }

    /// A started container of the pod.
    pub fn container(&self, spec: &Spec) -> Outcome<Task<'b, 'a>> {
        let bundle = self.bed.bundle(spec)?;
        // As images have them; in a user namespace, the runtime may not make them.
        fs::create_dir_all(bundle.rootfs.join("etc"))?;
        for name in ["hostname", "hosts", "resolv.conf"] {
            fs::write(bundle.rootfs.join("etc").join(name), "")?;
        }
        let task = self.bed.create_in(&self.pod, bundle, Streams::output(self.bed.dir())?)?;
        task.begin()?;
        Ok(task)
    }

    /// Stops it, as the CRI does, and ends the shim.
    pub fn finish(&self) -> Outcome {
        granted("StopSandbox", self.stop())?;
        granted("ShutdownSandbox", self.shutdown()).map(drop)
    }
}
