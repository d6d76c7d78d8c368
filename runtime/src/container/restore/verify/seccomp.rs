//! Seccomp filters of restored processes. The kernel shows a filter only to a tracer, which criu is while the processes
//! are stopped; so the filters are compared in the images, and the number of each thread's filters in the kernel.

use oci_spec::runtime::Spec;

use super::{Policy, refuse};
use crate::criu::image::ImageDirectory;
use crate::criu::message::SeccompFilter;
use crate::error::Result;
use crate::linux::process_status::{self, ProcessStatus};
use crate::linux::seccomp;
use crate::plan::NATIVE;

/// `SECCOMP_MODE_FILTER`.
const MODE_FILTER: u32 = 2;

/// How many filters lie below that of the configuration, including itself.
pub(crate) type FilterDepth = u32;

/// What each thread must have; none without a filter in the configuration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Expected(Option<FilterDepth>);

/// Finds the configured filter in the images; refuses images in which a thread could lack it.
pub(crate) fn expected(spec: &Spec, images: &ImageDirectory) -> Result<Expected> {
    let Some(seccomp) = spec.linux().as_ref().and_then(|linux| linux.seccomp().as_ref()) else {
        return Ok(Expected(None));
    };
    let filter = seccomp::compile(seccomp, NATIVE)?;
    match depth_of(&images.seccomp_filters()?, &filter.bytes()) {
        Some(depth) => Ok(Expected(Some(depth))),
        None => {
            Err(refuse("processes are without the seccomp filter of the configuration", "/linux/seccomp")
                .with_hint(
                    "the filter must be the one that this version of wharf makes of the configuration",
                ))
        }
    }
}

/// How deep the wanted filter lies in every chain of filters; none if a chain lacks it.
///
/// The images are a forest: each filter names the one before it. A thread has one filter and all before it. A filter
/// that comes before the wanted one is not enough for a thread, but may exist: the runtime itself can have been
/// confined. The number of filters that the kernel reports tells the two apart.
fn depth_of(filters: &[SeccompFilter], wanted: &[u8]) -> Option<FilterDepth> {
    let chain = |from: usize| {
        let mut next = Some(from);
        let mut indices = Vec::new();
        while let Some(index) = next.filter(|_| indices.len() <= filters.len()) {
            indices.push(index);
            next = filters.get(index)?.previous.map(|previous| previous as usize);
        }
        // More links than filters: a cycle.
        (indices.len() <= filters.len()).then_some(indices)
    };
    let mut below = vec![false; filters.len()];
    let mut lacking = Vec::new();
    let mut depth = None;
    for from in 0..filters.len() {
        let indices = chain(from)?;
        // The outermost occurrence: any thread below it has it.
        let place = indices.iter().rposition(|index| filters[*index].filter == wanted);
        if let Some(place) = place {
            let here = (indices.len() - place) as u32;
            depth = Some(depth.map_or(here, |other: u32| other.max(here)));
            for index in &indices[place + 1..] {
                below[*index] = true;
            }
        } else {
            lacking.push(from);
        }
    }
    lacking.iter().all(|index| below[*index]).then_some(depth).flatten()
}

/// Compares one thread. The filters that confine the runtime also confine the processes that criu makes, before their
/// own.
pub(super) fn verify(status: &ProcessStatus, policy: &Policy<'_>) -> Result<()> {
    let Some(depth) = policy.seccomp.0 else { return Ok(()) };
    let own = super::read("/proc/self/status").ok().and_then(|text| process_status::parse(&text));
    let own = own.and_then(|status| status.seccomp_filters).unwrap_or(0);
    let enough = status.seccomp_filters.is_some_and(|count| count >= own + depth);
    if status.seccomp == MODE_FILTER && enough {
        return Ok(());
    }
    Err(refuse("it is without the seccomp filter of the configuration", "/linux/seccomp"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filters(all: &[(&str, Option<u32>)]) -> Vec<SeccompFilter> {
        all.iter()
            .map(|(text, previous)| SeccompFilter { filter: text.as_bytes().to_vec(), previous: *previous })
            .collect()
    }

    #[test]
    fn every_chain_must_have_the_filter() {
        let depth = |all: &[(&str, Option<u32>)]| depth_of(&filters(all), b"wanted");
        assert_eq!(depth(&[]), None);
        assert_eq!(depth(&[("wanted", None)]), Some(1));
        assert_eq!(depth(&[("wanted", None), ("own", Some(0)), ("more", Some(1))]), Some(1));
        assert_eq!(depth(&[("outer", None), ("wanted", Some(0))]), Some(2), "a confined runtime");
        assert_eq!(depth(&[("other", None)]), None);
        assert_eq!(depth(&[("wanted", None), ("other", None)]), None, "a second tree");
        assert_eq!(depth(&[("outer", None), ("wanted", Some(0)), ("beside", Some(0))]), None);
        assert_eq!(depth(&[("a", Some(1)), ("wanted", Some(0))]), None, "a circle");
        assert_eq!(depth(&[("wanted", Some(9))]), None, "a link to nowhere");
    }
}
