//! `process.scheduler`, `process.ioPriority` and `process.execCPUAffinity`.

use oci_spec::runtime::{ExecCPUAffinity, LinuxSchedulerPolicy as Policy, Process, Scheduler};

use super::list;
use crate::finding::Report;

pub(super) fn check(process: &Process, at: &str, report: &mut Report) {
    if let Some(scheduler) = process.scheduler() {
        check_scheduler(scheduler, &format!("{at}/scheduler"), report);
    }
    if let Some(priority) = process.io_priority()
        && !(0..=7).contains(&priority.priority())
    {
        report.error(
            format!("{at}/ioPriority/priority"),
            "invalid ioPriority.Priority: it must be from 0 (highest) to 7 (lowest)",
        );
    }
    if let Some(affinity) = process.exec_cpu_affinity() {
        check_affinity(affinity, &format!("{at}/execCPUAffinity"), report);
    }
}

/// The rules of `sched_setattr(2)` and `sched(7)`.
fn check_scheduler(scheduler: &Scheduler, at: &str, report: &mut Report) {
    let policy = *scheduler.policy();
    let real_time = matches!(policy, Policy::SchedFifo | Policy::SchedRr);
    if policy == Policy::SchedIso {
        report.warning(
            format!("{at}/policy"),
            "reserved, but not implemented by Linux; the kernel will refuse it",
        );
    }
    if scheduler.nice().is_some_and(|nice| !(-20..=19).contains(&nice)) {
        report.error(format!("{at}/nice"), "must be from -20 to 19");
    }
    let priority = scheduler.priority().unwrap_or(0);
    if real_time && !(1..=99).contains(&priority) {
        report.error(format!("{at}/priority"), format!("must be from 1 to 99 with the policy {policy}"));
    } else if !real_time && priority != 0 {
        report.error(format!("{at}/priority"), "is only for the policies SCHED_FIFO and SCHED_RR");
    }
    let [runtime, deadline, period] =
        [scheduler.runtime(), scheduler.deadline(), scheduler.period()].map(|time| time.unwrap_or(0));
    if policy == Policy::SchedDeadline {
        // A period of 0 means the deadline; the kernel refuses runtimes below 1024 ns.
        let period = if period == 0 { deadline } else { period };
        if !(1024 <= runtime && runtime <= deadline && deadline <= period) {
            report.error(at, "SCHED_DEADLINE needs 1024 <= runtime <= deadline <= period");
        }
    } else {
        for (name, time) in [("runtime", runtime), ("deadline", deadline), ("period", period)] {
            if time != 0 {
                report.error(format!("{at}/{name}"), "is only for the policy SCHED_DEADLINE");
            }
        }
    }
}

fn check_affinity(affinity: &ExecCPUAffinity, at: &str, report: &mut Report) {
    for (name, cpus) in [("initial", affinity.initial()), ("final", affinity.cpu_affinity_final())] {
        if let Some(Err(message)) = cpus.as_deref().map(list::parse) {
            report.error(format!("{at}/{name}"), message);
        }
    }
}
