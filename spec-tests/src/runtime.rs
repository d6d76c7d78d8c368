//! Calls a runtime's command line, with a time limit for everything.

use crate::outcome::{Outcome, check, fail};
use crate::reaper;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How long a call may take before it counts as hanging.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// How long a test may take with all its calls.
pub const LIMIT: Duration = Duration::from_secs(60);

/// A variable that the suite sets for every call, so that leaks of the caller's environment can be seen.
pub const MARKER: &str = "WHARF_SUITE_CALLER";

/// A runtime binary.
#[derive(Debug, Clone)]
pub struct Runtime {
    /// Absolute path of the program.
    pub path: PathBuf,
    /// Options before the command in every call.
    pub globals: Vec<String>,
    /// How long a test may take.
    pub limit: Duration,
    /// Whether the directories of failed tests are kept.
    pub keep: bool,
    /// Whether races and sweeps are tried a tenth as often.
    pub quick: bool,
    /// Shell commands in each process before it becomes the runtime.
    pub before: Option<&'static str>,
    /// Where the state directories are, if not in the directory of each test.
    pub state: Option<PathBuf>,
}

impl Runtime {
    /// Finds a program by path, or by name in PATH.
    pub fn find(name: &OsStr) -> io::Result<Self> {
        let candidate = Path::new(name);
        let path = if candidate.components().count() > 1 {
            fs::canonicalize(candidate)?
        } else {
            let paths = std::env::var_os("PATH").unwrap_or_default();
            std::env::split_paths(&paths)
                .map(|dir| dir.join(candidate))
                .find(|path| path.is_file())
                .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "not found in PATH"))?
        };
        Ok(Self {
            path,
            globals: Vec::new(),
            limit: LIMIT,
            keep: false,
            quick: false,
            before: None,
            state: None,
        })
    }

    /// Whether every call asks for the systemd cgroup driver.
    pub fn systemd(&self) -> bool {
        self.globals.iter().any(|word| word == "--systemd-cgroup")
    }

    /// The first line of what `--version` prints.
    pub fn version(&self) -> String {
        self.ask_version().unwrap_or_else(|error| error.to_string())
    }

    fn ask_version(&self) -> io::Result<String> {
        let mut command = Command::new(&self.path);
        let mut child = reaper::spawn(command.arg("--version").stdin(Stdio::null()).stdout(Stdio::piped()))?;
        let mut text = String::new();
        let read = child.stdout.take().map_or(Ok(0), |mut pipe| pipe.read_to_string(&mut text));
        child.wait()?;
        reaper::forget(&child);
        read?;
        Ok(text.lines().next().unwrap_or_default().to_owned())
    }
}

/// A call of the runtime that is being prepared.
#[derive(Debug)]
pub struct Invocation {
    program: OsString,
    args: Vec<OsString>,
    envs: Vec<(OsString, OsString)>,
    dir: PathBuf,
    cwd: Option<PathBuf>,
    shell: Option<String>,
    stdin: Option<Vec<u8>>,
    terminal: Option<(OwnedFd, bool)>,
    patience: Duration,
    end: Option<Instant>,
    mark: String,
}

static SERIAL: AtomicU64 = AtomicU64::new(0);

impl Invocation {
    /// A call of `program`; output is collected in files under `dir`.
    pub fn new(program: &Path, dir: &Path) -> Self {
        Self {
            program: program.into(),
            args: Vec::new(),
            envs: Vec::new(),
            dir: dir.to_owned(),
            cwd: None,
            shell: None,
            stdin: None,
            terminal: None,
            patience: PATIENCE,
            end: None,
            mark: "leaked".into(),
        }
    }

