//! The groups of one container: finding, making, joining and removing them.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use serde::{Deserialize, Serialize};

use super::schema::{self, Line};
use super::{Clos, GroupRequest, Schemata, check_name};
use crate::error::{Error, ErrorKind, Result};

const AT: &str = "/linux/intelRdt";

/// Which groups a container is in, for its record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RdtMembership {
    pub(super) root: PathBuf,
    /// The directory of its class of service.
    pub(super) clos: PathBuf,
    /// The directory of its monitoring group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) monitor: Option<PathBuf>,
    /// Whether the class of service ends with the container: it has the container's id as its name, and did not exist
    /// before.
    remove_clos: bool,
    /// What this process made, and undoes if the creation fails.
    #[serde(skip)]
    made: Vec<PathBuf>,
}

impl RdtMembership {
    /// Checks whether everything that is asked for is available, without changing anything.
    pub(crate) fn prepare(request: &GroupRequest, root: &Path) -> Result<Self> {
        let invalid = |message: String, property: &str| {
            Error::new(ErrorKind::InvalidSpec, message).at(format!("{AT}{property}"))
        };
        let clos = match &request.clos {
            Clos::Default => root.to_owned(),
            Clos::Named(name) => {
                check_name(name).map_err(|why| invalid(why, "/closID"))?;
                root.join(name)
            }
            Clos::Own(id) => {
                check_name(id)
                    .map_err(|why| invalid(format!("closID is needed: the container id {why}"), ""))?;
                root.join(id)
            }
        };
        for (property, wished, resources) in [
            ("/l3CacheSchema", request.schemata.l3.is_some(), &["L3", "L3CODE", "L3DATA"][..]),
            ("/memBwSchema", request.schemata.memory.is_some(), &["MB"]),
        ] {
            if wished && !resources.iter().any(|resource| root.join("info").join(resource).is_dir()) {
                let message = format!("{} has no info/{}: it cannot be shared", root.display(), resources[0]);
                return Err(invalid(message, property).with_kind(ErrorKind::Unsupported));
            }
        }
        let there = clos.is_dir();
        match &request.clos {
            Clos::Named(name) if !there && request.schemata.is_empty() => {
                return Err(invalid(
                    format!("there is no resctrl group {name}, and no schema is configured for a new one"),
                    "/closID",
                )
                .with_hint(format!(
                    "make {}, or set schemata, l3CacheSchema or memBwSchema",
                    clos.display()
                )));
            }
            Clos::Named(_) | Clos::Default if there => compare(&clos, root, &request.schemata)?,
            _ => {}
        }
        let monitor = request.monitor.as_ref().map(|name| clos.join("mon_groups").join(name));
        if let Some(monitor) = &monitor {
            if !root.join("mon_groups").is_dir() {
                let message = format!("{} has no mon_groups: nothing can be monitored", root.display());
                return Err(invalid(message, "/enableMonitoring").with_kind(ErrorKind::Unsupported));
            }
            if monitor.is_dir() {
                let message = format!("{} is there already", monitor.display());
                return Err(invalid(message, "/enableMonitoring").with_kind(ErrorKind::Exists));
            }
        }
        let remove_clos = !there && matches!(request.clos, Clos::Own(_));
        Ok(Self { root: root.to_owned(), clos, monitor, remove_clos, made: Vec::new() })
    }

