//! I/O priority (`ioprio_set(2)`).

use oci_spec::runtime::{IOPriorityClass, LinuxIOPriority};

/// Whether the class takes a capability in the initial user namespace.
pub(crate) fn is_real_time(io: &LinuxIOPriority) -> bool {
    matches!(io.class(), IOPriorityClass::IoprioClassRt)
}

/// Class and priority in one number; that the priority is 0 to 7 has been checked.
pub(crate) fn value(io: &LinuxIOPriority) -> i32 {
    const CLASS_SHIFT: u32 = 13;
    let class = match io.class() {
        IOPriorityClass::IoprioClassRt => 1,
        IOPriorityClass::IoprioClassBe => 2,
        IOPriorityClass::IoprioClassIdle => 3,
    };
    class << CLASS_SHIFT | (io.priority() & 7) as i32
}
