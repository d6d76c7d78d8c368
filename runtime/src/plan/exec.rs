//! The order of an exec: a process with its own configuration inside an existing container.

use std::ffi::OsString;
use std::path::PathBuf;

use oci_spec::runtime::{LinuxMemoryPolicy, LinuxPersonality, LinuxSeccomp, Process};

use super::enter::plan_all_cpus;
use super::order::{begin, plan_memory_policy};
use super::process::{
    Circumstances, Emergence, Moment, ProcessPlan, arguments, needs_proc, plan_keyring, plan_null_streams,
    plan_spare_keyring, plan_terminal,
};
use super::{ParentStep, Plan};
use crate::error::{Error, Kind, Result};
use crate::host::Host;
use crate::linux::affinity;
use crate::program::blame::{Blame, Place};
use crate::program::{Op, Slot};

/// Facts about the container and options of the caller.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ExecRequest<'r> {
    pub(crate) id: &'r str,
    /// The `CLONE_NEW*` flags of the namespaces that the container does not share with the runtime.
    pub(crate) namespaces: i32,
    pub(crate) new_keyring: bool,
    pub(crate) preserved: u32,
    pub(crate) host: Host,
    /// Keep the caller's supplementary groups.
    pub(crate) keep_groups: bool,
    /// User and group of the root of the container's user namespace.
    pub(crate) root: (u32, u32),
    pub(crate) tasks: &'r [PathBuf],
    /// The unit into which systemd has to move the process, if the caller may not.
    pub(crate) scope: Option<&'r str>,
    pub(crate) seccomp: Option<&'r LinuxSeccomp>,
    pub(crate) memory_policy: Option<&'r LinuxMemoryPolicy>,
    pub(crate) personality: Option<&'r LinuxPersonality>,
    /// See [`Circumstances`].
    pub(crate) args: &'r [OsString],
    pub(crate) env: &'r [OsString],
}

/// Number of the init process' pidfd among the inherited descriptors.
pub(crate) const INIT: u8 = 0;
/// Number of the container's root directory, if the container has no mount namespace.
pub(crate) const ROOT: u8 = 1;

/// Plans an exec. The process has been checked.
pub(crate) fn exec(process: &Process, request: &ExecRequest<'_>) -> Result<Plan> {
    let mut plan = Plan::default();
    let in_user_namespace = request.namespaces & libc::CLONE_NEWUSER != 0;
    let oom_score = process.oom_score_adj().filter(|_| !request.host.is_admin());
    begin(&mut plan.program, request.preserved, oom_score, false);
    plan.program.push_own(Op::NewSession, "start a new session");
    let affinity = process.exec_cpu_affinity().as_ref();
    plan_affinity(
        &mut plan,
        affinity.and_then(|a| a.initial().as_deref()),
        "/process/execCPUAffinity/initial",
    )?;
    if let Some(unit) = request.scope {
        let blame = Blame::new("enter the systemd scope", Place::NONE);
        plan.ask(ParentStep::EnterScope(unit.to_owned()), Slot::NONE, blame);
    }
    for tasks in request.tasks {
        let path = plan.program.text(tasks.as_os_str().as_encoded_bytes());
        let text = plan.program.text("0");
        plan.program.push(Op::WriteHost { path, text }, Blame::new("join cgroup", Place::NONE).on(path));
    }
    let wished = |list: Option<&str>| list.is_some_and(|list| !list.is_empty());
    if !affinity.is_some_and(|a| wished(a.initial().as_deref()) || wished(a.cpu_affinity_final().as_deref()))
    {
        plan_all_cpus(&mut plan.program);
    }
    plan_affinity(
        &mut plan,
        affinity.and_then(|a| a.cpu_affinity_final().as_deref()),
        "/process/execCPUAffinity/final",
    )?;
    if in_user_namespace && request.host.is_admin() && request.new_keyring {
        plan_spare_keyring(&mut plan.program);
    }
    if needs_proc(process) {
        // While the host's is in reach, and shows this process.
        plan.program.push_own(Op::OpenProc, "open a private procfs");
    }
    // All at once, including the user namespace, which gives the rights to the others. The pid namespace takes effect
    // for the process that is born last: nothing of the host may be visible in it.
    let kinds = request.namespaces;
    if kinds != 0 {
        plan.program.push_own(Op::Enter { namespace: INIT, kinds }, "join the container's namespaces");
    }
    // Which processes are in there, and with which capabilities, no configuration tells: another container may have joined
    // the namespace.
    let seen = if in_user_namespace { Emergence::Unwatched } else { Emergence::Watched };
    let emerges = (kinds & libc::CLONE_NEWPID != 0).then_some(seen);
    if in_user_namespace {
        let (uid, gid) = request.root;
        plan.program.push_own(
            Op::RootIds { uid, gid, keep_groups: request.keep_groups },
            "become root of the container's user namespace",
        );
    }
    if kinds & libc::CLONE_NEWNS == 0 {
        plan.program.push_own(Op::HoldInherited { namespace: ROOT }, "hold the container's root");
        plan.program.push_own(Op::ChangeRoot, "change the root");
    } else {
        plan.program.push_own(Op::HoldCurrentRoot, "hold the container's root");
    }
    if request.new_keyring {
        let sentence = "join the container's session keyring";
        let spare = in_user_namespace && request.host.is_admin();
        plan_keyring(&mut plan.program, request.id, Some(process), sentence, spare);
    }
    if process.terminal().unwrap_or(false) {
        plan_terminal(&mut plan.program, process, false);
    } else {
        plan_null_streams(&mut plan.program);
    }
    plan_memory_policy(&mut plan.program, request.memory_policy)?;
    let tail = ProcessPlan::plan(
        &mut plan,
        process,
        &Circumstances {
            seccomp: request.seccomp,
            personality: request.personality,
            in_user_namespace,
            host: request.host,
            keep_groups: request.keep_groups,
            args: request.args,
            env: request.env,
            emerges,
        },
    )?;
    tail.plan_emergence(&mut plan.program);
    tail.plan_filter(&mut plan.program, Moment::BeforeCreated);
    plan.program.push_own(Op::Created, "report that the process is ready");
    tail.plan_filter(&mut plan.program, Moment::Last);
    let name = arguments(process, request.args).first().copied().unwrap_or_default();
    let name = plan.program.text(name);
    plan.program.push(Op::Exec, Blame::new("exec", Place::of("/process/args")).on(name));
    Ok(plan)
}

fn plan_affinity(plan: &mut Plan, list: Option<&str>, pointer: &'static str) -> Result<()> {
    let Some(list) = list.filter(|list| !list.is_empty()) else { return Ok(()) };
    let mask = affinity::mask(list).ok_or_else(|| {
        Error::new(Kind::InvalidSpec, format!("{list:?} is not a list of CPU numbers and ranges")).at(pointer)
    })?;
    let digits = mask.iter().rev().fold(String::from("0x"), |digits, byte| {
        if digits == "0x" && *byte == 0 { digits } else { digits + &format!("{byte:02x}") }
    });
    plan.notes.push(format!("CPU affinity: {}", digits.replacen("0x0", "0x", 1)));
    let mask = plan.program.text(mask);
    plan.program.push(Op::Affinity(mask), Blame::new("set the CPU affinity", Place::of(pointer)));
    Ok(())
}
