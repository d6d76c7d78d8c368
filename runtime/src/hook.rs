//! Hooks that run in the runtime's namespaces: prestart, createRuntime, poststart and poststop.
//!
//! A hook gets what `config.json` gives it: its environment, the bundle as working directory, a process group of its
//! own, the state on standard input, and a time limit if one is set. If `env` is absent (not just empty), it gets the
//! runtime's environment, as with runc: hooks rely on the `PATH` in it.

use std::fmt;
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::{Pid, pipe2};
use oci_spec::runtime::{Hook, Hooks};

use crate::error::{Error, ErrorKind, Result, signal_text};
use crate::linux::process_stat::doing;
use crate::linux::waiting::UNTOLD;
use crate::sys::{pidfd, process};

/// How much of a hook's output is kept for the error: the end of it.
const KEPT_OUTPUT: usize = 4096;

/// A point in a container's life at which hooks run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HookKind {
    Prestart,
    CreateRuntime,
    CreateContainer,
    StartContainer,
    Poststart,
    Poststop,
}

impl HookKind {
    /// In the order in which they run.
    pub(crate) const ALL: [Self; 6] = [
        Self::Prestart,
        Self::CreateRuntime,
        Self::CreateContainer,
        Self::StartContainer,
        Self::Poststart,
        Self::Poststop,
    ];

    /// The hooks of this kind, in the listed order.
    pub(crate) fn of(self, hooks: &Hooks) -> &[Hook] {
        let list = match self {
            Self::Prestart => hooks.prestart(),
            Self::CreateRuntime => hooks.create_runtime(),
            Self::CreateContainer => hooks.create_container(),
            Self::StartContainer => hooks.start_container(),
            Self::Poststart => hooks.poststart(),
            Self::Poststop => hooks.poststop(),
        };
        list.as_deref().unwrap_or_default()
    }
}

/// The name of the property in `config.json`.
impl fmt::Display for HookKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Prestart => "prestart",
            Self::CreateRuntime => "createRuntime",
            Self::CreateContainer => "createContainer",
            Self::StartContainer => "startContainer",
            Self::Poststart => "poststart",
            Self::Poststop => "poststop",
        })
    }
}

/// What a failed hook means for those after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HookPolicy {
    /// It ends the operation.
    StopAtFirst,
    /// It is logged, and the next one runs: poststop hooks (runtime.md, "Lifecycle", step 13).
    WarnAndGoOn,
}

/// Runs the hooks one after another. Each reads `state_json`.
pub(crate) fn run_hooks(
    kind: HookKind,
    hooks: &[Hook],
    state_json: &[u8],
    bundle: &Path,
    policy: HookPolicy,
) -> Result<()> {
    run_all(kind, hooks, state_json, bundle, policy, Watch::default())
}

/// What ends the wait for a hook, and the hook itself, besides its time limit.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Watch<'w> {
    /// The end of the process that the hook runs for.
    pub(crate) process: Option<BorrowedFd<'w>>,
    /// A cancellation by the caller.
    pub(crate) cancel: Option<BorrowedFd<'w>>,
}

/// Runs hooks until one fails or something else ends them.
pub(crate) fn run_hooks_watching(
    kind: HookKind,
    hooks: &[Hook],
    state_json: &[u8],
    bundle: &Path,
    watch: Watch<'_>,
) -> Result<()> {
    run_all(kind, hooks, state_json, bundle, HookPolicy::StopAtFirst, watch)
}

fn run_all(
    kind: HookKind,
    hooks: &[Hook],
    state_json: &[u8],
    bundle: &Path,
    policy: HookPolicy,
    watch: Watch<'_>,
) -> Result<()> {
    for (index, hook) in hooks.iter().enumerate() {
        let Err(error) = run(hook, state_json, bundle, watch) else { continue };
        if error.kind() == ErrorKind::Cancelled {
            return Err(error);
        }
        // The number counts from 0, as runc's does.
        let error = error
            .during(format_args!("error running {kind} hook #{index}"))
            .at(format!("/hooks/{kind}/{index}"))
            .with_kind(ErrorKind::Hook);
        match policy {
            HookPolicy::StopAtFirst => return Err(error),
            HookPolicy::WarnAndGoOn => log::warn!("{error}"),
        }
    }
    Ok(())
}

