//! The order of an exec: a process with its own configuration inside an existing container.

use std::ffi::OsString;
use std::path::PathBuf;

use oci_spec::runtime::{LinuxMemoryPolicy, LinuxPersonality, LinuxSeccomp, Process};

use super::Plan;
use super::enter::{enter_scope, join_cgroups, plan_all_cpus};
use super::join::Join;
use super::order::{begin, plan_memory_policy};
use super::process::{
    Emergence, Moment, ProcessContext, ProcessPlan, arguments, needs_proc, plan_keyring, plan_null_streams,
    plan_spare_keyring, plan_terminal,
};
use crate::error::{Error, ErrorKind, Result};
use crate::finding::Finding;
use crate::host::Host;
use crate::linux::affinity;
use crate::program::Op;
use crate::program::blame::{Blame, Place};

/// Facts about the container and options of the caller.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ExecRequest<'r> {
    pub(crate) id: &'r str,
    pub(crate) join: Join,
    pub(crate) new_keyring: bool,
    pub(crate) preserved: u32,
    pub(crate) host: Host,
    pub(crate) tasks: &'r [PathBuf],
    /// The unit into which systemd has to move the process, if the caller may not.
    pub(crate) scope: Option<&'r str>,
    pub(crate) seccomp: Option<&'r LinuxSeccomp>,
    pub(crate) memory_policy: Option<&'r LinuxMemoryPolicy>,
    pub(crate) personality: Option<&'r LinuxPersonality>,
    /// See [`ProcessContext`].
    pub(crate) args: &'r [OsString],
    pub(crate) env: &'r [OsString],
}

/// Plans an exec. The process has been checked.
pub(crate) fn exec(process: &Process, request: &ExecRequest<'_>) -> Result<Plan> {
    let mut plan = Plan::default();
    let in_user_namespace = request.join.has(libc::CLONE_NEWUSER);
    let oom_score = process.oom_score_adj().filter(|_| !request.host.is_admin());
    begin(&mut plan.program, request.preserved, oom_score, false);
    plan.program.push_own(Op::NewSession, "start a new session");
    let affinity = process.exec_cpu_affinity().as_ref();
    plan_affinity(
        &mut plan,
        affinity.and_then(|a| a.initial().as_deref()),
        "/process/execCPUAffinity/initial",
    )?;
    enter_scope(&mut plan, request.scope, Place::NONE);
    join_cgroups(&mut plan.program, request.tasks, Place::NONE);
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
    // Nothing of the host may be visible in the pid namespace: a last process is born there.
    request.join.enter(&mut plan.program, request.join.namespaces);
    if !request.join.has(libc::CLONE_NEWNS) {
        plan.program.push_own(Op::ChangeRoot, "change the root");
    }
    // Which processes are in there, and with which capabilities, no configuration tells: another container may have joined
    // the namespace.
    let seen = if in_user_namespace { Emergence::Unwatched } else { Emergence::Watched };
    let emerges = request.join.has(libc::CLONE_NEWPID).then_some(seen);
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
    plan.program.let_texts_pass();
    plan_memory_policy(&mut plan.program, request.memory_policy)?;
    let tail = ProcessPlan::plan(
        &mut plan,
        process,
        &ProcessContext {
            seccomp: request.seccomp,
            personality: request.personality,
            in_user_namespace,
            host: request.host,
            keep_groups: request.join.keep_groups,
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
        Error::new(ErrorKind::InvalidSpec, format!("{list:?} is not a list of CPU numbers and ranges"))
            .at(pointer)
    })?;
    let digits = mask.iter().rev().fold(String::from("0x"), |digits, byte| {
        if digits == "0x" && *byte == 0 { digits } else { digits + &format!("{byte:02x}") }
    });
    plan.findings.push(Finding::note("", format!("CPU affinity: {}", digits.replacen("0x0", "0x", 1))));
    let mask = plan.program.text(mask);
    plan.program.push(Op::Affinity(mask), Blame::new("set the CPU affinity", Place::of(pointer)));
    Ok(())
}
