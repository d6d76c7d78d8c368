//! The steps that turn the child into the configured process: the same for create and exec.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt as _;

use oci_spec::runtime::{Arch, LinuxPersonality, LinuxSeccomp, PosixRlimit, PosixRlimitType, Process};

use super::candidates::candidates;
use super::environment::environment;
use super::{ParentStep, Plan};
use crate::error::Result;
use crate::finding::Finding;
use crate::host::Host;
use crate::linux::capability::{Masks, SYS_ADMIN, SYS_NICE, SYS_PTRACE, SYS_RESOURCE};
use crate::linux::{ioprio, lsm, personality, rlimit, scheduler, seccomp, user};
use crate::program::blame::{Blame, Place};
use crate::program::{Op, Program, Slot, Text};

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
pub(crate) struct ProcessContext<'c> {
    pub(crate) seccomp: Option<&'c LinuxSeccomp>,
    pub(crate) personality: Option<&'c LinuxPersonality>,
    pub(crate) in_user_namespace: bool,
    pub(crate) host: Host,
    pub(crate) keep_groups: bool,
    /// Replace the process' own if they are not text; otherwise empty.
    pub(crate) args: &'c [OsString],
    /// Variables after the process' own.
    pub(crate) env: &'c [OsString],
    /// How the process enters a pid namespace where others can see it, if it does.
    pub(crate) emerges: Option<Emergence>,
}

/// What can see a process that enters an existing pid namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Emergence {
    /// Processes that cannot have `CAP_SYS_PTRACE` over it.
    Unwatched,
    /// Possibly processes that can do anything with it: it must have no right that they lack.
    Watched,
}

/// A compiled filter that goes into the program.
struct FilterPlan {
    op: Op,
    listener: bool,
    /// The final capabilities, if the process keeps `CAP_SYS_ADMIN` until the filter is loaded.
    capabilities: Option<Op>,
}

/// When a filter is loaded: as late as possible, so that it applies to the calls of the container's program and not to the
/// runtime's, some of which an older profile does not know (`openat2`, `close_range`); but earlier if a process of the
/// container could make use of one that is not filtered yet.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moment {
    /// While the parent still listens, so that it gets the notification descriptor.
    BeforeCreated,
    /// Directly before execve.
    Last,
}

/// The parts of a process' steps that go between other steps.
pub(crate) struct ProcessPlan {
    filter: Option<FilterPlan>,
    emerges: Option<Emergence>,
    /// Whether others may take hold of the process while it waits for its start, in which case it is filtered before.
    exposed: bool,
    terminal: bool,
    /// What a copy of the child would not keep, or what would keep the child from making one.
    own: Vec<(Op, Blame)>,
}

