//! What the benchmark writes beside `config.json`: one `name value` per line.

use std::path::{Path, PathBuf};

/// A bundle's configuration.
#[derive(Default)]
pub struct Config {
    /// Absolute path of the root file system.
    pub rootfs: String,
    /// The bundle with filter, limits and binds?
    pub rich: bool,
    /// The memory limit in bytes.
    pub memory: Option<String>,
    /// The container's cgroup in each v1 hierarchy.
    pub v1: Vec<String>,
    /// The container's cgroup in the v2 hierarchy.
    pub v2: Option<String>,
    /// The program.
    pub argv: Vec<String>,
    /// Paths that are masked.
    pub masked: Vec<String>,
    /// Paths that are made read-only.
    pub readonly: Vec<String>,
    /// What is bound: host path and path in the container.
    pub binds: Vec<(String, String)>,
    /// The bundle.
    pub bundle: PathBuf,
}

impl Config {
    /// Reads `floor.conf` of a bundle.
    pub fn read(bundle: &Path) -> std::io::Result<Self> {
        let mut this = Self { bundle: bundle.to_owned(), ..Self::default() };
        for line in std::fs::read_to_string(bundle.join("floor.conf"))?.lines() {
            let (name, value) = line.split_once(' ').unwrap_or((line, ""));
            let value = value.to_owned();
            match name {
                "rootfs" => this.rootfs = value,
                "rich" => this.rich = true,
                "memory" => this.memory = Some(value),
                "v1" => this.v1.push(value),
                "v2" => this.v2 = Some(value),
                "arg" => this.argv.push(value),
                "masked" => this.masked.push(value),
                "readonly" => this.readonly.push(value),
                "bind" => this.binds.extend(value.split_once(' ').map(|(a, b)| (a.to_owned(), b.to_owned()))),
                _ => {}
            }
        }
        Ok(this)
    }
}
