//! The container's processes.

use crate::config::Config;
use crate::sys::{self, Result};
use std::fs::{self, File};
use std::io::Read as _;
use std::path::Path;

const CAPABILITIES: u64 = 0xa804_25fb;

/// Clones the first process. With a gate it is waited for until it stands there, a FIFO that `start` opens.
pub fn born(config: &Config, minimal: bool, gate: Option<&Path>) -> Result<i32> {
    let into = config.v2.as_ref().filter(|_| minimal).map(sys::directory).transpose()?;
    let filter = filter(config, minimal)?;
    let gate = gate.map(sys::hold).transpose()?;
    let (attached, attach) = std::io::pipe()?;
    let (mut ready, told) = std::io::pipe()?;
    let pid = sys::clone(sys::NEW_ALL, into.as_ref())?;
    if pid == 0 {
        drop((attach, ready));
        let done = attach_self(config, minimal, attached)
            .and_then(|()| sys::unshare_cgroup())
            .and_then(|()| root(config))
            .and_then(|()| privileges(config, filter.as_deref()));
        drop(told);
        finish(done, gate.as_ref(), &config.argv)
    }
    drop((attached, told));
    attach_other(config, minimal, pid)?;
    drop(attach);
    if gate.is_some() {
        // The end of the pipe: the child is complete, or dead.
        ready.read_to_end(&mut Vec::new())?;
    }
    Ok(pid)
}

/// Clones a further process of a container.
pub fn joined(config: &Config, minimal: bool, init: i32, argv: &[&str]) -> Result<i32> {
    let into = config.v2.as_ref().filter(|_| minimal).map(sys::directory).transpose()?;
    let filter = filter(config, minimal)?;
    let namespaces = sys::pidfd(init)?;
    sys::join(&namespaces, sys::NEW_PID)?;
    let (attached, attach) = std::io::pipe()?;
    let pid = sys::clone(0, into.as_ref())?;
    if pid == 0 {
        drop(attach);
        let done = attach_self(config, minimal, attached)
            .and_then(|()| sys::join(&namespaces, sys::NEW_ALL & !sys::NEW_PID | sys::NEW_CGROUP))
            .and_then(|()| privileges(config, filter.as_deref()));
        let argv: Vec<String> = argv.iter().map(ToString::to_string).collect();
        finish(done, None, &argv)
    }
    drop(attached);
    attach_other(config, minimal, pid)?;
    drop(attach);
    Ok(pid)
}

/// In the conventional way the parent moves the child; it is waited for.
fn attach_self(config: &Config, minimal: bool, mut attached: std::io::PipeReader) -> Result<()> {
    if !minimal {
        return attached.read_to_end(&mut Vec::new()).map(drop);
    }
    config.v1.iter().try_for_each(|dir| fs::write(format!("{dir}/tasks"), "0"))
}

fn attach_other(config: &Config, minimal: bool, pid: i32) -> Result<()> {
    if minimal {
        return Ok(());
    }
    let all = config.v1.iter().chain(&config.v2);
    all.into_iter().try_for_each(|dir| fs::write(format!("{dir}/cgroup.procs"), pid.to_string()))
}

/// The root file system with all its mounts.
fn root(config: &Config) -> Result<()> {
    let root = config.rootfs.as_str();
    let at = |path: &str| format!("{root}{path}");
    let flags = sys::NOSUID | sys::NOEXEC | sys::NODEV;
    sys::mount("", "/", "", sys::SLAVE | sys::REC, "")?;
    sys::mount(root, root, "", sys::BIND | sys::REC, "")?;
    sys::mount("proc", &at("/proc"), "proc", flags, "")?;
    sys::mount("tmpfs", &at("/dev"), "tmpfs", sys::NOSUID | sys::STRICTATIME, "mode=755,size=65536k")?;
    for dir in ["/dev/pts", "/dev/shm", "/dev/mqueue"] {
        fs::create_dir(at(dir))?;
    }
    sys::mount("devpts", &at("/dev/pts"), "devpts", sys::NOSUID | sys::NOEXEC, "newinstance,ptmxmode=0666,mode=0620,gid=5")?;
    sys::mount("shm", &at("/dev/shm"), "tmpfs", flags, "mode=1777,size=65536k")?;
    sys::mount("mqueue", &at("/dev/mqueue"), "mqueue", flags, "")?;
    sys::mount("sysfs", &at("/sys"), "sysfs", flags | sys::RDONLY, "")?;
    if config.rich {
        sys::mount("tmpfs", &at("/sys/fs/cgroup"), "tmpfs", flags, "mode=755")?;
        for dir in config.v1.iter().chain(&config.v2) {
            let name = dir.trim_start_matches("/sys/fs/cgroup/").split('/').next().unwrap_or_default();
            let target = at(&format!("/sys/fs/cgroup/{name}"));
            if !config.v1.is_empty() {
                fs::create_dir(&target)?;
                sys::mount(dir, &target, "", sys::BIND, "")?;
            }
        }
        for (from, to) in &config.binds {
            sys::mount(from, &at(to), "", sys::BIND | sys::REC, "")?;
            sys::mount("", &at(to), "", sys::BIND | sys::REMOUNT | sys::RDONLY, "")?;
        }
    }
    for (name, major, minor) in
        [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)]
    {
        sys::make_device(&at(&format!("/dev/{name}")), major, minor)?;
    }
    for (name, target) in
        [("fd", "/proc/self/fd"), ("stdin", "/proc/self/fd/0"), ("stdout", "/proc/self/fd/1"), ("stderr", "/proc/self/fd/2"), ("ptmx", "pts/ptmx")]
    {
        std::os::unix::fs::symlink(target, at(&format!("/dev/{name}")))?;
    }
    sys::pivot(root)?;
    sys::mount("", "/", "", sys::BIND | sys::REMOUNT | sys::RDONLY, "")?;
    for path in config.readonly.iter().filter(|path| fs::metadata(path).is_ok()) {
        sys::mount(path, path, "", sys::BIND | sys::REC, "")?;
        sys::mount("", path, "", sys::BIND | sys::REMOUNT | sys::RDONLY | flags, "")?;
    }
    for path in &config.masked {
        match fs::metadata(path) {
            Ok(found) if found.is_dir() => sys::mount("tmpfs", path, "tmpfs", sys::RDONLY, "")?,
            Ok(_) => sys::mount("/dev/null", path, "", sys::BIND, "")?,
            Err(_) => {}
        }
    }
    sys::set_hostname("floor")
}

fn privileges(config: &Config, filter: Option<&[u8]>) -> Result<()> {
    sys::new_session();
    sys::limit_files(1024)?;
    if !config.rich {
        sys::no_new_privileges()?;
    }
    if let Some(filter) = filter {
        sys::load_filter(filter)?;
    }
    sys::drop_bounding(CAPABILITIES)?;
    sys::set_ids()?;
    sys::set_capabilities(CAPABILITIES)
}

fn filter(config: &Config, minimal: bool) -> Result<Option<Vec<u8>>> {
    let name = if minimal { "filter.minimal" } else { "filter.plain" };
    if config.rich { fs::read(config.bundle.join(name)).map(Some) } else { Ok(None) }
}

fn finish(done: Result<()>, gate: Option<&File>, argv: &[String]) -> ! {
    let done = done.and_then(|()| sys::execute(gate, argv));
    if let Err(error) = done {
        eprintln!("floor: {argv:?}: {error}");
    }
    std::process::exit(127)
}
