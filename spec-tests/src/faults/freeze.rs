//! Cgroups that another program has frozen: nothing may be made below them, since it would never run.

use crate::cgroup::{self, Hierarchy};
use crate::outcome::{Outcome, check, skip};
use crate::{Bed, Spec, Test, root};
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

pub(super) const TESTS: &[Test] = &[
    root("F36", "create below a frozen cgroup of v1 is refused, and names it", |bed| refused(bed, false)),
    root("F36", "create below a frozen cgroup of v2 is refused, and names it", |bed| refused(bed, true)),
    root("F36", "exec in a container below a frozen cgroup is refused, and names it", |bed| {
        let frozen = Frozen::place(bed)?;
        let container =
            bed.waiting(&Spec::new().set("/linux/cgroupsPath", frozen.below("deep/container")))?;
        frozen.freeze()?;
        let called =
            bed.command(["exec", container.id(), "/probe", "true"]).patience(Duration::from_secs(5)).call();
        frozen.thaw();
        bed.call(["delete", "--force", container.id()])?.ok()?;
        called?.refused(&[&frozen.name])
    }),
    root("F36", "checkpoint of a container below a frozen cgroup is refused, and names it", |bed| {
        let path = crate::criu::search_path()?;
        let frozen = Frozen::place(bed)?;
        let container =
            bed.waiting(&Spec::new().set("/linux/cgroupsPath", frozen.below("deep/container")))?;
        frozen.freeze()?;
        let images = bed.dir().join("images");
        let call = bed.command(["checkpoint", "--image-path", &images.to_string_lossy(), container.id()]);
        let called = call.env("PATH", path).patience(Duration::from_secs(5)).call();
        frozen.thaw();
        bed.call(["delete", "--force", container.id()])?.ok()?;
        called?.refused(&[&frozen.name])
    }),
];

/// A cgroup of the suite, in every hierarchy with a freezer, that can be frozen.
pub(super) struct Frozen {
    path: String,
    name: String,
    dirs: Vec<PathBuf>,
}

impl Frozen {
    /// Makes it; skips if none can be made, or systemd makes cgroups.
    pub(super) fn place(bed: &Bed<'_>) -> Outcome<Self> {
        Self::in_hierarchies(bed, |hierarchy| hierarchy.v2 || hierarchy.has("freezer"))
    }

    fn in_hierarchies(bed: &Bed<'_>, wanted: impl Fn(&Hierarchy) -> bool) -> Outcome<Self> {
        static SERIAL: AtomicU32 = AtomicU32::new(0);
        if bed.runtime.systemd() {
            return skip("the cgroup driver takes no paths");
        }
        let name = format!("frozen-{}", SERIAL.fetch_add(1, Ordering::Relaxed));
        let path = format!("{}/{name}", cgroup::parent());
        let mut dirs = Vec::new();
        for hierarchy in
            Hierarchy::all().into_iter().filter(|hierarchy| bed.host.hierarchies.contains(&hierarchy.mount))
        {
            if wanted(&hierarchy) {
                let dir = hierarchy.mount.join(path.trim_start_matches('/'));
                fs::create_dir_all(&dir)?;
                dirs.push(dir);
            }
        }
        if dirs.is_empty() { skip("this host has no such freezer") } else { Ok(Self { path, name, dirs }) }
    }

    /// The path of a cgroup below it.
    pub(super) fn below(&self, inner: &str) -> String {
        format!("{}/{inner}", self.path)
    }

    /// Freezes it.
    pub(super) fn freeze(&self) -> Outcome {
        for dir in &self.dirs {
            let (name, value) = if dir.join("cgroup.freeze").exists() {
                ("cgroup.freeze", "1")
            } else {
                ("freezer.state", "FROZEN")
            };
            fs::write(dir.join(name), value)?;
        }
        Ok(())
    }

    /// Thaws it.
    pub(super) fn thaw(&self) {
        for dir in &self.dirs {
            let _other = fs::write(dir.join("cgroup.freeze"), "0");
            let _other = fs::write(dir.join("freezer.state"), "THAWED");
        }
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        self.thaw();
        for dir in &self.dirs {
            cgroup::remove(dir);
        }
    }
}

fn refused(bed: &Bed<'_>, v2: bool) -> Outcome {
    let frozen = Frozen::in_hierarchies(bed, |one| one.v2 == v2 && (v2 || one.has("freezer")))?;
    frozen.freeze()?;
    for inner in ["container", "a/deep/container"] {
        let bundle = bed.bundle(&Spec::new().set("/linux/cgroupsPath", frozen.below(inner)))?;
        let call = bed.command(["create", "--bundle", &bundle.dir.to_string_lossy(), &bundle.id]);
        let called = call.patience(Duration::from_secs(5)).call();
        if called.is_err() {
            frozen.thaw();
        }
        called?.refused(&[&frozen.name])?;
        let left = bed.leftovers(&bundle);
        check(left.is_empty(), || format!("left: {}", left.join(", ")))?;
    }
    Ok(())
}
