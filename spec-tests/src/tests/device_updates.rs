//! Device rules that change while a container runs: part of C8.

use crate::bed::Container;
use crate::outcome::Outcome;
use crate::{Spec, Test, test};
use serde_json::{Value, json};

/// Writing to the kernel's log takes no right except to the device.
const KMSG: &[&[&str]] =
    &[&["open-write", "/dev/log-of-the-kernel"], &["open", "/dev/null"], &["open-write", "/dev/null"]];

/// Why a user cannot do it.
const RULES: &str = "the kernel takes device rules from root alone";

pub(super) const TESTS: &[Test] = &[
    test("C8", "update puts other device rules in the place of those in force", |bed| {
        bed.host.needs_root_because(RULES)?;
        let container = bed.waiting(&with_node(&rules(false)))?;
        opens(&container, false)?;
        for allowed in [true, false, true] {
            update(&container, &json!({"devices": rules(allowed)}))?;
            opens(&container, allowed)?;
        }
        container.stop()
    }),
    test("C8", "update of limits and daemon-reload of systemd leave device rules as they are", |bed| {
        bed.host.needs_root_because(RULES)?;
        for allowed in [true, false] {
            let container = bed.waiting(&with_node(&rules(!allowed)))?;
            update(&container, &json!({"devices": rules(allowed)}))?;
            update(&container, &json!({"cpu": {"shares": 300}}))?;
            opens(&container, allowed)?;
            if bed.runtime.systemd() {
                std::process::Command::new("systemctl").arg("daemon-reload").status()?;
                opens(&container, allowed)?;
                let configured = bed.waiting(&with_node(&rules(allowed)))?;
                std::process::Command::new("systemctl").arg("daemon-reload").status()?;
                opens(&configured, allowed)?;
            }
            container.stop()?;
        }
        Ok(())
    }),
];

fn with_node(rules: &Value) -> Spec {
    let node = json!([{"type": "c", "path": "/dev/log-of-the-kernel", "major": 1, "minor": 11}]);
    Spec::new().set("/linux/devices", node).set("/linux/resources/devices", rules.clone())
}

fn rules(allowed: bool) -> Value {
    let mut rules = vec![json!({"allow": false, "access": "rwm"})];
    if allowed {
        rules.push(json!({"allow": true, "type": "c", "major": 1, "minor": 11, "access": "w"}));
    }
    Value::Array(rules)
}

fn update(container: &Container<'_, '_>, resources: &Value) -> Outcome {
    let call = container.bed.command(["update", "--resources", "-", container.id()]);
    call.stdin(resources.to_string()).call()?.ok().map(drop)
}

fn opens(container: &Container<'_, '_>, allowed: bool) -> Outcome {
    let answers = container.tries(KMSG)?;
    if allowed {
        answers[0].worked()?;
    } else {
        answers[0].failed(&[1])?;
    }
    answers[1..].iter().try_for_each(|answer| answer.worked().map(drop))
}
