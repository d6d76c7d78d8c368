//! The steps that turn the child into the configured process: the same at create and at exec.

use oci_spec::runtime::{Arch, LinuxPersonality, LinuxSeccomp, Process};

use super::blame::{Blame, Place};
use super::candidates::candidates;
use super::environment::environment;
use super::program::{Op, Program, Slot};
use super::{ParentStep, Plan};
use crate::error::{Error, Kind, Result};
use crate::host::Host;
use crate::linux::capability::{Masks, SYS_ADMIN};
use crate::linux::{ioprio, lsm, personality, rlimit, scheduler, seccomp, user};

/// The architecture whose system calls this build makes.
pub(crate) const NATIVE: Arch = if cfg!(target_arch = "x86_64") {
    Arch::ScmpArchX86_64
} else if cfg!(target_arch = "aarch64") {
    Arch::ScmpArchAarch64
} else {
    Arch::ScmpArchNative
};

/// What the steps depend on besides the process object.
#[derive(Clone, Copy)]
pub(crate) struct Circumstances<'c> {
    pub(crate) seccomp: Option<&'c LinuxSeccomp>,
    pub(crate) personality: Option<&'c LinuxPersonality>,
    pub(crate) in_user_namespace: bool,
    pub(crate) host: Host,
    pub(crate) keep_groups: bool,
    /// Variables after the process' own.
    pub(crate) env: &'c [String],
}

/// A compiled filter on its way into the program.
struct Filter {
    op: Op,
    listener: bool,
    /// The final capabilities, where the process keeps `CAP_SYS_ADMIN` until the filter is loaded.
    shed: Option<Op>,
}

/// When a filter is loaded: as late as can be, so that it meets the calls of the container's program and not those of
/// the runtime, of which an older profile does not know the newer ones (`openat2`, `close_range`).
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moment {
    /// When the parent still listens, so that it gets the notification descriptor.
    BeforeCreated,
    /// Directly before execve.
    Last,
}

/// The pieces of a process that are put between other steps.
pub(crate) struct ProcessPlan {
    filter: Option<Filter>,
}

impl ProcessPlan {
    /// Everything up to the choice of the program. Afterwards the process has its final privileges.
    pub(crate) fn plan(plan: &mut Plan, process: &Process, around: &Circumstances<'_>) -> Result<Self> {
        let no_new_privileges = process.no_new_privileges().unwrap_or(false);
        let mut filter = around.seccomp.map(|seccomp| compile(plan, seccomp)).transpose()?;
        let program = &mut plan.program;
        if !process.terminal().unwrap_or(false) {
            program.push(
                Op::OwnPipes { uid: process.user().uid() },
                Blame::new("give the standard streams to the user", Place::of("/process/user")),
            );
        }
        plan_labels(program, process);
        // What the parent may do for the child, and the child as root of its user namespace may not. A parent without
        // privileges could do nothing that the child cannot do itself.
        let by_parent = around.in_user_namespace && around.host.is_admin();
        plan_scheduling(plan, process, by_parent);
        let program = &mut plan.program;
        if let Some(persona) = around.personality {
            program.push(
                Op::Personality(personality::persona(persona)),
                Blame::new("set the execution domain", Place::of("/linux/personality")),
            );
        }
        if no_new_privileges {
            program.push(
                Op::NoNewPrivileges,
                Blame::new("set no_new_privs", Place::of("/process/noNewPrivileges")),
            );
        }
        plan_rlimits(plan, process, by_parent);
        let program = &mut plan.program;
        program.push_own(Op::LetGo, "close what was held of the root");
        let cwd = program.text(process.cwd().as_os_str().as_encoded_bytes());
        let into = |last| {
            (
                Op::WorkingDirectory { path: cwd, last },
                Blame::new("chdir to cwd", Place::of("/process/cwd")).on(cwd),
            )
        };
        let (op, blame) = into(false);
        program.push(op, blame);
        let mut masks = Masks::of(process.capabilities().as_ref());
        if !around.in_user_namespace {
            let missing = masks.limit(around.host.grantable);
            for number in (0..64).filter(|number| missing >> number & 1 == 1) {
                let name = caps::all().into_iter().find(|one| u32::from(one.index()) == number);
                let name = name.map_or_else(|| number.to_string(), |one| one.to_string());
                plan.warnings.push(format!("capability {name} is not held by the runtime and cannot be granted (config.json /process/capabilities)"));
            }
        }
        let program = &mut plan.program;
        user::plan_groups(program, process.user(), around.keep_groups);
        masks.plan_bounding(program);
        user::plan_ids(program, process.user());
        let (op, blame) = into(true);
        program.push(op, blame);
        // Without no_new_privs the kernel wants CAP_SYS_ADMIN of who loads a filter (seccomp(2)).
        let keep = match &mut filter {
            Some(filter)
                if !no_new_privileges
                    && (around.in_user_namespace || around.host.grantable & SYS_ADMIN != 0) =>
            {
                filter.shed = masks.shed(SYS_ADMIN);
                SYS_ADMIN
            }
            _ => 0,
        };
        masks.plan_sets(program, keep);
        user::plan_umask(program, process.user());
        plan_program(program, process, around.env);
        Ok(Self { filter })
    }