    /// More arguments.
    #[must_use]
    pub fn args<T: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = T>) -> Self {
        self.args.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// A variable in the runtime's environment.
    #[must_use]
    pub fn env(mut self, key: &str, value: impl AsRef<OsStr>) -> Self {
        self.envs.push((key.into(), value.as_ref().to_owned()));
        self
    }

    /// The runtime's working directory.
    #[must_use]
    pub fn cwd(mut self, dir: &Path) -> Self {
        self.cwd = Some(dir.to_owned());
        self
    }

    /// Shell commands that change the process before it becomes the runtime, such as `umask 077`.
    #[must_use]
    pub fn after(mut self, commands: &str) -> Self {
        let before = self.shell.take().map(|earlier| format!("{earlier}\n")).unwrap_or_default();
        self.shell = Some(before + commands);
        self
    }

    /// What the runtime reads from stdin; /dev/null by default.
    #[must_use]
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = Some(bytes.into());
        self
    }

    /// Makes a terminal its stdin and, if wanted, its stdout.
    #[must_use]
    pub fn on_terminal(mut self, terminal: OwnedFd, stdout: bool) -> Self {
        self.terminal = Some((terminal, stdout));
        self
    }

    /// Runs it in a separate mount namespace, for containers without one.
    #[must_use]
    pub fn private_mounts(mut self) -> Self {
        let words = ["--mount", "--propagation", "private", "--"].map(OsString::from);
        self.args.splice(0..0, words.into_iter().chain([self.program]));
        self.program = "unshare".into();
        self
    }

    /// Runs it in another network namespace.
    #[must_use]
    pub fn in_network(self, path: &str) -> Self {
        self.under(&["nsenter", &format!("--net={path}"), "--"])
    }

    /// Runs it as the last arguments of another program.
    #[must_use]
    pub fn under(mut self, words: &[&str]) -> Self {
        let mut words = words.iter().map(OsString::from);
        let Some(program) = words.next() else { return self };
        let runtime = std::mem::replace(&mut self.program, program);
        self.args.splice(0..0, words.chain([runtime]));
        self
    }

    /// Another time limit.
    #[must_use]
    pub fn patience(mut self, limit: Duration) -> Self {
        self.patience = limit;
        self
    }

    /// The time after which no running call is waited for any longer.
    #[must_use]
    pub fn until(mut self, end: Instant) -> Self {
        self.end = Some(end);
        self
    }

    /// The value of [`MARKER`], by which processes left by the call are found.
    #[must_use]
    pub fn mark(mut self, mark: &str) -> Self {
        mark.clone_into(&mut self.mark);
        self
    }

    /// Runs it to its end, or to the time limit.
    pub fn call(self) -> Outcome<Called> {
        let patience = self.patience;
        self.spawn()?.finish(patience)
    }

    /// Starts it and returns at once.
    pub fn spawn(self) -> Outcome<Running> {
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        let out = self.dir.join(format!("out.{serial}"));
        let err = self.dir.join(format!("err.{serial}"));
        let mut command = match &self.shell {
            Some(commands) => {
                let mut command = Command::new("/bin/sh");
                command.arg("-c").arg(format!("{commands}\nexec \"$0\" \"$@\"")).arg(&self.program);
                command
            }
            None => Command::new(&self.program),
        };
        command
            .args(&self.args)
            .env_clear()
            .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
            .env(MARKER, &self.mark)
            .envs(user_session())
            .envs(self.envs.iter().map(|(key, value)| (key, value)))
            .stdin(if self.stdin.is_some() { Stdio::piped() } else { Stdio::null() })
            .stdout(File::create(&out)?)
            .stderr(File::create(&err)?)
            .process_group(0);
        if let Some((terminal, stdout)) = &self.terminal {
            command.stdin(terminal.try_clone()?);
            if *stdout {
                command.stdout(terminal.try_clone()?);
            }
        }
        if let Some(dir) = &self.cwd {
            command.current_dir(dir);
        }
        // The temporary path of --root is of no interest; the arguments after it are.
        let shown = self.args.iter().position(|arg| arg == "--root").map_or(0, |at| at + 2);
        let line =
            self.args[shown..].iter().map(|a| a.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ");
        let mut child = match reaper::spawn(&mut command) {
            Ok(child) => child,
            Err(error) => return fail(format!("start {}: {error}", self.program.display())),
        };
        if let (Some(mut pipe), Some(bytes)) = (child.stdin.take(), self.stdin) {
            // A runtime that does not read its stdin is not an error of this call.
            let _unread = pipe.write_all(&bytes);
        }
        Ok(Running { child, out, err, line, begun: Instant::now(), end: self.end })
    }
}

/// Where a user other than root finds systemd's user instance.
fn user_session() -> impl Iterator<Item = (&'static str, OsString)> {
    let names = ["XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS"];
    let user = !rustix::process::geteuid().is_root();
    names.into_iter().filter(move |_| user).filter_map(|name| Some((name, std::env::var_os(name)?)))
}

/// A running call.
#[derive(Debug)]
pub struct Running {
    child: Child,
    out: PathBuf,
    err: PathBuf,
    line: String,
    begun: Instant,
    end: Option<Instant>,
}

impl Running {
    /// Process id of the runtime.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal to the runtime.
    pub fn signal(&self, signal: Signal) {
        if let Some(pid) = Pid::from_raw(self.child.id().cast_signed()) {
            let _gone = rustix::process::kill_process(pid, signal);
        }
    }

