//! The host name and the kernel parameters of a pod's namespaces.

use std::fs::OpenOptions;
use std::io::Write as _;

use super::PodNamespaces;
use crate::error::{Error, ErrorKind, Result};
use crate::linux::sysctl::{self, Scope};
use crate::sys::process;

impl PodNamespaces {
    /// The kernel parameters as paths below /proc/sys with their values, if all are of the pod's namespaces.
    pub(super) fn parameters(&self) -> Result<Vec<(String, &str)>> {
        let wrong = |sentence: String| Error::new(ErrorKind::InvalidSpec, sentence);
        let located = self.sysctls.iter().map(|(name, value)| {
            let path =
                sysctl::path(name).ok_or_else(|| wrong(format!("{name:?} is not the name of a sysctl")))?;
            // The words of runc, which differ for each kind.
            match sysctl::scope(&path) {
                Some(Scope::Net) if self.network.is_none() => {
                    Err(wrong(format!("sysctl {name:?} not allowed in host network namespace")))
                }
                Some(Scope::Ipc) if !self.ipc => {
                    Err(wrong(format!("sysctl {name:?} is not allowed in the hosts ipc namespace")))
                }
                Some(Scope::Net | Scope::Ipc) => Ok((path, value.as_str())),
                // A pod has one name, and its limits on namespaces are those of its user namespace's owner.
                Some(Scope::Uts | Scope::User) | None => {
                    Err(wrong(format!("sysctl {name:?} is not in a separate kernel namespace")))
                }
            }
        });
        located.collect()
    }

    /// Writes both from inside the namespaces, with the host's /proc.
    pub(super) fn set_parameters(&self) -> Result<()> {
        if let Some(name) = &self.hostname {
            process::set_hostname(name.as_bytes())
                .map_err(|errno| Error::os(errno, format!("set the host name {name:?}")))?;
        }
        for (path, value) in self.parameters()? {
            let file = format!("/proc/sys/{path}");
            OpenOptions::new()
                .write(true)
                .open(&file)
                .and_then(|mut file| file.write_all(value.as_bytes()))
                .map_err(|error| Error::io(&error, format!("set sysctl {path} to {value:?}")))?;
        }
        Ok(())
    }
}
