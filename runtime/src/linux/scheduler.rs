//! Scheduling policy (`sched_setattr(2)`).

use oci_spec::runtime::{LinuxSchedulerFlag, LinuxSchedulerPolicy, Scheduler};

use crate::sys::process::SchedAttr;

/// The kernel's structure for a configuration; unset numbers are 0, as the spec says.
pub(crate) fn attributes(scheduler: &Scheduler) -> SchedAttr {
    // include/uapi/linux/sched.h
    let policy = match scheduler.policy() {
        LinuxSchedulerPolicy::SchedOther => 0,
        LinuxSchedulerPolicy::SchedFifo => 1,
        LinuxSchedulerPolicy::SchedRr => 2,
        LinuxSchedulerPolicy::SchedBatch => 3,
        // The number is reserved; the kernel refuses it, and its error is reported.
        LinuxSchedulerPolicy::SchedIso => 4,
        LinuxSchedulerPolicy::SchedIdle => 5,
        LinuxSchedulerPolicy::SchedDeadline => 6,
    };
    let flags = scheduler.flags().iter().flatten().fold(0, |all, flag| {
        all | match flag {
            LinuxSchedulerFlag::SchedResetOnFork => 0x01,
            LinuxSchedulerFlag::SchedFlagReclaim => 0x02,
            LinuxSchedulerFlag::SchedFlagDLOverrun => 0x04,
            LinuxSchedulerFlag::SchedFlagKeepPolicy => 0x08,
            LinuxSchedulerFlag::SchedFlagKeepParams => 0x10,
            LinuxSchedulerFlag::SchedFlagUtilClampMin => 0x20,
            LinuxSchedulerFlag::SchedFlagUtilClampMax => 0x40,
        }
    });
    SchedAttr {
        size: size_of::<SchedAttr>() as u32,
        policy,
        flags,
        nice: scheduler.nice().unwrap_or(0),
        priority: scheduler.priority().unwrap_or(0) as u32,
        runtime: scheduler.runtime().unwrap_or(0),
        deadline: scheduler.deadline().unwrap_or(0),
        period: scheduler.period().unwrap_or(0),
        ..SchedAttr::default()
    }
}

/// The structure as the bytes that a program carries.
pub(crate) fn bytes(attr: &SchedAttr) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(size_of::<SchedAttr>());
    bytes.extend(attr.size.to_ne_bytes());
    bytes.extend(attr.policy.to_ne_bytes());
    bytes.extend(attr.flags.to_ne_bytes());
    bytes.extend(attr.nice.to_ne_bytes());
    bytes.extend(attr.priority.to_ne_bytes());
    bytes.extend(attr.runtime.to_ne_bytes());
    bytes.extend(attr.deadline.to_ne_bytes());
    bytes.extend(attr.period.to_ne_bytes());
    bytes.extend(attr.util_min.to_ne_bytes());
    bytes.extend(attr.util_max.to_ne_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_have_the_size_of_the_structure() {
        let scheduler: Scheduler = serde_json::from_value(
            serde_json::json!({"policy": "SCHED_BATCH", "nice": -5, "flags": ["SCHED_FLAG_KEEP_PARAMS"]}),
        )
        .expect("a valid object");
        let attr = attributes(&scheduler);
        assert_eq!((attr.policy, attr.nice, attr.flags), (3, -5, 0x10));
        assert_eq!(bytes(&attr).len(), size_of::<SchedAttr>());
    }
}
