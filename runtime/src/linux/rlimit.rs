//! Resource limits (getrlimit(2)).

use oci_spec::runtime::{PosixRlimit, PosixRlimitType};

/// The kernel's number of a limit (include/uapi/asm-generic/resource.h; MIPS and SPARC differ, and libc knows).
pub(crate) fn resource(kind: PosixRlimitType) -> u32 {
    #[allow(
        clippy::cast_lossless,
        clippy::unnecessary_cast,
        reason = "an unsigned type with glibc, a signed one with musl"
    )]
    let number = match kind {
        PosixRlimitType::RlimitCpu => libc::RLIMIT_CPU,
        PosixRlimitType::RlimitFsize => libc::RLIMIT_FSIZE,
        PosixRlimitType::RlimitData => libc::RLIMIT_DATA,
        PosixRlimitType::RlimitStack => libc::RLIMIT_STACK,
        PosixRlimitType::RlimitCore => libc::RLIMIT_CORE,
        PosixRlimitType::RlimitRss => libc::RLIMIT_RSS,
        PosixRlimitType::RlimitNproc => libc::RLIMIT_NPROC,
        PosixRlimitType::RlimitNofile => libc::RLIMIT_NOFILE,
        PosixRlimitType::RlimitMemlock => libc::RLIMIT_MEMLOCK,
        PosixRlimitType::RlimitAs => libc::RLIMIT_AS,
        PosixRlimitType::RlimitLocks => libc::RLIMIT_LOCKS,
        PosixRlimitType::RlimitSigpending => libc::RLIMIT_SIGPENDING,
        PosixRlimitType::RlimitMsgqueue => libc::RLIMIT_MSGQUEUE,
        PosixRlimitType::RlimitNice => libc::RLIMIT_NICE,
        PosixRlimitType::RlimitRtprio => libc::RLIMIT_RTPRIO,
        PosixRlimitType::RlimitRttime => libc::RLIMIT_RTTIME,
    } as u32;
    number
}

/// A limit in the kernel's form: number, soft, hard.
pub(crate) fn values(limit: &PosixRlimit) -> (u32, u64, u64) {
    (resource(limit.typ()), limit.soft(), limit.hard())
}
