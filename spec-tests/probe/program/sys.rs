//! The system calls that the standard library has no name for.

use std::ffi::{CString, c_char, c_int, c_long, c_ulong, c_void};

unsafe extern "C" {
    fn syscall(number: c_long, ...) -> c_long;
    fn gethostname(name: *mut c_char, len: usize) -> c_int;
    fn getdomainname(name: *mut c_char, len: usize) -> c_int;
    fn getrlimit(resource: c_int, limit: *mut [c_ulong; 2]) -> c_int;
    fn ioctl(fd: c_int, request: c_ulong, ...) -> c_int;
    fn clock_gettime(clock: c_int, time: *mut [c_long; 2]) -> c_int;
    fn umask(mask: u32) -> u32;
    fn mount(s: *const c_char, t: *const c_char, f: *const c_char, flags: c_ulong, data: *const c_void) -> c_int;
    fn umount2(target: *const c_char, flags: c_int) -> c_int;
    fn mknod(path: *const c_char, mode: u32, device: u64) -> c_int;
    fn chown(path: *const c_char, uid: u32, gid: u32) -> c_int;
    fn chroot(path: *const c_char) -> c_int;
    fn name_to_handle_at(dir: c_int, path: *const c_char, handle: *mut Handle, mount: *mut c_int, flags: c_int) -> c_int;
    fn open_by_handle_at(mount: c_int, handle: *mut Handle, flags: c_int) -> c_int;
    fn utimensat(directory: c_int, path: *const c_char, times: *const c_void, flags: c_int) -> c_int;
    fn setxattr(path: *const c_char, name: *const c_char, value: *const u8, len: usize, flags: c_int) -> c_int;
    fn unshare(flags: c_int) -> c_int;
    fn sethostname(name: *const c_char, len: usize) -> c_int;
    fn setuid(uid: u32) -> c_int;
    fn kill(pid: c_int, signal: c_int) -> c_int;
    fn socket(domain: c_int, kind: c_int, protocol: c_int) -> c_int;
    fn personality(persona: c_ulong) -> c_int;
    fn sigfillset(set: *mut [u64; 16]) -> c_int;
    fn sigprocmask(how: c_int, set: *const [u64; 16], old: *mut [u64; 16]) -> c_int;
    fn sigwait(set: *const [u64; 16], signal: *mut c_int) -> c_int;
    fn waitpid(pid: c_int, status: *mut c_int, options: c_int) -> c_int;
    fn wait4(pid: c_int, status: *mut c_int, options: c_int, usage: *mut [c_long; 18]) -> c_int;
    fn getpgrp() -> c_int;
    fn getsid(pid: c_int) -> c_int;
    fn setsid() -> c_int;
    fn getuid() -> u32;
    fn getgid() -> u32;
    fn geteuid() -> u32;
    fn getegid() -> u32;
    fn getgroups(size: c_int, list: *mut u32) -> c_int;
}

/// What a call answered: the value, or errno.
pub type Answer = Result<i64, i32>;

fn answer(value: impl Into<i64>) -> Answer {
    let value = value.into();
    if value == -1 { Err(std::io::Error::last_os_error().raw_os_error().unwrap_or(0)) } else { Ok(value) }
}

fn c(text: &str) -> CString {
    CString::new(text).unwrap_or_default()
}

/// `SYS_*` numbers that differ between machines.
#[cfg(target_arch = "x86_64")]
pub mod number {
    pub const SCHED_GETATTR: i64 = 315;
    pub const IOPRIO_GET: i64 = 252;
    pub const KEYCTL: i64 = 250;
    pub const ADD_KEY: i64 = 248;
    pub const GET_MEMPOLICY: i64 = 239;
    pub const PRCTL: i64 = 157;
}
/// `SYS_*` numbers of the architectures that use the generic table.
#[cfg(not(target_arch = "x86_64"))]
pub mod number {
    pub const SCHED_GETATTR: i64 = 275;
    pub const IOPRIO_GET: i64 = 31;
    pub const KEYCTL: i64 = 219;
    pub const ADD_KEY: i64 = 217;
    pub const GET_MEMPOLICY: i64 = 236;
    pub const PRCTL: i64 = 167;
}

