//! What `check` can find out about the host and the image without changing them, as any user.
//!
//! The host may change before a container is created, so a creation does not check: it tries. What cannot be looked at
//! (for lack of rights, or because a mount will cover it) is not a finding.

mod block_devices;
mod cgroups;
mod filesystems;
mod hooks;
mod image;
mod labels;
mod namespaces;
mod net_devices;
mod places;
mod present;
mod program;
mod sysctls;

pub(super) use self::namespaces::refuse_host_sysctls;

use super::cgroups::layout;
use super::claims::Claims;
use super::options::CreateOptions;
use super::runtime::Runtime;
use super::terminal::{self, has_terminal};
use crate::bundle::Bundle;
use crate::check::rootless;
use crate::error::Error;
use crate::finding::Finding;
use crate::host::Host;
use crate::linux::lsm;
use crate::sys::process;
use image::Image;

impl Runtime {
    /// Everything that is wrong with a bundle, and everything that deserves a warning, before any side effect.
    ///
    /// It needs no privilege. Things that the caller may not look at, and those that only an attempt would show, are
    /// left out; missing rights of the caller are reported.
    pub fn check(&self, bundle: &Bundle) -> Vec<Finding> {
        let mut findings = bundle.warnings().to_vec();
        findings.extend(crate::check::check(bundle.spec()));
        check(self, bundle, &mut findings);
        findings
    }

    /// As [`Runtime::check`], and also reports what is wrong with these options: where the terminal goes.
    pub fn check_with(&self, bundle: &Bundle, options: &CreateOptions) -> Vec<Finding> {
        let mut findings = self.check(bundle);
        let terminal = has_terminal(bundle.spec().process().as_ref());
        add(&mut findings, terminal::check(terminal, &options.child.console).err());
        findings
    }
}

/// Everything in a bundle that the host or the image cannot satisfy.
fn check(runtime: &Runtime, bundle: &Bundle, findings: &mut Vec<Finding>) {
    let spec = bundle.spec();
    let host = match Host::probe() {
        Ok(host) => Some(host),
        Err(error) => {
            findings.push(error.into());
            None
        }
    };
    let mut image = None;
    if let Some(root) = spec.root() {
        let rootfs = bundle.dir().join(root.path());
        if rootfs.is_dir() {
            image = Image::open(&rootfs, spec);
        } else {
            findings.push(Finding::error("/root/path", format!("{} is not a directory", rootfs.display())));
        }
    }
    if let Some(image) = &image {
        places::check(bundle, host, image, findings);
        program::check(spec, image, findings);
    }
    if let Ok(layout) = layout(bundle) {
        let rootless = host.is_some_and(Host::is_rootless);
        cgroups::check(spec, runtime.cgroups(), &layout, rootless, findings);
    }
    present::check(bundle, findings);
    hooks::check(spec, image.as_ref(), findings);
    filesystems::check(spec, findings);
    namespaces::check(spec, findings);
    sysctls::check(spec, findings);
    add(findings, lsm::refuse_absent(spec.process().as_ref(), "/process", spec.linux().as_ref()).err());
    add(findings, labels::unknown(spec));
    add(findings, Claims::missing(spec, runtime.resctrl()));
    add(findings, net_devices::clashes(spec));
    if let Some(host) = host {
        findings.extend(rootless::check(spec, host, hard_limit));
        let read = |file: &str| {
            let user = nix::unistd::User::from_uid(host.euid.into()).ok().flatten();
            let text = std::fs::read_to_string(file).unwrap_or_default();
            rootless::ranges(&text, user.as_ref().map(|user| user.name.as_str()), host.euid)
        };
        if !host.maps_ids() {
            findings.extend(rootless::check_ranges(spec, host, &read("/etc/subuid"), &read("/etc/subgid")));
        }
    }
    if let Some(seccomp) = spec.linux().as_ref().and_then(|linux| linux.seccomp().as_ref()) {
        findings.extend(crate::linux::seccomp::validate(seccomp));
    }
}

/// The caller's own hard limit of a resource.
pub(super) fn hard_limit(resource: u32) -> Option<u64> {
    process::rlimit(0, resource).ok().map(|(_, hard)| hard)
}

/// Adds what an attempt would report, unless there is already an error about the same property: each mistake is
/// reported once.
fn add(findings: &mut Vec<Finding>, errors: impl IntoIterator<Item = Error>) {
    for error in errors.into_iter().map(Finding::from) {
        if !findings.iter().any(|finding| finding.is_error() && finding.pointer == error.pointer) {
            findings.push(error);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn one_mistake_is_told_once() {
        let mut findings = vec![Finding::error("/a", "first"), Finding::warning("/b", "warned")];
        let error = |at: &str| Error::new(ErrorKind::InvalidSpec, "again").at(at);
        add(&mut findings, [error("/a"), error("/b"), error("/c")]);
        let told: Vec<_> = findings.iter().map(|finding| (&*finding.pointer, &*finding.message)).collect();
        assert_eq!(told, [("/a", "first"), ("/b", "warned"), ("/b", "again"), ("/c", "again")]);
    }
}
