//! The two bundles that are measured.

use super::filter;
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use wharf_spec_tests::outcome::{Outcome, fail};
use wharf_spec_tests::{Host, Spec};

/// Docker's default profile, from a config.json that Docker wrote.
const DOCKER: &str = include_str!("../../spec-tests/corpus/docker-default.json");

/// Which bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// What `runc spec` writes, plus a cgroup namespace.
    A,
    /// What Docker asks for: its seccomp profile, limits, 12 mounts, masked paths, 14 capabilities.
    B,
}

impl Kind {
    /// The configuration, except for the rootfs, the cgroup and the program.
    fn spec(self) -> Spec {
        let plain = Spec::new().namespace("cgroup", None).set("/root/readonly", json!(true));
        if self == Self::A {
            return plain;
        }
        let docker: Value = serde_json::from_str(DOCKER).unwrap_or_default();
        let mut spec = plain
            .set("/process/noNewPrivileges", json!(false))
            .set("/process/capabilities", docker["process"]["capabilities"].clone())
            .set("/linux/seccomp", docker["linux"]["seccomp"].clone())
            .set("/linux/maskedPaths", docker["linux"]["maskedPaths"].clone())
            .set("/linux/readonlyPaths", docker["linux"]["readonlyPaths"].clone())
            .set("/linux/resources/devices", docker["linux"]["resources"]["devices"].clone())
            .set("/linux/resources/memory", json!({"limit": 268_435_456, "swap": 268_435_456}))
            .set("/linux/resources/cpu", json!({"shares": 512, "quota": 100_000, "period": 100_000}))
            .set("/linux/resources/pids", json!({"limit": 100}))
            .mount("/sys/fs/cgroup", "cgroup", "cgroup", &["ro", "nosuid", "noexec", "nodev"]);
        for name in ["resolv.conf", "hostname", "hosts", "localtime"] {
            let source = format!("files/{name}");
            spec = spec.mount(&format!("/etc/{name}"), "bind", &source, &["rbind", "rprivate", "ro"]);
        }
        spec.mount("/data", "bind", "files/data", &["rbind", "rprivate"])
    }
}

/// What the bundles share: the root file system.
#[derive(Debug, Clone)]
pub struct Image {
    rootfs: PathBuf,
    hierarchies: Vec<PathBuf>,
    /// What the container's `true` is.
    pub program: String,
}

impl Image {
    /// A rootfs of busybox, statically linked.
    ///
    /// # Errors
    ///
    /// If there is no such busybox on this machine.
    pub fn make(dir: &Path, host: &Host) -> Outcome<Self> {
        let busybox =
            ["/bin/busybox", "/usr/bin/busybox"].map(Path::new).into_iter().find(|path| path.exists());
        let Some(busybox) = busybox else {
            return fail("no busybox on this machine; install the package busybox-static");
        };
        let rootfs = dir.join("rootfs");
        for sub in ["bin", "proc", "sys", "dev", "etc", "data", "tmp"] {
            fs::create_dir_all(rootfs.join(sub))?;
        }
        for name in ["resolv.conf", "hostname", "hosts", "localtime"] {
            fs::write(rootfs.join("etc").join(name), "")?;
        }
        fs::copy(busybox, rootfs.join("bin/busybox"))?;
        fs::set_permissions(rootfs.join("bin/busybox"), fs::Permissions::from_mode(0o755))?;
        for applet in ["true", "sleep", "sh"] {
            std::os::unix::fs::symlink("busybox", rootfs.join("bin").join(applet))?;
        }
        let hierarchies = host.hierarchies.clone();
        Ok(Self { rootfs, hierarchies, program: busybox.display().to_string() })
    }

    /// The root file system.
    pub fn rootfs(&self) -> &Path {
        &self.rootfs
    }

    /// Writes a bundle whose container runs `args` in the cgroup `cgroup`, and returns its directory.
    ///
    /// # Errors
    ///
    /// If the files cannot be written.
    pub fn bundle(&self, dir: &Path, kind: Kind, cgroup: &str, args: &[&str]) -> Outcome<PathBuf> {
        self.write(dir, kind.spec(), cgroup, args)
    }

    /// As [`Self::bundle`] for bundle A with a memory limit in bytes.
    ///
    /// # Errors
    ///
    /// As [`Self::bundle`].
    pub fn limited(&self, dir: &Path, limit: u64, cgroup: &str) -> Outcome<PathBuf> {
        let spec = Kind::A.spec().set("/linux/resources/memory", json!({"limit": limit, "swap": limit}));
        self.write(dir, spec, cgroup, &["/bin/true"])
    }

    fn write(&self, dir: &Path, spec: Spec, cgroup: &str, args: &[&str]) -> Outcome<PathBuf> {
        fs::create_dir_all(dir.join("files/data"))?;
        for name in ["resolv.conf", "hostname", "hosts", "localtime"] {
            fs::write(dir.join("files").join(name), "")?;
        }
        let spec = spec
            .set("/root/path", self.rootfs.to_string_lossy().into_owned())
            .set("/linux/cgroupsPath", cgroup)
            .args(args);
        self.write_for_floor(dir, &spec, cgroup, args)?;
        fs::write(dir.join("config.json"), spec.0.to_string())?;
        Ok(dir.to_owned())
    }

    /// The same for the floor, which reads no JSON.
    fn write_for_floor(&self, dir: &Path, spec: &Spec, cgroup: &str, args: &[&str]) -> Outcome {
        let mut lines = vec![format!("rootfs {}", self.rootfs.display())];
        lines.extend(args.iter().map(|arg| format!("arg {arg}")));
        let v2 = |path: &Path| path.join("cgroup.controllers").exists();
        lines.extend(self.hierarchies.iter().map(|path| {
            let word = if v2(path) { "v2" } else { "v1" };
            format!("{word} {}/{}", path.display(), cgroup.trim_start_matches('/'))
        }));
        lines.extend(spec.0.pointer("/linux/resources/memory/limit").map(|limit| format!("memory {limit}")));
        let list = |name: &str| spec.0["linux"][name].as_array().cloned().unwrap_or_default();
        for (word, name) in [("masked", "maskedPaths"), ("readonly", "readonlyPaths")] {
            lines.extend(list(name).iter().filter_map(|path| Some(format!("{word} {}", path.as_str()?))));
        }
        if !spec.0["linux"]["seccomp"].is_null() {
            lines.push("rich".into());
            let mounts = spec.0["mounts"].as_array().cloned().unwrap_or_default();
            lines.extend(mounts.iter().filter(|mount| mount["type"] == "bind").filter_map(|mount| {
                let (source, target) = (mount["source"].as_str()?, mount["destination"].as_str()?);
                Some(format!("bind {} {target}", dir.join(source).display()))
            }));
            fs::write(dir.join("filter.plain"), filter::linear())?;
            fs::write(dir.join("filter.minimal"), filter::search())?;
        }
        fs::write(dir.join("floor.conf"), lines.join("\n"))?;
        Ok(())
    }
}
