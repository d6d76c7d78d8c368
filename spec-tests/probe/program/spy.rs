//! A hostile process: it looks into every process that it can see, and tells what it found there of the host.

use crate::json::object;
use std::fs;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// What was found, by kind.
#[derive(Default)]
struct Found {
    /// Processes that were looked into before they had become a program of the container.
    caught: u64,
    /// Processes through whose root directory a file of the host was reached.
    root: u64,
    /// Or through the working directory.
    cwd: u64,
    /// Descriptors of directories and files.
    descriptors: u64,
    /// Processes with the secret in their environment, their arguments or their memory.
    environment: u64,
    arguments: u64,
    memory: u64,
    /// Programs that could be opened for writing.
    program: u64,
    /// Processes without the seccomp filter that this one has.
    unfiltered: u64,
    /// Capabilities that this process lacks.
    capabilities: u64,
}

/// Looks until there is a file `stop`. `mark` is a path on the host, whose directory the caller of the runtime names in its
/// arguments and works in; `secret` is a text in its environment.
pub fn look(mark: &str, secret: &str, stop: &str) -> String {
    let mut found = Found::default();
    let own = fs::read_link("/proc/self/exe").unwrap_or_default();
    let (me, held, filtered) = (std::process::id(), permitted("self"), status("self", "Seccomp:"));
    println!("ready");
    let mut last = 0;
    while !Path::new(stop).exists() {
        let Ok(entries) = fs::read_dir("/proc") else { break };
        for entry in entries.flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
            if pid == me {
                continue;
            }
            let at = format!("/proc/{pid}");
            // Gone, or a program of the container by now.
            let Ok(program) = fs::read_link(format!("{at}/exe")) else { continue };
            if program == own {
                continue;
            }
            found.caught += u64::from(last != pid);
            last = pid;
            found.look_into(&at, mark, secret, held);
            let seen = status(&pid.to_string(), "Seccomp:");
            found.unfiltered += u64::from(!seen.is_empty() && seen != filtered);
        }
    }
    object([
        ("caught".into(), found.caught.to_string()),
        ("root".into(), found.root.to_string()),
        ("cwd".into(), found.cwd.to_string()),
        ("descriptors".into(), found.descriptors.to_string()),
        ("environment".into(), found.environment.to_string()),
        ("arguments".into(), found.arguments.to_string()),
        ("memory".into(), found.memory.to_string()),
        ("program".into(), found.program.to_string()),
        ("unfiltered".into(), found.unfiltered.to_string()),
        ("capabilities".into(), found.capabilities.to_string()),
    ])
}

impl Found {
    fn look_into(&mut self, at: &str, mark: &str, secret: &str, held: u64) {
        self.root += u64::from(Path::new(&format!("{at}/root{mark}")).exists());
        let name = Path::new(mark).file_name().unwrap_or_default().to_string_lossy().into_owned();
        self.cwd += u64::from(Path::new(&format!("{at}/cwd/{name}")).exists());
        for descriptor in fs::read_dir(format!("{at}/fd")).into_iter().flatten().flatten() {
            // The streams are what the caller gave to the container. Pipes, sockets and devices lead nowhere.
            if ["0", "1", "2"].iter().any(|stream| descriptor.file_name() == **stream) {
                continue;
            }
            let leads = fs::metadata(descriptor.path()).is_ok_and(|meta| meta.is_dir() || meta.is_file());
            self.descriptors += u64::from(leads);
        }
        self.environment += u64::from(contains(&fs::read(format!("{at}/environ")).unwrap_or_default(), secret));
        self.arguments += u64::from(arguments_name(at, mark));
        self.capabilities += u64::from(permitted(at.trim_start_matches("/proc/")) & !held != 0);
        self.program += u64::from(fs::OpenOptions::new().write(true).open(format!("{at}/exe")).is_ok_and(|file| {
            file.metadata().is_ok_and(|meta| meta.ino() != 0)
        }));
        self.memory += u64::from(memory_holds(at, secret));
    }
}

/// Whether the arguments name the directory of the mark.
fn arguments_name(at: &str, mark: &str) -> bool {
    let directory = Path::new(mark).parent().unwrap_or(Path::new(mark)).to_string_lossy();
    contains(&fs::read(format!("{at}/cmdline")).unwrap_or_default(), &directory)
}

/// Whether the writable memory of a process has the secret.
fn memory_holds(at: &str, secret: &str) -> bool {
    let Ok(maps) = fs::read_to_string(format!("{at}/maps")) else { return false };
    let Ok(mut memory) = fs::File::open(format!("{at}/mem")) else { return false };
    maps.lines().filter(|line| line.contains(" rw")).any(|line| {
        let Some((start, end)) = line.split(' ').next().and_then(|range| range.split_once('-')) else { return false };
        let (Ok(start), Ok(end)) = (u64::from_str_radix(start, 16), u64::from_str_radix(end, 16)) else { return false };
        let mut bytes = vec![0; usize::try_from(end - start).unwrap_or(0).min(16 << 20)];
        let read = memory.seek(SeekFrom::Start(start)).and_then(|_| memory.read(&mut bytes));
        read.is_ok_and(|length| contains(&bytes[..length], secret))
    })
}

fn contains(bytes: &[u8], secret: &str) -> bool {
    bytes.windows(secret.len()).any(|window| window == secret.as_bytes())
}

/// The permitted capabilities of a process.
fn permitted(pid: &str) -> u64 {
    u64::from_str_radix(&status(pid, "CapPrm:"), 16).unwrap_or(0)
}

/// A field of the status of a process; empty when it is gone.
fn status(pid: &str, field: &str) -> String {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let value = status.lines().find_map(|line| line.strip_prefix(field));
    value.unwrap_or_default().trim().to_owned()
}
