//! `restore`: restores a container from the files of a checkpoint.

use oci_spec::runtime::Process;
use wharf::{Delete, RestoreOptions};

use crate::announce::Announcement;
use crate::cli::options::{
    AUTO_DEDUP, BUNDLE, CONFIG, CONSOLE_SOCKET, DETACH, EMPTY_NS, EXT_UNIX_SK, FILE_LOCKS, ID, IMAGE_PATH,
    MANAGE_CGROUPS_MODE, NETWORK_LOCK, NO_SUBREAPER, PID_FILE, SHELL_JOB, TCP_ESTABLISHED, WORK_PATH,
};
use crate::cli::{Call, Context, Count, Opt, Verb};
use crate::failure::{Failure, hints};
use crate::foreground::{self, Signals};
use crate::launch::criu;
use crate::launch::{console, open_bundle};

/// Its line in the table.
pub(crate) const VERB: Verb = Verb::new(
    "restore",
    ID,
    Count::Exactly(1),
    "restore a container from a checkpoint",
    run,
)
.details(
    "Use the bundle of the container, or one like it. The images are compared with its config.json first,\n\
     and refused if they describe a less confined container. The exit code is that of the\n\
     container's first process, or 128+N if signal N ended it.",
)
.options(&[
    BUNDLE,
    CONFIG,
    CONSOLE_SOCKET,
    IMAGE_PATH,
    WORK_PATH,
    TCP_ESTABLISHED,
    Opt::switch("tcp-close", "close TCP connections that were established"),
    EXT_UNIX_SK,
    SHELL_JOB,
    FILE_LOCKS,
    MANAGE_CGROUPS_MODE,
    NETWORK_LOCK,
    DETACH,
    PID_FILE,
    NO_SUBREAPER,
    Opt::switch("no-pivot", "has no effect: criu makes the mounts"),
    EMPTY_NS,
    AUTO_DEDUP,
    Opt::switch("lazy-pages", "fetch memory from criu lazy-pages when it is first used"),
    Opt::value("lsm-profile", "TYPE:LABEL", "AppArmor or SELinux label (default: that of config.json)"),
    Opt::value("lsm-mount-context", "CONTEXT", "SELinux context for mounts that have one"),
]);

/// The exit code is that of the container's first process, unless it is detached.
fn run(context: &Context, call: &Call) -> Result<u8, Failure> {
    let id = call.id()?;
    let runtime = context.runtime()?;
    let given = &call.options;
    let bundle = open_bundle(call, None)?;
    let detach = given.flag("detach");
    let announcement = Announcement::new(given)?;
    let terminal = bundle.spec().process().as_ref().and_then(Process::terminal).unwrap_or(false);
    let mut options = RestoreOptions::new(criu::options(context, given)?)
        .console(console(given, terminal, detach)?)
        .tcp_close(given.flag("tcp-close"));
    if let Some(profile) = given.text("lsm-profile")? {
        options = options.lsm_profile(profile);
    }
    if let Some(label) = given.text("lsm-mount-context")? {
        options = options.lsm_mount_context(label);
    }
    if given.flag("no-pivot") {
        log::debug!("--no-pivot has no effect: criu makes the mounts");
    }
    let signals = if detach { None } else { Some(Signals::hold()?) };
    if !detach && !given.flag("no-subreaper") {
        foreground::adopt_orphans()?;
    }
    let mut container = runtime.restore(&id, &bundle, options).map_err(hints::create)?;
    if let Err(failure) = announcement.container(&container) {
        if let Err(error) = runtime.delete(&id, Delete::Force) {
            log::warn!("delete the container after a failure: {error}");
        }
        return Err(failure);
    }
    let Some(signals) = signals else { return Ok(0) };
    let code = foreground::supervise_container(&signals, &mut container, None);
    if let Err(error) = runtime.delete(&id, Delete::Force) {
        log::error!("delete the container: {error}");
    }
    code
}
