//! The order of a creation: the one place that knows it. Read it top-down; the reasons are beside each step.

use oci_spec::runtime::{LinuxMemoryPolicy, Mount, Process, Spec};

use super::enter::{emergence, enter_namespaces, enter_pid_namespace};
use super::mount_list::mounts_of;
use super::process::{Moment, ProcessContext, ProcessPlan};
use super::root::{fill_root, finish_root};
use super::{Gate, Plan, Request, hooks};
use crate::error::Result;
use crate::linux::idmap::IdMaps;
use crate::linux::memory_policy;
use crate::linux::namespace::Namespaces;
use crate::program::blame::{Blame, Place};
use crate::program::{Op, Program};

/// Plans a creation. The configuration has been checked; only this code can know what it still refuses.
pub(super) fn create(spec: &Spec, request: &Request<'_>) -> Result<Plan> {
    let linux = spec.linux().as_ref();
    let namespaces = Namespaces::of(linux);
    let mut plan = Plan { program: Program::for_container(), ..Plan::default() };
    let maps = IdMaps::of(
        linux.and_then(|l| l.uid_mappings().as_ref()),
        linux.and_then(|l| l.gid_mappings().as_ref()),
    );
    let entries: Vec<(Mount, usize)> =
        mounts_of(spec).into_iter().enumerate().map(|(index, mount)| (mount, index)).collect();

    let admin = request.host.is_admin();
    // A user namespace that is born with its process has no other process that could look, and its owner must be able
    // to: newuidmap(1) writes the maps as that user, and hooks and networks look for /proc/PID/ns.
    let visible = !admin && namespaces.user.is_new();
    let oom_score = spec.process().as_ref().and_then(Process::oom_score_adj).filter(|_| !admin);
    begin(&mut plan.program, request.preserved, oom_score, visible);
    plan.program.push_own(Op::NewSession, "start a new session");
    enter_namespaces(&mut plan, &namespaces, &maps, linux, spec.process().as_ref(), request);
    let Some(process) = spec.process().as_ref() else {
        fill_root(&mut plan, spec, &namespaces, &maps, &entries, None, request)?;
        finish_root(&mut plan, spec, &namespaces, request);
        enter_pid_namespace(&mut plan, &namespaces, request);
        plan.program.let_texts_pass();
        plan.program.push_own(Op::LetGo, "close what was held of the root");
        if emergence(&namespaces, request).is_some() {
            plan.program.push_own(Op::Emerge, "make a process in the container's pid namespace");
        }
        plan_created(&mut plan.program, request.gate, visible);
        plan.program.push(Op::NoProcess, Blame::new("start the container", Place::of("/process")));
        return Ok(plan);
    };
    fill_root(&mut plan, spec, &namespaces, &maps, &entries, Some(process), request)?;
    finish_root(&mut plan, spec, &namespaces, request);
    enter_pid_namespace(&mut plan, &namespaces, request);
    plan.program.let_texts_pass();
    plan_memory_policy(&mut plan.program, linux.and_then(|l| l.memory_policy().as_ref()))?;
    let tail = ProcessPlan::plan(
        &mut plan,
        process,
        &ProcessContext {
            seccomp: linux.and_then(|l| l.seccomp().as_ref()),
            personality: linux.and_then(|l| l.personality().as_ref()),
            in_user_namespace: namespaces.user.is_own(),
            host: request.host,
            keep_groups: request.keep_groups,
            args: &[],
            env: request.env,
            emerges: emergence(&namespaces, request),
        },
    )?;
    tail.plan_emergence(&mut plan.program);
    tail.plan_filter(&mut plan.program, Moment::BeforeCreated);
    plan_created(&mut plan.program, request.gate, visible);
    let start = spec.hooks().as_ref().and_then(|all| all.start_container().as_ref());
    // They are programs of the image, like the container's own.
    let around = hooks::HookContext { env: plan.program.envp, filter: tail.late_filter() };
    hooks::plan(
        &mut plan.program,
        spec,
        request,
        start,
        "created",
        ("/hooks/startContainer", "run the startContainer hooks"),
        around,
    );
    // As late as possible, so that the filter need not allow what earlier steps do.
    tail.plan_filter(&mut plan.program, Moment::Last);
    let name = plan
        .program
        .text(process.args().as_ref().and_then(|args| args.first()).map(String::as_str).unwrap_or_default());
    plan.program.push(Op::Exec, Blame::new("exec", Place::of("/process/args")).on(name));
    Ok(plan)
}

/// Reports that everything is in place, and waits for `start`.
fn plan_created(program: &mut Program, gate: Gate, visible: bool) {
    if gate == Gate::Open {
        program.push_own(Op::Created, "report that the container is created");
        return;
    }
    if visible {
        program.push_own(Op::Dumpable, "let the owner of the container look at the process");
    }
    program.push_own(Op::Created, "report that the container is created");
    program.push_own(Op::Gate, "wait for start");
    if visible {
        // startContainer hooks are programs of the image.
        program.push_own(Op::NotDumpable, "make the process non-dumpable");
    }
}

/// The first steps of every child: nothing of the caller stays reachable, and none of its state stays in force.
///
/// `oom_score` is set if the child itself must set it, since its parent may not. `visible` means that it stays
/// dumpable.
pub(super) fn begin(program: &mut Program, preserved: u32, oom_score: Option<i32>, visible: bool) {
    // First of all: no process of the container may look into this one (CVE-2016-9962).
    if visible || oom_score.is_some() {
        program.push_own(Op::Dumpable, "let the owner of the container look at the process");
    } else {
        program.push_own(Op::NotDumpable, "make the process non-dumpable");
    }
    if let Some(score) = oom_score {
        // The user owns the file only while the process is dumpable; it is still among the user's own processes.
        let (path, text) = (program.text("/proc/self/oom_score_adj"), program.text(score.to_string()));
        let blame = Blame::new("set the OOM score: write", Place::of("/process/oomScoreAdj"));
        program.push(Op::WriteHost { path, text }, blame.on(text).and("to", path));
        if !visible {
            program.push_own(Op::NotDumpable, "make the process non-dumpable");
        }
    }
    program.push_own(Op::CloseOthers, "close the caller's descriptors");
    program.push_own(Op::Streams, "set up the standard streams");
    program.push_own(Op::DefaultSignals, "reset signal actions, signal mask and umask");
    if preserved > 0 {
        program.push_own(Op::Preserve { count: preserved }, "preserve descriptors");
    }
}

/// The container's policy, for its own process and for added ones alike.
pub(super) fn plan_memory_policy(program: &mut Program, policy: Option<&LinuxMemoryPolicy>) -> Result<()> {
    let Some(policy) = policy else { return Ok(()) };
    let nodes = memory_policy::nodes(policy).ok_or_else(memory_policy::malformed)?;
    let nodes = program.text(nodes);
    program.push(
        Op::MemoryPolicy { mode: memory_policy::mode(policy), nodes },
        Blame::new("set the memory policy", Place::of("/linux/memoryPolicy")),
    );
    Ok(())
}
