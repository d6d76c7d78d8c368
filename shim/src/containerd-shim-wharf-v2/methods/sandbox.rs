//! The methods of the sandbox service.

use std::cell::{Cell, RefCell};
use std::path::PathBuf;
use std::rc::Rc;

use containerd_shim_protos::protobuf::well_known_types::any::Any;
use containerd_shim_protos::protobuf::{Message as _, MessageField};
use containerd_shim_protos::sandbox_api::{
    CreateSandboxRequest, CreateSandboxResponse, PingRequest, PingResponse, PlatformRequest,
    PlatformResponse, SandboxMetricsRequest, SandboxMetricsResponse, SandboxStatusRequest,
    SandboxStatusResponse, ShutdownSandboxRequest, ShutdownSandboxResponse, StartSandboxRequest,
    StartSandboxResponse, StopSandboxRequest, StopSandboxResponse, WaitSandboxRequest, WaitSandboxResponse,
};
use containerd_shim_protos::types::platform::Platform;
use tokio::sync::{Mutex, Notify};

use super::control;
use crate::pod::Pod;
use crate::pod::process::Exit;
use crate::pod::sandbox::{Phase, Sandbox};
use crate::pod::shared::Shared;
use crate::refusal::Refusal;
use crate::sandbox::config::PodConfig;
use crate::sandbox::files::{self, Files};
use crate::sandbox::namespaces::wanted;
use crate::sandbox::spec::describe;
use crate::worker::Answer;
use crate::{metrics, time};

/// What the CRI compares the state with.
const READY: &str = "SANDBOX_READY";
const NOT_READY: &str = "SANDBOX_NOTREADY";

/// `CreateSandbox`.
pub(crate) async fn create(
    pod: &Rc<Pod>,
    request: CreateSandboxRequest,
) -> Result<CreateSandboxResponse, Refusal> {
    if request.sandbox_id.is_empty() {
        return Err(Refusal::invalid("the sandbox has no id"));
    }
    let taken = |id: &str| Refusal::exists(format!("sandbox {id}: already exists"));
    if let Some(sandbox) = pod.sandbox.borrow().as_ref() {
        return Err(taken(&sandbox.id));
    }
    if !request.rootfs.is_empty() {
        return Err(Refusal::invalid("a sandbox without a container has no root file system"));
    }
    let bundle = PathBuf::from(request.bundle_path);
    if !bundle.is_absolute() {
        return Err(Refusal::invalid(format!(
            "the bundle {:?} of the sandbox is not absolute",
            bundle.display()
        )));
    }
    let config = PodConfig::decode(request.options.get_or_default())?;
    let sharing = config.sharing()?;
    let namespaces = wanted(&config, &sharing, &request.netns_path)?;
    let sandbox = Rc::new(Sandbox {
        id: request.sandbox_id,
        bundle,
        config,
        sharing,
        network: request.netns_path,
        turn: Mutex::new(()),
        phase: Cell::new(Phase::Created),
        created: time::now(),
        files: RefCell::new(None),
        shared: RefCell::new(None),
        exit: RefCell::new(None),
        ended: Notify::new(),
    });
    // Before anything is awaited: a second call finds it.
    *pod.sandbox.borrow_mut() = Some(sandbox.clone());
    let _turn = sandbox.turn.lock().await;
    let made = make(pod, &sandbox, namespaces).await;
    if made.is_err() {
        pod.sandbox.borrow_mut().take();
        pod.calmer.notify_one();
    }
    made.map(|()| CreateSandboxResponse::new())
}

async fn make(
    pod: &Rc<Pod>,
    sandbox: &Rc<Sandbox>,
    namespaces: wharf::pod::PodNamespaces,
) -> Result<(), Refusal> {
    let files = Files::make(&sandbox.bundle, &sandbox.config, &sandbox.sharing)?;
    let flight = pod.flight();
    let shared = Shared::make(&pod.workers, namespaces).await.inspect_err(|_| {
        if let Err(reason) = files::remove(&sandbox.bundle) {
            log::warn!("{reason}");
        }
    })?;
    let ended = flight.exit_of(shared.pid() as i32);
    *sandbox.files.borrow_mut() = Some(files);
    *sandbox.shared.borrow_mut() = Some(shared);
    if let Some(exit) = ended {
        sandbox.end(exit);
    }
    Ok(())
}

/// `StartSandbox`.
pub(crate) async fn start(
    pod: &Rc<Pod>,
    request: &StartSandboxRequest,
) -> Result<StartSandboxResponse, Refusal> {
    let sandbox = find(pod, &request.sandbox_id)?;
    let _turn = sandbox.turn.lock().await;
    match sandbox.phase.get() {
        Phase::Created => sandbox.phase.set(Phase::Ready),
        Phase::Ready => return Err(Refusal::precondition("cannot start a running sandbox")),
        Phase::Stopped => return Err(Refusal::precondition("cannot start a stopped sandbox")),
    }
    let mut response = StartSandboxResponse::new();
    response.pid = pid(&sandbox);
    response.created_at = MessageField::some(sandbox.created.clone());
    let spec = describe(&sandbox.config, &sandbox.sharing, &sandbox.network, response.pid);
    response.spec = MessageField::some(spec);
    Ok(response)
}

/// `Platform`.
pub(crate) fn platform(pod: &Rc<Pod>, request: &PlatformRequest) -> Result<PlatformResponse, Refusal> {
    find(pod, &request.sandbox_id)?;
    // The names of Go, which containerd compares with those of images.
    let (architecture, variant) = match std::env::consts::ARCH {
        "x86_64" => ("amd64", ""),
        "aarch64" => ("arm64", "v8"),
        "arm" => ("arm", "v7"),
        "x86" => ("386", ""),
        "powerpc64" if cfg!(target_endian = "little") => ("ppc64le", ""),
        "loongarch64" => ("loong64", ""),
        other => (other, ""),
    };
    let mut platform = Platform::new();
    "linux".clone_into(&mut platform.os);
    architecture.clone_into(&mut platform.architecture);
    variant.clone_into(&mut platform.variant);
    let mut response = PlatformResponse::new();
    response.platform = MessageField::some(platform);
    Ok(response)
}

