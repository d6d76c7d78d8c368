//! `process`: program, user, terminal and limits. `at` is the pointer of the object: empty for `exec --process`.

use oci_spec::runtime::{LinuxIdMapping, PosixRlimit, Process, User};

use super::mappings;
use crate::finding::Report;
use crate::linux::lsm;

pub(super) fn check(process: &Process, at: &str, report: &mut Report) {
    if process.args().as_ref().is_none_or(Vec::is_empty) {
        report.error(format!("{at}/args"), "needs at least one entry, the program");
    }
    if !process.cwd().is_absolute() {
        // runc's wording, which test suites look for.
        report.error(
            format!("{at}/cwd"),
            format!("cwd must be an absolute path, but it is {}", process.cwd().display()),
        );
    }
    if process.command_line().is_some() {
        report.warning(format!("{at}/commandLine"), "is for Windows; ignored");
    }
    if process.terminal() == Some(true)
        && let Some(size) = process.console_size()
    {
        for (name, cells) in [("height", size.height()), ("width", size.width())] {
            if cells > u64::from(u16::MAX) {
                report.error(format!("{at}/consoleSize/{name}"), "a terminal has at most 65535");
            }
        }
    }
    // proc_pid_oom_score_adj(5)
    if process.oom_score_adj().is_some_and(|score| !(-1000..=1000).contains(&score)) {
        report.error(format!("{at}/oomScoreAdj"), "must be from -1000 to 1000");
    }
    for (property, label) in
        [("apparmorProfile", process.apparmor_profile()), ("selinuxLabel", process.selinux_label())]
    {
        if label.as_deref().is_some_and(|label| label.contains(char::is_control)) {
            report.error(format!("{at}/{property}"), "must not have control characters");
        }
    }
    if lsm::selinux_label(process).is_some_and(|label| !lsm::is_context(label)) {
        report.error(format!("{at}/selinuxLabel"), lsm::NO_CONTEXT);
    }
    user(process.user(), at, report);
    rlimits(process.rlimits().as_deref().unwrap_or_default(), at, report);
}

fn user(user: &User, at: &str, report: &mut Report) {
    for (property, id) in [("uid", user.uid()), ("gid", user.gid())] {
        if id == u32::MAX {
            report.error(format!("{at}/user/{property}"), NO_ID);
        }
    }
    for (index, gid) in user.additional_gids().iter().flatten().enumerate() {
        if *gid == u32::MAX {
            report.error(format!("{at}/user/additionalGids/{index}"), NO_ID);
        }
    }
    if user.umask().is_some_and(|umask| umask > 0o777) {
        report.error(format!("{at}/user/umask"), "must be from 0 to 511 (octal 777)");
    }
    if user.username().is_some() {
        report.warning(format!("{at}/user/username"), "is for Windows; ignored");
    }
}

/// setresuid(2): -1 means "leave it as it is", so such a process would keep the runtime's user.
const NO_ID: &str = "4294967295 is not an id";

fn rlimits(rlimits: &[PosixRlimit], at: &str, report: &mut Report) {
    for (index, rlimit) in rlimits.iter().enumerate() {
        let at = format!("{at}/rlimits/{index}");
        if rlimits[..index].iter().any(|earlier| earlier.typ() == rlimit.typ()) {
            report.error(format!("{at}/type"), format!("{} is set twice", rlimit.typ()));
        }
        if rlimit.soft() > rlimit.hard() {
            report.error(
                format!("{at}/soft"),
                format!("{} is above the hard limit {}", rlimit.soft(), rlimit.hard()),
            );
        }
    }
}

/// A process cannot take on an unmapped id in a new user namespace: setresuid(2) fails with EINVAL.
pub(super) fn check_mapped(
    process: &Process,
    uids: &[LinuxIdMapping],
    gids: &[LinuxIdMapping],
    report: &mut Report,
) {
    let user = process.user();
    let extra = user.additional_gids().iter().flatten().enumerate();
    let ids = [("uid".to_owned(), user.uid(), uids), ("gid".to_owned(), user.gid(), gids)];
    let extra = extra.map(|(index, gid)| (format!("additionalGids/{index}"), *gid, gids));
    for (property, id, list) in ids.into_iter().chain(extra) {
        if !list.is_empty() && !mappings::contain(list, id) {
            report.error(
                format!("/process/user/{property}"),
                format!("{id} has no mapping in the user namespace"),
            );
        }
    }
}
