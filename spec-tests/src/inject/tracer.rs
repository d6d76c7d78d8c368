//! Runs a program and disturbs it at one system call.
//!
//! It is a process of its own: only the thread that traces may handle a traced process, and the suite's reaper would take
//! the reports of stops. Processes are numbered in the order in which they are made, and calls are counted for each by
//! itself, so that it does not matter which of two processes is faster.

use super::calls;
use super::registers::Call;
use nix::errno::Errno;
use nix::libc;
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use std::collections::HashMap;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::thread::JoinHandle;
use std::time::Duration;

/// How long a stopped process stays so.
const MOMENT: Duration = Duration::from_millis(30);

/// Programs that are no part of the runtime, and shells that may lead to one: they are left alone from their start.
const OTHERS: [&str; 5] = ["probe", "criu", "bash", "dash", "sh"];

/// What happens to the process that makes the call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    /// Nothing: all calls are noted.
    Record,
    /// It is killed before the call.
    Kill,
    /// The call fails with this error and does nothing.
    Fail(Errno),
    /// It is stopped by a signal, and goes on a moment later.
    Stop,
}

/// A call of a process: both are counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    /// Which process.
    pub(super) task: u32,
    /// Which of its calls.
    pub(super) call: u32,
}

/// The word that makes a program a tracer.
const TRACE: &str = "--trace";

/// The words that make this program a tracer which writes to `log`, to be followed by the traced program and its arguments.
/// A process that runs already can be traced as well, as number 2.
pub(super) fn words(action: Action, place: Place, also: Option<i32>, log: &str) -> Vec<String> {
    let action = match action {
        Action::Record => "record".to_owned(),
        Action::Kill => "kill".to_owned(),
        Action::Stop => "stop".to_owned(),
        Action::Fail(errno) => (errno as i32).to_string(),
    };
    let (task, call, also) = (place.task.to_string(), place.call.to_string(), also.unwrap_or(0).to_string());
    vec![TRACE.to_owned(), action, task, call, also, log.to_owned()]
}

/// What a traced run has left in its log.
#[derive(Debug, Default)]
pub(super) struct Log {
    /// The numbers of all calls, when they were recorded, with their places.
    pub(super) calls: Vec<(Place, i64)>,
    /// The number of the disturbed call.
    pub(super) hit: Option<i64>,
    /// Processes that died of a signal: which, and of which.
    pub(super) died: Vec<(u32, i32)>,
}

impl Log {
    /// Reads it.
    pub(super) fn parse(text: &str) -> Self {
        let mut log = Self::default();
        let mut counts = HashMap::new();
        for line in text.lines() {
            let mut words = line.split(' ');
            let word = words.next().unwrap_or_default();
            let numbers: Vec<i64> = words.filter_map(|number| number.parse().ok()).collect();
            match (word, numbers.as_slice()) {
                ("call", [task, number]) => {
                    let task = u32::try_from(*task).unwrap_or(0);
                    let call = counts.entry(task).and_modify(|count| *count += 1).or_insert(1);
                    log.calls.push((Place { task, call: *call }, *number));
                }
                ("hit", [number]) => log.hit = Some(*number),
                ("died", [task, signal]) => {
                    log.died.push((u32::try_from(*task).unwrap_or(0), i32::try_from(*signal).unwrap_or(0)));
                }
                _ => {}
            }
        }
        log
    }
}

/// For the beginning of a program's `main`: traces, and returns the exit code, if the program was called as a tracer.
pub fn called() -> Option<ExitCode> {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let (word, arguments) = arguments.split_first()?;
    if word != TRACE {
        return None;
    }
    let done = Tracer::from(arguments).ok_or(std::io::ErrorKind::InvalidInput.into()).and_then(Tracer::run);
    Some(done.map_or_else(
        |error| {
            eprintln!("trace: {error}");
            ExitCode::from(125)
        },
        ExitCode::from,
    ))
}

struct Task {
    index: u32,
    calls: u32,
    /// Between entry and exit of a call.
    inside: bool,
    failing: Option<Call>,
}

struct Tracer {
    action: Action,
    place: Place,
    also: Option<Pid>,
    log_file: PathBuf,
    program: Vec<OsString>,
    log: String,
    tasks: HashMap<Pid, Task>,
    born: u32,
    main: Pid,
    /// The program runs, no longer the shell before it.
    begun: bool,
    hit: bool,
    waking: Option<JoinHandle<()>>,
}

