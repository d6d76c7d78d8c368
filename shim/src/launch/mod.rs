//! What `create`, `run`, `exec` and `restore` share; first of all a container that is about to be created, with its
//! bundle and its options.

pub(crate) mod criu;
pub(crate) mod interruption;
pub(crate) mod process;

use std::path::{Path, PathBuf};

use oci_spec::runtime::Process;
use wharf::{Bundle, Console, Container, ContainerId, CreateOptions, Delete, Runtime, Stdio};

use crate::announce::Announcement;
use crate::announce::notify::{Manager, Readiness};
use crate::cli::{Call, Context, Given};
use crate::failure::{Failure, hints, texts};
use crate::launch::interruption::Interruption;

/// A container that is about to be created.
pub(crate) struct Launch {
    runtime: Runtime,
    id: ContainerId,
    bundle: Bundle,
    options: CreateOptions,
    announcement: Announcement,
    manager: Option<Manager>,
    interruption: Interruption,
}

impl Launch {
    /// Reads options and bundle; if it fails, nothing has changed.
    pub(crate) fn prepare(context: &Context, call: &Call, detach: bool) -> Result<Self, Failure> {
        let id = call.id()?;
        let runtime = context.runtime()?;
        let bundle = open_bundle(call, None)?;
        let terminal = bundle.spec().process().as_ref().and_then(Process::terminal).unwrap_or(false);
        let console = console(&call.options, terminal, detach)?;
        let options = create_options(&call.options)?.stdio(Stdio::Inherit).console(console);
        // crun's annotation for what runc has an option for.
        let receiver = bundle.spec().annotations().as_ref().and_then(|all| all.get("run.oci.pidfd_receiver"));
        let receiver = receiver.filter(|path| !path.is_empty()).map(PathBuf::from);
        let manager = Manager::from_environment()?;
        let options = options.notify_socket(manager.is_some());
        let inherited = context.inherited();
        let options = inherited.variables.iter().fold(options, CreateOptions::env);
        let interruption = Interruption::hold()?;
        let options = options.cancel(interruption.descriptor()?);
        Ok(Self {
            runtime,
            id,
            bundle,
            options: options.preserve_fds(inherited.count).absent_fds(inherited.absent.iter().copied()),
            announcement: Announcement::new(&call.options)?.or_socket(receiver),
            manager,
            interruption,
        })
    }
}

/// A container that was created.
pub(crate) struct Launched {
    /// The library.
    pub(crate) runtime: Runtime,
    /// The container.
    pub(crate) container: Container,
    /// Where it reports that it is ready, if it runs and a service manager is waiting.
    pub(crate) readiness: Option<Readiness>,
}

impl Launch {
    /// Creates the container and announces its pid; if that fails, the container is removed again.
    pub(crate) fn create(self) -> Result<(), Failure> {
        Self { manager: None, ..self }.make(Runtime::create).map(drop)
    }

    /// The same with a container whose program runs.
    pub(crate) fn run(self) -> Result<Launched, Failure> {
        // The manager's socket must exist before the program does.
        let waits = self.manager.is_some();
        if waits { self.make(Runtime::create) } else { self.make(Runtime::run) }
    }

    /// Makes the container by `make`, and starts its program if a service manager is waiting for it.
    fn make(
        self,
        make: impl FnOnce(&Runtime, &ContainerId, &Bundle, CreateOptions) -> wharf::Result<Container>,
    ) -> Result<Launched, Failure> {
        let Self { runtime, id, bundle, options, announcement, manager, interruption } = self;
        let container = make(&runtime, &id, &bundle, options)
            .map_err(|error| interruption.explain(error, hints::create))?;
        let finish = || {
            let mut readiness = None;
            if let Some(manager) = manager {
                readiness = manager.listen(&container)?;
                container.start()?;
            }
            announcement.container(&container).map(|()| readiness)
        };
        match finish() {
            Ok(readiness) => Ok(Launched { runtime, container, readiness }),
            Err(failure) => {
                if let Err(error) = runtime.delete(container.id(), Delete::Force) {
                    log::warn!("delete the container after a failure: {error}");
                }
                Err(failure)
            }
        }
    }
}

/// Opens the bundle that the command line names.
pub(crate) fn open_bundle(call: &Call, operand: Option<&Path>) -> Result<Bundle, Failure> {
    let (dir, config) = bundle_paths(call, operand)?;
    Ok(Bundle::open_config(dir, config)?)
}

/// The directory that `--bundle` or `operand` names, or else the working directory, and its configuration.
pub(crate) fn bundle_paths<'c>(
    call: &'c Call,
    operand: Option<&'c Path>,
) -> Result<(&'c Path, &'c Path), Failure> {
    let dir = match (call.options.path("bundle")?, operand) {
        (Some(_), Some(_)) => return Err(Failure::usage(Some(call.verb), "the bundle is named twice")),
        (Some(dir), None) | (None, Some(dir)) => dir,
        (None, None) => Path::new("."),
    };
    Ok((dir, call.options.path("config")?.unwrap_or(Path::new("config.json"))))
}

/// The options that change the plan.
pub(crate) fn create_options(given: &Given) -> Result<CreateOptions, Failure> {
    let preserved = given.number("preserve-fds")?.unwrap_or(0);
    Ok(CreateOptions::new()
        .no_pivot(given.flag("no-pivot"))
        .new_keyring(!given.flag("no-new-keyring"))
        .preserve_fds(preserved))
}

/// Where the master of a terminal goes.
pub(crate) fn console(given: &Given, terminal: bool, detach: bool) -> Result<Console, Failure> {
    match (given.path("console-socket")?, terminal && detach) {
        (Some(socket), true) => Ok(Console::Socket(socket.to_owned())),
        (Some(_), false) => Err(Failure::new(texts::SOCKET_NEEDS_TTY)),
        (None, true) => Err(Failure::new(texts::TTY_NEEDS_SOCKET)),
        (None, false) if terminal => Ok(Console::Relay),
        (None, false) => Ok(Console::None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Request, parse};
    use crate::verb::VERBS;

    fn chosen(words: &str, terminal: bool, detach: bool) -> Result<Console, String> {
        let words = words.split(' ').map(std::ffi::OsString::from);
        let Ok(Request::Verb(_, call)) = parse(VERBS, words).request else { panic!() };
        console(&call.options, terminal, detach).map_err(|failure| failure.message().to_owned())
    }

    #[test]
    fn a_console_socket_belongs_to_a_detached_terminal() {
        let (with, without) = ("wharf run --console-socket /s x", "wharf run x");
        assert!(matches!(chosen(with, true, true), Ok(Console::Socket(path)) if path == Path::new("/s")));
        assert!(matches!(chosen(without, true, false), Ok(Console::Relay)));
        assert!(matches!(chosen(without, false, false), Ok(Console::None)));
        assert!(matches!(chosen(without, false, true), Ok(Console::None)));
        for (terminal, detach) in [(false, true), (true, false), (false, false)] {
            assert_eq!(chosen(with, terminal, detach).err().as_deref(), Some(texts::SOCKET_NEEDS_TTY));
        }
        assert_eq!(chosen(without, true, true).err().as_deref(), Some(texts::TTY_NEEDS_SOCKET));
    }
}
