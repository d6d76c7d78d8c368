//! What `checkpoint` and `restore` share.

use std::path::Path;

use wharf::{CriuOptions, ManageCgroups, NetworkLock};

use crate::cli::{Context, Given};
use crate::failure::Failure;

/// Reads the shared options.
pub(crate) fn options(context: &Context, given: &Given) -> Result<CriuOptions, Failure> {
    let mut options = CriuOptions::new(given.path("image-path")?.unwrap_or(Path::new("checkpoint")))
        .tcp_established(given.flag("tcp-established"))
        .ext_unix_sk(given.flag("ext-unix-sk"))
        .shell_job(given.flag("shell-job"))
        .file_locks(given.flag("file-locks"))
        .auto_dedup(given.flag("auto-dedup"))
        .lazy_pages(given.flag("lazy-pages"))
        .manage_cgroups(manage_cgroups(given.text("manage-cgroups-mode")?)?);
    for namespace in given.all("empty-ns")? {
        // The interfaces of a network namespace are never saved: whatever set up the network does so again.
        if namespace != "network" {
            return Err(Failure::new(format!("namespace {namespace:?} is not supported")));
        }
    }
    if let Some(path) = given.path("work-path")? {
        options = options.work_path(path);
    }
    if let Some(program) = context.criu() {
        options = options.program(program);
    }
    match given.text("network-lock")? {
        None => Ok(options),
        Some("iptables") => Ok(options.network_lock(NetworkLock::Iptables)),
        Some("nftables") => Ok(options.network_lock(NetworkLock::Nftables)),
        Some("skip") => Ok(options.network_lock(NetworkLock::Skip)),
        Some(other) => {
            Err(Failure::new(format!("invalid --network-lock {other:?}: iptables, nftables or skip")))
        }
    }
}

fn manage_cgroups(mode: Option<&str>) -> Result<ManageCgroups, Failure> {
    match mode {
        None | Some("") => Ok(ManageCgroups::Default),
        Some("soft") => Ok(ManageCgroups::Soft),
        Some("full") => Ok(ManageCgroups::Full),
        Some("strict") => Ok(ManageCgroups::Strict),
        Some("ignore") => Ok(ManageCgroups::Ignore),
        Some(_) => Err(Failure::new("invalid manage-cgroups-mode value: soft, full, strict or ignore")),
    }
}
