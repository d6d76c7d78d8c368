//! Many short containers under load: no hang, no wrong exit code, nothing left behind.
//!
//! `stress --runtime PATH [--runs 2000]`: busy loops on all cores and two containers at a time, each of which runs a
//! program that ends at once. Under such load runtimes lose exit events.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use wharf_spec_tests::PROBE;

/// Busy loops beside the containers.
const LOOPS: usize = 8;
/// How many containers run at a time.
const LANES: usize = 2;
/// A run that takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(20);

fn main() -> ExitCode {
    match arguments().and_then(|(runtime, runs)| stress(&runtime, runs)) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("stress: {error}");
            ExitCode::from(2)
        }
    }
}

fn arguments() -> Result<(PathBuf, usize), String> {
    let mut arguments = std::env::args().skip(1);
    let (mut runtime, mut runs) = (None, 2000);
    while let Some(name) = arguments.next() {
        let value = arguments.next().ok_or_else(|| format!("{name} needs a value"))?;
        match name.as_str() {
            "--runtime" => runtime = Some(PathBuf::from(value)),
            "--runs" => runs = value.parse().map_err(|_| format!("--runs: {value:?} is not a number"))?,
            _ => return Err(format!("unknown option {name}")),
        }
    }
    let runtime = runtime.ok_or("--runtime PATH is required")?;
    Ok((std::path::absolute(&runtime).map_err(|error| error.to_string())?, runs))
}

/// Returns how many of the runs went wrong.
fn stress(runtime: &Path, runs: usize) -> Result<usize, String> {
    let dir = tempfile::tempdir().map_err(|error| error.to_string())?;
    let bundle = dir.path().join("bundle");
    make_bundle(&bundle)?;
    let root = dir.path().join("state");
    let prefix = format!("stress-{}", std::process::id());
    let (next, failed, over) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicBool::new(false));
    let begin = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..LOOPS {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        let lanes: Vec<_> = (0..LANES)
            .map(|_| {
                scope.spawn(|| {
                    loop {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        if number >= runs {
                            break;
                        }
                        let id = format!("{prefix}-{number}");
                        if let Err(what) = one(runtime, &root, &bundle, &id, (number % 3) as i32) {
                            eprintln!("run {number}: {what}");
                            failed.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                })
            })
            .collect();
        for lane in lanes {
            if lane.join().is_err() {
                failed.fetch_add(1, Ordering::Relaxed);
            }
        }
        over.store(true, Ordering::Relaxed);
    });
    let mut wrong = failed.into_inner();
    for left in leftovers(&root, &prefix) {
        eprintln!("left: {left}");
        wrong += 1;
    }
    println!("{runs} runs under {LOOPS} busy loops took {:.1} s", begin.elapsed().as_secs_f64());
    println!("{} passed, {wrong} failed", runs.saturating_sub(wrong));
    Ok(wrong)
}

fn make_bundle(bundle: &Path) -> Result<(), String> {
    let text = |error: std::io::Error| error.to_string();
    let rootfs = bundle.join("rootfs");
    for name in ["proc", "dev", "sys"] {
        std::fs::create_dir_all(rootfs.join(name)).map_err(text)?;
    }
    std::fs::write(rootfs.join("probe"), PROBE).map_err(text)?;
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(rootfs.join("probe"), mode).map_err(text)
}

/// One container whose program ends at once with `code`.
fn one(runtime: &Path, root: &Path, bundle: &Path, id: &str, code: i32) -> Result<(), String> {
    let lane = bundle.with_file_name(format!("bundle-{id}"));
    let spec = wharf_spec_tests::Spec::new()
        .args(&["/probe", "exit", &code.to_string()])
        .set("/root/path", bundle.join("rootfs").display().to_string());
    std::fs::create_dir_all(&lane).map_err(|error| error.to_string())?;
    std::fs::write(lane.join("config.json"), spec.0.to_string()).map_err(|error| error.to_string())?;
    let child = Command::new(runtime)
        .arg("--root")
        .arg(root)
        .args(["run", "--bundle"])
        .arg(&lane)
        .arg(id)
        .stdin(Stdio::null())
        .spawn()
        .map_err(|error| error.to_string())?;
    let status = wait(child)?;
    std::fs::remove_dir_all(&lane).map_err(|error| error.to_string())?;
    if status == Some(code) { Ok(()) } else { Err(format!("exit code {status:?}, want {code}")) }
}

/// Waits for the end through a pidfd; kills a run that takes longer than `PATIENCE`.
fn wait(mut child: std::process::Child) -> Result<Option<i32>, String> {
    let pid = rustix::process::Pid::from_child(&child);
    let pidfd = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty())
        .map_err(|errno| errno.to_string())?;
    let mut fds = [rustix::event::PollFd::new(&pidfd, rustix::event::PollFlags::IN)];
    let patience = rustix::event::Timespec { tv_sec: PATIENCE.as_secs() as i64, tv_nsec: 0 };
    let ready = rustix::event::poll(&mut fds, Some(&patience)).map_err(|errno| errno.to_string())?;
    if ready == 0 {
        child.kill().and_then(|()| child.wait()).map_err(|error| error.to_string())?;
        return Err(format!("HANG: still there after {} s", PATIENCE.as_secs()));
    }
    child.wait().map(|status| status.code()).map_err(|error| error.to_string())
}

/// State directories and cgroups of the runs.
fn leftovers(root: &Path, prefix: &str) -> Vec<String> {
    let mut found: Vec<String> = std::fs::read_dir(root)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path().display().to_string())
        .collect();
    for hierarchy in std::fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten() {
        for entry in std::fs::read_dir(hierarchy.path()).into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().starts_with(prefix) {
                found.push(entry.path().display().to_string());
            }
        }
    }
    found
}