fn run(hook: &Hook, state_json: &[u8], bundle: &Path, watch: Watch<'_>) -> Result<()> {
    let path = hook.path();
    if !path.is_absolute() {
        // `Command` would look it up in PATH.
        return Err(Error::new(ErrorKind::Hook, format!("the path {} is not absolute", path.display())));
    }
    let deadline = match hook.timeout() {
        None => None,
        Some(seconds) => match u64::try_from(seconds) {
            Ok(seconds) if seconds > 0 => {
                let limit = Duration::from_secs(seconds);
                // A time past the end of the clock is no limit.
                Instant::now().checked_add(limit).map(|end| (end, limit))
            }
            _ => return Err(Error::new(ErrorKind::Hook, "the timeout is not greater than zero")),
        },
    };
    let (stdout, stdout_end) = pipe()?;
    let (stderr, stderr_end) = pipe()?;
    let mut command = Command::new(path);
    let mut args = hook.args().iter().flatten();
    if let Some(name) = args.next() {
        command.arg0(name);
    }
    if let Some(env) = hook.env() {
        command.env_clear().envs(env.iter().map(|entry| split_env(entry)));
    }
    command
        .args(args)
        // Only a poststop hook can find the bundle already removed by its owner.
        .current_dir(if bundle.is_dir() { bundle } else { Path::new("/") })
        .process_group(0)
        .stdin(Stdio::from(state_file(state_json)?))
        .stdout(Stdio::from(stdout_end))
        .stderr(Stdio::from(stderr_end));
    process::close_on_exec(&mut command);
    let child =
        command.spawn().map_err(|error| Error::io(&error, format!("fork/exec {}", path.display())))?;
    // `command` holds the hook's ends of the pipes.
    drop(command);
    let mut running = Running { child, stdout: Tail::new(stdout), stderr: Tail::new(stderr) };
    let (status, end) = running.wait(deadline, watch, path)?;
    let (stdout, stderr) = (running.stdout.text(), running.stderr.text());
    let outcome = match end {
        End::Itself if status.success() => return Ok(()),
        End::Itself => exit_text(status),
        End::OutOfTime => {
            let seconds = deadline.map_or(0.0, |(_, limit)| limit.as_secs_f64());
            format!("hook ran past specified timeout of {seconds:.1}s")
        }
        End::Cancelled => return Err(Error::cancelled()),
        End::Alone => "the container's process ended while the hook ran".to_owned(),
    };
    Err(Error::new(ErrorKind::Hook, format!("{outcome}, stdout: {stdout}, stderr: {stderr}")))
}

/// `environ` is a list of strings; an entry without `=` has a name and no value.
fn split_env(entry: &str) -> (&str, &str) {
    entry.split_once('=').unwrap_or((entry, ""))
}

/// A file in memory, so that a hook that does not read it causes no trouble: no SIGPIPE, and no thread to feed it.
fn state_file(state_json: &[u8]) -> Result<OwnedFd> {
    let what = "make the file with the state for a hook";
    let fd = memfd_create(c"state.json", MFdFlags::MFD_CLOEXEC).map_err(|errno| Error::os(errno, what))?;
    let mut file = std::fs::File::from(fd);
    file.write_all(state_json)
        .and_then(|()| std::io::Seek::rewind(&mut file))
        .map_err(|error| Error::io(&error, what))?;
    Ok(file.into())
}

/// A pipe whose read end, the first, does not block.
fn pipe() -> Result<(OwnedFd, OwnedFd)> {
    let make = || -> nix::Result<_> {
        let (read, write) = pipe2(OFlag::O_CLOEXEC)?;
        fcntl(&read, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        Ok((read, write))
    };
    make().map_err(|errno| Error::os(errno, "make a pipe for a hook"))
}

/// The wording of Go's os/exec, which runc prints.
fn exit_text(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => signal_text(signal),
        (None, None) => status.to_string(),
    }
}

struct Running {
    child: Child,
    stdout: Tail,
    stderr: Tail,
}

