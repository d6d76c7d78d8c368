//! The life of a pod with one sleeping container, by the calls that a kubelet makes.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use crate::cri::{
    CONTAINER, Client, ContainerConfig, ContainerLinux, ContainerMetadata, ContainerSecurity,
    CreateContainer, Id, Image, Mount, Namespaces, Nothing, PodConfig, PodLinux, PodMetadata, PodSecurity,
    Resources, RunPod,
};

/// The image of the scenarios in spec-tests/managers; only its root file system is used.
const IMAGE: &str = "docker.io/library/scenario:1";
/// Where the container sees the directory of [`Place`].
const INSIDE: &str = "/out";
/// The directory in it where programs write their times.
const TIMES: &str = "times";
/// The program in it.
pub(crate) const PROGRAM: &str = "first";
/// The group that pods are in.
pub(crate) const GROUP: &str = "kubepods";
/// How long a container may take to its first instruction after it was started.
const PATIENCE: Duration = Duration::from_secs(30);

/// The directory that containers see.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    dir: PathBuf,
}

impl Place {
    /// Puts the program there.
    pub(crate) fn new(dir: &Path) -> Result<Self, String> {
        use std::os::unix::fs::PermissionsExt as _;
        let program = dir.join(PROGRAM);
        fs::create_dir_all(dir.join(TIMES))
            .and_then(|()| fs::write(&program, wharf_bench::FIRST))
            .and_then(|()| fs::set_permissions(&program, fs::Permissions::from_mode(0o755)))
            .map_err(|error| format!("{}: {error}", program.display()))?;
        Ok(Self { dir: dir.to_owned() })
    }
}

/// The command line of the payload begins with this.
pub(crate) fn program() -> String {
    format!("{INSIDE}/{PROGRAM}")
}

/// A running pod.
#[derive(Debug)]
pub(crate) struct Pod {
    name: String,
    id: String,
    container: String,
}

/// How long a pod took, in milliseconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Birth {
    /// The call `RunPodSandbox`.
    pub(crate) sandbox: f64,
    /// From the begin of that call to the container's first instruction.
    pub(crate) first: f64,
}

impl Pod {
    /// Makes the pod and waits for the first instruction of its container.
    pub(crate) async fn run(
        client: &Client,
        place: &Place,
        handler: &str,
        name: String,
    ) -> Result<(Self, Birth), String> {
        let config = pod_config(&name);
        let begin = now();
        let run = RunPod { config: Some(config.clone()), handler: handler.to_owned() };
        let Id { id } = client.call("RunPodSandbox", &run).await?;
        let sandbox = now() - begin;
        // For the address of the pod.
        let _: Nothing = client.call("PodSandboxStatus", &Id { id: id.clone() }).await?;
        let create = CreateContainer {
            pod: id.clone(),
            config: Some(container_config(&name, place)),
            pod_config: Some(config),
        };
        let Id { id: container } = client.call("CreateContainer", &create).await?;
        let _: Nothing = client.call("StartContainer", &Id { id: container.clone() }).await?;
        let first = first_instruction(&place.dir.join(TIMES).join(&name)).await?;
        Ok((Self { name, id, container }, Birth { sandbox, first: first - begin }))
    }

    /// Ends and removes it; how long that took, in milliseconds.
    pub(crate) async fn end(self, client: &Client) -> Result<f64, String> {
        let begin = now();
        // Without a time to end by itself: the field is not there.
        let container = Id { id: self.container };
        let pod = Id { id: self.id };
        let _: Nothing = client.call("StopContainer", &container).await?;
        let _: Nothing = client.call("StopPodSandbox", &pod).await?;
        let _: Nothing = client.call("RemoveContainer", &container).await?;
        let _: Nothing = client.call("RemovePodSandbox", &pod).await?;
        let time = now() - begin;
        remove_groups(&self.name)?;
        Ok(time)
    }
}

fn pod_config(name: &str) -> PodConfig {
    let labels = [("io.kubernetes.pod.name", name), ("io.kubernetes.pod.namespace", "default")];
    PodConfig {
        metadata: Some(PodMetadata {
            name: name.to_owned(),
            uid: name.to_owned(),
            namespace: "default".to_owned(),
        }),
        hostname: name.to_owned(),
        log_directory: "/var/log/pods".to_owned(),
        labels: labels.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect(),
        linux: Some(PodLinux {
            cgroup_parent: format!("/{GROUP}/{name}"),
            security: Some(PodSecurity { namespaces: Some(Namespaces { pid: CONTAINER }) }),
        }),
    }
}

fn container_config(name: &str, place: &Place) -> ContainerConfig {
    ContainerConfig {
        metadata: Some(ContainerMetadata { name: "one".to_owned() }),
        image: Some(Image { image: IMAGE.to_owned() }),
        command: vec![program(), format!("{INSIDE}/{TIMES}/{name}"), "stay".to_owned()],
        mounts: vec![Mount { container_path: INSIDE.to_owned(), host_path: place.dir.display().to_string() }],
        log_path: format!("{name}.log"),
        linux: Some(ContainerLinux {
            // As for a pod that asks for nothing.
            resources: Some(Resources { cpu_shares: 2, oom_score_adj: 1000 }),
            security: Some(ContainerSecurity { namespaces: Some(Namespaces { pid: CONTAINER }) }),
        }),
    }
}

/// The time that the program wrote. That is exact however seldom it is looked for.
async fn first_instruction(file: &Path) -> Result<f64, String> {
    let end = now() + PATIENCE.as_secs_f64() * 1e3;
    loop {
        if let Ok(bytes) = fs::read(file)
            && let Some(time) = read(&bytes)
        {
            fs::remove_file(file).map_err(|error| format!("{}: {error}", file.display()))?;
            return Ok(time);
        }
        if now() > end {
            return Err(format!("no time in {}", file.display()));
        }
        tokio::time::sleep(Duration::from_micros(500)).await;
    }
}

/// A `struct timespec` in milliseconds.
fn read(bytes: &[u8]) -> Option<f64> {
    let word = |at: usize| bytes.get(at..at + 8)?.try_into().ok().map(i64::from_ne_bytes);
    Some(milliseconds(word(0)?, word(8)?))
}

/// `CLOCK_MONOTONIC` in milliseconds.
pub(crate) fn now() -> f64 {
    let now = clock_gettime(ClockId::Monotonic);
    milliseconds(now.tv_sec, now.tv_nsec)
}

#[allow(
    clippy::cast_precision_loss,
    reason = "an uptime in nanoseconds has less than 53 bits for a hundred days"
)]
fn milliseconds(seconds: i64, nanoseconds: i64) -> f64 {
    seconds as f64 * 1e3 + nanoseconds as f64 / 1e6
}

/// What a kubelet does last: the groups of the pod go.
fn remove_groups(pod: &str) -> Result<(), String> {
    for hierarchy in crate::node::hierarchies() {
        let group = hierarchy.join(GROUP).join(pod);
        // Some runtimes leave groups of containers in it.
        let inner = fs::read_dir(&group).into_iter().flatten().flatten().map(|entry| entry.path());
        for group in inner.filter(|path| path.is_dir()).chain([group.clone()]).collect::<Vec<_>>() {
            match fs::remove_dir(&group) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(format!("remove {}: {error}", group.display()));
                }
                _ => {}
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_needs_both_words() {
        let bytes = [7_i64.to_ne_bytes(), 500_000_i64.to_ne_bytes()].concat();
        assert_eq!(read(&bytes), Some(7000.5));
        assert_eq!(read(&bytes[..15]), None);
    }
}
