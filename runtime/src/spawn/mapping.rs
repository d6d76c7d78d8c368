//! Writes the id maps of a child in a new user namespace: directly if the kernel lets the caller, otherwise through
//! newuidmap(1) and newgidmap(1), which know which ids an administrator has given to a user.

use std::io;
use std::process::{Command, Stdio};

use oci_spec::runtime::LinuxIdMapping;

use super::setting::write_proc;
use crate::error::{Error, ErrorKind, Result};
use crate::host::Host;
use crate::linux::idmap::{self, IdMaps};
use crate::sys::process;

/// How much of a tool's output goes into the error.
const MOST_OUTPUT: usize = 1024;

/// One of the two maps of a process.
struct IdMapFile<'m> {
    mappings: &'m [LinuxIdMapping],
    file: &'static str,
    tool: &'static str,
    pointer: &'static str,
    /// The list of ids that users may map besides their own.
    ranges: &'static str,
    /// The caller's own id.
    own: u32,
}

/// Writes the id maps of a child that was born in a new user namespace.
pub(crate) fn map_ids(pid: i32, maps: &IdMaps, host: Host) -> Result<()> {
    let uids = IdMapFile {
        mappings: &maps.uids,
        file: "uid_map",
        tool: "newuidmap",
        pointer: "/linux/uidMappings",
        ranges: "/etc/subuid",
        own: host.euid,
    };
    let gids = IdMapFile {
        mappings: &maps.gids,
        file: "gid_map",
        tool: "newgidmap",
        pointer: "/linux/gidMappings",
        ranges: "/etc/subgid",
        own: host.egid,
    };
    if !host.maps_ids() && idmap::is_own_id(gids.mappings, gids.own) {
        // A user could leave a group that takes away rights, so the kernel requires this first (user_namespaces(7)).
        write_proc(pid, "setgroups", "deny").map_err(|error| error.at(gids.pointer))?;
    }
    for map in [uids, gids] {
        map.write(pid, host).map_err(|error| error.at(map.pointer))?;
    }
    Ok(())
}

/// Compares the maps of a child that has joined a user namespace with those of the configuration, which must be the
/// same if it has both.
pub(crate) fn compare_id_maps(pid: i32, maps: &IdMaps) -> Result<()> {
    for (mappings, file, pointer) in
        [(&maps.uids, "uid_map", "/linux/uidMappings"), (&maps.gids, "gid_map", "/linux/gidMappings")]
    {
        let path = format!("/proc/{pid}/{file}");
        let shown = std::fs::read_to_string(&path)
            .map_err(|error| Error::io(&error, format!("read {path}")).at(pointer))?;
        if !mappings.is_empty() && !idmap::is_map(mappings, &shown) {
            let what = "the mappings are not those of the user namespace that is joined";
            let lines: Vec<String> = idmap::parse(&shown)
                .iter()
                .map(|[inside, outside, size]| format!("{inside} {outside} {size}"))
                .collect();
            return Err(Error::new(ErrorKind::InvalidSpec, what).at(pointer).with_hint(format!(
                "it has {} (inside, outside, size); leave the property out",
                lines.join(", ")
            )));
        }
    }
    Ok(())
}

impl IdMapFile<'_> {
    fn write(&self, pid: i32, host: Host) -> Result<()> {
        if host.maps_ids() || idmap::is_own_id(self.mappings, self.own) {
            return write_proc(pid, self.file, &idmap::text(self.mappings)).map_err(|error| {
                let maps_root = self.mappings.iter().any(|one| one.host_id() == 0);
                match error.kind() {
                    ErrorKind::Permission if !host.initial_user_namespace => {
                        error.with_hint("every hostID must be mapped in the user namespace of the runtime: see /proc/self/uid_map")
                    }
                    ErrorKind::Permission if maps_root => error.with_hint("to map id 0 of the host takes CAP_SETFCAP"),
                    _ => error,
                }
            });
        }
        self.write_by_tool(pid)
    }

    fn write_by_tool(&self, pid: i32) -> Result<()> {
        let numbers = self.mappings.iter().flat_map(|one| [one.container_id(), one.host_id(), one.size()]);
        let mut command = Command::new(self.tool);
        command.arg(pid.to_string()).args(numbers.map(|number| number.to_string()));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        process::close_on_exec(&mut command);
        let output = command.output().map_err(|error| {
            let what = format!("map more ids than the caller's own: run {}", self.tool);
            let failed = Error::io(&error, what);
            match error.kind() {
                io::ErrorKind::NotFound => failed.with_kind(ErrorKind::Unsupported).with_hint(format!(
                    "install it (Debian: package uidmap, Fedora: shadow-utils), or map only id {} of the host",
                    self.own
                )),
                _ => failed,
            }
        })?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        let said: String = said.trim().chars().take(MOST_OUTPUT).collect();
        Err(Error::new(
            ErrorKind::Permission,
            format!("{} refuses the mappings ({}): {}", self.tool, output.status, said.replace('\n', "; ")),
        )
        .with_hint(format!("a user may map his own id and the ranges that {} gives him", self.ranges)))
    }
}
