//! Examples of embedding the crate.
//!
//! They need root, a cgroup file system, and a bundle; here `/bundles/web`. Types of the configuration are those of the
//! crate [`oci-spec`](https://docs.rs/oci-spec), version 0.10, with its feature `runtime`.
//!
//! # Look before you create
//!
//! Everything that is wrong with a bundle, and the ordered steps of a creation, without side effects:
//!
//! ```no_run
//! use wharf::{Bundle, ContainerId, CreateOptions, Runtime, Severity};
//!
//! # fn main() -> wharf::Result<()> {
//! let runtime = Runtime::builder().root("/run/example").build()?;
//! let bundle = Bundle::open("/bundles/web")?;
//! for finding in runtime.check(&bundle) {
//!     let word = if finding.severity == Severity::Error { "error" } else { "warning" };
//!     println!("{word}: {}: {}", finding.pointer, finding.message);
//! }
//! print!("{}", runtime.explain(&ContainerId::new("web")?, &bundle, &CreateOptions::new())?);
//! # Ok(())
//! # }
//! ```
//!
//! A malformed bundle never becomes a [`Bundle`](crate::Bundle), and its error says where:
//!
//! ```
//! use wharf::{Bundle, ErrorKind};
//!
//! let error = Bundle::from_bytes(br#"{"ociVersion": "1.2.0", "root": {"path": 7}}"#, "/").unwrap_err();
//! assert_eq!(error.kind(), ErrorKind::InvalidSpec);
//! assert_eq!(error.pointer(), Some("/root/path"));
//! ```
//!
//! # Create, start, wait, delete
//!
//! ```no_run
//! use std::fs::File;
//! use std::os::fd::OwnedFd;
//! use wharf::{Bundle, ContainerId, CreateOptions, Delete, ExitStatus, Runtime, Stdio};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let runtime = Runtime::builder().root("/run/example").build()?;
//! let bundle = Bundle::open("/bundles/web")?;
//! let input: OwnedFd = File::open("/dev/null")?.into();
//! let log: OwnedFd = File::create("/var/log/web")?.into();
//! let streams = Stdio::Fds([input, log.try_clone()?, log]);
//!
//! let web = runtime.create(&ContainerId::new("web")?, &bundle, CreateOptions::new().stdio(streams))?;
//! // Everything is in place but the program: attach a network to /proc/PID/ns/net now, for example.
//! println!("created as process {:?}", web.pid());
//! web.start()?;
//! match web.wait()? {
//!     ExitStatus::Exited(code) => println!("exited with {code}"),
//!     ExitStatus::Signaled(signal) => println!("killed by signal {signal}"),
//!     _ => {}
//! }
//! web.delete(Delete::Stopped)?;
//! # Ok(())
//! # }
//! ```
//!
//! `wait` blocks. An event loop watches [`Container::pidfd`](crate::Container::pidfd) instead, which becomes readable when
//! the process has ended; `wait` then returns at once.
//!
//! # Add a process
//!
//! ```no_run
//! use oci_spec::runtime::ProcessBuilder;
//! use wharf::{ContainerId, ExecOptions, ErrorKind, Runtime};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let runtime = Runtime::builder().root("/run/example").build()?;
//! let web = runtime.open(&ContainerId::new("web")?)?;
//! let process = ProcessBuilder::default()
//!     .args(["ls".to_owned(), "/".to_owned()])
//!     .env(["PATH=/bin:/usr/bin".to_owned()])
//!     .cwd("/")
//!     .build()?;
//! match web.exec(&process, ExecOptions::new()) {
//!     Ok(ls) => println!("ls: exit code {}", ls.wait()?.code()),
//!     Err(error) if error.kind() == ErrorKind::Exec => println!("the image has no ls: {error}"),
//!     Err(error) => return Err(error.into()),
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # Measure and limit
//!
//! ```no_run
//! use oci_spec::runtime::{LinuxPidsBuilder, LinuxResourcesBuilder};
//! use wharf::{ContainerId, Runtime};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let runtime = Runtime::builder().root("/run/example").build()?;
//! let web = runtime.open(&ContainerId::new("web")?)?;
//! let stats = web.stats()?;
//! println!("{} tasks; everything: {}", stats.pids.current, serde_json::to_string(&stats)?);
//! let pids = LinuxPidsBuilder::default().limit(100).build()?;
//! web.update(&LinuxResourcesBuilder::default().pids(pids).build()?)?;
//! # Ok(())
//! # }
//! ```
//!
//! # A terminal
//!
//! ```no_run
//! use wharf::{Bundle, Console, ContainerId, CreateOptions, Runtime};
//!
//! # fn main() -> wharf::Result<()> {
//! let runtime = Runtime::builder().root("/run/example").build()?;
//! // Its config.json has "terminal": true.
//! let bundle = Bundle::open("/bundles/shell")?;
//! let options = CreateOptions::new().console(Console::Keep);
//! let mut shell = runtime.create(&ContainerId::new("shell")?, &bundle, options)?;
//! let master = shell.take_console().expect("a container with a terminal");
//! shell.start()?;
//! // Read from and write to `master`, until `shell.pidfd()` is readable.
//! # drop(master);
//! # Ok(())
//! # }
//! ```
//!
//! # Clean up after a crash
//!
//! The id is enough, however far the program got before it died:
//!
//! ```no_run
//! use wharf::{ContainerId, Delete, Runtime};
//!
//! # fn main() -> wharf::Result<()> {
//! let runtime = Runtime::builder().root("/run/example").build()?;
//! for listed in runtime.list()? {
//!     runtime.delete(&ContainerId::new(&listed.id)?, Delete::Force)?;
//! }
//! # Ok(())
//! # }
//! ```
