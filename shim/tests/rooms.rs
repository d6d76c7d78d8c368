//! In both programs imports go one way: no module reaches itself through the `use` lines and paths of others.

use std::path::Path;

#[path = "../../runtime/tests/imports/mod.rs"]
mod imports;

#[test]
fn imports_go_one_way() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    imports::go_one_way(&src, 50, &[]);
    imports::go_one_way(&src.join("containerd-shim-wharf-v2"), 30, &[]);
}
