//! A container process that looks into everything of the shim that it can see.

use crate::attacks::watch::{ALL, SECRET, found_nothing, rounds};
use crate::outcome::{Outcome, same};
use crate::shim::bed::Bed;
use crate::shim::client::granted;
use crate::shim::stdio::Streams;
use crate::shim::task::process;
use crate::shim::{Test, test};
use crate::spec::Spec;
use std::fs;

pub(super) const TESTS: &[Test] =
    &[test("X18", "a process that may trace all others finds nothing of the host in an exec", traced)];

fn traced(bed: &Bed<'_>) -> Outcome {
    let mark = bed.dir().join("mark-of-the-host");
    fs::write(&mark, "")?;
    let spy = ["/probe", "spy", &mark.to_string_lossy(), SECRET, "/data/stop"];
    let spec = Spec::new().args(&spy).capabilities(&ALL).set("/process/noNewPrivileges", false);
    let task = bed.started(&spec)?;
    task.streams.borrow_mut().until("ready")?;
    for round in 0..rounds() {
        let name = format!("e{round}");
        let streams = Streams::none();
        granted("Exec", task.add(&name, &process(&["/probe", "true"]), &streams))?;
        granted("Start of the exec", task.start(&name))?;
        same("exit status", task.exit(&name)?, 0)?;
        granted("Delete", task.delete(&name))?;
    }
    task.bundle.file("data/stop", "")?;
    let output = task.streams.borrow_mut().until("capabilities")?;
    found_nothing(&output)?;
    granted("Delete", {
        task.exit("")?;
        task.delete("")
    })
    .map(drop)
}