impl Tracer {
    fn from(arguments: &[OsString]) -> Option<Self> {
        let (words, program) = arguments.split_at_checked(5)?;
        let word = |at: usize| words[at].to_str();
        let action = match word(0)? {
            "record" => Action::Record,
            "kill" => Action::Kill,
            "stop" => Action::Stop,
            errno => Action::Fail(Errno::from_raw(errno.parse().ok()?)),
        };
        let also: i32 = word(3)?.parse().ok()?;
        Some(Self {
            action,
            place: Place { task: word(1)?.parse().ok()?, call: word(2)?.parse().ok()? },
            also: (also > 0).then(|| Pid::from_raw(also)),
            log_file: PathBuf::from(&words[4]),
            program: program.to_vec(),
            log: String::new(),
            tasks: HashMap::new(),
            born: 0,
            main: Pid::from_raw(0),
            begun: false,
            hit: false,
            waking: None,
        })
    }

    fn run(mut self) -> std::io::Result<u8> {
        // A shell that waits to be traced: nothing may run between fork and exec here.
        let child = Command::new("/bin/sh")
            .arg("-c")
            .arg("kill -STOP $$; exec \"$0\" \"$@\"")
            .args(&self.program)
            .spawn()?;
        self.main = Pid::from_raw(child.id().cast_signed());
        waitpid(self.main, Some(WaitPidFlag::WUNTRACED))?;
        let options = Options::PTRACE_O_TRACESYSGOOD
            | Options::PTRACE_O_TRACEFORK
            | Options::PTRACE_O_TRACEVFORK
            | Options::PTRACE_O_TRACECLONE
            | Options::PTRACE_O_TRACEEXEC
            | Options::PTRACE_O_EXITKILL;
        self.trace(self.main);
        ptrace::seize(self.main, options)?;
        kill(self.main, Signal::SIGCONT)?;
        if let Some(also) = self.also {
            self.trace(also);
            ptrace::seize(also, options)?;
            ptrace::interrupt(also)?;
        }
        let code = loop {
            match waitpid(None, Some(WaitPidFlag::__WALL))? {
                WaitStatus::Exited(pid, code) => {
                    self.tasks.remove(&pid);
                    if pid == self.main {
                        break u8::try_from(code).unwrap_or(u8::MAX);
                    }
                }
                WaitStatus::Signaled(pid, signal, _) => {
                    self.died(pid, signal);
                    if pid == self.main {
                        break 128 + signal as u8;
                    }
                }
                // A process that was killed meanwhile is told of by its end.
                other => match self.stopped(other) {
                    Ok(()) | Err(Errno::ESRCH) => {}
                    Err(errno) => return Err(errno.into()),
                },
            }
        };
        self.let_go()?;
        if let Some(waking) = self.waking.take() {
            let _ended = waking.join();
        }
        fs::write(&self.log_file, &self.log)?;
        Ok(code)
    }

    fn trace(&mut self, pid: Pid) -> &mut Task {
        self.tasks.entry(pid).or_insert_with(|| {
            self.born += 1;
            Task { index: self.born, calls: 0, inside: false, failing: None }
        })
    }

    /// If the event is the birth of a process, that is traced as well.
    fn adopt(&mut self, pid: Pid, event: i32) -> nix::Result<()> {
        if [libc::PTRACE_EVENT_FORK, libc::PTRACE_EVENT_VFORK, libc::PTRACE_EVENT_CLONE].contains(&event) {
            let child = ptrace::getevent(pid)?;
            self.trace(Pid::from_raw(i32::try_from(child).unwrap_or(0)));
        }
        Ok(())
    }

    fn died(&mut self, pid: Pid, signal: Signal) {
        if let Some(task) = self.tasks.remove(&pid) {
            let _ = writeln!(self.log, "died {} {}", task.index, signal as i32);
        }
    }

    fn stopped(&mut self, status: WaitStatus) -> nix::Result<()> {
        match status {
            WaitStatus::PtraceSyscall(pid) => self.at_call(pid),
            WaitStatus::PtraceEvent(pid, _, event) => {
                self.trace(pid);
                self.adopt(pid, event)?;
                match event {
                    libc::PTRACE_EVENT_EXEC if is_other(pid) => {
                        self.tasks.remove(&pid);
                        return ptrace::detach(pid, None);
                    }
                    libc::PTRACE_EVENT_EXEC => {
                        self.begun = true;
                        self.trace(pid).inside = true;
                    }
                    _ => {}
                }
                self.go_on(pid, None)
            }
            WaitStatus::Stopped(pid, signal) => {
                self.trace(pid);
                self.go_on(pid, Some(signal))
            }
            _ => Ok(()),
        }
    }

