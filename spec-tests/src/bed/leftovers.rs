//! What a test left behind on the host: found, reported and removed.

use super::Bed;
use crate::bundle::Bundle;
use crate::cgroup;
use crate::outcome::{Fault, Outcome, fail};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open, pidfd_send_signal};
use std::fs;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};

impl Bed<'_> {
    /// What is left of a container on this host.
    pub fn leftovers(&self, bundle: &Bundle) -> Vec<String> {
        let mut found = Vec::new();
        if self.state_dir(&bundle.id).symlink_metadata().is_ok() {
            found.push("its state directory".to_owned());
        }
        found.extend(self.cgroups(bundle).iter().map(|path| format!("cgroup {}", path.display())));
        if self.runtime.systemd() {
            found.extend(units(self.host.root, &bundle.id).into_iter().map(|unit| format!("unit {unit}")));
        }
        found.extend(bundle.mounts().into_iter().map(|target| format!("mount {target}")));
        found.extend(bundle.processes().into_iter().map(|pid| format!("process {}", pid.as_raw_pid())));
        found
    }

    /// Cgroups of a container that exist, whichever driver made them.
    fn cgroups(&self, bundle: &Bundle) -> Vec<PathBuf> {
        let hierarchies = &self.host.hierarchies;
        if self.runtime.systemd() {
            return cgroup::named(hierarchies, &bundle.id);
        }
        let configured = bundle.spec().ok().and_then(|spec| {
            let path = spec.pointer("/linux/cgroupsPath")?.as_str()?;
            Some(path.trim_start_matches('/').to_owned())
        });
        let names: Vec<String> = [configured, Some(bundle.id.clone())]
            .into_iter()
            .flatten()
            .filter(|name| name.contains(&bundle.id))
            .collect();
        let paths = hierarchies.iter().flat_map(|hierarchy| names.iter().map(|name| hierarchy.join(name)));
        paths.filter(|path| path.is_dir()).collect()
    }

    /// This test breaks the state on purpose: leftovers are cleaned up but not reported.
    pub fn tolerate_leftovers(&self) {
        self.tolerated.set(true);
    }

    /// Deletes every container and reports what remained.
    pub fn clean_up(&self) -> Outcome {
        let mut left = Vec::new();
        self.end.set(Instant::now() + Duration::from_secs(20));
        for bundle in self.bundles.borrow().iter() {
            if self.state_dir(&bundle.id).exists() {
                let deleted = self.call(["delete", "--force", &bundle.id]);
                if let Err(Fault::Failed(text)) = deleted {
                    left.push(text);
                }
            }
            // Others see the end of a killed process a moment after `delete` has returned.
            let end = Instant::now() + Duration::from_secs(2);
            let mut remains = self.leftovers(bundle);
            while !remains.is_empty() && Instant::now() < end {
                std::thread::sleep(Duration::from_millis(20));
                remains = self.leftovers(bundle);
            }
            self.sweep(bundle);
            left.extend(remains);
        }
        left.extend(self.states().into_iter().map(|name| format!("{name} in the state root")));
        left.extend(self.end_strays().into_iter().map(|pid| format!("process {pid} of the runtime")));
        if left.is_empty() || self.tolerated.get() {
            return Ok(());
        }
        fail(format!("left behind after delete --force: {}", left.join(", ")))
    }

    /// What is in the state root and does not belong to a bundle of the bed.
    fn states(&self) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.root()) else { return Vec::new() };
        let names = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
        let bundles = self.bundles.borrow();
        names.filter(|name| bundles.iter().all(|bundle| bundle.id != *name)).collect()
    }

    /// Kills processes of this bed's calls that still run and do not end by themselves soon.
    pub(crate) fn end_strays(&self) -> Vec<i32> {
        self.end_strays_after(Duration::from_secs(1))
    }

    /// The same with another time to end by themselves.
    pub(crate) fn end_strays_after(&self, patience: Duration) -> Vec<i32> {
        let end = Instant::now() + patience;
        while !self.strays().is_empty() {
            if Instant::now() > end {
                let held = self.strays();
                for (_, handle) in &held {
                    let _gone = pidfd_send_signal(handle, Signal::KILL);
                }
                return held.into_iter().map(|(pid, _)| pid).collect();
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Vec::new()
    }

    /// Processes of this bed's calls, identified by the mark in their initial environment.
    fn strays(&self) -> Vec<(i32, OwnedFd)> {
        let mark = format!("{}={}", crate::runtime::MARKER, self.mark);
        let is_ours = |pid: i32| {
            let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            environment.split(|byte| *byte == 0).any(|variable| variable == mark.as_bytes())
        };
        let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
        let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
        pids.filter(|pid| is_ours(*pid))
            .filter_map(|pid| Some((pid, pidfd_open(Pid::from_raw(pid)?, PidfdFlags::empty()).ok()?)))
            // Another process may have got the pid before it was opened.
            .filter(|(pid, _)| is_ours(*pid))
            .collect()
    }

    /// Removes by hand what the runtime left.
    fn sweep(&self, bundle: &Bundle) {
        for pid in bundle.processes() {
            let _gone = kill_process(pid, Signal::KILL);
        }
        for path in self.cgroups(bundle) {
            for pid in cgroup::members(&path) {
                let _gone = kill_process(pid, Signal::KILL);
            }
            cgroup::remove(&path);
        }
        for target in bundle.mounts().iter().rev() {
            let _gone = rustix::mount::unmount(target.as_str(), rustix::mount::UnmountFlags::DETACH);
        }
    }
}

/// Units of systemd, including failed ones, with this word in their names.
fn units(root: bool, word: &str) -> Vec<String> {
    let mut command = std::process::Command::new("systemctl");
    if !root {
        command.arg("--user");
    }
    let words = ["list-units", "--all", "--plain", "--no-legend", "--no-pager"];
    let Ok(answer) = command.args(words).arg(format!("*{word}*")).output() else { return Vec::new() };
    let table = String::from_utf8_lossy(&answer.stdout).into_owned();
    table.lines().filter_map(|line| line.split_whitespace().next().map(str::to_owned)).collect()
}
