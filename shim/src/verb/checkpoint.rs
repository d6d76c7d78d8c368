//! `checkpoint`: saves the processes of a container in files.

use std::os::fd::OwnedFd;

use nix::libc::{O_ACCMODE, O_RDONLY};
use wharf::{CheckpointOptions, Delete, ErrorKind};

use crate::cli::options::{
    AUTO_DEDUP, EMPTY_NS, EXT_UNIX_SK, FILE_LOCKS, ID, IMAGE_PATH, MANAGE_CGROUPS_MODE, NETWORK_LOCK,
    SHELL_JOB, TCP_ESTABLISHED, WORK_PATH,
};
use crate::cli::{Call, Context, Count, Opt, Verb};
use crate::failure::{Failure, hints, refused, texts};
use crate::launch::criu;

/// Its line in the table.
pub(crate) const VERB: Verb = Verb::new(
    "checkpoint",
    ID,
    Count::Exactly(1),
    "save the processes of a running container with criu",
    run,
)
.details(
    "The container is deleted afterwards, unless --leave-running is given. Host mounts, joined network\n\
     and pid namespaces, and pipes to the outside are saved by name only. The annotation org.criu.config\n\
     names a file with more options for criu (default: /etc/criu/wharf.conf, then /etc/criu/runc.conf).",
)
.options(&[
    IMAGE_PATH,
    WORK_PATH,
    Opt::value(
        "parent-path",
        "DIR",
        "directory of earlier images, relative to --image-path; save only what has changed since",
    ),
    Opt::switch("leave-running", "keep the container running"),
    TCP_ESTABLISHED,
    Opt::switch("tcp-skip-in-flight", "skip TCP connections that are not established yet"),
    Opt::switch("link-remap", "relink open files that were deleted, where possible"),
    EXT_UNIX_SK,
    SHELL_JOB,
    Opt::switch("lazy-pages", "serve memory to criu lazy-pages instead of saving it"),
    Opt::value("status-fd", "FD", "write a zero byte to FD once --lazy-pages is ready"),
    Opt::value("page-server", "ADDRESS:PORT", "send memory to this page server, or serve it at this address"),
    FILE_LOCKS,
    Opt::switch(
        "pre-dump",
        "save only memory, as the parent of a later checkpoint, and keep the container running",
    ),
    MANAGE_CGROUPS_MODE,
    NETWORK_LOCK,
    EMPTY_NS,
    AUTO_DEDUP,
]);

/// Without `--leave-running` the container is gone afterwards.
fn run(context: &Context, call: &Call) -> Result<u8, Failure> {
    let id = call.id()?;
    let runtime = context.runtime()?;
    let container = runtime.open(&id).map_err(hints::open)?;
    let given = &call.options;
    let (leave_running, pre_dump) = (given.flag("leave-running"), given.flag("pre-dump"));
    let mut options = CheckpointOptions::new(criu::options(context, given)?)
        .leave_running(leave_running)
        .pre_dump(pre_dump)
        .tcp_skip_in_flight(given.flag("tcp-skip-in-flight"))
        .link_remap(given.flag("link-remap"));
    if let Some(parent) = given.path("parent-path")? {
        options = options.parent_path(parent);
    }
    if let Some(server) = given.text("page-server")? {
        let (address, port) = page_server(server)?;
        options = options.page_server(address, port);
    }
    if let Some(fd) = given.number::<u32>("status-fd")? {
        options = options.status_fd(status_fd(fd)?);
    }
    container.checkpoint(options).map_err(|error| match error.kind() {
        ErrorKind::WrongState => {
            refused(&container, error, |status| Some(texts::checkpoint_wrong_state(status)))
        }
        _ => hints::checkpoint(error),
    })?;
    if !leave_running && !pre_dump {
        // The container is saved; failing to remove what is left of it is only a warning.
        if let Err(error) = runtime.delete(&id, Delete::Force) {
            log::warn!("delete the container: {error}");
        }
    }
    Ok(0)
}

/// "ADDRESS:PORT", with brackets around an address that has colons.
fn page_server(text: &str) -> Result<(&str, u16), Failure> {
    let split = text.rsplit_once(':').map(|(address, port)| {
        (address.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')).unwrap_or(address), port)
    });
    match split {
        Some((address, port)) if !address.is_empty() && !port.is_empty() => {
            let port = port.parse().map_err(|_| Failure::new(format!("invalid port number {port:?}")))?;
            Ok((address, port))
        }
        _ => Err(Failure::new("use --page-server ADDRESS:PORT to specify page server")),
    }
}

/// Opens the caller's descriptor; that it is open was checked before this program opened any file.
fn status_fd(fd: u32) -> Result<OwnedFd, Failure> {
    let invalid = |why: String| Failure::new(format!("invalid --status-fd argument {fd}: {why}"));
    let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{fd}"))
        .map_err(|error| invalid(error.to_string()))?;
    let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
    if flags
        .and_then(|flags| i32::from_str_radix(flags.trim(), 8).ok())
        .is_none_or(|flags| flags & O_ACCMODE == O_RDONLY)
    {
        return Err(invalid("not writable".to_owned()));
    }
    let file = std::fs::File::options().write(true).open(format!("/proc/self/fd/{fd}"));
    file.map(OwnedFd::from).map_err(|error| invalid(error.to_string()))
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;

    use super::*;

    #[test]
    fn a_page_server_is_an_address_and_a_port() {
        assert_eq!(page_server("10.0.0.1:80").ok(), Some(("10.0.0.1", 80)));
        assert_eq!(page_server("[::1]:80").ok(), Some(("::1", 80)));
        for bad in ["", "host", "host:", ":80", "host:x", "host:65536"] {
            assert!(page_server(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_status_descriptor_must_be_writable() {
        let (reader, writer) = std::io::pipe().unwrap();
        assert!(status_fd(writer.as_raw_fd() as u32).is_ok());
        assert!(status_fd(reader.as_raw_fd() as u32).is_err());
        assert!(status_fd(1 << 20).is_err());
    }
}
