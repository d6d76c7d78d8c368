//! What a container's class of service gives, and what its groups have counted.

use std::fs;
use std::path::Path;

use serde::Serialize;

use super::group::RdtMembership;
use crate::error::{Error, Result};

/// Intel RDT: empty unless the configuration has `linux.intelRdt`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct IntelRdtStats {
    /// What the processor can do with its L3 cache.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub l3_cache_info: Option<L3CacheInfo>,
    /// The L3 line of the default class.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub l3_cache_schema_root: Option<String>,
    /// The L3 line of the container's class.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub l3_cache_schema: Option<String>,
    /// What the processor can do with its memory bandwidth.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mem_bw_info: Option<MemoryBandwidthInfo>,
    /// The MB line of the default class.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mem_bw_schema_root: Option<String>,
    /// The MB line of the container's class.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mem_bw_schema: Option<String>,
    /// All lines of the container's class.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub schemata: Vec<String>,
    /// Used bandwidth, one entry for each L3 cache.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mbm_stats: Option<Vec<MemoryBandwidth>>,
    /// Occupied cache, one entry for each L3 cache.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cmt_stats: Option<Vec<CacheOccupancy>>,
}

/// What the processor can do with its L3 cache.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct L3CacheInfo {
    /// The mask of the whole cache, hexadecimal.
    pub cbm_mask: String,
    /// The smallest number of bits in a mask.
    pub min_cbm_bits: u64,
    /// How many classes there can be.
    pub num_closids: u64,
}

/// What the processor can do with its memory bandwidth.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct MemoryBandwidthInfo {
    /// The step of the limit, in percent.
    pub bandwidth_gran: u64,
    /// Whether delays grow linearly with the limit (1).
    pub delay_linear: u64,
    /// The smallest limit, in percent.
    pub min_bandwidth: u64,
    /// How many classes there can be.
    pub num_closids: u64,
}

/// Used memory bandwidth, in bytes since the group was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct MemoryBandwidth {
    /// To any memory.
    pub mbm_total_bytes: u64,
    /// To the memory of the local node.
    pub mbm_local_bytes: u64,
}

/// Occupied cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct CacheOccupancy {
    /// In bytes.
    pub llc_occupancy: u64,
}

impl RdtMembership {
    /// Reads the container's numbers. What the machine does not have is absent.
    pub(crate) fn stats(&self) -> Result<IntelRdtStats> {
        let root_lines = read_lines(&self.root.join("schemata"))?;
        let lines = read_lines(&self.clos.join("schemata"))?;
        let info = self.root.join("info");
        let mut stats = IntelRdtStats::default();
        let l3 = info.join("L3");
        if l3.is_dir() {
            stats.l3_cache_info = Some(L3CacheInfo {
                cbm_mask: read(&l3.join("cbm_mask"))?,
                min_cbm_bits: number(&l3.join("min_cbm_bits"))?,
                num_closids: number(&l3.join("num_closids"))?,
            });
            stats.l3_cache_schema_root = line_of(&root_lines, "L3:");
            stats.l3_cache_schema = line_of(&lines, "L3:");
        }
        let bandwidth = info.join("MB");
        if bandwidth.is_dir() {
            stats.mem_bw_info = Some(MemoryBandwidthInfo {
                bandwidth_gran: number(&bandwidth.join("bandwidth_gran"))?,
                delay_linear: number(&bandwidth.join("delay_linear"))?,
                min_bandwidth: number(&bandwidth.join("min_bandwidth"))?,
                num_closids: number(&bandwidth.join("num_closids"))?,
            });
            stats.mem_bw_schema_root = line_of(&root_lines, "MB:");
            stats.mem_bw_schema = line_of(&lines, "MB:");
        }
        stats.schemata = lines;
        let features = fs::read_to_string(info.join("L3_MON/mon_features")).unwrap_or_default();
        let has = |feature: &str| features.lines().any(|line| line.trim() == feature);
        let monitored = self.monitor.as_ref().unwrap_or(&self.clos).join("mon_data");
        if has("mbm_total_bytes") || has("mbm_local_bytes") {
            let caches = caches(&monitored)?.into_iter().map(|cache| MemoryBandwidth {
                mbm_total_bytes: counter(&cache.join("mbm_total_bytes")),
                mbm_local_bytes: counter(&cache.join("mbm_local_bytes")),
            });
            stats.mbm_stats = Some(caches.collect());
        }
        if has("llc_occupancy") {
            let caches = caches(&monitored)?.into_iter();
            stats.cmt_stats = Some(
                caches
                    .map(|cache| CacheOccupancy { llc_occupancy: counter(&cache.join("llc_occupancy")) })
                    .collect(),
            );
        }
        Ok(stats)
    }
}

/// The directories of the L3 caches, by number.
fn caches(monitored: &Path) -> Result<Vec<std::path::PathBuf>> {
    let entries = fs::read_dir(monitored)
        .map_err(|error| Error::io(&error, format!("read {}", monitored.display())))?;
    let mut all: Vec<_> = entries
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("mon_L3_"))
        .map(|entry| entry.path())
        .collect();
    all.sort();
    Ok(all)
}

/// A counter sometimes says `Unavailable` or `Error` (resctrl.rst), which is not a number yet.
fn counter(file: &Path) -> u64 {
    fs::read_to_string(file).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}

fn number(file: &Path) -> Result<u64> {
    let text = read(file)?;
    text.parse().map_err(|_| {
        Error::new(
            crate::error::ErrorKind::System,
            format!("{} has {text:?}, which is not a number", file.display()),
        )
    })
}

fn read(file: &Path) -> Result<String> {
    fs::read_to_string(file)
        .map(|text| text.trim().to_owned())
        .map_err(|error| Error::io(&error, format!("read {}", file.display())))
}

fn read_lines(file: &Path) -> Result<Vec<String>> {
    Ok(read(file)?.lines().map(|line| line.trim().to_owned()).collect())
}

fn line_of(lines: &[String], resource: &str) -> Option<String> {
    lines.iter().find(|line| line.starts_with(resource)).cloned()
}
