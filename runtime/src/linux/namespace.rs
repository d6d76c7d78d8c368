//! Namespaces: which are new, which are joined, which are the runtime's own (namespaces(7)).

use std::path::{Path, PathBuf};

use oci_spec::runtime::{Linux, LinuxNamespaceType};

/// Where one namespace of the container comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The runtime's own.
    #[default]
    Inherited,
    /// A new one.
    New,
    /// An existing one; the index is its place in `/linux/namespaces`.
    Joined(PathBuf, usize),
}

impl Origin {
    /// Whether the container's namespace is not the runtime's (as far as can be known without looking).
    pub(crate) fn is_own(&self) -> bool {
        !matches!(self, Self::Inherited)
    }

    /// Whether it is a new one.
    pub(crate) fn is_new(&self) -> bool {
        matches!(self, Self::New)
    }

    /// The path of a joined one.
    pub(crate) fn joined(&self) -> Option<&Path> {
        match self {
            Self::Joined(path, _) => Some(path),
            _ => None,
        }
    }
}

/// The origin of every kind of namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Namespaces {
    pub(crate) mount: Origin,
    pub(crate) cgroup: Origin,
    pub(crate) uts: Origin,
    pub(crate) ipc: Origin,
    pub(crate) user: Origin,
    pub(crate) pid: Origin,
    pub(crate) network: Origin,
    pub(crate) time: Origin,
}

impl Namespaces {
    /// Reads the list; that no kind occurs twice has been checked.
    pub(crate) fn of(linux: Option<&Linux>) -> Self {
        let mut all = Self::default();
        let listed = linux.and_then(|linux| linux.namespaces().as_ref()).into_iter().flatten();
        for (index, namespace) in listed.enumerate() {
            let origin = match namespace.path() {
                Some(path) if !path.as_os_str().is_empty() => Origin::Joined(path.clone(), index),
                _ => Origin::New,
            };
            *all.of_kind(namespace.typ()) = origin;
        }
        all
    }

    /// The kinds that may belong to the host even with a user namespace: an engine's network, for example.
    pub(crate) const HOST_OWNED: i32 =
        libc::CLONE_NEWNET | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS | libc::CLONE_NEWCGROUP;

    fn of_kind(&mut self, kind: LinuxNamespaceType) -> &mut Origin {
        match kind {
            LinuxNamespaceType::Mount => &mut self.mount,
            LinuxNamespaceType::Cgroup => &mut self.cgroup,
            LinuxNamespaceType::Uts => &mut self.uts,
            LinuxNamespaceType::Ipc => &mut self.ipc,
            LinuxNamespaceType::User => &mut self.user,
            LinuxNamespaceType::Pid => &mut self.pid,
            LinuxNamespaceType::Network => &mut self.network,
            LinuxNamespaceType::Time => &mut self.time,
        }
    }

    /// Every kind with its `CLONE_NEW*` flag, in the order of joining: the user namespace first, as it gives the right to join
    /// the others; the mount namespace last, as the others' paths are the host's.
    fn all(&self) -> [(&Origin, i32); 8] {
        [
            (&self.user, libc::CLONE_NEWUSER),
            (&self.pid, libc::CLONE_NEWPID),
            (&self.network, libc::CLONE_NEWNET),
            (&self.ipc, libc::CLONE_NEWIPC),
            (&self.uts, libc::CLONE_NEWUTS),
            (&self.time, libc::CLONE_NEWTIME),
            (&self.cgroup, libc::CLONE_NEWCGROUP),
            (&self.mount, libc::CLONE_NEWNS),
        ]
    }

    /// The flags of the new namespaces that the child unshares itself: all but user and pid (which it must be born into) and
    /// cgroup (which must come after it is in its cgroup, or the root of the namespace would be the wrong one).
    pub(crate) fn unshared(&self) -> i32 {
        const OTHERWISE: i32 = libc::CLONE_NEWUSER | libc::CLONE_NEWPID | libc::CLONE_NEWCGROUP;
        flags(self.all().into_iter().filter(|(origin, _)| origin.is_new())) & !OTHERWISE
    }

    /// The flags of every namespace that is not the runtime's, new or joined: those that an exec has to join.
    pub(crate) fn flags(&self) -> i32 {
        flags(self.all().into_iter().filter(|(origin, _)| origin.is_own()))
    }

    /// The namespaces to join, in order, each with its index and flag. Pid namespaces are joined before birth.
    ///
    /// A runtime with privileges joins those of [`Namespaces::HOST_OWNED`] before the user namespace: they may belong
    /// to the host, and then a process of the user namespace has no right to them.
    pub(crate) fn joined(&self) -> impl Iterator<Item = (&Path, usize, i32)> {
        self.all().into_iter().filter_map(|(origin, flag)| match origin {
            Origin::Joined(path, index) if flag != libc::CLONE_NEWPID => Some((path.as_path(), *index, flag)),
            _ => None,
        })
    }
}

fn flags<'n>(kinds: impl Iterator<Item = (&'n Origin, i32)>) -> i32 {
    kinds.fold(0, |all, (_, flag)| all | flag)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_of_joining_is_user_first_mount_last() {
        let linux: Linux = serde_json::from_value(serde_json::json!({"namespaces": [
            {"type": "mount", "path": "/m"}, {"type": "network"}, {"type": "user", "path": "/u"}, {"type": "ipc", "path": ""},
        ]}))
        .expect("a valid object");
        let all = Namespaces::of(Some(&linux));
        let joined: Vec<_> =
            all.joined().map(|(path, index, _)| (path.to_str().unwrap_or_default(), index)).collect();
        assert_eq!(joined, [("/u", 2), ("/m", 0)]);
        assert_eq!(all.unshared(), libc::CLONE_NEWNET | libc::CLONE_NEWIPC);
    }
}
