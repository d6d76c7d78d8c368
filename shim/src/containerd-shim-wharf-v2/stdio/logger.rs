//! Programs that log the output of processes. They get the output directly through pipes.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};
use std::rc::Rc;
use std::time::Duration;

use nix::libc::{SIGKILL, SIGTERM};
use rustix::pipe::{PipeFlags, pipe_with};
use tokio::io::Interest;
use tokio::sync::Notify;
use tokio::task::spawn_local;
use tokio::time::timeout;
use wharf::pod::Home;

use super::copy::{Sink, copy, watch};
use super::uri::LoggerCommand;
use crate::refusal::Refusal;

/// How long a logger may take to get ready.
const READY: Duration = Duration::from_secs(30);
/// How long it may take to end once asked to.
const END: Duration = Duration::from_secs(12);

/// The running loggers, by pid.
#[derive(Clone, Debug, Default)]
pub(crate) struct Loggers(Rc<RefCell<BTreeMap<i32, Rc<State>>>>);

#[derive(Debug, Default)]
struct State {
    ended: Cell<bool>,
    changed: Notify,
}

/// A logger. Dropping it ends the program, once it has read everything or its time is up.
#[derive(Debug)]
pub(crate) struct Logger {
    pid: i32,
    state: Rc<State>,
}

impl Loggers {
    /// Starts a logger; the answer has the new standard output and standard error.
    pub(crate) async fn start(
        &self,
        command: &LoggerCommand,
        id: &str,
        namespace: &str,
        home: Option<&Home>,
    ) -> Result<(Logger, [OwnedFd; 2]), Refusal> {
        let what = || format!("start the logger {}", command.program.display());
        let failed = |errno: rustix::io::Errno| Refusal::io(what(), errno);
        let pipe = || pipe_with(PipeFlags::CLOEXEC).map_err(failed);
        let ((out_reader, out), (err_reader, err), (ready, confirm)) = (pipe()?, pipe()?, pipe()?);
        let spare = |fd: &OwnedFd| fd.try_clone().map_err(|error| Refusal::io(what(), error));
        let spares = [spare(&out_reader)?, spare(&err_reader)?];
        let mut child = Command::new(&command.program);
        child
            .args(&command.args)
            .env_clear()
            .env("CONTAINER_ID", id)
            .env("CONTAINER_NAMESPACE", namespace)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        home.map_or(Ok(()), |home| home.start_here(&mut child))?;
        wharf::worker::pass_descriptors(&mut child, vec![out_reader, err_reader, confirm]);
        let child_pid = child.spawn().map_err(|error| Refusal::io(what(), error))?.id() as i32;
        // The command holds the logger's ends.
        drop(child);
        let state = Rc::new(State::default());
        self.0.borrow_mut().insert(child_pid, state.clone());
        let logger = Logger { pid: child_pid, state };
        logger.replace_when_ended(spares);
        confirmed(ready, command.must_confirm).await.map_err(|refusal| refusal.during(&what()))?;
        Ok((logger, [out, err]))
    }

    /// Notes the end of a child, if it was a logger.
    pub(crate) fn ended(&self, pid: i32) -> bool {
        let Some(state) = self.0.borrow_mut().remove(&pid) else { return false };
        state.ended.set(true);
        state.changed.notify_waiters();
        true
    }
}

async fn confirmed(ready: OwnedFd, must_confirm: bool) -> Result<(), Refusal> {
    let failed = |error: std::io::Error| Refusal::io("read its answer", error);
    let ready = watch(ready, Interest::READABLE).map_err(failed)?;
    let mut readable = timeout(READY, ready.readable())
        .await
        .map_err(|_| Refusal::unknown(format!("it is not ready after {} seconds", READY.as_secs())))?
        .map_err(failed)?;
    let file = File::from(ready.get_ref().try_clone().map_err(failed)?);
    let count = (&file).read(&mut [0]).map_err(failed)?;
    readable.clear_ready();
    if count == 0 && must_confirm {
        return Err(Refusal::unknown("it exited or closed descriptor 5 before it was ready"));
    }
    Ok(())
}

impl State {
    async fn wait(&self) {
        loop {
            let changed = self.changed.notified();
            if self.ended.get() {
                return;
            }
            changed.await;
        }
    }
}

impl Logger {
    /// A process whose logger was killed must neither die nor block: from then on, its output goes nowhere.
    fn replace_when_ended(&self, spares: [OwnedFd; 2]) {
        for spare in spares {
            let state = self.state.clone();
            spawn_local(async move {
                state.wait().await;
                // Not earlier: the logger reads from the same open file, and would find it non-blocking.
                match watch(spare, Interest::READABLE) {
                    Ok(source) => copy(source, Sink::Nowhere).await,
                    Err(error) => log::warn!("take over from a logger that has exited: {error}"),
                }
            });
        }
    }
}

impl Drop for Logger {
    fn drop(&mut self) {
        let (pid, state) = (self.pid, self.state.clone());
        spawn_local(async move {
            for signal in [SIGTERM, SIGKILL] {
                if state.ended.get() {
                    return;
                }
                // It has not been reaped, so the pid is its own.
                if let Err(error) = wharf::worker::signal_child(pid, signal) {
                    log::debug!("end the logger: {error}");
                }
                timeout(END, state.wait()).await.ok();
            }
        });
    }
}
