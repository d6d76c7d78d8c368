//! Every program refuses what it does not know before it measures anything.

use std::process::Command;

#[test]
fn unknown_options_are_refused() {
    for program in [
        env!("CARGO_BIN_EXE_bench"),
        env!("CARGO_BIN_EXE_ctr-figures"),
        env!("CARGO_BIN_EXE_embedder"),
        env!("CARGO_BIN_EXE_guard"),
        env!("CARGO_BIN_EXE_neighbour"),
        env!("CARGO_BIN_EXE_pod-figures"),
        env!("CARGO_BIN_EXE_pod-namespaces"),
        env!("CARGO_BIN_EXE_shim-figures"),
    ] {
        let output = Command::new(program).arg("--wrong").output().expect("it starts");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{program}: {said}");
        assert!(said.contains("--wrong"), "{program}: {said}");
    }
}
