//! One restore in progress: criu at work, and what it asks for.

use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use oci_spec::runtime::Root;

use super::super::checkpoint::{
    RestoreOptions, WorkDirectory, common_options, inherited, joined_namespaces, words_for_restore,
};
use super::super::creation::Creation;
use super::super::identity::ProcessIdentity;
use super::super::opened::open_namespace;
use super::super::terminal::Destination;
use super::inside::{loopback_up, make_root_read_only};
use super::verify::{Policy, verify};
use super::{LOG, PreparedRestore};
use crate::criu::message::{
    CgroupMode, CgroupRoot, CriuRequest, InheritFd, JoinNamespace, Options, RequestType,
};
use crate::criu::session::{CriuLaunch, Session, failure};
use crate::error::{Error, ErrorKind, Result};
use crate::hook::Watch;
use crate::linux::namespace::{Namespaces, Origin};
use crate::sys::pidfd;

/// One restore in progress.
pub(super) struct Restoration<'r, 'c> {
    pub(super) prepared: &'r PreparedRestore<'r>,
    pub(super) options: &'r RestoreOptions,
    pub(super) creation: &'r mut Creation<'c>,
    pub(super) rootfs: &'r Path,
    pub(super) terminal: bool,
    pub(super) console: Destination,
    pub(super) kept_console: Option<OwnedFd>,
    /// The restored first process.
    pub(super) init: Option<(i32, OwnedFd)>,
    /// The pid of criu, and its cgroups, which are the container's.
    pub(super) criu: i32,
    pub(super) cgroups: String,
    pub(super) verified: bool,
}

impl Restoration<'_, '_> {
    pub(super) fn run(&mut self, work: &WorkDirectory<'_>) -> Result<()> {
        let PreparedRestore { program, images, names, streams, namespaces, inheritance, .. } = self.prepared;
        let mut kept = Vec::new();
        let mut inherit_fds = inherited(names, streams, &mut kept);
        let opened = open_joined(namespaces)?;
        for (key, fd) in &opened {
            kept.push(fd.as_fd());
            inherit_fds.push(InheritFd { key: (*key).to_owned(), fd: fd.as_raw_fd() });
        }
        let copies = [streams[0].as_fd(), streams[1].as_fd(), streams[2].as_fd()];
        let [input, output, error] = copies.map(|fd| {
            fd.try_clone_to_owned().map_err(|error| Error::io(&error, "duplicate a standard stream"))
        });
        let launch = CriuLaunch { streams: Some([input?, output?, error?]), kept: &kept };
        let directories: Vec<_> = [images].into_iter().chain(work.own()).collect();
        let (mut session, directories) =
            Session::start_apart(program.path(), launch, self.rootfs, &directories, &|| inheritance.take())?;
        // The processes are born in criu's cgroups, so no limit comes late.
        if let Some(cgroup) = &self.creation.cgroup {
            cgroup.take_in(session.pid())?;
        } else {
            self.creation.enter_scope(session.pid())?;
        }
        self.criu = session.pid();
        let file = format!("/proc/{}/cgroup", self.criu);
        self.cgroups =
            std::fs::read_to_string(&file).map_err(|error| Error::io(&error, format!("read {file}")))?;

        let mut message = common_options(
            &self.options.criu,
            directories.first().unwrap_or(images),
            directories.get(1),
            LOG,
        );
        self.complete(&mut message, inherit_fds)?;
        let mut request = CriuRequest::new(RequestType::Restore);
        request.options = Some(message);
        let answer = session.ask(&request, &mut |script, pid, fd| self.notified(script, pid, fd));
        session.end();
        let response = answer?;
        if !response.success || response.kind() != RequestType::Restore {
            return Err(failure("restore", &response, work.log(LOG).as_mut(), &work.log_path(LOG)));
        }
        if !self.verified {
            let sentence = "criu let the processes go before they could be compared with the configuration";
            return Err(Error::new(ErrorKind::Unsupported, sentence).with_hint("a newer criu is needed"));
        }
        Ok(())
    }

    fn complete(&self, message: &mut Options, inherit_fds: Vec<InheritFd>) -> Result<()> {
        let PreparedRestore { namespaces, host_mounts, label, config_file, .. } = self.prepared;
        message.root = Some(self.rootfs.to_str().map(str::to_owned).ok_or_else(|| {
            Error::new(ErrorKind::Unsupported, format!("{} is not UTF-8", self.rootfs.display()))
                .at("/root/path")
        })?);
        message.external = words_for_restore(host_mounts)?;
        message.inherit_fds = inherit_fds;
        message.evasive_devices = Some(true);
        message.restore_sibling = Some(true);
        message.orphan_pts_master = Some(self.terminal);
        message.tcp_close = Some(self.options.tcp_close);
        message.lsm_profile.clone_from(label);
        message.lsm_mount_context.clone_from(&self.options.lsm_mount_context);
        message.config_file.clone_from(config_file);
        message.cgroup_roots = cgroup_roots(&self.cgroups);
        for (origin, kind) in [(&namespaces.uts, "uts"), (&namespaces.ipc, "ipc")] {
            if let Origin::Joined(path, _) = origin {
                let file = path.to_string_lossy().into_owned();
                message.join_namespaces.push(JoinNamespace { kind: kind.to_owned(), file });
            }
        }
        Ok(())
    }