    /// The filter, if this is its moment.
    pub(crate) fn plan_filter(&self, program: &mut Program, moment: Moment) {
        if let Some(filter) = &self.filter {
            let its_moment = if filter.listener { Moment::BeforeCreated } else { Moment::Last };
            if moment == its_moment {
                program.push(filter.op, Blame::new("load the seccomp filter", Place::of("/linux/seccomp")));
                if let Some(shed) = filter.shed {
                    program
                        .push(shed, Blame::new("set the capabilities", Place::of("/process/capabilities")));
                }
            }
        }
    }
}

fn compile(plan: &mut Plan, config: &LinuxSeccomp) -> Result<Filter> {
    let filter = seccomp::compile(config, NATIVE).map_err(|problems| {
        let mut problems = problems.into_iter();
        let first = problems.next().map_or_else(
            || ("/linux/seccomp".to_owned(), "no filter could be made".to_owned()),
            |one| (one.pointer, one.message),
        );
        Error::new(Kind::InvalidSpec, first.1).at(first.0)
    })?;
    // Every engine's default profile has such parts; a warning at each start would drown what matters.
    plan.notes
        .extend(filter.warnings.iter().map(|one| format!("{} (config.json {})", one.message, one.pointer)));
    let text = plan.program.text(filter.bytes());
    Ok(Filter {
        op: Op::Seccomp { filter: text, flags: filter.flags, listener: filter.notify },
        listener: filter.notify,
        shed: None,
    })
}

fn plan_labels(program: &mut Program, process: &Process) {
    if let Some(profile) = lsm::apparmor_profile(process) {
        let (name, text) = lsm::apparmor_exec(profile);
        let (name, text, profile) = (program.text(name), program.text(text), program.text(profile));
        program.push(
            Op::WriteOwnProc { name, text },
            Blame::new("apply AppArmor profile", Place::of("/process/apparmorProfile")).on(profile),
        );
    }
    if let Some(label) = lsm::selinux_label(process) {
        let (name, text) = (program.text(lsm::SELINUX_EXEC), program.text(label));
        program.push(
            Op::WriteOwnProc { name, text },
            Blame::new("apply SELinux label", Place::of("/process/selinuxLabel")).on(text),
        );
    }
}

/// The step that opens a terminal; `console`: also bound to /dev/console, which a container has from its creation.
pub(crate) fn plan_terminal(program: &mut Program, process: &Process, console: bool) {
    let (rows, columns) = process.console_size().map_or((0, 0), |size| {
        let fits = |number: u64| u16::try_from(number).unwrap_or(u16::MAX);
        (fits(size.height()), fits(size.width()))
    });
    let console = console.then(|| program.text("/dev/console"));
    program.push(
        Op::Terminal { rows, columns, uid: process.user().uid(), console },
        Blame::new("open the terminal", Place::of("/process/terminal")),
    );
}