impl ProcessPlan {
    /// Everything up to the choice of the program. After that the process has its final privileges.
    pub(crate) fn plan(plan: &mut Plan, process: &Process, around: &ProcessContext<'_>) -> Result<Self> {
        let no_new_privileges = process.no_new_privileges().unwrap_or(false);
        let mut filter = around.seccomp.map(|seccomp| compile(plan, seccomp)).transpose()?;
        // What the parent may do for the child, and the child, as root of its user namespace, may not. A parent without
        // privileges can do nothing that the child cannot do itself.
        let by_parent = around.in_user_namespace && around.host.is_admin();
        if !process.terminal().unwrap_or(false) {
            plan_stream_owner(plan, process.user().uid(), by_parent);
        }
        plan_labels(&mut plan.program, process);
        let mut own = Vec::new();
        plan_scheduling(plan, process, by_parent, around, &mut own);
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
        plan_rlimits(plan, process, by_parent, around, &mut own);
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
                let message = format!("capability {name} is not held by the runtime and cannot be granted");
                plan.findings.push(Finding::warning("/process/capabilities", message));
            }
        }
        if around.keep_groups && !user::groups(process.user()).is_empty() {
            let message = "additionalGids have no effect where the annotation run.oci.keep_original_groups keeps the caller's groups";
            plan.findings.push(Finding::warning("/process/user/additionalGids", message));
        }
        let program = &mut plan.program;
        user::plan_groups(program, process.user(), around.keep_groups);
        masks.plan_bounding(program);
        user::plan_ids(program, process.user());
        let (op, blame) = into(true);
        program.push(op, blame);
        // Without no_new_privs the kernel requires CAP_SYS_ADMIN to load a filter (seccomp(2)).
        let keep = match &mut filter {
            Some(filter)
                if !no_new_privileges
                    && (around.in_user_namespace || around.host.grantable & SYS_ADMIN != 0) =>
            {
                filter.capabilities = masks.keep_only(SYS_ADMIN);
                SYS_ADMIN
            }
            _ => 0,
        };
        masks.plan_sets(program, keep);
        user::plan_umask(program, process.user());
        plan_program(program, process, around);
        let terminal = process.terminal().unwrap_or(false);
        // An exec into the created container, or a hook, has the capabilities of the process and may have more. Rights of a
        // user namespace do not reach a process whose memory is older than that.
        let may_trace = (masks.bounding | masks.permitted) & SYS_PTRACE != 0;
        let keeps = filter.as_ref().is_some_and(|filter| filter.capabilities.is_some());
        let exposed = !around.in_user_namespace && (may_trace || keeps);
        Ok(Self { filter, emerges: around.emerges, exposed, terminal, own })
    }

    /// Enters the pid namespace, and does what only the process there can do. Without one, the process is already where
    /// it belongs.
    pub(crate) fn plan_emergence(&self, program: &mut Program) {
        if self.emerges.is_some() {
            if self.is_filtered_before() {
                self.push_filter(program);
            }
            program.push_own(Op::Emerge, "make a process in the container's pid namespace");
            program.push_own(Op::NewSession, "start a new session");
        }
        if self.terminal {
            let blame = Blame::new("make the terminal the controlling one", Place::of("/process/terminal"));
            program.push(Op::ControllingTerminal, blame);
        }
        for (op, blame) in &self.own {
            program.push(*op, *blame);
        }
    }

    /// Whether the filter must be in force before processes of the container can see the process: one that traces it could
    /// make it do what the filter denies, and use the `CAP_SYS_ADMIN` that loading the filter takes.
    fn is_filtered_before(&self) -> bool {
        self.emerges == Some(Emergence::Watched)
    }

    /// Whether the process has its filter when it waits for its start and runs hooks.
    fn is_filtered_early(&self) -> bool {
        self.is_filtered_before()
            || self.filter.as_ref().is_some_and(|filter| filter.listener || self.exposed)
    }

    /// The filter that the process itself loads only after it has run hooks, with the flags.
    pub(crate) fn late_filter(&self) -> Option<(Text, u32)> {
        match self.filter.as_ref().filter(|_| !self.is_filtered_early())?.op {
            Op::Seccomp { filter, flags, .. } => Some((filter, flags)),
            _ => None,
        }
    }

    /// Loads the filter, if this is its moment.
    pub(crate) fn plan_filter(&self, program: &mut Program, moment: Moment) {
        let its_moment = if self.is_filtered_early() { Moment::BeforeCreated } else { Moment::Last };
        if moment == its_moment && !self.is_filtered_before() {
            self.push_filter(program);
        }
    }

    fn push_filter(&self, program: &mut Program) {
        let Some(filter) = &self.filter else { return };
        program.push(filter.op, Blame::new("load the seccomp filter", Place::of("/linux/seccomp")));
        if let Some(capabilities) = filter.capabilities {
            program
                .push(capabilities, Blame::new("set the capabilities", Place::of("/process/capabilities")));
        }
    }
}

fn compile(plan: &mut Plan, config: &LinuxSeccomp) -> Result<FilterPlan> {
    let mut filter = seccomp::compile(config, NATIVE)?;
    plan.findings.append(&mut filter.notes);
    let text = plan.program.text(filter.bytes());
    Ok(FilterPlan {
        op: Op::Seccomp { filter: text, flags: filter.flags, listener: filter.notify },
        listener: filter.notify,
        capabilities: None,
    })
}

