//! The files of a pod that its containers see: /etc/hostname, /etc/hosts, /etc/resolv.conf and /dev/shm.
//!
//! containerd makes them in its own directory for a pod with a pause container. Here they are in the bundle of the
//! sandbox, and each container of the pod gets those that its configuration does not have.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, fchown};
use std::path::{Path, PathBuf};
use std::slice::from_ref;

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use serde_json::{Value, json};

use super::config::{DnsConfig, IdMapping, PodConfig, Sharing};
use crate::refusal::Refusal;

/// The directory in the bundle of the sandbox.
const DIRECTORY: &str = "pod";
/// The files, and where a container has them.
const FILES: [(&str, &str); 3] =
    [("hostname", "/etc/hostname"), ("hosts", "/etc/hosts"), ("resolv.conf", "/etc/resolv.conf")];
/// The pod's shared memory, and where a container has it.
const SHM: (&str, &str) = ("shm", "/dev/shm");
/// As containerd and Docker have it.
const SHM_OPTIONS: &str = "mode=1777,size=67108864";

/// The files of a pod.
#[derive(Clone, Debug)]
pub(crate) struct Files {
    directory: PathBuf,
    /// Where /dev/shm of the containers is: the pod's, or the host's.
    shm: PathBuf,
}

impl Files {
    /// Makes the files. If it fails, nothing is left.
    pub(crate) fn make(bundle: &Path, config: &PodConfig, sharing: &Sharing) -> Result<Self, Refusal> {
        let directory = bundle.join(DIRECTORY);
        let shm = if sharing.host_ipc { PathBuf::from(SHM.1) } else { directory.join(SHM.0) };
        let files = Self { directory, shm };
        files.fill(config, sharing).inspect_err(|_| {
            if let Err(reason) = remove(bundle) {
                log::warn!("{reason}");
            }
        })?;
        Ok(files)
    }

    fn fill(&self, config: &PodConfig, sharing: &Sharing) -> Result<(), Refusal> {
        make_directory(&self.directory)?;
        let hostname = if config.hostname.is_empty() {
            let own =
                nix::unistd::gethostname().map_err(|errno| Refusal::io("ask for the host name", errno))?;
            own.to_string_lossy().into_owned()
        } else {
            config.hostname.clone()
        };
        let root = owner(sharing);
        self.write("hostname", format!("{hostname}\n").as_bytes(), root)?;
        self.write("hosts", &of_the_host("/etc/hosts")?, root)?;
        match &config.dns {
            Some(dns) => self.write("resolv.conf", resolver(dns)?.as_bytes(), root)?,
            None => self.write("resolv.conf", &of_the_host("/etc/resolv.conf")?, root)?,
        }
        if sharing.host_ipc {
            return Ok(());
        }
        make_directory(&self.shm)?;
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        let options = match root {
            Some([uid, gid]) => format!("{SHM_OPTIONS},uid={uid},gid={gid}"),
            None => SHM_OPTIONS.to_owned(),
        };
        mount(Some("shm"), &self.shm, Some("tmpfs"), flags, Some(options.as_str()))
            .map_err(|errno| Refusal::io(format_args!("mount {}", self.shm.display()), errno))
    }

    fn write(&self, name: &str, content: &[u8], owner: Option<[u32; 2]>) -> Result<(), Refusal> {
        let path = self.directory.join(name);
        let mut options = fs::OpenOptions::new();
        options.write(true).create_new(true).mode(0o644);
        options
            .open(&path)
            .and_then(|mut file| {
                owner.map_or(Ok(()), |[uid, gid]| fchown(&file, Some(uid), Some(gid)))?;
                file.write_all(content)
            })
            .map_err(|error| Refusal::io(format_args!("write {}", path.display()), error))
    }

    /// The mounts that a container gets for those of the files that its own mounts do not have. Where its root is
    /// read-only, so are the files.
    pub(super) fn mounts_for(&self, own: &[Value], read_only: bool) -> Vec<Value> {
        let taken = |place: &str| {
            own.iter().any(|mount| {
                let at = mount["destination"].as_str().unwrap_or_default().trim_end_matches('/');
                at == place
            })
        };
        let bind = |source: &Path, destination: &str, options: &[&str]| json!({"destination": destination, "type": "bind", "source": source, "options": options});
        let access = if read_only { "ro" } else { "rw" };
        let files = FILES.iter().filter(|(_, place)| !taken(place));
        let mut mounts: Vec<Value> = files
            .map(|(name, place)| bind(&self.directory.join(name), place, &["rbind", "rprivate", access]))
            .collect();
        if !taken(SHM.1) {
            mounts.push(bind(&self.shm, SHM.1, &["rbind", "rprivate", "rw", "nosuid", "nodev", "noexec"]));
        }
        mounts
    }
}

