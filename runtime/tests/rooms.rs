//! Imports go one way: no module reaches itself through the `use` lines and paths of others, but for the few circles that
//! are listed here with their reasons.

use std::path::Path;

mod imports;

/// Modules of one room that reach each other, and why they may.
const CIRCLES: [(&str, &[&str], &str); 1] = [(
    "cgroup",
    &["cgroup::create", "cgroup::device_plan"],
    "what is made of a cgroup includes its device filter, which is planned by the directories that are made",
)];

#[test]
fn imports_go_one_way() {
    imports::go_one_way(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), 100, &CIRCLES);
}
