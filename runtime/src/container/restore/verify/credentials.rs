//! Ids, capabilities, `no_new_privs` and security labels of restored processes.

use oci_spec::runtime::Process;

use super::{Policy, process_of, read, refuse};
use crate::error::Result;
use crate::linux::idmap::IdMaps;
use crate::linux::process_status::ProcessStatus;

const SETGID: u64 = 1 << 6;
const SETUID: u64 = 1 << 7;

/// Compares one thread.
pub(super) fn verify(status: &ProcessStatus, policy: &Policy<'_>) -> Result<()> {
    let process = process_of(policy)?;
    let configured = &policy.capabilities;
    let found = &status.capabilities;
    let most = configured.bounding
        | configured.permitted
        | configured.effective
        | configured.inheritable
        | configured.ambient;
    for (name, found, most) in [
        ("bounding", found.bounding, configured.bounding),
        ("permitted", found.permitted, most),
        ("effective", found.effective, most),
        ("inheritable", found.inheritable, most),
        ("ambient", found.ambient, most),
    ] {
        if found & !most != 0 {
            let more = found & !most;
            return Err(refuse(
                format_args!("its {name} set has the capabilities {more:#x} beyond the configured ones"),
                "/process/capabilities",
            ));
        }
    }
    let no_new_privileges = process.no_new_privileges().unwrap_or(false);
    if no_new_privileges && !status.no_new_privileges {
        return Err(refuse("it does not have no_new_privs", "/process/noNewPrivileges"));
    }
    if no_new_privileges {
        verify_ids(status, process, most, policy)?;
    }
    Ok(())
}

/// If neither a capability nor a set-user-id program can change ids, they must be those of the configuration.
fn verify_ids(
    status: &ProcessStatus,
    process: &Process,
    capabilities: u64,
    policy: &Policy<'_>,
) -> Result<()> {
    let linux = policy.spec.linux().as_ref();
    let maps = IdMaps::of(
        linux.and_then(|linux| linux.uid_mappings().as_ref()),
        linux.and_then(|linux| linux.gid_mappings().as_ref()),
    );
    let mapped = policy.namespaces.user.is_own();
    let (user, gid) = (process.user().uid(), process.user().gid());
    if capabilities & SETUID == 0 {
        let uid = if mapped { maps.host_uid(user) } else { Some(user) };
        if status.uids.iter().any(|found| Some(*found) != uid) {
            return Err(refuse(format_args!("its user ids are {:?}", status.uids), "/process/user/uid"));
        }
    }
    if capabilities & SETGID == 0 {
        let host = |gid: u32| if mapped { maps.host_gid(gid) } else { Some(gid) };
        if status.gids.iter().any(|found| Some(*found) != host(gid)) {
            return Err(refuse(format_args!("its group ids are {:?}", status.gids), "/process/user/gid"));
        }
        let listed = process.user().additional_gids();
        let listed: Vec<_> = listed.iter().flatten().copied().chain([gid]).map(host).collect();
        if let Some(group) = status.groups.iter().find(|group| !listed.contains(&Some(**group))) {
            return Err(refuse(format_args!("it is in group {group}"), "/process/user/additionalGids"));
        }
    }
    Ok(())
}

/// Compares the AppArmor profile and the `SELinux` label, if one is configured.
pub(super) fn verify_label(pid: i32, thread: &str, policy: &Policy<'_>) -> Result<()> {
    let process = process_of(policy)?;
    let wanted = |configured: &Option<String>, kind: &str| {
        let told = policy.label.and_then(|label| label.strip_prefix(kind)).map(str::to_owned);
        told.or_else(|| configured.clone()).filter(|label| !label.is_empty())
    };
    let directory = format!("/proc/{pid}/task/{thread}/attr");
    if let Some(profile) = wanted(process.apparmor_profile(), "apparmor:") {
        // Kernels before 5.8 have one file for whichever module is active.
        let file = [format!("{directory}/apparmor/current"), format!("{directory}/current")];
        let now = file.iter().find_map(|file| read(file).ok()).unwrap_or_default();
        if !has_profile(&now, &profile) {
            return Err(refuse(
                format_args!("its AppArmor profile is {:?}", now.trim_end()),
                "/process/apparmorProfile",
            ));
        }
    }
    if let Some(label) = wanted(process.selinux_label(), "selinux:") {
        let now = read(&format!("{directory}/current"))?;
        if now.trim_end_matches(['\0', '\n']) != label {
            return Err(refuse(format_args!("its SELinux label is {now:?}"), "/process/selinuxLabel"));
        }
    }
    Ok(())
}

/// "NAME (enforce)", or "unconfined".
fn has_profile(now: &str, profile: &str) -> bool {
    let now = now.trim_end_matches(['\0', '\n']);
    now == profile
        || now.strip_prefix(profile).is_some_and(|mode| mode.starts_with(" (") && mode.ends_with(')'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_is_compared_whole() {
        assert!(has_profile("docker-default (enforce)\n", "docker-default"));
        assert!(has_profile("unconfined\n", "unconfined"));
        assert!(!has_profile("docker-default-weak (enforce)", "docker-default"));
        assert!(!has_profile("unconfined", "docker-default"));
    }
}
