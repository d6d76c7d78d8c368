//! User, groups and umask of a process.

use oci_spec::runtime::User;

use crate::program::blame::{Blame, Place};
use crate::program::{Op, Program};

/// The default umask: that of runc and crun. The caller's own could make every file of a container world-writable, or
/// none readable.
const DEFAULT_UMASK: u32 = 0o022;

/// The supplementary groups as the kernel's array.
pub(crate) fn groups(user: &User) -> Vec<u8> {
    user.additional_gids().iter().flatten().flat_map(|gid| gid.to_ne_bytes()).collect()
}

/// The step that replaces the caller's supplementary groups, unless they are to be kept. Then those that the
/// configuration names have no effect: the kept ones may have no id inside, so no list could hold both.
pub(crate) fn plan_groups(program: &mut Program, user: &User, keep: bool) {
    if keep {
        return;
    }
    let gids = groups(user);
    // With no groups to set, a user namespace that may not call setgroups keeps the ones it has.
    let optional = gids.is_empty();
    let gids = program.text(gids);
    program.push(
        Op::Groups { gids, optional },
        Blame::new("set the supplementary groups", Place::of("/process/user/additionalGids")),
    );
}

/// The step that changes the ids.
pub(crate) fn plan_ids(program: &mut Program, user: &User) {
    program.push(
        Op::Ids { uid: user.uid(), gid: user.gid() },
        Blame::new("set user and group id", Place::of("/process/user")),
    );
}

/// The step that sets the umask.
pub(crate) fn plan_umask(program: &mut Program, user: &User) {
    program.push(
        Op::Umask(user.umask().unwrap_or(DEFAULT_UMASK)),
        Blame::new("set the umask", Place::of("/process/user/umask")),
    );
}
