//! System calls.

use std::ffi::{CString, c_char, c_int, c_long, c_ulong, c_void};
use std::fs::{File, OpenOptions};
use std::io::{Error, Write as _};
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

pub type Result<T> = std::io::Result<T>;

unsafe extern "C" {
    fn syscall(number: c_long, ...) -> c_long;
    #[link_name = "mount"]
    fn c_mount(s: *const c_char, t: *const c_char, f: *const c_char, flags: c_ulong, data: *const c_void) -> c_int;
    fn open(path: *const c_char, flags: c_int, ...) -> c_int;
    fn umount2(target: *const c_char, flags: c_int) -> c_int;
    fn mknod(path: *const c_char, mode: u32, device: u64) -> c_int;
    fn mkfifo(path: *const c_char, mode: u32) -> c_int;
    fn chdir(path: *const c_char) -> c_int;
    fn setns(fd: c_int, kinds: c_int) -> c_int;
    fn unshare(kinds: c_int) -> c_int;
    fn sethostname(name: *const c_char, len: usize) -> c_int;
    fn setsid() -> c_int;
    fn prctl(option: c_int, ...) -> c_int;
    fn setrlimit(resource: c_int, limit: *const [c_ulong; 2]) -> c_int;
    #[link_name = "kill"]
    fn send(pid: c_int, signal: c_int) -> c_int;
    fn waitpid(pid: c_int, status: *mut c_int, options: c_int) -> c_int;
    fn execve(path: *const c_char, argv: *const *const c_char, envp: *const *const c_char) -> c_int;
}

#[cfg(target_arch = "x86_64")]
mod number {
    pub const CAPSET: i64 = 126;
    pub const PIVOT_ROOT: i64 = 155;
    pub const SETGROUPS: i64 = 116;
    pub const SECCOMP: i64 = 317;
}
#[cfg(not(target_arch = "x86_64"))]
mod number {
    pub const CAPSET: i64 = 91;
    pub const PIVOT_ROOT: i64 = 41;
    pub const SETGROUPS: i64 = 159;
    pub const SECCOMP: i64 = 277;
}
const CLONE3: i64 = 435;
const PIDFD_OPEN: i64 = 434;

pub const RDONLY: u64 = 1;
pub const NOSUID: u64 = 2;
pub const NODEV: u64 = 4;
pub const NOEXEC: u64 = 8;
pub const REMOUNT: u64 = 32;
pub const BIND: u64 = 4096;
pub const REC: u64 = 16384;
pub const SLAVE: u64 = 1 << 19;
pub const STRICTATIME: u64 = 1 << 24;

pub const NEW_PID: u64 = 0x2000_0000;
pub const NEW_CGROUP: u64 = 0x0200_0000;
/// Mount, UTS, IPC, pid and network namespace.
pub const NEW_ALL: u64 = 0x0002_0000 | 0x0400_0000 | 0x0800_0000 | NEW_PID | 0x4000_0000;

fn c(text: impl AsRef<[u8]>) -> CString {
    CString::new(text.as_ref()).unwrap_or_default()
}

fn check(answer: impl Into<i64>) -> Result<i64> {
    let answer = answer.into();
    if answer < 0 { Err(Error::last_os_error()) } else { Ok(answer) }
}

/// clone3(2) as fork, into new namespaces and, if given, into a cgroup; 0 in the child.
pub fn clone(namespaces: u64, cgroup: Option<&File>) -> Result<i32> {
    const SIGCHLD: u64 = 17;
    const INTO_CGROUP: u64 = 0x2_0000_0000;
    let mut args = [0u64; 11];
    args[0] = namespaces | if cgroup.is_some() { INTO_CGROUP } else { 0 };
    args[4] = SIGCHLD;
    args[10] = cgroup.map_or(0, |dir| dir.as_raw_fd() as u64);
    // SAFETY: struct clone_args has 11 fields of 64 bits; the child goes on with a copy of this single-threaded process.
    check(unsafe { syscall(CLONE3, args.as_ptr(), size_of_val(&args)) }).map(|pid| pid as i32)
}

/// A directory's descriptor.
pub fn directory(path: impl AsRef<Path>) -> Result<File> {
    File::open(path)
}

/// A descriptor of a file that is opened only later. (`OpenOptions` drops `O_PATH` with the C library musl.)
pub fn hold(path: &Path) -> Result<File> {
    const PATH_ONLY_CLOSE_ON_EXEC: c_int = 0o12_000_000;
    // SAFETY: a C string; the descriptor that comes back is nobody else's.
    unsafe {
        let fd = check(open(c(path.as_os_str().as_bytes()).as_ptr(), PATH_ONLY_CLOSE_ON_EXEC))?;
        Ok(File::from_raw_fd(fd as i32))
    }
}

pub fn pidfd(pid: i32) -> Result<File> {
    // SAFETY: no pointers; the descriptor that comes back is nobody else's.
    let fd = check(unsafe { syscall(PIDFD_OPEN, pid, 0) })?;
    // SAFETY: as above.
    Ok(unsafe { File::from_raw_fd(fd as i32) })
}

pub fn join(of: &File, kinds: u64) -> Result<()> {
    // SAFETY: no pointers.
    check(unsafe { setns(of.as_raw_fd(), kinds as c_int) }).map(drop)
}

pub fn unshare_cgroup() -> Result<()> {
    // SAFETY: no pointers.
    check(unsafe { unshare(NEW_CGROUP as c_int) }).map(drop)
}

