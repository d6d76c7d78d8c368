//! Which systemd: the system's, or that of the calling user.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result};

/// An instance of systemd.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Instance {
    /// The one that booted the machine.
    System,
    /// The one of a user.
    User {
        /// The user on the host.
        uid: u32,
        /// `$XDG_RUNTIME_DIR`, where its sockets are.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        runtime_dir: Option<PathBuf>,
        /// `$DBUS_SESSION_BUS_ADDRESS`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        address: Option<String>,
    },
}

impl Instance {
    /// The instance for the caller: a user's unless the caller is root of the machine. Root of a user namespace uses
    /// the systemd of the user that it is outside.
    pub(crate) fn of_caller() -> Self {
        let euid = nix::unistd::geteuid().as_raw();
        let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
        match outside(&map, euid) {
            0 => Self::System,
            uid => Self::User {
                uid,
                runtime_dir: std::env::var_os("XDG_RUNTIME_DIR")
                    .filter(|dir| !dir.is_empty())
                    .map(PathBuf::from),
                address: std::env::var("DBUS_SESSION_BUS_ADDRESS").ok().filter(|text| !text.is_empty()),
            },
        }
    }

    /// The slice for containers that name none.
    pub(super) fn default_slice(&self) -> &'static str {
        match self {
            Self::System => "system.slice",
            Self::User { .. } => "user.slice",
        }
    }

    /// The cgroup that the instance itself was given, absolute below the mounts; `own` is the caller's.
    ///
    /// A user's processes are below the user's instance, or in a login session beside it.
    pub(in super::super) fn root(&self, own: &Path) -> PathBuf {
        match self {
            Self::System => "/".into(),
            Self::User { uid, .. } => {
                let service = format!("user@{uid}.service");
                let above = own.ancestors().find(|path| path.file_name().is_some_and(|n| n == &*service));
                above.map_or_else(
                    || format!("/user.slice/user-{uid}.slice/{service}").into(),
                    Path::to_path_buf,
                )
            }
        }
    }
}

/// The id outside of the user namespace with this map; an unmapped id stays as it is.
fn outside(map: &str, inside: u32) -> u32 {
    let mut ranges = map.lines().filter_map(|line| {
        let mut numbers = line.split_whitespace().map(|word| word.parse::<u32>().ok());
        Some((numbers.next()??, numbers.next()??, numbers.next()??))
    });
    ranges
        .find_map(|(first, host, count)| {
            inside.checked_sub(first).filter(|&offset| offset < count).and_then(|o| host.checked_add(o))
        })
        .unwrap_or(inside)
}

/// Refuses an instance that a version 1 cgroup cannot have.
pub(in super::super) fn refuse_on_v1(instance: &Instance) -> Result<()> {
    match instance {
        Instance::System => Ok(()),
        Instance::User { .. } => {
            Err(Error::new(ErrorKind::Unsupported, "the systemd of a user manages no cgroups of version 1")
                .with_hint("boot with cgroup v2, or use the cgroupfs driver"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user() -> Instance {
        Instance::User { uid: 1000, runtime_dir: Some("/run/user/1000".into()), address: None }
    }

    #[test]
    fn ids_are_followed_out_of_a_user_namespace() {
        let map = "         0       1000          1\n         1     100000      65536\n";
        assert_eq!([outside(map, 0), outside(map, 1), outside(map, 70_000)], [1000, 100_000, 70_000]);
        assert_eq!(outside("0 0 4294967295\n", 1000), 1000);
    }

    #[test]
    fn a_users_instance_has_a_cgroup_of_its_own() {
        let service = Path::new("/user.slice/user-1000.slice/user@1000.service");
        assert_eq!(user().root(&service.join("app.slice/x.service")), service);
        assert_eq!(user().root(Path::new("/user.slice/user-1000.slice/session-1.scope")), service);
        let nested = Path::new("/lxc/box/user.slice/user-1000.slice/user@1000.service");
        assert_eq!(user().root(&nested.join("a")), nested);
        assert_eq!(Instance::System.root(service), Path::new("/"));
    }
}
