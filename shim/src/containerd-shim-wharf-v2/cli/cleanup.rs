//! `delete`: ends and removes what a shim left behind when it is gone. Also called if nothing is left.

use std::fs;
use std::path::{Path, PathBuf};

use containerd_shim_protos::api::DeleteResponse;
use containerd_shim_protos::protobuf::{Message as _, MessageField};
use wharf::{ContainerId, Delete, Runtime};

use crate::cli::address;
use crate::cli::args::Args;
use crate::options::Options;
use crate::rootfs;
use crate::sandbox::files;
use crate::time;

/// The reported status of a process whose real status was lost: killed.
const KILLED: u32 = 137;

/// Performs `delete`; the answer is all that may be printed on standard output.
pub(crate) fn run(args: &Args) -> Result<Vec<u8>, String> {
    let bundle = bundle(args)?;
    let options = Options::load(&bundle);
    let id = ContainerId::new(&args.id).map_err(|error| error.to_string())?;
    let runtime = Runtime::builder()
        .root(options.state_root(&args.namespace))
        .build()
        .map_err(|error| error.to_string())?;
    // Read first: once the container is deleted, other programs may remove the bundle.
    let pid = fs::read_to_string(bundle.join("init.pid")).ok().and_then(|text| text.trim().parse().ok());
    let address = fs::read_to_string(bundle.join("address")).unwrap_or_default();
    let deleted = runtime.delete(&id, Delete::Force);
    if let Err(error) = rootfs::unmount(&bundle.join("rootfs")) {
        eprintln!("{error}");
    }
    // The bundle may be that of a sandbox.
    if let Err(reason) = files::remove(&bundle) {
        eprintln!("{reason}");
    }
    if let Err(error) = address::forget(&address) {
        eprintln!("remove the socket {address}: {error}");
    }
    deleted.map_err(|error| error.to_string())?;
    let mut response = DeleteResponse::new();
    response.pid = pid.unwrap_or(0);
    response.exit_status = KILLED;
    response.exited_at = MessageField::some(time::now());
    response.write_to_bytes().map_err(|error| error.to_string())
}

/// The daemon runs this in a bundle, but the id may be that of another container.
fn bundle(args: &Args) -> Result<PathBuf, String> {
    let dir = if args.bundle.is_empty() {
        std::env::current_dir().map_err(|error| format!("find the bundle: {error}"))?
    } else {
        PathBuf::from(&args.bundle)
    };
    Ok(dir.parent().unwrap_or(Path::new("/")).join(&args.id))
}
