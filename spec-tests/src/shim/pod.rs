//! A shim process, as seen by the daemon that started it.

use super::client::{Client, PATIENCE, Reply, granted};
use super::launch::{Answer, service};
use crate::outcome::{Outcome, check, fail};
use crate::runtime::readable;
use containerd_shim_protos::api::{
    ConnectRequest, ConnectResponse, DeleteRequest, DeleteResponse, Empty, KillRequest, ShutdownRequest,
    WaitRequest, WaitResponse,
};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open};
use std::cell::{Cell, RefCell};
use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::time::Duration;

/// A serving shim process.
#[derive(Debug)]
pub struct Pod {
    /// The answer of `start`.
    pub answer: Answer,
    /// The connection to it.
    pub client: Client,
    /// Its process id.
    pub pid: u32,
    handle: Option<OwnedFd>,
    crashed: Cell<bool>,
    log: RefCell<File>,
    said: RefCell<String>,
}

impl Pod {
    /// Connects to the shim of an answer. `log` is the daemon's end of its log.
    pub(super) fn connect(answer: Answer, log: File, id: &str) -> Outcome<Self> {
        let client = Client::connect(&answer.address)?;
        let mut pod = Self {
            answer,
            client,
            pid: 0,
            handle: None,
            crashed: Cell::new(false),
            log: RefCell::new(log),
            said: RefCell::default(),
        };
        let request = ConnectRequest { id: id.into(), ..ConnectRequest::default() };
        let connected: ConnectResponse = granted("Connect", pod.ask("Connect", &request))?;
        pod.pid = connected.shim_pid;
        pod.handle = Some(pidfd_open(pod.process()?, PidfdFlags::empty())?);
        Ok(pod)
    }

    /// Calls a method of the task service.
    pub fn ask<Q, A>(&self, method: &str, question: &Q) -> Reply<A>
    where
        Q: containerd_shim_protos::protobuf::Message,
        A: containerd_shim_protos::protobuf::Message,
    {
        self.client.call(service(self.answer.version), method, question)
    }

    /// Its process.
    pub fn process(&self) -> Outcome<Pid> {
        Pid::from_raw(self.pid.cast_signed()).map_or_else(|| fail("Connect gave pid 0 for the shim"), Ok)
    }

    /// Whether it runs.
    pub fn alive(&self) -> bool {
        self.handle.as_ref().is_some_and(|handle| !readable(handle, Duration::ZERO).unwrap_or(true))
    }

    /// Waits for its end.
    pub fn ends(&self, limit: Duration) -> Outcome<bool> {
        Ok(self.handle.as_ref().is_none_or(|handle| readable(handle, limit).unwrap_or(true)))
    }

    /// Sends it a signal.
    pub fn kill(&self, signal: Signal) {
        if let Some(handle) = &self.handle {
            let _gone = rustix::process::pidfd_send_signal(handle, signal);
        }
    }

    /// Kills it and waits for its end.
    pub fn crash(&self) -> Outcome {
        self.crashed.set(true);
        self.kill(Signal::KILL);
        check(self.ends(PATIENCE)?, || "the shim survived SIGKILL".into())
    }

    /// Whether a test killed it.
    pub(super) fn crashed(&self) -> bool {
        self.crashed.get()
    }

    /// `Shutdown`.
    pub fn shutdown(&self) -> Reply<Empty> {
        self.ask("Shutdown", &ShutdownRequest::default())
    }

    /// What it has written to its log FIFO.
    pub fn log(&self) -> String {
        let mut block = [0; 8192];
        while let Ok(n @ 1..) = self.log.borrow_mut().read(&mut block) {
            self.said.borrow_mut().push_str(&String::from_utf8_lossy(&block[..n]));
        }
        self.said.borrow().clone()
    }

    /// Kills and deletes a container, if it is there.
    pub(super) fn discard(&self, id: &str) {
        let kill = KillRequest { id: id.into(), signal: 9, all: true, ..KillRequest::default() };
        let wait = WaitRequest { id: id.into(), ..WaitRequest::default() };
        let delete = DeleteRequest { id: id.into(), ..DeleteRequest::default() };
        let _gone: Result<Empty, _> = self.ask("Kill", &kill);
        let _gone: Result<WaitResponse, _> = self.ask("Wait", &wait);
        let _gone: Result<DeleteResponse, _> = self.ask("Delete", &delete);
    }
}
