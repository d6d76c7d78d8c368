//! Limits for things that have names: sizes of pages, RDMA devices, network interfaces.

use oci_spec::runtime::LinuxResources;

use super::super::layout::Hierarchy;
use super::{Absent, Output};
use crate::finding::escape;

impl Output<'_> {
    pub(super) fn hugepages(&mut self, resources: &LinuxResources) {
        for (index, limit) in resources.hugepage_limits().iter().flatten().enumerate() {
            let property = format!("/hugepageLimits/{index}/pageSize");
            let size = limit.page_size();
            // The size becomes part of a file name: only the kernel's own spelling may pass (GHSA-5g49-rx9x-qfc6).
            if !is_page_size(size) {
                self.invalid(&property, format!("{size:?} is not a page size such as 2MB or 1GB"));
                continue;
            }
            if let Some(known) = &self.layout.page_sizes
                && !known.contains(size)
            {
                let message =
                    format!("this kernel has no huge pages of {size}, only of {}", known.join(" and "));
                self.unsupported(&property, message);
                continue;
            }
            let property = format!("/hugepageLimits/{index}/limit");
            if limit.limit() < 0 {
                self.invalid(&property, format!("{} is no number of bytes", limit.limit()));
                continue;
            }
            let Some(place) = self.place("hugetlb", "hugetlb", &property) else { return };
            let suffix = if place == Hierarchy::V2 { "max" } else { "limit_in_bytes" };
            let usage = format!("hugetlb.{size}.{suffix}");
            self.set(place, "hugetlb", usage, limit.limit(), &property);
            // Limits at reservation time spare a program a SIGBUS at a page fault. Not every kernel has them.
            let reservation = format!("hugetlb.{size}.rsvd.{suffix}");
            self.set(place, "hugetlb", reservation, limit.limit(), &property).absent = Absent::Skip;
        }
    }

    pub(super) fn rdma(&mut self, resources: &LinuxResources) {
        let mut devices: Vec<_> = resources.rdma().iter().flatten().collect();
        devices.sort_by(|a, b| a.0.cmp(b.0));
        for (name, limit) in devices {
            let property = format!("/rdma/{}", escape(name));
            if name.is_empty() || name.contains(|c: char| c.is_whitespace() || c == '\0') {
                self.invalid(&property, format!("{name:?} is not the name of a device"));
                continue;
            }
            let parts = [("hca_handle", limit.hca_handles()), ("hca_object", limit.hca_objects())];
            let parts: Vec<_> = parts.iter().filter_map(|(key, v)| v.map(|v| format!("{key}={v}"))).collect();
            if parts.is_empty() {
                self.invalid(&property, "at least one of hcaHandles and hcaObjects is required");
                continue;
            }
            let Some(place) = self.place("rdma", "rdma", &property) else { return };
            self.set(place, "rdma", "rdma.max", format!("{name} {}", parts.join(" ")), &property);
        }
    }

    pub(super) fn network(&mut self, resources: &LinuxResources) {
        let Some(network) = resources.network() else { return };
        if let Some(class) = network.class_id().filter(|&class| class != 0)
            && let Some(place) = self.v1_only("net_cls", "/network/classID")
        {
            self.set(place, "net_cls", "net_cls.classid", class, "/network/classID");
        }
        for (index, entry) in network.priorities().iter().flatten().enumerate() {
            let property = format!("/network/priorities/{index}");
            let name = entry.name();
            if name.is_empty()
                || name.len() > 15
                || name.contains(|c: char| c.is_whitespace() || c == '/' || c == '\0')
            {
                self.invalid(
                    &format!("{property}/name"),
                    format!("{name:?} is not the name of a network interface"),
                );
            } else if let Some(place) = self.v1_only("net_prio", &property) {
                let value = format!("{name} {}", entry.priority());
                self.set(place, "net_prio", "net_prio.ifpriomap", value, &property);
            }
        }
    }

    /// The hierarchy of a controller that version 2 does not have.
    fn v1_only(&mut self, controller: &str, property: &str) -> Option<Hierarchy> {
        let place = self.layout.v1_place(controller);
        if place.is_none() {
            let message =
                format!("the controller {controller} of cgroup v1 is not available on this machine");
            self.unsupported(property, message);
        }
        place
    }
}

/// `<number>KB`, `<number>MB` or `<number>GB`.
fn is_page_size(size: &str) -> bool {
    let number = ["KB", "MB", "GB"].iter().find_map(|unit| size.strip_suffix(unit));
    number.is_some_and(|n| {
        (1..=9).contains(&n.len()) && n.bytes().all(|b| b.is_ascii_digit()) && !n.starts_with('0')
    })
}
