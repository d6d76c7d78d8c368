//! The way into a container that exists.

use oci_spec::runtime::Linux;

use crate::linux::idmap::IdMaps;
use crate::program::{Op, Program};

/// What a process has to know to join a container.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Join {
    /// The `CLONE_NEW*` flags of the namespaces that the container does not share with the runtime.
    pub(crate) namespaces: i32,
    /// User and group of the root of the container's user namespace.
    root: (u32, u32),
    /// Keep the caller's supplementary groups.
    pub(crate) keep_groups: bool,
}

impl Join {
    /// Number of the init process' pidfd among the inherited descriptors.
    pub(crate) const INIT: u8 = 0;
    /// Number of the container's root directory, if the container has no mount namespace.
    const ROOT: u8 = 1;

    /// The way into a container with this configuration.
    pub(crate) fn of(linux: Option<&Linux>, namespaces: i32, keep_groups: bool) -> Self {
        let maps = IdMaps::of(
            linux.and_then(|linux| linux.uid_mappings().as_ref()),
            linux.and_then(|linux| linux.gid_mappings().as_ref()),
        );
        Self { namespaces, root: maps.root(), keep_groups }
    }

    /// Whether the container has a namespace of this kind to itself.
    pub(crate) fn has(&self, kind: i32) -> bool {
        self.namespaces & kind != 0
    }

    /// Joins namespaces of these kinds as root of a user namespace among them, and holds the container's root.
    ///
    /// All are joined at once, including the user namespace, which gives the rights to the others. The pid namespace
    /// takes effect for a process that is born later.
    pub(super) fn enter(&self, program: &mut Program, kinds: i32) {
        if kinds != 0 {
            Self::enter_some(program, kinds, "join the container's namespaces");
        }
        if kinds & libc::CLONE_NEWUSER != 0 {
            self.become_root(program);
        }
        if self.has(libc::CLONE_NEWNS) {
            program.push_own(Op::HoldCurrentRoot, "hold the container's root");
        } else {
            program.push_own(Op::HoldInherited { namespace: Self::ROOT }, "hold the container's root");
        }
    }

    /// Joins namespaces of these kinds, and stays who it is.
    pub(super) fn enter_some(program: &mut Program, kinds: i32, verb: &'static str) {
        program.push_own(Op::Enter { namespace: Self::INIT, kinds }, verb);
    }

    /// Becomes root of the container's user namespace.
    pub(super) fn become_root(&self, program: &mut Program) {
        let ((uid, gid), keep_groups) = (self.root, self.keep_groups);
        let op = Op::RootIds { uid, gid, keep_groups };
        program.push_own(op, "become root of the container's user namespace");
    }
}
