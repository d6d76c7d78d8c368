//! The files of a cgroup as properties of its unit (systemd.resource-control(5)).
//!
//! Derived from the settings, not from the configuration a second time: a property cannot say anything other than the
//! file that is written after it. A file without a property is just written.

use super::super::settings::Setting;
use super::value::{Property, PropertyValue};

/// The kernel's bandwidth period in microseconds, unless another is set.
pub(in super::super) const DEFAULT_PERIOD: u64 = 100_000;

/// Unlimited (`CGROUP_LIMIT_MAX`, `USEC_INFINITY`).
const INFINITY: u64 = u64::MAX;

/// The properties for the settings; `period` is the bandwidth period in force.
pub(super) fn of(settings: &[Setting], period: u64) -> Vec<Property> {
    let mut out = Vec::new();
    let mut bandwidth = Bandwidth { quota: None, period: None };
    for setting in settings {
        let value = setting.value.trim();
        match &*setting.file {
            "memory.max" | "memory.high" | "memory.low" | "memory.min" | "memory.swap.max" => {
                let name = match &*setting.file {
                    "memory.max" => "MemoryMax",
                    "memory.high" => "MemoryHigh",
                    "memory.low" => "MemoryLow",
                    "memory.min" => "MemoryMin",
                    _ => "MemorySwapMax",
                };
                // A limit may not be zero; protection may, and so may swap.
                let least = u64::from(matches!(name, "MemoryMax" | "MemoryHigh"));
                put(&mut out, name, limit(value).map(|value| value.max(least)));
            }
            "memory.limit_in_bytes" => put(&mut out, "MemoryLimit", limit(value)),
            "pids.max" => put(&mut out, "TasksMax", limit(value).map(|value| value.max(1))),
            "cpu.weight" => put(&mut out, "CPUWeight", limit(value)),
            // For systemd, the weight 0 is idle.
            "cpu.idle" if value == "1" => put(&mut out, "CPUWeight", Some(0)),
            "cpu.shares" => put(&mut out, "CPUShares", limit(value)),
            "cpu.max" => {
                let mut words = value.split_whitespace();
                bandwidth.quota = words.next().and_then(limit);
                bandwidth.period = words.next().and_then(limit);
            }
            "cpu.cfs_quota_us" => bandwidth.quota = limit(value),
            "cpu.cfs_period_us" => bandwidth.period = limit(value),
            "cpuset.cpus" => put_bits(&mut out, "AllowedCPUs", value),
            "cpuset.mems" => put_bits(&mut out, "AllowedMemoryNodes", value),
            "io.weight" => put_io_weight(&mut out, value),
            "io.max" => put_io_max(&mut out, value),
            "blkio.weight" => put(&mut out, "BlockIOWeight", limit(value)),
            _ => {}
        }
    }
    bandwidth.put(&mut out, period);
    out
}

/// The bandwidth period in force, from the text of a `cpu.max`.
pub(in super::super) fn in_force(cpu_max: &str) -> u64 {
    cpu_max.split_whitespace().nth(1).and_then(limit).unwrap_or(DEFAULT_PERIOD)
}

struct Bandwidth {
    quota: Option<u64>,
    period: Option<u64>,
}

impl Bandwidth {
    /// systemd takes the quota as CPU time per second. Rounded up, so that it is never less than what the file says.
    fn put(&self, out: &mut Vec<Property>, in_force: u64) {
        put(out, "CPUQuotaPeriodUSec", self.period);
        let Some(quota) = self.quota else { return };
        let period = self.period.unwrap_or(in_force).max(1);
        let per_second = match quota {
            INFINITY => INFINITY,
            quota => u128::from(quota).checked_mul(1_000_000).map_or(INFINITY, |time| {
                u64::try_from(time.div_ceil(u128::from(period))).unwrap_or(INFINITY)
            }),
        };
        put(out, "CPUQuotaPerSecUSec", Some(per_second.max(1)));
    }
}

/// A number, or `max` or -1 for none.
fn limit(text: &str) -> Option<u64> {
    if text == "max" || text == "-1" { Some(INFINITY) } else { text.parse().ok() }
}

fn put(out: &mut Vec<Property>, name: &str, value: Option<u64>) {
    if let Some(value) = value {
        out.retain(|property| property.name != name);
        out.push(Property::new(name, PropertyValue::U64(value)));
    }
}

/// A list such as `0-2,7` as a mask, lowest byte first.
fn put_bits(out: &mut Vec<Property>, name: &str, list: &str) {
    let mut bytes: Vec<u8> = Vec::new();
    for part in list.split(',') {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        let (Ok(from), Ok(to)) = (from.trim().parse::<usize>(), to.trim().parse::<usize>()) else { return };
        // More CPUs than any kernel has: the file will be refused, with a better message.
        if to >= 1 << 16 {
            return;
        }
        if bytes.len() <= to / 8 {
            bytes.resize(to / 8 + 1, 0);
        }
        (from..=to).for_each(|bit| bytes[bit / 8] |= 1 << (bit % 8));
    }
    out.push(Property::new(
        name,
        PropertyValue::Array("y", bytes.into_iter().map(PropertyValue::Byte).collect()),
    ));
}

