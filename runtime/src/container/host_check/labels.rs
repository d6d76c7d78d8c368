//! Labels that the kernel's security modules do not know: a profile that is not loaded, a context that is not in the
//! policy. The modules answer such questions to any caller that their own policies allow to ask.

use std::fs::OpenOptions;
use std::io::Write as _;

use nix::errno::Errno;
use oci_spec::runtime::Spec;

use crate::error::{Error, ErrorKind};
use crate::linux::lsm;

/// Takes questions about AppArmor profiles (security/apparmor/apparmorfs.c, `aa_write_access`).
const APPARMOR: &str = "/sys/kernel/security/apparmor/.access";
/// Takes contexts, and refuses those that the policy does not have (security/selinux/selinuxfs.c, `sel_write_context`).
const SELINUX: &str = "/sys/fs/selinux/context";

/// An error for each label that the running kernel would refuse.
pub(super) fn unknown(spec: &Spec) -> Vec<Error> {
    let process = spec.process().as_ref();
    let profile = process.and_then(lsm::apparmor_profile);
    let contexts = [
        (process.and_then(lsm::selinux_label), "/process/selinuxLabel"),
        (lsm::mount_label(spec.linux().as_ref()), "/linux/mountLabel"),
    ];
    let missing = profile
        .and_then(|label| profiles(label).find(|name| ask(APPARMOR, &question(name)) == Err(Errno::ENOENT)));
    let profile = missing.map(|name| {
        let what = format!("the AppArmor profile {name:?} is not loaded");
        Error::new(ErrorKind::InvalidSpec, what).at("/process/apparmorProfile")
    });
    let contexts = contexts.into_iter().filter_map(|(label, at)| Some((label?, at)));
    let contexts = contexts.filter(|(label, _)| {
        lsm::is_context(label) && ask(SELINUX, &[label.as_bytes(), b"\0"].concat()) == Err(Errno::EINVAL)
    });
    profile
        .into_iter()
        .chain(contexts.map(|(label, at)| {
            let what = format!("the loaded SELinux policy does not have the label {label:?}");
            Error::new(ErrorKind::InvalidSpec, what).at(at)
        }))
        .collect()
}

/// The profiles of a label, which may be a stack of several: the kernel combines them where they are applied.
fn profiles(label: &str) -> impl Iterator<Item = &str> {
    label.strip_prefix('&').unwrap_or(label).split("//&")
}

/// What the profile allows for one class of objects: if the profile is not loaded, the question fails with ENOENT.
fn question(profile: &str) -> Vec<u8> {
    /// `AA_CLASS_FILE`; any would do.
    const CLASS: u8 = 2;
    [b"label\0", profile.as_bytes(), &[0, CLASS]].concat()
}

/// Asks a question. The kernel has this file for that purpose; writing to it changes nothing.
fn ask(file: &str, question: &[u8]) -> nix::Result<()> {
    let errno = |error: std::io::Error| Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO));
    // No file, no answer: that is not the answer "unknown".
    let Ok(mut file) = OpenOptions::new().read(true).write(true).open(file) else { return Ok(()) };
    file.write_all(question).map_err(errno)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_a_kernel_that_answers_makes_an_error() {
        assert_eq!(ask("/none/.access", b"label"), Ok(()));
        assert_eq!(profiles("&web//&a b//&:ns:c//child").collect::<Vec<_>>(), ["web", "a b", ":ns:c//child"]);
        assert_eq!(question("web"), b"label\0web\0\x02");
        let user = json!({"uid": 0, "gid": 0});
        let process = json!({"cwd": "/", "user": user, "apparmorProfile": "wharf-none"});
        let spec = serde_json::from_value(json!({"ociVersion": "1.2.0", "process": process})).unwrap();
        let told = unknown(&spec);
        if std::path::Path::new(APPARMOR).exists() {
            assert_eq!(
                told[0].to_string(),
                "the AppArmor profile \"wharf-none\" is not loaded (config.json /process/apparmorProfile)"
            );
        } else {
            assert!(told.is_empty(), "{told:?}");
        }
    }
}