fn plan_stream_owner(plan: &mut Plan, uid: u32, by_parent: bool) {
    let blame = Blame::new("give the standard streams to the user", Place::of("/process/user"));
    if by_parent {
        // The user namespace does not know the user that owns them.
        plan.ask(ParentStep::OwnStreams(uid), Slot::NONE, blame);
    } else {
        plan.program.push(Op::OwnStreams { uid }, blame);
    }
}

fn plan_labels(program: &mut Program, process: &Process) {
    if let Some(profile) = lsm::apparmor_profile(process) {
        let without_effect = lsm::is_unconfined(profile);
        let (name, text) = lsm::apparmor_exec(profile);
        let (name, text, profile) = (program.text(name), program.text(text), program.text(profile));
        program.push(
            Op::WriteOwnProc { name, text, needed: !without_effect },
            Blame::new("apply AppArmor profile", Place::of("/process/apparmorProfile")).on(profile),
        );
    }
    if let Some(label) = lsm::selinux_label(process) {
        let (name, text) = (program.text(lsm::SELINUX_EXEC), program.text(label));
        program.push(
            Op::WriteOwnProc { name, text, needed: true },
            Blame::new("apply SELinux label", Place::of("/process/selinuxLabel")).on(text),
        );
    }
}

/// The step that opens a terminal. `console` also binds it to /dev/console, which a container has from its creation.
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

/// The step for a process without a terminal whose caller passed the host's null device.
pub(crate) fn plan_null_streams(program: &mut Program) {
    program.push_own(Op::NullStreams, "open the container's null device for its streams");
}

/// Whether a step of the process writes to the private procfs.
pub(crate) fn needs_proc(process: &Process) -> bool {
    lsm::apparmor_profile(process).is_some() || lsm::selinux_label(process).is_some()
}

/// The step for a process that is about to become root of a user namespace, whose key quota may be used up by other
/// containers with the same mapping: it must not be left with the caller's session keyring.
pub(super) fn plan_spare_keyring(program: &mut Program) {
    program.push_own(Op::SpareKeyring, "join a spare session keyring");
}

/// The step that makes or joins the session keyring; its key carries the SELinux context of the process, or the process
/// could not use it. `spare` means that the process already has its own keyring.
pub(super) fn plan_keyring(
    program: &mut Program,
    id: &str,
    process: Option<&Process>,
    sentence: &'static str,
    spare: bool,
) {
    let label = process.and_then(lsm::selinux_label);
    let path = label.map(|_| program.text(lsm::SELINUX_KEYS));
    if let (Some(path), Some(label)) = (path, label) {
        let text = program.text(label);
        let blame = Blame::new("label keys with", Place::of("/process/selinuxLabel")).on(text);
        program.push(Op::WriteHost { path, text }, blame);
    }
    let name = program.text(format!("_ses.{id}"));
    program.push_own(Op::SessionKeyring { name, spare }, sentence);
    if let Some(path) = path {
        let text = program.text("\n");
        program.push_own(Op::WriteHost { path, text }, "stop labelling keys");
    }
}