/// Whether a step of the process writes to the private procfs.
pub(crate) fn needs_proc(process: &Process) -> bool {
    lsm::apparmor_profile(process).is_some() || lsm::selinux_label(process).is_some()
}

/// The step that makes or joins the session keyring; its key carries the SELinux context of the process, or the
/// process could not use it.
pub(super) fn plan_keyring(
    program: &mut Program,
    id: &str,
    process: Option<&Process>,
    sentence: &'static str,
) {
    let label = process.and_then(lsm::selinux_label);
    let path = label.map(|_| program.text(lsm::SELINUX_KEYS));
    if let (Some(path), Some(label)) = (path, label) {
        let text = program.text(label);
        let blame = Blame::new("label keys with", Place::of("/process/selinuxLabel")).on(text);
        program.push(Op::WriteHost { path, text }, blame);
    }
    let name = program.text(format!("_ses.{id}"));
    program.push_own(Op::SessionKeyring(name), sentence);
    if let Some(path) = path {
        let text = program.text("\n");
        program.push_own(Op::WriteHost { path, text }, "stop labelling keys");
    }
}

fn plan_scheduling(plan: &mut Plan, process: &Process, by_parent: bool) {
    if let Some(config) = process.scheduler() {
        let attr = scheduler::attributes(config);
        let blame = Blame::new("set the scheduler", Place::of("/process/scheduler"));
        if by_parent {
            // CAP_SYS_NICE of the initial user namespace is needed for more than the caller's share: the parent's.
            plan.ask(ParentStep::Scheduler(attr), Slot::NONE, blame);
        } else {
            let attr = plan.program.text(scheduler::bytes(&attr));
            plan.program.push(Op::Scheduler(attr), blame);
        }
    }
    if let Some(config) = process.io_priority() {
        let value = ioprio::value(config);
        let blame = Blame::new("set the I/O priority", Place::of("/process/ioPriority"));
        if by_parent && ioprio::is_real_time(config) {
            // As for the scheduler, but only for this class.
            plan.ask(ParentStep::IoPriority(value), Slot::NONE, blame);
        } else {
            plan.program.push(Op::IoPriority(value), blame);
        }
    }
}

fn plan_rlimits(plan: &mut Plan, process: &Process, by_parent: bool) {
    let limits = process.rlimits().as_deref().unwrap_or_default();
    if limits.is_empty() {
        return;
    }
    if by_parent {
        // CAP_SYS_RESOURCE of the initial user namespace is needed to raise a hard limit: only the parent has it.
        let limits = limits.iter().map(rlimit::values).collect();
        plan.ask(
            ParentStep::Rlimits(limits),
            Slot::NONE,
            Blame::new("set the resource limits", Place::of("/process/rlimits")),
        );
        return;
    }
    for (index, limit) in limits.iter().enumerate() {
        let (resource, soft, hard) = rlimit::values(limit);
        let name = plan.program.text(limit.typ().to_string());
        plan.program.push(
            Op::Rlimit { resource, soft, hard },
            Blame::new("set resource limit", Place::item("/process/rlimits", index)).on(name),
        );
    }
}

fn plan_program(program: &mut Program, process: &Process, more: &[String]) {
    let args = process.args().as_deref().unwrap_or_default();
    let entries = process.env().as_deref().unwrap_or_default().iter().chain(more).map(String::as_str);
    let (env, needs_home) = environment(entries);
    program.argv = Some(program.list(args, 0));
    program.envp = Some(program.list(&env, usize::from(needs_home)));
    if needs_home {
        program.push_own(Op::Home { uid: process.user().uid() }, "find the user's home directory");
    }
    let name = args.first().map(String::as_str).unwrap_or_default();
    let (paths, named) = candidates(name, &env);
    let candidates = program.list(paths, 0);
    let name = program.text(name);
    program.push(
        Op::FindProgram { candidates, named },
        Blame::new("exec:", Place::of("/process/args")).on(name),
    );
}