/// Any system call with plain number arguments.
pub fn raw(number: i64, args: [i64; 6]) -> Answer {
    // SAFETY: the arguments are numbers; a call that takes pointers sees 0 or an address that it answers with EFAULT.
    answer(unsafe { syscall(number, args[0], args[1], args[2], args[3], args[4], args[5]) })
}

pub fn host_name() -> Option<String> {
    let mut name = [0u8; 256];
    // SAFETY: the buffer is as long as we say.
    let done = unsafe { gethostname(name.as_mut_ptr().cast(), name.len()) };
    (done == 0).then(|| until_nul(&name))
}

pub fn domain_name() -> Option<String> {
    let mut name = [0u8; 256];
    // SAFETY: the buffer is as long as we say.
    let done = unsafe { getdomainname(name.as_mut_ptr().cast(), name.len()) };
    (done == 0).then(|| until_nul(&name))
}

fn until_nul(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

/// (soft, hard) of the resource with this number.
pub fn limit(resource: i32) -> Option<(u64, u64)> {
    let mut pair = [0; 2];
    // SAFETY: struct rlimit is two unsigned longs.
    (unsafe { getrlimit(resource, &raw mut pair) } == 0).then_some((pair[0], pair[1]))
}

/// (rows, columns) of the terminal at `fd`.
pub fn window(fd: i32) -> Option<(u16, u16)> {
    let mut size = [0u16; 4];
    // SAFETY: TIOCGWINSZ fills a struct winsize, four shorts.
    (unsafe { ioctl(fd, 0x5413, size.as_mut_ptr()) } == 0).then_some((size[0], size[1]))
}

/// Seconds of a clock: 1 monotonic, 7 boot time.
pub fn clock(id: i32) -> i64 {
    let mut time = [0; 2];
    // SAFETY: struct timespec is two longs on the 64-bit machines that this runs on.
    unsafe { clock_gettime(id, &raw mut time) };
    time[0]
}

pub fn file_mask() -> u32 {
    // SAFETY: only swaps a number of this process, and puts it back.
    unsafe {
        let mask = umask(0);
        umask(mask);
        mask
    }
}

pub fn do_mount(source: &str, target: &str, kind: &str, flags: u64) -> Answer {
    let (source, target, kind) = (c(source), c(target), c(kind));
    // SAFETY: three NUL-terminated strings that outlive the call, and no data.
    answer(unsafe { mount(source.as_ptr(), target.as_ptr(), kind.as_ptr(), flags, std::ptr::null()) })
}

pub fn do_umount(target: &str) -> Answer {
    // SAFETY: a NUL-terminated string that outlives the call. 2 is MNT_DETACH.
    answer(unsafe { umount2(c(target).as_ptr(), 2) })
}

pub fn make_node(path: &str, mode: u32, major: u32, minor: u32) -> Answer {
    let (major, minor) = (u64::from(major), u64::from(minor));
    let device = ((major & 0xfff) << 8) | (minor & 0xff) | ((minor & !0xff) << 12) | ((major & !0xfff) << 32);
    // SAFETY: a NUL-terminated string that outlives the call.
    answer(unsafe { mknod(c(path).as_ptr(), mode, device) })
}

pub fn change_owner(path: &str, uid: u32, gid: u32) -> Answer {
    // SAFETY: a NUL-terminated string that outlives the call.
    answer(unsafe { chown(c(path).as_ptr(), uid, gid) })
}

/// Sets both times of a file to now.
pub fn touch(path: &str) -> Answer {
    // SAFETY: a NUL-terminated string that outlives the call; no times means now. -100 is AT_FDCWD.
    answer(unsafe { utimensat(-100, c(path).as_ptr(), std::ptr::null(), 0) })
}

/// Gives a file an access list: its owner, a user, its group, everybody; each may read and write.
pub fn set_access_list(path: &str, user: u32) -> Answer {
    let mut list = 2_u32.to_le_bytes().to_vec();
    for (tag, id) in [(1_u16, u32::MAX), (2, user), (4, u32::MAX), (0x10, u32::MAX), (0x20, u32::MAX)] {
        list.extend(tag.to_le_bytes());
        list.extend(6_u16.to_le_bytes());
        list.extend(id.to_le_bytes());
    }
    let (path, name) = (c(path), c("system.posix_acl_access"));
    // SAFETY: two NUL-terminated strings and a buffer of the length that is passed.
    answer(unsafe { setxattr(path.as_ptr(), name.as_ptr(), list.as_ptr(), list.len(), 0) })
}

pub fn change_root(path: &str) -> Answer {
    // SAFETY: a NUL-terminated string that outlives the call.
    answer(unsafe { chroot(c(path).as_ptr()) })
}

/// `struct file_handle` with room for the longest one.
#[repr(C)]
struct Handle {
    length: u32,
    kind: i32,
    bytes: [u8; 128],
}

/// The handle of a file, as text.
pub fn handle_of(path: &str) -> Result<String, i32> {
    let mut handle = Handle { length: 128, kind: 0, bytes: [0; 128] };
    let mut mount = 0;
    // SAFETY: a NUL-terminated string, and structures of the sizes that are passed; -100 is AT_FDCWD.
    answer(unsafe { name_to_handle_at(-100, c(path).as_ptr(), &raw mut handle, &raw mut mount, 0) })?;
    let length = usize::try_from(handle.length).unwrap_or(0).min(128);
    Ok(format!("{}:{:?}", handle.kind, &handle.bytes[..length]))
}

/// What is in the file with this handle, found on the file system that is mounted there.
pub fn read_by_handle(mount: &str, handle: &str) -> Result<String, i32> {
    const INVALID: i32 = 22;
    let (kind, list) = handle.split_once(':').ok_or(INVALID)?;
    let bytes: Option<Vec<u8>> =
        list.trim_matches(['[', ']']).split(", ").map(|byte| byte.parse().ok()).collect();
    let (kind, bytes) = (kind.parse().map_err(|_| INVALID)?, bytes.filter(|list| list.len() <= 128).ok_or(INVALID)?);
    let mut handle = Handle { length: u32::try_from(bytes.len()).unwrap_or(0), kind, bytes: [0; 128] };
    handle.bytes[..bytes.len()].copy_from_slice(&bytes);
    let mount = std::fs::File::open(mount).map_err(|error| error.raw_os_error().unwrap_or(INVALID))?;
    // SAFETY: a descriptor that is open, and a structure of the length that it says.
    let fd = answer(unsafe { open_by_handle_at(std::os::fd::AsRawFd::as_raw_fd(&mount), &raw mut handle, 0) })?;
    // SAFETY: the kernel has just returned it; nothing else owns it.
    let mut file = unsafe { <std::fs::File as std::os::fd::FromRawFd>::from_raw_fd(i32::try_from(fd).unwrap_or(-1)) };
    let mut found = String::new();
    std::io::Read::read_to_string(&mut file, &mut found).map_err(|error| error.raw_os_error().unwrap_or(INVALID))?;
    Ok(found)
}

pub fn new_namespace(flags: i32) -> Answer {
    // SAFETY: takes a number.
    answer(unsafe { unshare(flags) })
}

pub fn rename_host(name: &str) -> Answer {
    // SAFETY: the length is that of the string.
    answer(unsafe { sethostname(name.as_ptr().cast(), name.len()) })
}

pub fn become_user(uid: u32) -> Answer {
    // SAFETY: takes a number.
    answer(unsafe { setuid(uid) })
}

pub fn send(pid: i32, signal: i32) -> Answer {
    // SAFETY: takes numbers.
    answer(unsafe { kill(pid, signal) })
}

pub fn open_socket(domain: i32, kind: i32) -> Answer {
    // SAFETY: takes numbers.
    answer(unsafe { socket(domain, kind, 0) })
}

pub fn persona() -> i32 {
    // SAFETY: this value asks without changing.
    unsafe { personality(0xffff_ffff) }
}

/// Blocks every signal and returns the set for [`next_signal`].
pub fn block_all() -> [u64; 16] {
    let mut set = [0; 16];
    // SAFETY: sigset_t is 128 bytes in glibc and musl.
    unsafe {
        sigfillset(&raw mut set);
        sigprocmask(0, &raw const set, std::ptr::null_mut());
    }
    set
}

/// Waits for one of the blocked signals.
pub fn next_signal(set: &[u64; 16]) -> i32 {
    let mut signal = 0;
    // SAFETY: both pointers are to live values of the right size.
    unsafe { sigwait(set, &raw mut signal) };
    signal
}

/// Reaps every dead child.
pub fn reap() {
    // SAFETY: no status wanted; 1 is WNOHANG.
    while unsafe { waitpid(-1, std::ptr::null_mut(), 1) } > 0 {}
}

pub fn group() -> i32 {
    // SAFETY: takes nothing.
    unsafe { getpgrp() }
}

pub fn session() -> i32 {
    // SAFETY: takes a number.
    unsafe { getsid(0) }
}

pub fn new_session() -> Answer {
    // SAFETY: takes nothing.
    answer(unsafe { setsid() })
}

/// Real uid, effective uid, real gid, effective gid.
pub fn ids() -> (u32, u32, u32, u32) {
    // SAFETY: take nothing.
    unsafe { (getuid(), geteuid(), getgid(), getegid()) }
}

pub fn groups() -> Vec<u32> {
    let mut list = vec![0; 65_536];
    // SAFETY: the buffer holds as many entries as we say; NGROUPS_MAX is 65536.
    let count = unsafe { getgroups(65_536, list.as_mut_ptr()) };
    list.truncate(usize::try_from(count).unwrap_or(0));
    list
}

/// `struct sched_attr` of this process: size, policy, flags, nice, priority, runtime, deadline, period, clamps.
pub fn scheduler() -> Option<[u32; 14]> {
    let mut attr = [0u32; 14];
    // SAFETY: the kernel fills at most the 56 bytes that we announce.
    let done = unsafe { syscall(number::SCHED_GETATTR, 0, attr.as_mut_ptr(), 56, 0) };
    (done == 0).then_some(attr)
}

/// Mode and node mask of the memory policy.
pub fn memory_policy() -> Option<(i32, u64)> {
    let (mut mode, mut nodes) = (0i32, [0u64; 16]);
    // SAFETY: the mask has the 1024 bits that we announce.
    let done = unsafe { syscall(number::GET_MEMPOLICY, &raw mut mode, nodes.as_mut_ptr(), 1024, 0, 0) };
    (done == 0).then_some((mode, nodes[0]))
}

/// Adds a key to the keyring of this process.
pub fn add_key(name: &str) -> Answer {
    let (kind, name) = (c("user"), c(name));
    // SAFETY: two NUL-terminated strings and a payload of one byte; -2 is the keyring of the process.
    answer(unsafe { syscall(number::ADD_KEY, kind.as_ptr(), name.as_ptr(), c"x".as_ptr(), 1_usize, -2_i64) })
}

/// Serial number and description of the session keyring.
pub fn session_keyring() -> Option<(i64, String)> {
    let id = raw(number::KEYCTL, [0, -3, 0, 0, 0, 0]).ok()?;
    let mut text = [0u8; 512];
    // SAFETY: KEYCTL_DESCRIBE (6) fills at most the length that we announce.
    let len = unsafe { syscall(number::KEYCTL, 6, id, text.as_mut_ptr(), text.len(), 0) };
    (len > 0).then(|| (id, until_nul(&text)))
}

/// How a process ended and what it cost.
pub struct Usage {
    /// As from wait(2).
    pub status: i32,
    /// User and system time, microseconds.
    pub cpu_us: i64,
    /// The largest resident set, KiB.
    pub rss_kib: i64,
}

/// Waits for a child, wait4(2).
pub fn wait_with_usage(pid: i32) -> Result<Usage, i32> {
    let mut status = 0;
    // struct rusage: two times of seconds and microseconds, then 14 numbers of which the first is ru_maxrss.
    let mut usage = [0; 18];
    loop {
        // SAFETY: both pointers are to objects of the size that the kernel fills.
        match answer(unsafe { wait4(pid, &raw mut status, 0, &raw mut usage) }) {
            Err(4) => {}
            Err(errno) => return Err(errno),
            Ok(_) => break,
        }
    }
    let [us, uu, ss, su, rss, ..] = usage;
    Ok(Usage { status, cpu_us: (us + ss) as i64 * 1_000_000 + (uu + su) as i64, rss_kib: rss as i64 })
}