    fn notified(&mut self, script: &str, pid: Option<i32>, fd: Option<OwnedFd>) -> Result<()> {
        match script {
            "setup-namespaces" | "post-restore" => {
                let Some(pid) = pid else { return Ok(()) };
                if self.init.is_none() {
                    let pidfd =
                        pidfd::open(pid).map_err(|errno| Error::os(errno, format!("open process {pid}")))?;
                    self.init = Some((pid, pidfd));
                }
                if script == "setup-namespaces" { self.set_up_namespaces(pid) } else { Ok(()) }
            }
            "orphan-pts-master" => match fd {
                Some(master) => self.console.take(master, None).map(|kept| self.kept_console = kept),
                None => Ok(()),
            },
            "pre-resume" => self.examine(),
            _ => Ok(()),
        }
    }

    /// The namespaces exist and are still empty: run the hooks that attach a network.
    fn set_up_namespaces(&mut self, pid: i32) -> Result<()> {
        if self.prepared.namespaces.network.is_new() {
            loopback_up(pid)?;
        }
        match &self.init {
            Some((_, pidfd)) => {
                self.creation.run_runtime_hooks(pid, Watch { process: Some(pidfd.as_fd()), cancel: None })
            }
            None => Err(Error::new(ErrorKind::System, "criu did not tell which process it made")),
        }
    }

    /// Everything is restored, and no process has run yet.
    fn examine(&mut self) -> Result<()> {
        let Some((pid, pidfd)) = &self.init else {
            return Err(Error::new(ErrorKind::System, "criu did not tell which process it made"));
        };
        let (pid, identity) = (*pid, ProcessIdentity::of(*pid, pidfd.as_fd())?);
        let root = self.prepared.bundle.spec().root().as_ref();
        let made = match root.and_then(Root::readonly) {
            Some(true) => make_root_read_only(pid),
            _ => Ok(()),
        };
        made.and_then(|()| self.compare(pid)).inspect_err(|_| {
            // At this point criu only notes the refusal, and would let them run.
            let _ = pidfd::send_signal(pidfd.as_fd(), libc::SIGKILL);
            if let Some(cgroup) = &self.creation.cgroup {
                cgroup.kill(libc::SIGKILL).ok();
            }
        })?;
        if let Some(cgroup) = &self.creation.cgroup {
            self.creation.record.cgroup = cgroup.record().clone();
        }
        self.creation.record.init = Some(identity);
        if has_own_time(pid) {
            // criu makes one for every container, to keep its clocks going.
            self.creation.record.namespaces |= libc::CLONE_NEWTIME;
        }
        self.creation.directory.complete(&self.creation.record)?;
        self.verified = true;
        Ok(())
    }

    fn compare(&self, pid: i32) -> Result<()> {
        let PreparedRestore {
            bundle, namespaces, capabilities, host_mounts, seccomp, label, streams, ..
        } = self.prepared;
        let mode = self.options.criu.cgroups.message();
        if let Some(cgroup) = &self.creation.cgroup {
            let devices = matches!(mode, CgroupMode::Full | CgroupMode::Strict);
            self.creation.cgroup_plan.apply_again(cgroup, devices)?;
        }
        let mut known = Vec::new();
        for stream in streams {
            let file = std::fs::File::from(
                stream.try_clone().map_err(|error| Error::io(&error, "duplicate a standard stream"))?,
            );
            known.extend(file.metadata().map(|file| (file.dev(), file.ino())));
        }
        let policy = Policy {
            spec: bundle.spec(),
            namespaces,
            capabilities: *capabilities,
            rootfs: self.rootfs,
            host_mounts,
            seccomp: *seccomp,
            cgroups: &self.cgroups,
            criu: &self.criu.to_string(),
            label: label.as_deref(),
            streams: &known,
        };
        verify(pid, &policy)
    }
}

/// The joined namespaces that the images name.
fn open_joined(namespaces: &Namespaces) -> Result<Vec<(&'static str, OwnedFd)>> {
    let mut opened = Vec::new();
    for (origin, _, key) in joined_namespaces(namespaces) {
        if let Origin::Joined(path, index) = origin {
            let pointer = format!("/linux/namespaces/{index}/path");
            opened.push((key, open_namespace(path).map_err(|error| error.at(pointer))?));
        }
    }
    Ok(opened)
}

/// The cgroups of a process, one for each controller.
fn cgroup_roots(text: &str) -> Vec<CgroupRoot> {
    let mut roots = Vec::new();
    for line in text.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        if let (Some(controllers), Some(path)) = (fields.next(), fields.next()) {
            roots.extend(controllers.split(',').map(|controller| CgroupRoot {
                controller: Some(controller.to_owned()),
                path: path.to_owned(),
            }));
        }
    }
    roots
}

fn has_own_time(pid: i32) -> bool {
    let link = |path: String| std::fs::read_link(path).ok();
    let (theirs, ours) = (link(format!("/proc/{pid}/ns/time")), link("/proc/self/ns/time".to_owned()));
    theirs.is_some() && theirs != ours
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_controller_gets_its_root() {
        let roots = cgroup_roots("4:cpu,cpuacct:/a:b\n1:name=systemd:/s\n0::/u\n");
        let plain: Vec<_> = roots
            .iter()
            .map(|root| (root.controller.as_deref().unwrap_or("none"), root.path.as_str()))
            .collect();
        assert_eq!(plain, [("cpu", "/a:b"), ("cpuacct", "/a:b"), ("name=systemd", "/s"), ("", "/u")]);
    }
}
