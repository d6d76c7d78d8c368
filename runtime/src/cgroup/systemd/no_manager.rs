//! Without the feature `systemd` there is no manager to talk to.

use std::convert::Infallible;
use std::os::fd::BorrowedFd;
use std::path::Path;

use super::Instance;
use super::value::Property;
use crate::error::{Error, ErrorKind, Result};

/// A connection that cannot exist.
#[derive(Debug)]
pub(crate) struct Manager(Infallible);

impl Manager {
    /// Always an error.
    pub(crate) fn connect(_: &Instance, _: Option<BorrowedFd<'_>>) -> Result<Self> {
        Err(Error::new(ErrorKind::Unsupported, "the systemd cgroup driver is not supported by this build")
            .with_hint("build with the feature `systemd`"))
    }

    pub(crate) fn watch(&mut self, _: BorrowedFd<'_>) -> Result<()> {
        match self.0 {}
    }

    pub(super) fn start_scope(&mut self, _: &str, _: &[Property]) -> Result<()> {
        match self.0 {}
    }

    pub(super) fn set_properties(&mut self, _: &str, _: &[Property]) -> Result<()> {
        match self.0 {}
    }

    pub(super) fn attach(&mut self, _: &str, _: &Path, _: i32) -> Result<()> {
        match self.0 {}
    }

    pub(super) fn stop(&mut self, _: &str) -> Result<()> {
        match self.0 {}
    }
}
