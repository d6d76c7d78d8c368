//! The files of a cgroup that hold numbers, and their formats.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use nix::errno::Errno;

use super::{Pressure, RdmaStats};
use crate::error::{Error, Result};

/// The numbers of a list such as `0-2,7`.
pub(super) fn numbers(list: &str) -> Vec<u16> {
    let ranges = list.trim().split(',').filter_map(|part| {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        Some(from.parse::<u16>().ok()?..=to.parse::<u16>().ok()?)
    });
    ranges.flatten().collect()
}

/// A number that may be `max`.
pub(super) fn number(text: &str) -> u64 {
    match text.trim() {
        "max" => u64::MAX,
        text => text.parse().unwrap_or(0),
    }
}

/// Every `key value` line.
pub(super) fn table(text: &str) -> BTreeMap<String, u64> {
    let pairs = text.lines().filter_map(|line| {
        let (key, value) = line.split_once(' ')?;
        Some((key.to_owned(), value.trim().parse().ok()?))
    });
    pairs.collect()
}

/// Every `device hca_handle=1 hca_object=max` line.
pub(super) fn rdma(text: &str) -> BTreeMap<String, RdmaStats> {
    let amount = |text: &str| u32::try_from(number(text)).unwrap_or(u32::MAX);
    let lines = text.lines().filter_map(|line| {
        let (device, values) = line.split_once(' ')?;
        let mut stats = RdmaStats::default();
        for (key, value) in values.split_whitespace().filter_map(|word| word.split_once('=')) {
            match key {
                "hca_handle" => stats.hca_handles = amount(value),
                "hca_object" => stats.hca_objects = amount(value),
                _ => {}
            }
        }
        Some((device.to_owned(), stats))
    });
    lines.collect()
}

/// A pressure file.
pub(super) fn pressure(text: &str) -> Pressure {
    let mut pressure = Pressure::default();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let slot = match words.next() {
            Some("some") => &mut pressure.some,
            Some("full") => &mut pressure.full,
            _ => continue,
        };
        for (key, value) in words.filter_map(|word| word.split_once('=')) {
            match key {
                "avg10" => slot.avg10 = value.parse().unwrap_or(0.0),
                "avg60" => slot.avg60 = value.parse().unwrap_or(0.0),
                "avg300" => slot.avg300 = value.parse().unwrap_or(0.0),
                "total" => slot.total = value.parse().unwrap_or(0),
                _ => {}
            }
        }
    }
    pressure
}

/// Reads the files of one directory; none for a file that the kernel does not have.
pub(super) struct Files {
    dir: OwnedFd,
    path: PathBuf,
}

impl Files {
    pub(super) fn open(path: &Path) -> Result<Self> {
        let what = || format!("open cgroup {}", path.display());
        let dir = super::super::file::open_dir(path).map_err(|errno| Error::os(errno, what()))?;
        Ok(Self { dir, path: path.to_owned() })
    }

    pub(super) fn text(&self, name: &str) -> Result<Option<String>> {
        match super::super::file::read_at(&self.dir, name) {
            Ok(text) => Ok(Some(text)),
            // EOPNOTSUPP: pressure accounting is off.
            Err(Errno::ENOENT | Errno::EOPNOTSUPP) => Ok(None),
            Err(errno) => Err(Error::os(errno, format!("read {}", self.path.join(name).display()))),
        }
    }

    pub(super) fn number(&self, name: &str) -> Result<u64> {
        Ok(self.text(name)?.map_or(0, |text| number(&text)))
    }

    /// The sizes of huge pages for which there are files `hugetlb.SIZE.SUFFIX`.
    pub(super) fn page_sizes(&self, suffix: &str) -> Result<Vec<String>> {
        let entries = std::fs::read_dir(&self.path);
        let entries = entries.map_err(|e| Error::io(&e, format!("read {}", self.path.display())))?;
        let mut sizes: Vec<String> = entries
            .filter_map(|entry| {
                let name = entry.ok()?.file_name().into_string().ok()?;
                let size = name.strip_prefix("hugetlb.")?.strip_suffix(suffix)?.strip_suffix('.')?;
                (!size.contains('.')).then(|| size.to_owned())
            })
            .collect();
        sizes.sort();
        Ok(sizes)
    }
}