pub fn mount(source: &str, target: &str, kind: &str, flags: u64, data: &str) -> Result<()> {
    let (source, target, kind, data) = (c(source), c(target), c(kind), c(data));
    // SAFETY: four C strings.
    check(unsafe { c_mount(source.as_ptr(), target.as_ptr(), kind.as_ptr(), flags as c_ulong, data.as_ptr().cast()) })
        .map(drop)
}

pub fn make_device(path: &str, major: u64, minor: u64) -> Result<()> {
    // SAFETY: a C string.
    check(unsafe { mknod(c(path).as_ptr(), 0o020_666, major << 8 | minor) }).map(drop)
}

pub fn make_fifo(path: &Path) -> Result<()> {
    // SAFETY: a C string.
    check(unsafe { mkfifo(c(path.as_os_str().as_bytes()).as_ptr(), 0o600) }).map(drop)
}

/// Makes a mount the root and lets go of the old one.
pub fn pivot(root: &str) -> Result<()> {
    const DETACH: c_int = 2;
    let dot = c(".");
    // SAFETY: C strings.
    unsafe {
        check(chdir(c(root).as_ptr()))?;
        check(syscall(number::PIVOT_ROOT, dot.as_ptr(), dot.as_ptr()))?;
        check(umount2(dot.as_ptr(), DETACH))?;
        check(chdir(c("/").as_ptr())).map(drop)
    }
}

pub fn set_hostname(name: &str) -> Result<()> {
    // SAFETY: a pointer and its length.
    check(unsafe { sethostname(name.as_ptr().cast(), name.len()) }).map(drop)
}

pub fn new_session() {
    // SAFETY: no arguments. It fails only for a session leader, which has what it wants.
    let _leader = unsafe { setsid() };
}

pub fn limit_files(count: u64) -> Result<()> {
    const NOFILE: c_int = 7;
    let limit = [count as c_ulong; 2];
    // SAFETY: struct rlimit is two words.
    check(unsafe { setrlimit(NOFILE, &raw const limit) }).map(drop)
}

pub fn no_new_privileges() -> Result<()> {
    const NO_NEW_PRIVS: c_int = 38;
    // SAFETY: numbers only.
    check(unsafe { prctl(NO_NEW_PRIVS, 1 as c_ulong, 0 as c_ulong, 0 as c_ulong, 0 as c_ulong) }).map(drop)
}

/// Loads a filter, given as the bytes of its instructions.
pub fn load_filter(instructions: &[u8]) -> Result<()> {
    #[repr(C)]
    struct Program {
        length: u16,
        filter: *const u8,
    }
    let program = Program { length: (instructions.len() / 8) as u16, filter: instructions.as_ptr() };
    // SAFETY: as many instructions of 8 bytes as the length says.
    check(unsafe { syscall(number::SECCOMP, 1, 0, &raw const program) }).map(drop)
}

pub fn drop_bounding(keep: u64) -> Result<()> {
    const CAPBSET_DROP: c_int = 24;
    for capability in (0..41).filter(|capability| keep >> capability & 1 == 0) {
        // SAFETY: numbers only.
        check(unsafe { prctl(CAPBSET_DROP, capability as c_ulong, 0 as c_ulong, 0 as c_ulong, 0 as c_ulong) })?;
    }
    Ok(())
}

/// Root with no further groups.
pub fn set_ids() -> Result<()> {
    // SAFETY: no groups, so no array.
    check(unsafe { syscall(number::SETGROUPS, 0, std::ptr::null::<u32>()) }).map(drop)
}

pub fn set_capabilities(keep: u64) -> Result<()> {
    let header: [u32; 2] = [0x2008_0522, 0];
    let [low, high] = [keep as u32, (keep >> 32) as u32];
    let data: [u32; 6] = [low, low, 0, high, high, 0];
    // SAFETY: version 3 of the header goes with two structures of three words.
    check(unsafe { syscall(number::CAPSET, header.as_ptr(), data.as_ptr()) }).map(drop)
}

pub fn kill(pid: i32) -> Result<()> {
    // SAFETY: numbers only.
    check(unsafe { send(pid, 9) }).map(drop)
}

/// The exit code of a child.
pub fn wait(pid: i32) -> Result<i32> {
    let mut status = 0;
    // SAFETY: a pointer to a word.
    check(unsafe { waitpid(pid, &raw mut status, 0) })?;
    Ok(if status & 0x7f == 0 { status >> 8 & 0xff } else { 128 + (status & 0x7f) })
}

/// Passes the gate and becomes the program.
pub fn execute(gate: Option<&File>, argv: &[String]) -> Result<()> {
    if let Some(gate) = gate {
        let path = format!("/proc/self/fd/{}", gate.as_raw_fd());
        OpenOptions::new().write(true).open(path)?.write_all(b"0")?;
    }
    let argv: Vec<CString> = argv.iter().map(c).collect();
    let mut pointers: Vec<*const c_char> = argv.iter().map(|arg| arg.as_ptr()).collect();
    pointers.push(std::ptr::null());
    let path = c("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    let environment = [path.as_ptr(), std::ptr::null()];
    let program = pointers.first().copied().unwrap_or(std::ptr::null());
    // SAFETY: two lists of C strings, each with a null pointer at its end.
    check(unsafe { execve(program, pointers.as_ptr(), environment.as_ptr()) }).map(drop)
}
