//! `exec`: runs another process in a container.

use wharf::{ErrorKind, ExecOptions, Runtime, Status, Stdio};

use crate::announce::Announcement;
use crate::cli::options::{CONSOLE_SOCKET, DETACH, NO_SUBREAPER, PID_FILE, PIDFD_SOCKET, PRESERVE_FDS};
use crate::cli::{Call, Context, Count, Opt, Verb};
use crate::failure::{Failure, hints, refused, texts};
use crate::foreground::{self, Job, Signals};
use crate::launch;
use crate::launch::interruption::Interruption;
use crate::launch::process;

/// Its line in the table.
pub(crate) const VERB: Verb = Verb::new(
    "exec",
    "<container-id> [command [argument ...]]",
    Count::AtLeast(1),
    "start another process in a container",
    run,
)
.details(
    "Without --process, the process is that of the container's config.json with the command and the\n\
     options applied. The exit code is that of the process, 128+N if signal N ended it, or 255 if it\n\
     could not be started.",
)
.options(&[
    Opt::value("process", "FILE", "JSON file with the process object to start").short('p'),
    Opt::value("cwd", "DIR", "working directory inside the container"),
    Opt::value("env", "NAME=VALUE", "set an environment variable (repeatable)").short('e'),
    Opt::value("user", "USER[:GROUP]", "user and group, by number or by name in the container").short('u'),
    Opt::value("additional-gids", "GID", "add a group, by number (repeatable)").short('g'),
    Opt::value("cap", "NAME", "add a capability (repeatable)").short('c'),
    Opt::switch("tty", "allocate a terminal").short('t'),
    DETACH,
    PID_FILE,
    CONSOLE_SOCKET,
    PIDFD_SOCKET,
    Opt::value("apparmor", "PROFILE", "AppArmor profile of the process"),
    Opt::value("process-label", "LABEL", "SELinux label of the process"),
    Opt::switch("no-new-privs", "set no_new_privs for the process"),
    Opt::value("cgroup", "[CONTROLLER,...:]PATH", "existing cgroup below the container's (repeatable)"),
    Opt::switch("ignore-paused", "start the process even in a paused container"),
    PRESERVE_FDS,
    Opt { hidden: true, ..NO_SUBREAPER },
])
.trailing()
.enters_containers();

/// The exit code is that of the process, or 255 if it could not be started.
fn run(context: &Context, call: &Call) -> Result<u8, Failure> {
    exec(&context.runtime()?, context, call)
        .map_err(|failure| failure.during(texts::EXEC_FAILED).or_code(texts::EXEC_FAILED_CODE))
}

fn exec(runtime: &Runtime, context: &Context, call: &Call) -> Result<u8, Failure> {
    let given = &call.options;
    let detach = given.flag("detach");
    let announcement = Announcement::new(given)?;
    let container = runtime.open(&call.id()?).map_err(hints::open)?;
    let mut process = match given.path("process")? {
        Some(file) => process::read(file)?,
        None => container
            .spec()?
            .process()
            .clone()
            .ok_or_else(|| Failure::new("the container's config.json has no process; use --process"))?,
    };
    let raw = process::amend(&mut process, call, |user| Ok(container.lookup_user(user)?.into()))?;
    let console = launch::console(given, process.terminal().unwrap_or(false), detach)?;
    let mut options = ExecOptions::new()
        .stdio(Stdio::Inherit)
        .console(console)
        .preserve_fds(context.inherited().count)
        .absent_fds(context.inherited().absent.iter().copied())
        .ignore_paused(given.flag("ignore-paused"));
    options = options.args(raw.args);
    for variable in raw.env {
        options = options.env(variable);
    }
    for cgroup in given.all("cgroup")? {
        options = options.cgroup(cgroup);
    }
    let signals = if detach { None } else { Some(Signals::hold()?) };
    let interruption = Interruption::hold()?;
    let options = options.cancel(interruption.descriptor()?);
    let document = given.path("process")?;
    let mut started = container.exec(&process, options).map_err(|error| {
        interruption.explain(error, |error| {
            let error = match document {
                Some(file) => error.in_document(&file.to_string_lossy(), "/process"),
                None => error,
            };
            refused(&container, error, |status| match status {
                Status::Stopped => Some(texts::EXEC_STOPPED.to_owned()),
                Status::Paused => Some(texts::EXEC_PAUSED.to_owned()),
                _ => None,
            })
        })
    })?;
    if let Err(failure) = announcement.exec(&started) {
        // Its pid was not announced, so nothing else could end it.
        if let Err(error) = started.kill(nix::libc::SIGKILL)
            && error.kind() != ErrorKind::NotFound
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
