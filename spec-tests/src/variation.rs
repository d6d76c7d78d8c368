//! Hosts unlike most: what the suite makes of this machine for a run with `--host NAME`.

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, CpuSet, sched_getaffinity, sched_setaffinity, unshare};
use nix::unistd::Pid;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

/// Where a variation has its own mounts, in the mount namespace of the run.
const PLACE: &str = "/mnt";
/// How many mounts a host with many has, as a node of a cluster may.
const MANY: u32 = 3000;

/// A kind of host.
#[derive(Debug, Clone, Copy)]
pub struct Variation {
    /// Its name on the command line.
    pub name: &'static str,
    /// What is unusual.
    pub about: &'static str,
    /// Makes it so, once, in the mount namespace of the run, where every mount is private.
    prepare: Option<fn(&mut Prepared) -> io::Result<()>>,
    /// Shell commands in each process before it becomes the runtime.
    pub before: Option<&'static str>,
}

/// What a variation has prepared.
#[derive(Debug, Default)]
pub struct Prepared {
    /// Where all state directories of the runtime are.
    pub state: Option<PathBuf>,
    /// Held until the end of the run.
    held: Vec<File>,
}

impl Variation {
    /// All of them.
    pub const ALL: &[Self] = &[
        Self::made("shared-root", "/ and all mounts below are shared, as with systemd", shared_root),
        Self::made("slave-root", "/ and all mounts below are slaves of another mount namespace", slave_root),
        Self::made("many-mounts", "there are 3,000 more mounts", many_mounts),
        Self::made("one-cpu", "the caller may run on one CPU only", one_cpu),
        Self::made("hidden-processes", "/proc is mounted with hidepid=2", hidden_processes),
        Self::made("overlay-state", "the state directory is on overlayfs", overlay_state),
        Self::made("noexec-state", "the state directory is mounted noexec, nodev and nosuid", noexec_state),
        Self::called("umask", "the caller's umask is 0077", "umask 0077"),
        Self::called("few-descriptors", "the caller may open 20 files", "ulimit -Sn 20"),
        Self::called(
            "ignored-signals",
            "the caller ignores SIGCHLD, SIGPIPE and SIGHUP",
            "trap '' CHLD PIPE HUP",
        ),
        Self::called("small-stack", "the caller's stack has 256 kB", "ulimit -s 256"),
        Self::called(
            "small-files",
            "the caller may write no core and no file over 1 MB",
            "ulimit -c 0; ulimit -f 2048",
        ),
    ];

    const fn made(
        name: &'static str,
        about: &'static str,
        prepare: fn(&mut Prepared) -> io::Result<()>,
    ) -> Self {
        Self { name, about, prepare: Some(prepare), before: None }
    }

    const fn called(name: &'static str, about: &'static str, before: &'static str) -> Self {
        Self { name, about, prepare: None, before: Some(before) }
    }

    /// The one with this name.
    pub fn find(name: &str) -> Result<Self, String> {
        Self::ALL.iter().find(|one| one.name == name).copied().ok_or_else(|| {
            let names: Vec<_> = Self::ALL.iter().map(|one| one.name).collect();
            format!("--host is one of {}, not {name}", names.join(", "))
        })
    }

    /// Makes it so. The caller has a mount namespace of its own.
    pub(crate) fn prepare(&self) -> io::Result<Prepared> {
        let mut prepared = Prepared::default();
        if let Some(prepare) = self.prepare {
            prepare(&mut prepared)?;
        }
        Ok(prepared)
    }
}

fn change_root(propagation: MsFlags) -> io::Result<()> {
    Ok(mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | propagation, None::<&str>)?)
}

fn shared_root(_: &mut Prepared) -> io::Result<()> {
    change_root(MsFlags::MS_SHARED)
}

fn slave_root(prepared: &mut Prepared) -> io::Result<()> {
    change_root(MsFlags::MS_SHARED)?;
    // Without its mounts, those of this namespace would be slaves of none.
    prepared.held.push(File::open("/proc/self/ns/mnt")?);
    unshare(CloneFlags::CLONE_NEWNS)?;
    change_root(MsFlags::MS_SLAVE)
}

/// A file system of the run's own.
fn own(flags: MsFlags) -> io::Result<&'static Path> {
    mount(Some("wharf-suite"), PLACE, Some("tmpfs"), flags, Some("mode=0755"))?;
    Ok(Path::new(PLACE))
}

fn many_mounts(_: &mut Prepared) -> io::Result<()> {
    let place = own(MsFlags::empty())?;
    for number in 0..MANY {
        let point = place.join(number.to_string());
        fs::create_dir(&point)?;
        mount(Some("wharf-suite"), &point, Some("tmpfs"), MsFlags::empty(), Some("nr_inodes=16,size=64k"))?;
    }
    Ok(())
}

fn one_cpu(_: &mut Prepared) -> io::Result<()> {
    let allowed = sched_getaffinity(Pid::from_raw(0))?;
    let first = (0..CpuSet::count()).find(|cpu| allowed.is_set(*cpu).unwrap_or(false)).unwrap_or(0);
    let mut one = CpuSet::new();
    one.set(first)?;
    Ok(sched_setaffinity(Pid::from_raw(0), &one)?)
}

fn hidden_processes(_: &mut Prepared) -> io::Result<()> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    Ok(mount(Some("proc"), "/proc", Some("proc"), flags, Some("hidepid=2"))?)
}

fn overlay_state(prepared: &mut Prepared) -> io::Result<()> {
    let place = own(MsFlags::empty())?;
    for name in ["lower", "upper", "work", "state"] {
        fs::create_dir(place.join(name))?;
    }
    let options = format!("lowerdir={PLACE}/lower,upperdir={PLACE}/upper,workdir={PLACE}/work");
    let state = place.join("state");
    mount(Some("overlay"), &state, Some("overlay"), MsFlags::empty(), Some(&*options))?;
    prepared.state = Some(state);
    Ok(())
}

fn noexec_state(prepared: &mut Prepared) -> io::Result<()> {
    let state = own(MsFlags::MS_NOEXEC | MsFlags::MS_NODEV | MsFlags::MS_NOSUID)?;
    prepared.state = Some(state.to_owned());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_found() {
        for one in Variation::ALL {
            assert_eq!(Variation::find(one.name).unwrap().about, one.about);
        }
        assert!(Variation::find("moon").unwrap_err().contains("shared-root, slave-root"));
    }
}
