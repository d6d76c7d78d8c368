//! `exec`: another process in a container.

use wharf::{ExecOptions, Kind, Runtime, Status, Stdio};

use crate::args::Call;
use crate::context::Context;
use crate::failure::Failure;
use crate::foreground::{self, Job, Signals};
use crate::launch;
use crate::pid_file;
use crate::pidfd_socket::{self, Sender};
use crate::process;
use crate::texts;
use crate::verb::refused;

/// The exit code is that of the process, or 255 if it could not be started.
pub(crate) fn run(context: &Context, call: &Call) -> Result<u8, Failure> {
    exec(&context.runtime()?, context, call)
        .map_err(|failure| failure.during(texts::EXEC_FAILED).with_code(texts::EXEC_FAILED_CODE))
}

fn exec(runtime: &Runtime, context: &Context, call: &Call) -> Result<u8, Failure> {
    let given = &call.options;
    let detach = given.flag("detach");
    let container = runtime.open(&call.id()?)?;
    let mut process = match given.path("process")? {
        Some(file) => process::read(file)?,
        None => container
            .spec()?
            .process()
            .clone()
            .ok_or_else(|| Failure::new("the container's config.json has no process; use --process"))?,
    };
    process::amend(&mut process, call, |user| Ok(container.lookup_user(user)?.into()))?;
    let console = launch::console(given, process.terminal().unwrap_or(false), detach)?;
    let mut options = ExecOptions::new()
        .stdio(Stdio::Inherit)
        .console(console)
        .preserve_fds(context.inherited().count)
        .ignore_paused(given.flag("ignore-paused"));
    for cgroup in given.all("cgroup")? {
        options = options.cgroup(cgroup);
    }
    let signals = if detach { None } else { Some(Signals::hold()?) };
    let mut started = container.exec(&process, options).map_err(|error| {
        refused(&container, error, |status| match status {
            Status::Stopped => Some(texts::EXEC_STOPPED.to_owned()),
            Status::Paused => Some(texts::EXEC_PAUSED.to_owned()),
            _ => None,
        })
    })?;
    let told = tell(call, &started);
    if let Err(failure) = told {
        // Nobody knows of the process, so nobody could end it.
        if let Err(error) = started.kill(nix::libc::SIGKILL)
            && error.kind() != Kind::NotFound
        {
            log::warn!("kill the process after a failure: {error}");
        }
        return Err(failure);
    }
    let Some(signals) = signals else { return Ok(0) };
    let console = started.take_console();
    foreground::supervise(
        &signals,
        Job {
            pid: started.pid(),
            pidfd: started.pidfd(),
            kill: &|signal| started.kill(signal),
            wait: &|| started.wait(),
            console,
            readiness: None,
        },
    )
}

fn tell(call: &Call, started: &wharf::ExecProcess) -> Result<(), Failure> {
    if let Some(socket) = call.options.path("pidfd-socket")? {
        pidfd_socket::send(socket, started.pidfd(), Sender::Exec)?;
    }
    if let Some(file) = call.options.path("pid-file")? {
        pid_file::write(file, started.pid())?;
    }
    Ok(())
}
