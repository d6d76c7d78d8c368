//! What a noisy container does to its neighbour, with limits and without.
//!
//! `neighbour --runtime PATH [--seconds 5]`: a cgroup with one CPU, 256 MiB and 256 tasks stands for the machine, so
//! that the real one stays usable and the figures of large and small ones can be compared. In it, one container runs a
//! fork bomb, a memory hog or busy loops, and beside it another wakes up every 5 ms, starts a process, waits for it and
//! writes down how long that took beyond the 5 ms.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use serde_json::{Value, json};
use wharf_spec_tests::{PROBE, Spec, cgroup};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// A container that takes what it can get, and the limit against that.
struct Noise {
    name: &'static str,
    args: &'static [&'static str],
    limit: fn() -> Value,
}

const NOISES: [Noise; 3] = [
    Noise {
        name: "fork bomb",
        args: &["/probe", "bomb"],
        limit: || json!({"pids": {"limit": 32}, "cpu": {"quota": 20_000, "period": 100_000}}),
    },
    Noise {
        name: "memory hog",
        args: &["/probe", "gulp", "1024"],
        limit: || json!({"memory": {"limit": 64 << 20}, "cpu": {"quota": 20_000, "period": 100_000}}),
    },
    Noise {
        name: "4 busy loops",
        args: &["/probe", "burn", "4"],
        limit: || json!({"cpu": {"quota": 20_000, "period": 100_000}}),
    },
];

fn main() -> ExitCode {
    match arguments().and_then(|(runtime, seconds)| Bed::new(runtime, seconds)?.measure()) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("neighbour: {error}");
            ExitCode::from(2)
        }
    }
}

fn arguments() -> Result<(PathBuf, u32)> {
    let mut arguments = std::env::args().skip(1);
    let (mut runtime, mut seconds) = (None, 5);
    while let Some(name) = arguments.next() {
        let value = arguments.next().ok_or_else(|| format!("{name} needs a value"))?;
        match name.as_str() {
            "--runtime" => runtime = Some(std::path::absolute(value)?),
            "--seconds" => seconds = value.parse()?,
            _ => return Err(format!("unknown option {name}").into()),
        }
    }
    Ok((runtime.ok_or("--runtime PATH is required")?, seconds))
}

/// The cgroup that stands for the machine, and the directory of the bundles.
struct Bed {
    runtime: PathBuf,
    seconds: u32,
    work: tempfile::TempDir,
    name: String,
    made: Vec<PathBuf>,
}