    fn go_on(&mut self, pid: Pid, signal: Option<Signal>) -> nix::Result<()> {
        let (hit, place, records) = (self.hit, self.place, self.action == Action::Record);
        let begun = self.begun || self.also == Some(pid);
        let task = self.trace(pid);
        let watched = begun && !hit && (records || task.index == place.task);
        if watched || task.failing.is_some() {
            ptrace::syscall(pid, signal)
        } else {
            ptrace::cont(pid, signal)
        }
    }

    fn at_call(&mut self, pid: Pid) -> nix::Result<()> {
        let task = self.trace(pid);
        task.inside = !task.inside;
        if !task.inside {
            if let Some(call) = task.failing.take()
                && let Action::Fail(errno) = self.action
            {
                call.answer(pid, errno as i32)?;
            }
            return self.go_on(pid, None);
        }
        task.calls += 1;
        let here = Place { task: task.index, call: task.calls };
        let call = Call::of(pid)?;
        if self.action == Action::Record {
            let _ = writeln!(self.log, "call {} {}", here.task, call.number());
        } else if here == self.place {
            return self.disturb(pid, call);
        }
        self.go_on(pid, None)
    }

    fn disturb(&mut self, pid: Pid, call: Call) -> nix::Result<()> {
        self.hit = true;
        match self.action {
            Action::Record => {}
            Action::Kill => kill(pid, Signal::SIGKILL)?,
            Action::Fail(errno)
                if calls::cannot_fail(call.number(), errno) || is_from_another(pid, call, errno) =>
            {
                return self.go_on(pid, None);
            }
            Action::Fail(_) => {
                if !calls::is_done_anyway(call.number()) {
                    call.prevent(pid)?;
                }
                self.trace(pid).failing = Some(call);
            }
            Action::Stop => {
                kill(pid, Signal::SIGSTOP)?;
                self.tasks.remove(&pid);
                ptrace::detach(pid, None)?;
                self.waking = Some(std::thread::spawn(move || {
                    std::thread::sleep(MOMENT);
                    let _gone = kill(pid, Signal::SIGCONT);
                }));
            }
        }
        let _ = writeln!(self.log, "hit {}", call.number());
        if self.action == Action::Stop { Ok(()) } else { self.go_on(pid, None) }
    }

    /// What outlives the program goes on without a tracer.
    fn let_go(&mut self) -> nix::Result<()> {
        self.tasks.retain(|pid, _| ptrace::interrupt(*pid).is_ok());
        while !self.tasks.is_empty() {
            match waitpid(None, Some(WaitPidFlag::__WALL)) {
                Ok(WaitStatus::Exited(pid, _)) => drop(self.tasks.remove(&pid)),
                Ok(WaitStatus::Signaled(pid, signal, _)) => self.died(pid, signal),
                Ok(WaitStatus::Stopped(pid, signal)) => self.detach(pid, Some(signal)),
                Ok(status) => {
                    if let WaitStatus::PtraceEvent(pid, _, event) = status {
                        self.adopt(pid, event)?;
                    }
                    if let Some(pid) = status.pid() {
                        self.detach(pid, None);
                    }
                }
                Err(Errno::ECHILD) => break,
                Err(errno) => return Err(errno),
            }
        }
        Ok(())
    }

    fn detach(&mut self, pid: Pid, signal: Option<Signal>) {
        // One that was killed meanwhile is reported once more.
        if ptrace::detach(pid, signal).is_ok() {
            self.tasks.remove(&pid);
        }
    }
}

/// Whether a process has just become a program that is no part of the runtime.
fn is_other(pid: Pid) -> bool {
    let program = fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
    program.file_name().is_some_and(|name| OTHERS.iter().any(|other| name == *other))
}

/// Whether it reads from a pipe or socket, which can only be interrupted.
fn is_from_another(pid: Pid, call: Call, errno: Errno) -> bool {
    if !calls::is_read(call.number()) || errno == Errno::EINTR {
        return false;
    }
    let file = fs::read_link(format!("/proc/{pid}/fd/{}", call.first_argument())).unwrap_or_default();
    ["pipe:", "socket:"].iter().any(|kind| file.to_string_lossy().starts_with(kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_counted_for_each_process() {
        let log = Log::parse("call 1 59\ncall 2 3\ncall 1 4\ndied 2 9\nhit 4\n");
        let places: Vec<_> =
            log.calls.iter().map(|(place, number)| (place.task, place.call, *number)).collect();
        assert_eq!(places, [(1, 1, 59), (2, 1, 3), (1, 2, 4)]);
        assert_eq!((log.hit, log.died), (Some(4), vec![(2, 9)]));
    }
}