/// Removes the files of the pod with this bundle, if there are any: also what is left after a crash.
pub(crate) fn remove(bundle: &Path) -> Result<(), String> {
    let directory = bundle.join(DIRECTORY);
    let shm = directory.join(SHM.0);
    match umount2(&shm, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW) {
        // Not a mount, or not there.
        Ok(()) | Err(Errno::EINVAL | Errno::ENOENT) => {}
        Err(errno) => return Err(format!("unmount {}: {errno}", shm.display())),
    }
    let failed = |path: &Path, error: io::Error| Err(format!("remove {}: {error}", path.display()));
    for path in FILES.iter().map(|(name, _)| directory.join(name)) {
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return failed(&path, error),
            _ => {}
        }
    }
    for path in [shm, directory] {
        match fs::remove_dir(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return failed(&path, error),
            _ => {}
        }
    }
    Ok(())
}

/// The host's ids of root in the user namespace of the pod, if it has one.
fn owner(sharing: &Sharing) -> Option<[u32; 2]> {
    let users = sharing.users.as_ref()?;
    let root = |maps: &[IdMapping]| {
        let first = maps.iter().min_by_key(|map| map.container_id)?;
        Some(first.host_id)
    };
    Some([root(&users.uids)?, root(&users.gids)?])
}

fn make_directory(path: &Path) -> Result<(), Refusal> {
    // Others pass through it to the files, as users of containers do.
    use std::os::unix::fs::DirBuilderExt as _;
    fs::DirBuilder::new()
        .mode(0o711)
        .create(path)
        .map_err(|error| Refusal::io(format_args!("make {}", path.display()), error))
}

/// A file of the host; empty if the host has none.
fn of_the_host(path: &str) -> Result<Vec<u8>, Refusal> {
    match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        other => other.map_err(|error| Refusal::io(format_args!("read {path}"), error)),
    }
}

/// `resolv.conf(5)`, in the order in which containerd writes it.
fn resolver(dns: &DnsConfig) -> Result<String, Refusal> {
    let all = dns.searches.iter().chain(&dns.servers).chain(&dns.options);
    if let Some(word) = all.into_iter().find(|word| word.contains(['\n', '\r', '\0'])) {
        return Err(Refusal::invalid(format!("the resolver configuration has a line break in {word:?}")));
    }
    let line = |word: &str, all: &[String]| match all {
        [] => String::new(),
        all => format!("{word} {}\n", all.join(" ")),
    };
    let servers: String = dns.servers.iter().map(|server| line("nameserver", from_ref(server))).collect();
    Ok(line("search", &dns.searches) + &servers + &line("options", &dns.options))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_resolver_file_has_one_line_for_each_server() {
        let words = |list: &[&str]| list.iter().map(|word| (*word).to_owned()).collect();
        let dns = DnsConfig {
            servers: words(&["10.0.0.10", "1.1.1.1"]),
            searches: words(&["a.svc", "b"]),
            options: words(&["ndots:5"]),
        };
        let text = "search a.svc b\nnameserver 10.0.0.10\nnameserver 1.1.1.1\noptions ndots:5\n";
        assert_eq!(resolver(&dns).unwrap(), text);
        assert_eq!(resolver(&DnsConfig::default()).unwrap(), "");
        let broken = DnsConfig { servers: words(&["a\nnameserver b"]), ..DnsConfig::default() };
        assert_eq!(resolver(&broken).unwrap_err().code, 3);
    }

    #[test]
    fn a_container_gets_what_it_does_not_have() {
        let files = Files { directory: "/run/s/pod".into(), shm: "/run/s/pod/shm".into() };
        let places = |own: &[Value]| -> Vec<String> {
            let all = files.mounts_for(own, false);
            all.iter().map(|mount| mount["destination"].as_str().unwrap().to_owned()).collect()
        };
        assert_eq!(places(&[]), ["/etc/hostname", "/etc/hosts", "/etc/resolv.conf", "/dev/shm"]);
        let own = [json!({"destination": "/etc/hosts"}), json!({"destination": "/dev/shm/"})];
        assert_eq!(places(&own), ["/etc/hostname", "/etc/resolv.conf"]);
    }

    #[test]
    fn removal_finds_nothing_or_all() {
        let bundle = tempfile::tempdir().unwrap();
        remove(bundle.path()).unwrap();
        fs::create_dir_all(bundle.path().join("pod/shm")).unwrap();
        fs::write(bundle.path().join("pod/hosts"), "").unwrap();
        remove(bundle.path()).unwrap();
        assert!(!bundle.path().join("pod").exists());
    }
}
