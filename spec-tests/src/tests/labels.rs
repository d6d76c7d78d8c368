//! Labels of Linux security modules: rows A67 to A69.

use crate::observe::mount_at;
use crate::outcome::{Outcome, check, fail, same, skip};
use crate::{Bed, Spec, Test, root, test};
use std::fs;
use std::path::Path;
use std::process::Command;

const PROCESS: &str = "system_u:system_r:container_t:s0:c124,c675";
const MOUNT: &str = "system_u:object_r:container_file_t:s0:c124,c675";

pub(super) const TESTS: &[Test] = &[
    root("A67", "apparmorProfile confines the program and what exec adds", confined),
    test("A67", "an apparmorProfile that is not loaded is refused", |bed| {
        apparmor(bed)?;
        let spec = Spec::new().set("/process/apparmorProfile", "wharf-suite-not-loaded");
        bed.refuses(&spec, &["apparmor", "wharf-suite-not-loaded"])
    }),
    test("A67", "apparmorProfile without AppArmor is refused", |bed| {
        if apparmor(bed).is_ok() {
            return skip("this machine has AppArmor");
        }
        bed.refuses(&Spec::new().set("/process/apparmorProfile", "acme_secure_profile"), &["apparmor"])
    }),
    test("A67 A68 A69", "empty labels ask for nothing", |bed| {
        let spec = Spec::new()
            .set("/process/apparmorProfile", "")
            .set("/process/selinuxLabel", "")
            .set("/linux/mountLabel", "");
        same("pid", &bed.report(&spec)?["pid"], 1)
    }),
    test("A68", "selinuxLabel is the context of the program and of what exec adds", |bed| {
        selinux(bed)?;
        let spec = Spec::new().set("/process/selinuxLabel", PROCESS);
        let answers = bed.tries(&spec, &[&["read", "/proc/self/attr/current"]])?;
        labelled(answers[0].worked()?.as_str(), PROCESS)?;
        let container = bed.waiting(&spec)?;
        let answers = container.tries(&[&["read", "/proc/self/attr/current"]])?;
        labelled(answers[0].worked()?.as_str(), PROCESS)
    }),
    test("A68", "a selinuxLabel that is no context is refused", |bed| {
        selinux(bed)?;
        bed.refuses(
            &Spec::new().set("/process/selinuxLabel", "nonsense"),
            &["selinux", "label", "nonsense"],
        )?;
        bed.refuses(
            &Spec::new().set("/process/selinuxLabel", "nonsense_u:nonsense_r:nonsense_t:s0"),
            &["selinux", "label", "nonsense"],
        )
    }),
    test("A68", "selinuxLabel without SELinux is refused", |bed| {
        if selinux(bed).is_ok() {
            return skip("this machine has SELinux");
        }
        bed.refuses(&Spec::new().set("/process/selinuxLabel", PROCESS), &["selinux"])
    }),
    test("A69", "mountLabel is the context of file systems that are made for the container", |bed| {
        selinux(bed)?;
        let spec = Spec::new().set("/linux/mountLabel", MOUNT).mount("/mnt", "tmpfs", "tmpfs", &[]);
        let seen = bed.report(&spec)?;
        for destination in ["/mnt", "/dev", "/dev/shm"] {
            let text = mount_at(&seen, destination)?["super"].to_string();
            check(text.contains("context=") && text.contains("container_file_t"), || {
                format!("{destination}: {text}")
            })?;
        }
        Ok(())
    }),
    test("A69", "mountLabel without SELinux is refused, whatever is mounted", |bed| {
        if selinux(bed).is_ok() {
            return skip("this machine has SELinux");
        }
        let words = ["label", "selinux", "context="];
        bed.refuses(&Spec::new().set("/linux/mountLabel", MOUNT), &words)?;
        let mut spec = Spec::new().set("/linux/mountLabel", MOUNT);
        for destination in ["/dev", "/dev/pts", "/dev/shm", "/dev/mqueue"] {
            spec = spec.no_mount(destination);
        }
        bed.refuses(&spec.set("/linux/maskedPaths", serde_json::json!([])), &words)
    }),
];

fn apparmor(bed: &Bed<'_>) -> Outcome {
    bed.host.needs_path("/sys/module/apparmor/parameters/enabled")?;
    let enabled = fs::read_to_string("/sys/module/apparmor/parameters/enabled")?;
    if enabled.starts_with('Y') { Ok(()) } else { skip("AppArmor is switched off on this machine") }
}

fn selinux(bed: &Bed<'_>) -> Outcome {
    bed.host.needs_path("/sys/fs/selinux/enforce")
}

/// The kernel ends the text with a NUL.
fn labelled(text: Option<&str>, wanted: &str) -> Outcome {
    same("context", text.unwrap_or_default().trim_end_matches(['\0', '\n']), wanted)
}

/// A profile that is loaded into the kernel as long as this lives.
struct Profile {
    name: String,
    file: std::path::PathBuf,
}

impl Profile {
    /// Denies /data/secret, and nothing else.
    fn load(dir: &Path) -> Outcome<Self> {
        let name = format!("wharf-suite-{}", std::process::id());
        let file = dir.join("profile");
        let text = format!(
            "profile {name} flags=(attach_disconnected,mediate_deleted) {{\n  file,\n  capability,\n  network,\n  \
             mount,\n  umount,\n  signal,\n  ptrace,\n  unix,\n  deny /data/secret r,\n}}\n"
        );
        fs::write(&file, text)?;
        let profile = Self { name, file };
        profile.parser("--replace").map(|()| profile)
    }

    fn parser(&self, action: &str) -> Outcome {
        let done = Command::new("apparmor_parser").args(["--skip-cache", action]).arg(&self.file).output();
        match done {
            Ok(done) if done.status.success() => Ok(()),
            Ok(done) => fail(format!("apparmor_parser {action}: {}", String::from_utf8_lossy(&done.stderr))),
            Err(error) => skip(format!("cannot load a profile: apparmor_parser: {error}")),
        }
    }
}

impl Drop for Profile {
    fn drop(&mut self) {
        let _left = self.parser("--remove");
    }
}

fn confined(bed: &Bed<'_>) -> Outcome {
    apparmor(bed)?;
    // The parser looks for the module there.
    bed.host.needs_path("/sys/kernel/security/apparmor")?;
    let profile = Profile::load(bed.dir())?;
    let spec = Spec::new().set("/process/apparmorProfile", profile.name.as_str());
    let bundle = bed.bundle(&spec.args(&["/probe", "wait"]))?;
    bundle.file("data/secret", "secret")?;
    bundle.file("data/open", "open")?;
    let container = bed.create(&bundle)?;
    container.start()?;
    container.until_output("ready")?;
    let pid = container.pid()?.as_raw_pid();
    let wanted = format!("{} (enforce)", profile.name);
    let current = fs::read_to_string(format!("/proc/{pid}/attr/apparmor/current"))?;
    same("profile", current.trim_end(), wanted.as_str())?;
    let answers = container.tries(&[
        &["read", "/proc/self/attr/apparmor/current"],
        &["read", "/data/secret"],
        &["read", "/data/open"],
    ])?;
    same("profile of exec", answers[0].worked()?.as_str().map(str::trim_end), Some(wanted.as_str()))?;
    answers[1].failed(&[13])?;
    answers[2].worked()?;
    container.stop()?;
    container.delete().map(drop)
}
