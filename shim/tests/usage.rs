//! What callers see of the command line itself: exit codes, the log file, standard output and error.

use std::fs;
use std::process::{Command, Output};

fn wharf(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_wharf")).args(arguments).output().unwrap()
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

#[test]
fn exit_codes_of_wrong_use() {
    for (arguments, expected, help) in [
        (&["frob"][..], 3, false),
        (&["checkpoint", "--help"], 3, false),
        (&["start"], 1, true),
        (&["run", "--foo", "x"], 1, true),
        (&["--foo"], 1, true),
        (&["--help"], 0, true),
        (&["run", "--help"], 0, true),
        (&[], 0, true),
        (&["--log-format", "xml", "list"], 1, false),
        (&["--rootless=maybe", "list"], 1, false),
        (&["list", "--format", "xml"], 1, false),
    ] {
        let output = wharf(arguments);
        assert_eq!(code(&output), expected, "{arguments:?}");
        assert_eq!(String::from_utf8(output.stdout).unwrap().contains("USAGE:"), help, "{arguments:?}");
        assert_eq!(output.stderr.is_empty(), expected == 0, "{arguments:?}");
    }
}

#[test]
fn the_log_file_gets_one_json_line_and_standard_error_the_words() {
    let dir = tempfile::tempdir().unwrap();
    let (log, root) = (dir.path().join("log"), dir.path().join("root"));
    let (log, root) = (log.to_str().unwrap(), root.to_str().unwrap());
    for _ in 0..2 {
        let output = wharf(&["--root", root, "--log", log, "--log-format", "json", "state", "no-such"]);
        assert_eq!(code(&output), 1);
        assert!(String::from_utf8(output.stderr).unwrap().starts_with("container does not exist"));
    }
    let text = fs::read_to_string(log).unwrap();
    let lines: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 2);
    for line in lines {
        let keys: Vec<_> = line.as_object().unwrap().keys().collect();
        assert_eq!(keys, ["level", "msg", "time"]);
        assert_eq!(line["level"], "error");
        assert!(line["msg"].as_str().unwrap().contains("container does not exist"));
    }
}

#[test]
fn debug_lines_are_written_only_when_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().to_str().unwrap();
    let output = wharf(&["--debug", "--root", root, "list"]);
    assert!(String::from_utf8(output.stderr).unwrap().contains("level=debug"));
    assert!(wharf(&["--root", root, "list"]).stderr.is_empty());
}

#[test]
fn an_empty_list_is_what_go_makes_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().to_str().unwrap();
    assert_eq!(wharf(&["--root", root, "list", "--format=json"]).stdout, b"null\n");
    assert_eq!(wharf(&["--root", root, "list", "-q"]).stdout, b"");
    assert!(wharf(&["--root", root, "list"]).stdout.starts_with(b"ID          PID         STATUS"));
}

#[test]
fn a_container_that_does_not_exist() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().to_str().unwrap();
    for (arguments, expected) in [
        (&["delete", "no-such"][..], 1),
        (&["delete", "--force", "no-such"], 0),
        (&["kill", "no-such"], 1),
        (&["start", "no-such"], 1),
        (&["exec", "no-such", "true"], 255),
        (&["ps", "no-such"], 1),
        (&["events", "no-such"], 1),
    ] {
        let output = wharf(&[&["--root", root], arguments].concat());
        assert_eq!(code(&output), expected, "{arguments:?}");
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(error.contains("container does not exist"), expected != 0, "{arguments:?}: {error}");
        assert_eq!(error.contains("exec failed: "), arguments[0] == "exec", "{error}");
    }
}

#[test]
fn spec_writes_once() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_str().unwrap();
    assert_eq!(code(&wharf(&["spec", "-b", path])), 0);
    assert_eq!(code(&wharf(&["spec", "-b", path])), 1);
    let spec: serde_json::Value =
        serde_json::from_slice(&fs::read(dir.path().join("config.json")).unwrap()).unwrap();
    assert_eq!(spec["process"]["terminal"], true);
}

#[test]
fn version_and_features_are_printed() {
    let version = String::from_utf8(wharf(&["--version"]).stdout).unwrap();
    assert!(version.starts_with("wharf version ") && version.lines().count() == 3);
    let features = String::from_utf8(wharf(&["features"]).stdout).unwrap();
    assert!(features.starts_with("{\n    \"ociVersionMin\": \"1.0.0\","));
}

#[test]
fn a_program_called_runc_answers_as_runc() {
    let dir = tempfile::tempdir().unwrap();
    let link = dir.path().join("runc");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_wharf"), &link).unwrap();
    let version = Command::new(link).arg("--version").output().unwrap().stdout;
    assert!(version.starts_with(b"runc version "));
}