/// `StopSandbox`: the pod's resources go; its containers have been stopped by then. Repeated calls do nothing.
pub(crate) async fn stop(
    pod: &Rc<Pod>,
    request: &StopSandboxRequest,
) -> Result<StopSandboxResponse, Refusal> {
    let sandbox = find(pod, &request.sandbox_id)?;
    let _turn = sandbox.turn.lock().await;
    release(pod, &sandbox)?;
    Ok(StopSandboxResponse::new())
}

fn release(pod: &Pod, sandbox: &Sandbox) -> Result<(), Refusal> {
    sandbox.end(Exit { status: 0, at: time::now() });
    if let Some(shared) = sandbox.shared.borrow_mut().take() {
        shared.leave(&pod.workers)?;
    }
    sandbox.files.borrow_mut().take();
    files::remove(&sandbox.bundle).map_err(Refusal::unknown)
}

/// `WaitSandbox`.
pub(crate) async fn wait(
    pod: &Rc<Pod>,
    request: &WaitSandboxRequest,
) -> Result<WaitSandboxResponse, Refusal> {
    let exit = find(pod, &request.sandbox_id)?.wait().await;
    let mut response = WaitSandboxResponse::new();
    response.exit_status = exit.status;
    response.exited_at = MessageField::some(exit.at);
    Ok(response)
}

/// `SandboxStatus`.
pub(crate) fn status(
    pod: &Rc<Pod>,
    request: &SandboxStatusRequest,
) -> Result<SandboxStatusResponse, Refusal> {
    let sandbox = find(pod, &request.sandbox_id)?;
    let mut response = SandboxStatusResponse::new();
    response.sandbox_id.clone_from(&sandbox.id);
    response.pid = pid(&sandbox);
    let ready = sandbox.phase.get() == Phase::Ready;
    (if ready { READY } else { NOT_READY }).clone_into(&mut response.state);
    response.created_at = MessageField::some(sandbox.created.clone());
    let exited = sandbox.exit.borrow().as_ref().map_or_else(time::never, |exit| exit.at.clone());
    response.exited_at = MessageField::some(exited);
    if request.verbose {
        let holder = if pod.workers.home().is_some() { "shim" } else { "process" };
        response.info.insert("holder".to_owned(), holder.to_owned());
        response.info.insert("bundle".to_owned(), sandbox.bundle.display().to_string());
    }
    Ok(response)
}

/// The process that is in the pod's namespaces; none once they are gone.
fn pid(sandbox: &Sandbox) -> u32 {
    sandbox.shared.borrow().as_ref().map_or(0, Shared::pid)
}

/// `PingSandbox`.
pub(crate) fn ping(pod: &Rc<Pod>, request: &PingRequest) -> Result<PingResponse, Refusal> {
    find(pod, &request.sandbox_id).map(|_| PingResponse::new())
}

/// `ShutdownSandbox`: what is left of the pod goes, and the server ends.
pub(crate) async fn shutdown(
    pod: &Rc<Pod>,
    request: &ShutdownSandboxRequest,
) -> Result<ShutdownSandboxResponse, Refusal> {
    let sandbox = pod.sandbox.borrow().clone();
    if let Some(sandbox) = sandbox {
        if sandbox.id != request.sandbox_id {
            return Err(unknown(&request.sandbox_id));
        }
        let _turn = sandbox.turn.lock().await;
        control::end_all(pod).await;
        release(pod, &sandbox)?;
        pod.sandbox.borrow_mut().take();
    } else if !pod.is_empty() {
        // A server of containers alone.
        return Err(unknown(&request.sandbox_id));
    }
    pod.shutdown.notify_one();
    Ok(ShutdownSandboxResponse::new())
}

/// `SandboxMetrics`.
pub(crate) async fn metrics(
    pod: &Rc<Pod>,
    request: &SandboxMetricsRequest,
) -> Result<SandboxMetricsResponse, Refusal> {
    let sandbox = find(pod, &request.sandbox_id)?;
    let parent = sandbox.config.linux.as_ref().map(|linux| linux.cgroup_parent.clone()).unwrap_or_default();
    if parent.is_empty() {
        return Err(Refusal::not_found("the pod has no cgroup of its own: not found"));
    }
    let answer = pod
        .workers
        .run(&[], move || {
            let encode = |error| Refusal::io("encode the answer", error);
            let any = metrics::encode(&wharf::pod::stats(&parent)?).map_err(encode)?;
            Ok(Answer { bytes: any.write_to_bytes().map_err(encode)?, descriptor: None })
        })
        .await?;
    let data =
        Any::parse_from_bytes(&answer.bytes).map_err(|error| Refusal::io("hear from a worker", error))?;
    let mut response = SandboxMetricsResponse::new();
    let metric = response.metrics.mut_or_insert_default();
    metric.timestamp = MessageField::some(time::now());
    metric.id.clone_from(&sandbox.id);
    metric.data = MessageField::some(data);
    Ok(response)
}

fn find(pod: &Pod, id: &str) -> Result<Rc<Sandbox>, Refusal> {
    let sandbox = pod.sandbox.borrow().clone();
    sandbox.filter(|sandbox| sandbox.id == id).ok_or_else(|| unknown(id))
}

fn unknown(id: &str) -> Refusal {
    Refusal::not_found(format!("sandbox {id}: not found"))
}