/// `100`, `default 100` or `8:0 100`.
fn put_io_weight(out: &mut Vec<Property>, value: &str) {
    let (device, weight) = value.split_once(' ').unwrap_or(("default", value));
    let Some(weight) = limit(weight) else { return };
    if device == "default" {
        put(out, "IOWeight", Some(weight));
    } else {
        append(out, "IODeviceWeight", device, weight);
    }
}

/// `8:0 rbps=1000 wiops=max`.
fn put_io_max(out: &mut Vec<Property>, value: &str) {
    for line in value.lines() {
        let Some((device, limits)) = line.split_once(' ') else { continue };
        for (key, rate) in limits.split_whitespace().filter_map(|word| word.split_once('=')) {
            let name = match key {
                "rbps" => "IOReadBandwidthMax",
                "wbps" => "IOWriteBandwidthMax",
                "riops" => "IOReadIOPSMax",
                "wiops" => "IOWriteIOPSMax",
                _ => continue,
            };
            if let Some(rate) = limit(rate) {
                append(out, name, device, rate);
            }
        }
    }
}

/// Adds a pair of device and number to the array of a property.
fn append(out: &mut Vec<Property>, name: &str, device: &str, number: u64) {
    let pair = PropertyValue::Tuple(vec![
        PropertyValue::text(format!("/dev/block/{device}")),
        PropertyValue::U64(number),
    ]);
    for property in out.iter_mut().filter(|property| property.name == name) {
        if let PropertyValue::Array(_, items) = &mut property.value {
            items.push(pair);
            return;
        }
    }
    out.push(Property::new(name, PropertyValue::Array("(st)", vec![pair])));
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::super::super::layout::Hierarchy;
    use super::super::super::settings::{Absent, Group};
    use super::*;

    fn shown(files: &[(&'static str, &str)], period: u64) -> String {
        let settings: Vec<Setting> = files
            .iter()
            .map(|&(file, value)| Setting {
                place: Hierarchy::V2,
                controller: "x".into(),
                file: file.into(),
                value: value.to_owned(),
                pointer: String::new(),
                absent: Absent::Fail,
                group: Group::Single,
            })
            .collect();
        of(&settings, period).iter().fold(String::new(), |mut text, property| {
            let _ = writeln!(text, "{} = {:?}", property.name, property.value);
            text
        })
    }

    #[test]
    fn the_table_of_version_2() {
        let files = [
            ("cpu.weight", "39"),
            ("cpu.max", "25000 50000"),
            ("cpu.max.burst", "100"),
            ("cpuset.cpus", "0-2,9"),
            ("cpuset.mems", "0"),
            ("memory.max", "67108864"),
            ("memory.swap.max", "0"),
            ("memory.low", "max"),
            ("memory.oom.group", "1"),
            ("pids.max", "0"),
            ("io.bfq.weight", "10"),
            ("io.weight", "default 91"),
            ("io.weight", "8:0 92"),
            ("io.max", "8:0 rbps=1000"),
            ("io.max", "8:16 rbps=max wiops=5"),
            ("hugetlb.2MB.max", "0"),
        ];
        insta::assert_snapshot!(shown(&files, DEFAULT_PERIOD));
    }

    #[test]
    fn the_table_of_version_1() {
        let files = [
            ("cpu.shares", "1024"),
            ("cpu.cfs_period_us", "100000"),
            ("cpu.cfs_quota_us", "-1"),
            ("memory.limit_in_bytes", "-1"),
            ("memory.soft_limit_in_bytes", "5"),
            ("blkio.weight", "100"),
            ("pids.max", "max"),
            ("devices.allow", "a"),
        ];
        insta::assert_snapshot!(shown(&files, DEFAULT_PERIOD));
    }

    #[test]
    fn a_quota_alone_is_counted_by_the_period_in_force_and_never_rounded_down() {
        assert_eq!(in_force("max 20000\n"), 20_000);
        assert_eq!(shown(&[("cpu.max", "10000")], 20_000), "CPUQuotaPerSecUSec = U64(500000)\n");
        assert_eq!(
            shown(&[("cpu.max", "10001 30000")], 1).lines().last(),
            Some("CPUQuotaPerSecUSec = U64(333367)")
        );
    }

    #[test]
    fn idle_is_the_weight_0() {
        assert_eq!(shown(&[("cpu.weight", "50"), ("cpu.idle", "1")], 1), "CPUWeight = U64(0)\n");
        assert_eq!(shown(&[("cpu.idle", "0"), ("cpu.weight", "50")], 1), "CPUWeight = U64(50)\n");
    }
}
