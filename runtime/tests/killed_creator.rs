//! A program that creates containers is killed at any moment: the id alone is enough to clean up after it.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::fd::AsFd as _;
use std::process::{Command, Stdio as Pipe};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use pidfd::pidfd_open;
use wharf::{ContainerId, CreateOptions, Delete, ErrorKind, ExitStatus, Runtime};

mod bed;
use bed::{Bed, config, processes_with};

/// Tells the copy of this program that it is the creator, and where.
const CREATOR: &str = "WHARF_TEST_CREATOR";
const ROUNDS: u32 = 60;

#[allow(unsafe_code, reason = "neither std nor nix has the call")]
mod pidfd {
    use std::os::fd::{FromRawFd as _, OwnedFd};

    /// A descriptor that becomes readable when the process ends.
    pub(crate) fn pidfd_open(pid: i32) -> Option<OwnedFd> {
        // SAFETY: pidfd_open(2) takes two integers.
        let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
        // SAFETY: the kernel has just returned this descriptor, and no other code knows it.
        (fd >= 0).then(|| unsafe { OwnedFd::from_raw_fd(fd as i32) })
    }
}

/// Not a test: the program that is killed. It makes containers of all ages until then.
#[test]
fn creator() {
    let Ok(directory) = std::env::var(CREATOR) else { return };
    let (root, prefix) = directory.split_once(' ').expect("a state directory and a prefix");
    let runtime = Runtime::builder().root(root).build().expect("a runtime");
    let dir = fs::canonicalize(root).expect("the state directory").join("..");
    println!("\nready");
    for number in 0.. {
        let id = ContainerId::new(&format!("{prefix}-{number}")).expect("a valid id");
        let bundle = bundle(&dir, &id);
        let container = match number % 3 {
            2 => runtime.run(&id, &bundle, CreateOptions::new()),
            _ => runtime.create(&id, &bundle, CreateOptions::new()),
        };
        let container = container.expect("create");
        if number % 3 == 1 {
            container.start().expect("start");
        }
        if number % 4 == 3 {
            container.delete(Delete::Force).expect("delete");
        }
    }
}

fn bundle(dir: &std::path::Path, id: &ContainerId) -> wharf::Bundle {
    let mut config = config(&["/bin/busybox", "sh", "-c", "sleep 1000; :", id.as_str()]);
    config["linux"]["cgroupsPath"] = format!("/{}", id.as_str()).into();
    wharf::Bundle::from_bytes(config.to_string().as_bytes(), dir).expect("a bundle")
}

/// Waits for the end of processes that end by themselves now; what remains is returned.
fn remaining(word: &str) -> Vec<(i32, String)> {
    for (pid, _) in processes_with(word) {
        if let Some(pidfd) = pidfd_open(pid) {
            let patience = PollTimeout::try_from(Duration::from_secs(10)).expect("a timeout");
            poll(&mut [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)], patience).expect("poll");
        }
    }
    processes_with(word)
}