/// `own` collects what a process that enters a pid namespace must do itself.
fn plan_scheduling(
    plan: &mut Plan,
    process: &Process,
    by_parent: bool,
    around: &ProcessContext<'_>,
    own: &mut Vec<(Op, Blame)>,
) {
    if let Some(config) = process.scheduler() {
        let attr = scheduler::attributes(config);
        let blame = Blame::new("set the scheduler", Place::of("/process/scheduler"));
        if around.emerges.is_some() && around.host.effective & SYS_NICE != 0 {
            // A copy loses what `SCHED_FLAG_RESET_ON_FORK` resets, and a process with a deadline cannot be copied.
            plan.emerged.push((ParentStep::Scheduler(attr), blame));
        } else if by_parent && around.emerges.is_none() {
            // More than the caller's share takes CAP_SYS_NICE of the initial user namespace: the parent's.
            plan.ask(ParentStep::Scheduler(attr), Slot::NONE, blame);
        } else {
            let op = Op::Scheduler(plan.program.text(scheduler::bytes(&attr)));
            if around.emerges.is_some() {
                own.push((op, blame));
            } else {
                plan.program.push(op, blame);
            }
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

fn plan_rlimits(
    plan: &mut Plan,
    process: &Process,
    by_parent: bool,
    around: &ProcessContext<'_>,
    own: &mut Vec<(Op, Blame)>,
) {
    let limits = process.rlimits().as_deref().unwrap_or_default();
    if limits.is_empty() {
        return;
    }
    // Only this gives the right over a process with other ids (prlimit(2)); without it nothing could be raised anyway.
    let emerged = around.emerges.is_some() && around.host.effective & SYS_RESOURCE != 0;
    let hinders = |limit: &PosixRlimit| around.emerges.is_some() && hinders_birth(limit);
    if emerged || (by_parent && around.emerges.is_none()) {
        // Raising a hard limit takes CAP_SYS_RESOURCE of the initial user namespace: only the parent has it.
        let blame = Blame::new("set the resource limits", Place::of("/process/rlimits"));
        let step = |late: bool| {
            let chosen = limits.iter().filter(|limit| hinders(limit) == late);
            let values: Vec<_> = chosen.map(rlimit::values).collect();
            (!values.is_empty()).then_some(ParentStep::Rlimits(values))
        };
        if let Some(step) = step(false) {
            plan.ask(step, Slot::NONE, blame);
        }
        plan.emerged.extend(step(true).map(|step| (step, blame)));
        return;
    }
    for (index, limit) in limits.iter().enumerate() {
        let (resource, soft, hard) = rlimit::values(limit);
        let name = plan.program.text(limit.typ().to_string());
        let op = Op::Rlimit { resource, soft, hard };
        let blame = Blame::new("set resource limit", Place::item("/process/rlimits", index)).on(name);
        if hinders(limit) {
            own.push((op, blame));
        } else {
            plan.program.push(op, blame);
        }
    }
}

/// Whether a limit would keep a process from making the one that it is for: those of processes and memory, and one that
/// leaves no room for the descriptors that this takes.
fn hinders_birth(limit: &PosixRlimit) -> bool {
    match limit.typ() {
        PosixRlimitType::RlimitNproc
        | PosixRlimitType::RlimitAs
        | PosixRlimitType::RlimitData
        | PosixRlimitType::RlimitStack => true,
        PosixRlimitType::RlimitNofile => limit.soft() < 64,
        _ => false,
    }
}

/// The arguments of a process: its own, unless others are given.
pub(super) fn arguments<'a>(process: &'a Process, given: &'a [OsString]) -> Vec<&'a [u8]> {
    if given.is_empty() {
        process.args().iter().flatten().map(String::as_bytes).collect()
    } else {
        given.iter().map(|text| text.as_bytes()).collect()
    }
}

fn plan_program(program: &mut Program, process: &Process, around: &ProcessContext<'_>) {
    let args = arguments(process, around.args);
    let own = process.env().as_deref().unwrap_or_default().iter().map(String::as_bytes);
    let entries = own.chain(around.env.iter().map(|text| text.as_bytes()));
    let (env, needs_home) = environment(entries);
    program.argv = Some(program.list(&args, 0));
    program.envp = Some(program.list(&env, usize::from(needs_home)));
    if needs_home {
        program.push_own(Op::Home { uid: process.user().uid() }, "find the user's home directory");
    }
    let name = args.first().copied().unwrap_or_default();
    let (paths, named) = candidates(name, &env);
    let candidates = program.list(paths, 0);
    let name = program.text(name);
    program.push(
        Op::FindProgram { candidates, named },
        Blame::new("exec:", Place::of("/process/args")).on(name),
    );
}
