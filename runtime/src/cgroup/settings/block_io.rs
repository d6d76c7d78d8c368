//! Weights and rates of block devices.

use oci_spec::runtime::LinuxBlockIo;

use super::super::layout::Hierarchy;
use super::{Output, v1, v2};

impl Output<'_> {
    pub(super) fn block_io(&mut self, block_io: &LinuxBlockIo) {
        let devices = block_io.weight_device().as_deref().unwrap_or_default();
        let weights = block_io.weight().map(|weight| (weight, "/blockIO/weight".to_owned())).into_iter();
        let leaf = block_io.leaf_weight().map(|weight| (weight, "/blockIO/leafWeight".to_owned()));
        let weights = weights.chain(leaf).chain(devices.iter().enumerate().flat_map(|(index, device)| {
            let at = move |name: &str| format!("/blockIO/weightDevice/{index}/{name}");
            let weight = device.weight().map(|weight| (weight, at("weight")));
            weight.into_iter().chain(device.leaf_weight().map(|weight| (weight, at("leafWeight"))))
        }));
        let weights: Vec<_> = weights.filter(|&(weight, _)| weight != 0).collect();
        for (weight, property) in &weights {
            if !(10..=1000).contains(weight) {
                self.invalid(property, format!("a block I/O weight is 10 to 1000, not {weight}"));
            }
        }
        let numbers = devices.iter().map(|device| (device.major(), device.minor()));
        let numbers: Vec<_> = numbers.enumerate().collect();
        for (index, (major, minor)) in numbers {
            self.device_number(&format!("/blockIO/weightDevice/{index}"), major, minor);
        }
        let throttles = throttles(block_io);
        for throttle in &throttles {
            self.device_number(&throttle.property, throttle.major, throttle.minor);
        }
        let first = weights.first().map(|(_, property)| property).or(throttles.first().map(|t| &t.property));
        let Some(first) = first.cloned() else { return };
        match self.place("blkio", "io", &first) {
            Some(place @ Hierarchy::V1(_)) => v1::block_io(self, place, block_io, &throttles),
            Some(Hierarchy::V2) => v2::block_io(self, block_io, &throttles),
            None => {}
        }
    }

    fn device_number(&mut self, property: &str, major: i64, minor: i64) {
        for (number, name) in [(major, "major"), (minor, "minor")] {
            if u32::try_from(number).is_err() {
                self.invalid(&format!("{property}/{name}"), format!("{number} is no device number"));
            }
        }
    }
}

/// A limit on the traffic with one device.
pub(super) struct Throttle {
    pub(super) property: String,
    pub(super) major: i64,
    pub(super) minor: i64,
    pub(super) rate: u64,
    pub(super) v1_file: &'static str,
    pub(super) v2_key: &'static str,
}

fn throttles(block_io: &LinuxBlockIo) -> Vec<Throttle> {
    let lists = [
        (
            "throttleReadBpsDevice",
            block_io.throttle_read_bps_device(),
            "blkio.throttle.read_bps_device",
            "rbps",
        ),
        (
            "throttleWriteBpsDevice",
            block_io.throttle_write_bps_device(),
            "blkio.throttle.write_bps_device",
            "wbps",
        ),
        (
            "throttleReadIOPSDevice",
            block_io.throttle_read_iops_device(),
            "blkio.throttle.read_iops_device",
            "riops",
        ),
        (
            "throttleWriteIOPSDevice",
            block_io.throttle_write_iops_device(),
            "blkio.throttle.write_iops_device",
            "wiops",
        ),
    ];
    let each = lists.into_iter().flat_map(|(property, list, v1_file, v2_key)| {
        list.iter().flatten().enumerate().map(move |(index, device)| Throttle {
            property: format!("/blockIO/{property}/{index}"),
            major: device.major(),
            minor: device.minor(),
            rate: device.rate(),
            v1_file,
            v2_key,
        })
    });
    each.collect()
}