impl Bed {
    fn new(runtime: PathBuf, seconds: u32) -> Result<Self> {
        let name = format!("wharf-neighbour-{}", std::process::id());
        let mut bed = Self { runtime, seconds, work: tempfile::tempdir()?, name, made: Vec::new() };
        let rootfs = bed.work.path().join("rootfs");
        for dir in ["proc", "dev", "sys"] {
            std::fs::create_dir_all(rootfs.join(dir))?;
        }
        std::fs::write(rootfs.join("probe"), PROBE)?;
        std::fs::set_permissions(rootfs.join("probe"), std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
        for hierarchy in cgroup::Hierarchy::all() {
            bed.limit(&hierarchy)?;
        }
        Ok(bed)
    }

    fn limit(&mut self, hierarchy: &cgroup::Hierarchy) -> Result<()> {
        if hierarchy.v2 {
            for controller in ["+cpu", "+memory", "+pids"] {
                // On a hybrid host they are in another hierarchy.
                let _elsewhere = std::fs::write(hierarchy.mount.join("cgroup.subtree_control"), controller);
            }
        }
        let dir = hierarchy.mount.join(&self.name);
        std::fs::create_dir(&dir)?;
        self.made.push(dir.clone());
        for (file, value) in [
            ("pids.max", "256"),
            ("memory.limit_in_bytes", "268435456"),
            ("memory.max", "268435456"),
            ("memory.swap.max", "0"),
            ("cpu.cfs_quota_us", "100000"),
            ("cpu.max", "100000 100000"),
        ] {
            if dir.join(file).exists() {
                std::fs::write(dir.join(file), value)?;
            }
        }
        Ok(())
    }

    /// Prints the table; returns in how many cases limits did not help.
    fn measure(&self) -> Result<usize> {
        let mut failed = 0;
        println!(
            "{:<14} {:<8} {:>8} {:>8} {:>9} {:>9} {:>9}",
            "noise", "limits", "rounds", "refused", "p50 ms", "p99 ms", "max ms"
        );
        print_row("none", "", &self.victim()?);
        for noise in &NOISES {
            for limited in [false, true] {
                let id = format!("{}-noise", self.name);
                let resources = if limited { (noise.limit)() } else { json!({}) };
                self.call(&id, noise.args, &resources, &["--detach"], Stdio::null())?;
                let seen = self.victim();
                self.delete(&id)?;
                let seen = seen?;
                print_row(noise.name, if limited { "yes" } else { "no" }, &seen);
                let responsive =
                    seen["refused"] == 0 && seen["rounds"].as_u64().is_some_and(|rounds| rounds > 0);
                failed += usize::from(limited && !responsive);
            }
        }
        println!("{} passed, {failed} failed", NOISES.len() - failed);
        Ok(failed)
    }

    /// What the neighbour has seen; null if it did not survive.
    fn victim(&self) -> Result<Value> {
        let id = format!("{}-victim", self.name);
        let args = ["/probe", "latency", &self.seconds.to_string()];
        let output = self.call(&id, &args, &json!({}), &[], Stdio::piped())?;
        self.delete(&id)?;
        Ok(serde_json::from_slice(&output).unwrap_or(Value::Null))
    }

    fn call(
        &self,
        id: &str,
        args: &[&str],
        resources: &Value,
        options: &[&str],
        out: Stdio,
    ) -> Result<Vec<u8>> {
        let bundle = self.work.path().join(id);
        std::fs::create_dir_all(&bundle)?;
        let spec = Spec::new()
            .args(args)
            .set("/root/path", self.work.path().join("rootfs").display().to_string())
            .set("/linux/cgroupsPath", format!("/{}/{id}", self.name))
            .set("/linux/resources", resources.clone());
        std::fs::write(bundle.join("config.json"), spec.0.to_string())?;
        let child = self
            .command(&["run", "--bundle"])
            .arg(&bundle)
            .args(options)
            .arg(id)
            .stdin(Stdio::null())
            .stdout(out)
            .spawn()?;
        let output = child.wait_with_output()?;
        std::fs::remove_dir_all(&bundle)?;
        if options.contains(&"--detach") && !output.status.success() {
            return Err(format!("the noise {id} cannot be started").into());
        }
        Ok(output.stdout)
    }

    fn delete(&self, id: &str) -> Result<()> {
        let done = self.command(&["delete", "--force", id]).status()?;
        if done.success() { Ok(()) } else { Err(format!("delete {id}: {done}").into()) }
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.runtime);
        command.arg("--root").arg(self.work.path().join("state")).args(words);
        command
    }
}

fn print_row(noise: &str, limits: &str, seen: &Value) {
    let ms = |key: &str| seen[key].as_f64().map_or("-".to_owned(), |us| format!("{:.1}", us / 1000.0));
    let count = |key: &str| seen[key].as_u64().map_or("killed".to_owned(), |count| count.to_string());
    println!(
        "{noise:<14} {limits:<8} {:>8} {:>8} {:>9} {:>9} {:>9}",
        count("rounds"),
        count("refused"),
        ms("p50"),
        ms("p99"),
        ms("max")
    );
}

impl Drop for Bed {
    fn drop(&mut self) {
        for dir in &self.made {
            cgroup::remove(Path::new(dir));
        }
    }
}
