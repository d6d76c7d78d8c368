//! The program that a container can reach through `/proc/PID/exe` is never writable, neither while it runs nor later.
//!
//! Each test stops the program behind its protection by a log file that is a pipe without a reader.

use std::fs::{self, File, OpenOptions};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::stat::Mode;
use nix::unistd::{geteuid, mkfifo};

const WHARF: &str = env!("CARGO_BIN_EXE_wharf");

/// A program that waits; killed with the test.
struct Waiting {
    child: Child,
    link: PathBuf,
}

impl Waiting {
    fn start(dir: &Path, mut command: Command) -> Self {
        let log = dir.join("log");
        mkfifo(&log, Mode::S_IRWXU).unwrap();
        command.arg("--log").arg(&log).args(["--root", "/nonexistent", "create", "-b", "/nonexistent", "x"]);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let mut waiting = Self { child, link: PathBuf::new() };
        let exe = PathBuf::from(format!("/proc/{}/exe", waiting.child.id()));
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let link = fs::read_link(&exe).unwrap();
            if link == Path::new("/") || link.starts_with("/memfd:wharf (deleted)") {
                waiting.link = link;
                return waiting;
            }
            assert!(Instant::now() < deadline, "still runs {}", link.display());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn program(&self) -> File {
        File::open(format!("/proc/{}/exe", self.child.id())).unwrap()
    }

    fn stop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn open_for_writing(program: &File) -> std::io::Result<File> {
    OpenOptions::new().write(true).open(format!("/proc/self/fd/{}", program.as_raw_fd()))
}

#[test]
fn the_private_mount_stays_read_only_after_the_end_of_the_program() {
    if !geteuid().is_root() {
        println!("skipped: the private mount needs root");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    // A copy that no other test runs: a file that is being executed refuses writers for that reason first.
    let copy = dir.path().join("wharf");
    fs::copy(WHARF, &copy).unwrap();
    let mut waiting = Waiting::start(dir.path(), Command::new(&copy));
    assert_eq!(waiting.link, Path::new("/"));
    let program = waiting.program();
    assert!(open_for_writing(&program).is_err());
    waiting.stop();
    assert_eq!(open_for_writing(&program).unwrap_err().raw_os_error(), Some(nix::libc::EROFS));
    // The file itself is as writable as before, so it is the mount that refuses.
    assert!(OpenOptions::new().append(true).open(copy).is_ok());
}

#[test]
fn without_privileges_a_sealed_copy_runs() {
    let probe = Command::new("unshare").args(["--user", "--map-root-user", "true"]).status();
    if !probe.is_ok_and(|status| status.success()) {
        println!("skipped: unshare --user does not work here");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", WHARF]);
    let mut waiting = Waiting::start(dir.path(), command);
    assert!(waiting.link.starts_with("/memfd:wharf (deleted)"), "{}", waiting.link.display());
    let program = waiting.program();
    waiting.stop();
    let mut copy = open_for_writing(&program).unwrap();
    let error = std::io::Write::write(&mut copy, b"x").unwrap_err();
    assert_eq!(error.raw_os_error(), Some(nix::libc::EPERM));
}

#[test]
fn the_marker_in_the_environment_is_no_protection() {
    let output =
        Command::new(WHARF).args(["create", "x"]).env("WHARF_OWN_BINARY_TRIED", "1").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("protect the runtime's own binary"));
}
