//! Programs of hooks: whether they exist and can be executed. Whether they will succeed cannot be known.

use oci_spec::runtime::Spec;

use super::image::Image;
use super::program;
use crate::finding::Finding;
use crate::hook::HookKind;

/// `image` is where startContainer hooks are looked up; all others are programs of the host.
pub(super) fn check(spec: &Spec, image: Option<&Image>, findings: &mut Vec<Finding>) {
    let (Some(hooks), host) = (spec.hooks().as_ref(), Image::of_host()) else { return };
    for kind in HookKind::ALL {
        let files = if kind == HookKind::StartContainer { image } else { host.as_ref() };
        for (index, hook) in kind.of(hooks).iter().enumerate().filter(|(_, hook)| hook.path().is_absolute()) {
            if let Some(why) = files.and_then(|files| program::refuses(hook.path(), files)) {
                findings.push(Finding::error(format!("/hooks/{kind}/{index}/path"), why));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::Path;

    use serde_json::json;

    use super::*;

    fn found(kind: &str, path: &Path, rootfs: &Path) -> Vec<String> {
        let hooks = json!({kind: [{"path": path}]});
        let spec = serde_json::from_value(json!({"ociVersion": "1.2.0", "hooks": hooks})).unwrap();
        let mut findings = Vec::new();
        check(&spec, Image::open(rootfs, &spec).as_ref(), &mut findings);
        findings.into_iter().map(|finding| finding.to_string()).collect()
    }

    #[test]
    fn hooks_that_cannot_be_executed_are_told() {
        let dir = tempfile::tempdir().unwrap();
        let hook = dir.path().join("hook");
        assert_eq!(
            found("poststop", &hook, dir.path()),
            [format!("error: /hooks/poststop/0/path: {} does not exist", hook.display())]
        );
        std::fs::write(&hook, "#!/none/sh\n").unwrap();
        let told = |mode: u32, path: &Path, kind: &str| {
            std::fs::set_permissions(&hook, std::fs::Permissions::from_mode(mode)).unwrap();
            found(kind, path, dir.path())
        };
        let plain = told(0o644, &hook, "createRuntime");
        assert!(plain.len() == 1 && plain[0].contains("permission denied"), "{plain:?}");
        let script = told(0o755, &hook, "createContainer");
        assert!(script.len() == 1 && script[0].contains("interpreter /none/sh does not exist"), "{script:?}");
        std::fs::write(&hook, "#!/bin/sh\n").unwrap();
        assert_eq!(told(0o755, &hook, "prestart"), [""; 0]);
        // The image has no /bin/sh, and the hook's path is on the host, not in the image.
        assert_eq!(told(0o755, Path::new("/hook"), "startContainer").len(), 1);
        assert_eq!(told(0o755, &hook, "startContainer").len(), 1);
    }
}