#[test]
fn a_kill_at_any_moment_leaves_nothing_that_delete_does_not_remove() {
    if std::env::var(CREATOR).is_ok() {
        return;
    }
    let Some(bed) = Bed::new("killed") else { return };
    fs::create_dir_all(bed.runtime().root()).expect("mkdir");
    let (mut deleted, mut interrupted) = (0, 0);
    for round in 0..ROUNDS {
        let prefix = format!("{}-{round}", bed.tag());
        let mut child = Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", "creator", "--nocapture", "--test-threads=1"])
            .env(CREATOR, format!("{} {prefix}", bed.runtime().root().display()))
            .stdout(Pipe::piped())
            .stderr(Pipe::null())
            .spawn()
            .expect("a copy of this program");
        let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let ready = lines.map_while(Result::ok).any(|line| line == "ready");
        assert!(ready, "the creator does not begin");
        let pidfd = pidfd_open(child.id() as i32).expect("a child");
        // 1 to 40 ms in an order without a pattern: 7 has no common divisor with 40.
        let moment = PollTimeout::try_from(round * 7 % 40 + 1).expect("a timeout");
        let ended = poll(&mut [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)], moment).expect("poll");
        assert_eq!(ended, 0, "the creator failed: {:?}", child.wait());
        child.kill().expect("kill");
        child.wait().expect("wait");

        let listed = bed.runtime().list().expect("list");
        let highest = listed.len() as u32 * 2 + 3;
        for one in &listed {
            let id = ContainerId::new(&one.id).expect("a valid id");
            let open = bed.runtime().open(&id);
            interrupted += u32::from(open.is_err());
            bed.runtime().delete(&id, Delete::Force).unwrap_or_else(|error| panic!("round {round}: {error}"));
            deleted += 1;
        }
        assert_eq!(remaining(&prefix), [], "round {round}");
        assert_eq!(bed.leftovers(), [""; 0], "round {round}");
        // An id that was used, or interrupted, is free again.
        let id = ContainerId::new(&format!("{prefix}-{}", round % highest.min(3))).expect("a valid id");
        let again =
            bed.runtime().create(&id, &bundle(bed.path(), &id), CreateOptions::new()).expect("create");
        again.start().expect("start");
        again.delete(Delete::Force).expect("delete");
    }
    println!("{deleted} containers of {ROUNDS} killed creators removed, {interrupted} of them half made");
    assert!(deleted > ROUNDS / 2, "{deleted} containers in {ROUNDS} rounds");
    assert_eq!(bed.leftovers(), [""; 0]);
}

/// What is done to a file.
type Damage<'d> = &'d dyn Fn(&std::path::Path);

#[test]
fn damaged_state_files_do_not_keep_a_container_alive() {
    if std::env::var(CREATOR).is_ok() {
        return;
    }
    let Some(bed) = Bed::new("damaged") else { return };
    let write = |text: &'static str| move |path: &std::path::Path| fs::write(path, text).expect("write");
    let cut = |path: &std::path::Path| {
        let bytes = fs::read(path).expect("read");
        fs::write(path, &bytes[..bytes.len() / 2]).expect("write");
    };
    let gone = |path: &std::path::Path| fs::remove_file(path).expect("unlink");
    let (empty, garbage) = (write(""), write("{\"format\": 99}"));
    let damages: [(&str, Damage<'_>); 4] =
        [("empty", &empty), ("cut", &cut), ("gone", &gone), ("of another form", &garbage)];
    let sets: &[&[&str]] = &[
        &["state.json"],
        &["lock"],
        &["config.json"],
        &["start.sock"],
        &["state.json", "config.json"],
        &["state.json", "lock"],
        &["lock", "config.json"],
    ];
    let mut case = 0;
    for started in [false, true] {
        for files in sets {
            for (what, damage) in damages {
                case += 1;
                if files == &["start.sock"] && (what == "cut" || started) {
                    continue; // a socket cannot be cut, and a running container has none
                }
                let name = format!("{files:?} {what}, started: {started}");
                let id = bed.id(case);
                let container = bed
                    .runtime()
                    .create(&id, &bundle(bed.path(), &id), CreateOptions::new())
                    .expect("create");
                if started {
                    container.start().expect("start");
                }
                let directory = bed.runtime().root().join(id.as_str());
                for file in *files {
                    let path = directory.join(file);
                    if *file == "start.sock" && what != "gone" {
                        fs::remove_file(&path).expect("unlink");
                        fs::write(&path, "").expect("write");
                    }
                    damage(&path);
                }
                let listed = bed.runtime().list().expect("a damaged container does not hide the others");
                assert_eq!(listed.len(), 1, "{name}");
                if files.contains(&"state.json") {
                    let error = bed.runtime().open(&id).expect_err(&name);
                    assert!(
                        matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::WrongState),
                        "{name}: {error}"
                    );
                }
                bed.runtime().delete(&id, Delete::Force).unwrap_or_else(|error| panic!("{name}: {error}"));
                // The child of this process that was not waited for is a zombie now.
                assert_eq!(container.wait().expect("wait"), ExitStatus::Signaled(libc::SIGKILL), "{name}");
                assert_eq!(bed.leftovers(), [""; 0], "{name}");
            }
        }
    }
}