impl Running {
    /// Waits for the hook itself, not for processes that it leaves behind with its output open.
    fn wait(
        &mut self,
        deadline: Option<(Instant, Duration)>,
        watch: Watch<'_>,
        path: &Path,
    ) -> Result<(ExitStatus, End)> {
        let end = self.poll(deadline.map(|(end, _)| end), watch, path);
        if !matches!(end, Ok(End::Itself)) {
            // Not reaped yet, so no other process can have its pid or its group's.
            let group = Pid::from_raw(self.child.id() as i32);
            let _ = killpg(group, Signal::SIGKILL);
            // The hook may have moved itself to another group.
            drop(self.child.kill());
        }
        let status =
            self.child.wait().map_err(|error| Error::io(&error, "wait for a hook").explain_no_child())?;
        self.stdout.drain();
        self.stderr.drain();
        end.map_err(|errno| Error::os(errno, "wait for a hook")).map(|end| (status, end))
    }

    /// Polls until there is a reason to stop waiting.
    fn poll(&mut self, end: Option<Instant>, watch: Watch<'_>, path: &Path) -> Result<End, Errno> {
        let id = self.child.id() as i32;
        let pidfd = pidfd::open(id)?;
        let untold = Instant::now() + Duration::from_millis(UNTOLD as u64);
        let mut told = false;
        loop {
            let now = Instant::now();
            if end.is_some_and(|end| end <= now) {
                return Ok(End::OutOfTime);
            }
            if !told && untold <= now {
                told = true;
                log::warn!("waiting for hook {} (process {id}): {}", path.display(), doing(id));
            }
            let timeout = match end.into_iter().chain((!told).then_some(untold)).min() {
                None => PollTimeout::NONE,
                // Rounded up, or the last millisecond would spin. poll(2) can wait for at most 24 days; then we come
                // back here.
                Some(next) => {
                    let left = next.saturating_duration_since(now);
                    PollTimeout::try_from(left.as_nanos().div_ceil(1_000_000)).unwrap_or(PollTimeout::MAX)
                }
            };
            let open = PollFlags::POLLIN;
            let mut fds = vec![PollFd::new(pidfd.as_fd(), open)];
            fds.extend([watch.process, watch.cancel].into_iter().flatten().map(|fd| PollFd::new(fd, open)));
            let pipes = [&self.stdout, &self.stderr].into_iter().filter_map(|tail| tail.pipe.as_ref());
            fds.extend(pipes.map(|pipe| PollFd::new(pipe.as_fd(), open)));
            match poll(&mut fds, timeout) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno),
            }
            let ended = fds[0].any().unwrap_or(true);
            let mut watched = fds[1..].iter().map(|fd| fd.any().unwrap_or(true));
            let alone = watch.process.is_some() && watched.next() == Some(true);
            let cancelled = watch.cancel.is_some() && watched.next() == Some(true);
            drop(watched);
            drop(fds);
            self.stdout.drain();
            self.stderr.drain();
            if ended {
                return Ok(End::Itself);
            }
            if cancelled {
                return Ok(End::Cancelled);
            }
            if alone {
                return Ok(End::Alone);
            }
        }
    }
}

/// Why the wait for a hook is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// The hook ended.
    Itself,
    /// Its time limit ran out.
    OutOfTime,
    /// The process that it ran for is gone.
    Alone,
    /// The caller cancelled it.
    Cancelled,
}

/// The end of a pipe's output.
struct Tail {
    /// None after the end of the stream.
    pipe: Option<std::fs::File>,
    kept: Vec<u8>,
}

impl Tail {
    fn new(pipe: OwnedFd) -> Self {
        Self { pipe: Some(pipe.into()), kept: Vec::new() }
    }

    /// Reads what is there, at most some hundred KiB, so that a hook that never stops writing does not keep us from
    /// checking the clock.
    fn drain(&mut self) {
        let mut chunk = [0_u8; KEPT_OUTPUT];
        for _ in 0..64 {
            let Some(pipe) = &mut self.pipe else { return };
            match pipe.read(&mut chunk) {
                Ok(0) => self.pipe = None,
                Ok(size) => {
                    self.kept.extend_from_slice(&chunk[..size]);
                    let excess = self.kept.len().saturating_sub(KEPT_OUTPUT);
                    self.kept.drain(..excess);
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return,
                Err(_) => self.pipe = None,
            }
        }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.kept).trim().to_owned()
    }
}

#[cfg(test)]
mod tests;