    /// What it has written to stdout so far.
    pub fn said(&self) -> String {
        fs::read(&self.out).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// What it has said on stderr so far.
    pub fn stderr_so_far(&self) -> String {
        fs::read_to_string(&self.err).unwrap_or_default()
    }

    /// Waits for it to end, at most this long; its status is not taken.
    pub fn has_ended(&self, patience: Duration) -> Outcome<bool> {
        let Some(pid) = Pid::from_raw(self.child.id().cast_signed()) else { return Ok(true) };
        Ok(readable(pidfd_open(pid, PidfdFlags::empty()).map_err(io::Error::from)?, patience)?)
    }

    /// Its status was already taken elsewhere: returns its arguments and what it said on stderr.
    pub fn was_waited_for(self) -> (String, String) {
        reaper::forget(&self.child);
        (self.line, fs::read_to_string(&self.err).unwrap_or_default())
    }

    /// Waits until the time limit; then kills the whole process group and fails.
    pub fn finish(mut self, patience: Duration) -> Outcome<Called> {
        let left =
            self.end.map_or(patience, |end| end.saturating_duration_since(Instant::now()).min(patience));
        let Some(status) = end_of(&mut self.child, left)? else {
            let doing = doing(self.child.id());
            if let Some(pid) = Pid::from_raw(self.child.id().cast_signed()) {
                let _gone = kill_process_group(pid, Signal::KILL);
            }
            self.child.wait()?;
            reaper::forget(&self.child);
            return fail(format!(
                "HANG: `{}` took more than {} s; {doing}; it said: {}",
                self.line,
                self.begun.elapsed().as_secs(),
                brief(&fs::read_to_string(&self.err).unwrap_or_default())
            ));
        };
        reaper::forget(&self.child);
        Ok(Called {
            line: self.line,
            status,
            out: self.out.clone(),
            stdout: String::from_utf8_lossy(&fs::read(&self.out)?).into_owned(),
            stderr: String::from_utf8_lossy(&fs::read(&self.err)?).into_owned(),
            took: self.begun.elapsed(),
        })
    }
}

/// What a process that hangs waits for, and its children, as far as the kernel tells.
fn doing(pid: u32) -> String {
    let read = |file: &str| fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
    let children = read(&format!("task/{pid}/children"));
    let names: Vec<String> = children
        .split_whitespace()
        .map(|child| {
            let stat = fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
            stat.split_whitespace().take(3).collect::<Vec<_>>().join(" ")
        })
        .collect();
    format!("it waits in {} ({}), its children: {}", read("wchan"), read("syscall").trim(), names.join(", "))
}

/// Waits for a process to end, woken by the kernel.
fn end_of(child: &mut Child, patience: Duration) -> io::Result<Option<ExitStatus>> {
    let pid = Pid::from_raw(child.id().cast_signed()).ok_or(io::ErrorKind::InvalidInput)?;
    let handle = pidfd_open(pid, PidfdFlags::empty())?;
    Ok(if readable(&handle, patience)? { Some(child.wait()?) } else { None })
}

/// Waits until an fd is readable; false if time is up.
pub fn readable(fd: impl AsFd, patience: Duration) -> io::Result<bool> {
    let end = Instant::now() + patience;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let limit = Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(left.subsec_nanos()),
        };
        match poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&limit)) {
            Ok(0) => return Ok(false),
            Ok(_) => return Ok(true),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// A call that has ended.
#[derive(Debug)]
pub struct Called {
    /// The arguments, for messages.
    pub line: String,
    /// How it ended.
    pub status: ExitStatus,
    /// The file that is its stdout; what a container writes later appears there too.
    pub out: PathBuf,
    /// What was in it when the call ended.
    pub stdout: String,
    /// What it said on stderr.
    pub stderr: String,
    /// How long it took.
    pub took: Duration,
}

impl Called {
    /// The exit code, or 128 + signal.
    pub fn code(&self) -> i32 {
        self.status.code().unwrap_or_else(|| 128 + self.status.signal().unwrap_or(0))
    }

    /// Passes if it exited with 0.
    pub fn ok(self) -> Outcome<Self> {
        if self.status.success() {
            return Ok(self);
        }
        fail(format!("`{}` ended with {}: {}", self.line, self.code(), brief(&self.stderr)))
    }

    /// Passes if it exited with an error and said one of these words.
    pub fn refused(&self, words: &[&str]) -> Outcome {
        check(!self.status.success(), || format!("`{}` succeeded", self.line))?;
        check(self.status.code().is_some(), || format!("`{}` died of {}", self.line, self.status))?;
        let said = format!("{}{}", self.stderr, self.stdout).to_lowercase();
        check(words.is_empty() || words.iter().any(|word| said.contains(&word.to_lowercase())), || {
            format!("the message names none of {words:?}: {}", brief(&said))
        })
    }

    /// Stdout as JSON.
    pub fn json(&self) -> Outcome<serde_json::Value> {
        match serde_json::from_str(&self.stdout) {
            Ok(value) => Ok(value),
            Err(error) => fail(format!(
                "`{}` printed no JSON ({error}): {:?} {}",
                self.line,
                brief(&self.stdout),
                brief(&self.stderr)
            )),
        }
    }
}

/// The end of a message, which has the reason, on one line of limited length.
pub fn brief(text: &str) -> String {
    let line = text.trim().lines().map(str::trim).collect::<Vec<_>>().join(" | ");
    let skip = line.chars().count().saturating_sub(300);
    line.chars().skip(skip).collect()
}