    /// Makes the class of service, if it does not exist.
    pub(crate) fn make_clos(&mut self, request: &GroupRequest) -> Result<()> {
        if request.clos == Clos::Default {
            return Ok(());
        }
        let made = match fs::create_dir(&self.clos) {
            Ok(()) => {
                self.made.push(self.clos.clone());
                true
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => false,
            Err(error) => {
                return Err(self
                    .failed(&error, format!("make resctrl group {}", self.clos.display()))
                    .at(AT));
            }
        };
        self.remove_clos = made && matches!(request.clos, Clos::Own(_));
        if !made && matches!(request.clos, Clos::Named(_)) {
            compare(&self.clos, &self.root, &request.schemata)?;
        }
        Ok(())
    }

    /// Writes what the class gives.
    pub(crate) fn write(&self, schemata: &Schemata) -> Result<()> {
        let file = self.clos.join("schemata");
        for (property, text) in schemata.writes() {
            overwrite(&file, &text).map_err(|error| {
                self.failed(&error, format!("write {:?} to {}", text.trim_end(), file.display()))
                    .at(format!("{AT}/{property}"))
            })?;
        }
        Ok(())
    }

    /// Makes the monitoring group, if one is wanted.
    pub(crate) fn make_monitor(&mut self) -> Result<()> {
        let Some(monitor) = &self.monitor else { return Ok(()) };
        fs::create_dir(monitor).map_err(|error| {
            self.failed(&error, format!("make monitoring group {}", monitor.display()))
                .at(format!("{AT}/enableMonitoring"))
        })?;
        self.made.push(monitor.clone());
        Ok(())
    }

    /// Adds a process: first to the class, as its monitoring group only takes tasks of the class.
    pub(crate) fn assign(&self, pid: i32) -> Result<()> {
        for group in [Some(&self.clos), self.monitor.as_ref()].into_iter().flatten() {
            let tasks = group.join("tasks");
            overwrite(&tasks, &pid.to_string())
                .map_err(|error| self.failed(&error, format!("write {pid} to {}", tasks.display())).at(AT))?;
        }
        Ok(())
    }

    /// Changes what the class gives, for all of its members.
    pub(crate) fn update(&self, schemata: &Schemata) -> Result<()> {
        for (wished, resources) in
            [(schemata.l3.is_some(), &["L3", "L3CODE", "L3DATA"][..]), (schemata.memory.is_some(), &["MB"])]
        {
            if wished && !resources.iter().any(|resource| self.root.join("info").join(resource).is_dir()) {
                return Err(Error::new(
                    ErrorKind::Unsupported,
                    format!("{} has no info/{}: it cannot be shared", self.root.display(), resources[0]),
                ));
            }
        }
        self.write(schemata)
    }

    /// Removes what ends with the container. Remaining tasks fall back to the groups above.
    pub(crate) fn remove(&self) -> Result<()> {
        let clos = self.remove_clos.then_some(&self.clos);
        for group in [self.monitor.as_ref(), clos].into_iter().flatten() {
            remove_dir(group)?;
        }
        Ok(())
    }

    /// Removes them if they have no tasks: after an interrupted creation it is unknown whether it made a group or was
    /// about to find that it already existed.
    pub(crate) fn remove_unused(&self) -> Result<()> {
        let clos = self.remove_clos.then_some(&self.clos);
        for group in [self.monitor.as_ref(), clos].into_iter().flatten() {
            match fs::read_to_string(group.join("tasks")) {
                Ok(tasks) if !tasks.trim().is_empty() => {
                    log::debug!("{} has tasks of others", group.display());
                }
                _ => remove_dir(group)?,
            }
        }
        Ok(())
    }

    /// Removes what was made here, including a class that would outlive the container: it was never created.
    pub(crate) fn undo(&mut self) {
        for group in self.made.drain(..).rev() {
            if let Err(error) = remove_dir(&group) {
                log::warn!("{error}");
            }
        }
    }

    /// A failed operation, with the kernel's message for the last one.
    fn failed(&self, error: &io::Error, what: String) -> Error {
        let status = fs::read_to_string(self.root.join("info/last_cmd_status")).unwrap_or_default();
        let failed = Error::io(error, what);
        match (status.trim(), error.raw_os_error()) {
            ("" | "ok", Some(libc::ENOSPC)) => failed
                .with_hint("the processor has no more of them: see num_closids and num_rmids below info"),
            ("" | "ok", _) => failed,
            (status, _) => failed.with_hint(format!("the kernel says: {status}")),
        }
    }
}

/// An existing class must give what is asked for. What `schemata` has is written to it in any case.
fn compare(clos: &Path, root: &Path, schemata: &Schemata) -> Result<()> {
    let wished = [(&schemata.l3, "l3CacheSchema"), (&schemata.memory, "memBwSchema")];
    if wished.iter().all(|(text, _)| text.is_none()) {
        return Ok(());
    }
    let file = clos.join("schemata");
    let there = fs::read_to_string(&file)
        .map_err(|error| Error::io(&error, format!("read {}", file.display())).at(AT))?;
    let there = schema::lines(&there);
    let step = fs::read_to_string(root.join("info/MB/bandwidth_gran")).ok();
    let step = step.and_then(|text| text.trim().parse().ok()).unwrap_or(1);
    for (text, property) in wished {
        let Some(text) = text else { continue };
        let differs = match Line::parse(text) {
            Some(line) => line.is_met_by(&there, step),
            None => Err("it is not a line of a schemata file".to_owned()),
        };
        differs.map_err(|why| {
            let what = format!("{text:?} does not match the resctrl group {}: {why}", clos.display());
            Error::invalid(format!("{AT}/{property}"), what)
        })?;
    }
    Ok(())
}

/// One write: the kernel takes a file as a whole.
fn overwrite(file: &Path, text: &str) -> io::Result<()> {
    File::options().write(true).truncate(true).open(file)?.write_all(text.as_bytes())
}

fn remove_dir(group: &Path) -> Result<()> {
    match fs::remove_dir(group) {
        Err(error) if Errno::from_raw(error.raw_os_error().unwrap_or(0)) != Errno::ENOENT => {
            Err(Error::io(&error, format!("remove resctrl group {}", group.display())))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
