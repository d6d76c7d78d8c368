//! `ociVersion`: Semantic Versioning 2.0.0, and a major version that this runtime knows.

use oci_spec::runtime::Spec;

use crate::finding::Report;

/// The newest version of the spec whose properties are all known here.
const NEWEST: (u64, u64) = (1, 3);

pub(super) fn check(spec: &Spec, report: &mut Report) {
    let version = spec.version();
    let Some((major, minor)) = semver(version) else {
        report.error("/ociVersion", format!("{version:?} is not a version in SemVer 2.0.0 format"));
        return;
    };
    if major != NEWEST.0 {
        report
            .error("/ociVersion", format!("version {version} of the spec is not supported, only version 1"));
    } else if minor > NEWEST.1 {
        // A minor version adds properties, and unknown ones must be ignored (config.md, "Extensibility").
        let (major, minor) = NEWEST;
        let message = format!("{version} is newer than {major}.{minor}; properties that it adds are ignored");
        report.warning("/ociVersion", message);
    }
}

/// Converts a configuration of an older version to the words of the newest.
///
/// Version 1.3 made 0 a value of `pids.limit`. Before, 0 meant "no limit" for every runtime, and callers that write an
/// older version mean that by it (Podman 4, for `--pids-limit -1`).
pub(super) fn as_newest(spec: &mut Spec) {
    if semver(spec.version()).is_none_or(|version| version >= (1, 3)) {
        return;
    }
    let resources = spec.linux_mut().as_mut().and_then(|linux| linux.resources_mut().as_mut());
    if let Some(pids) = resources.and_then(|resources| resources.pids_mut().as_mut())
        && pids.limit() == 0
    {
        pids.set_limit(-1);
    }
}

/// The major and minor numbers of a valid version (<https://semver.org/spec/v2.0.0.html>, the BNF at its end).
fn semver(version: &str) -> Option<(u64, u64)> {
    let (rest, build) = split(version, '+');
    let (core, pre_release) = split(rest, '-');
    let mut numbers = core.split('.').map(number);
    let (major, minor, _patch) = (numbers.next()??, numbers.next()??, numbers.next()??);
    let word = |word: &str| {
        !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    let numeric = |word: &str| word.bytes().all(|byte| byte.is_ascii_digit());
    let valid = numbers.next().is_none()
        && build.is_none_or(|build| build.split('.').all(word))
        && pre_release.is_none_or(|pre| {
            pre.split('.').all(|id| word(id) && !(numeric(id) && id.len() > 1 && id.starts_with('0')))
        });
    valid.then_some((major, minor))
}

fn split(text: &str, at: char) -> (&str, Option<&str>) {
    text.split_once(at).map_or((text, None), |(before, after)| (before, Some(after)))
}

fn number(digits: &str) -> Option<u64> {
    let valid =
        digits.bytes().all(|byte| byte.is_ascii_digit()) && (digits == "0" || !digits.starts_with('0'));
    if valid { digits.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format() {
        for good in ["1.0.0", "1.2.0-dev", "1.0.2-rc.1+build.01", "1.0.0+dev", "0.5.0", "1.0.0--", "10.20.30"]
        {
            assert!(semver(good).is_some(), "{good}");
        }
        for bad in [
            "",
            "1",
            "1.0",
            "1.0.0.0",
            "banana",
            "v1.0.0",
            "1.0.x",
            "01.0.0",
            "1.00.0",
            "1.0.0-",
            "1.0.0+",
            "1.0.0-01",
            "1.0.0-a..b",
            "1.0.0 ",
            "+1.0.0",
            "-1.0.0",
            "1.0.0-ä",
            "99999999999999999999.0.0",
        ] {
            assert!(semver(bad).is_none(), "{bad}");
        }
    }
}
