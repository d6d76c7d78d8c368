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
        (&["checkpoint", "--help"], 0, true),
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
fn an_empty_list_is_printed_as_go_prints_it() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().to_str().unwrap();
    assert_eq!(wharf(&["--root", root, "list", "--format=json"]).stdout, b"null\n");
    assert_eq!(wharf(&["--root", root, "list", "-q"]).stdout, b"");
    assert!(wharf(&["--root", root, "list"]).stdout.starts_with(b"ID          PID         STATUS"));
}

#[test]
fn a_root_that_is_named_must_be_there_to_be_listed() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("misspelt");
    let output = wharf(&["--root", root.to_str().unwrap(), "list"]);
    assert_eq!(code(&output), 1);
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains(&format!("open {}: no such file or directory", root.display())), "{error}");
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

#[test]
fn the_log_level_and_the_file_prefix_are_obeyed() {
    let dir = tempfile::tempdir().unwrap();
    let (root, log) = (dir.path().to_str().unwrap(), dir.path().join("log"));
    let target = format!("file:{}", log.display());
    for (level, lines) in [("error", 0), ("warning", 0), ("info", 0), ("debug", 1)] {
        fs::remove_file(&log).ok();
        let output = wharf(&["--root", root, "--log", &target, "--log-level", level, "list"]);
        assert_eq!(code(&output), 0, "{level}");
        assert_eq!(fs::read_to_string(&log).unwrap().lines().count(), lines, "{level}");
    }
    let output = wharf(&["--root", root, "--log-level", "error", "--debug", "list"]);
    assert!(String::from_utf8(output.stderr).unwrap().contains("level=debug"));
    let output = wharf(&["--root", root, "--log-level", "loud", "list"]);
    assert_eq!(code(&output), 1);
    assert!(String::from_utf8(output.stderr).unwrap().contains("loud"));
}

#[test]
fn a_log_daemon_that_is_not_there_is_an_error() {
    // This machine may have one: then the failure of the verb is what counts, and it is told on standard error.
    for target in ["journald:web", "syslog:web"] {
        let output = wharf(&["--root", "/nonexistent", "--log", target, "state", "no-such"]);
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(
            error.contains("open log socket") || error.starts_with("container does not exist"),
            "{error}"
        );
    }
}

#[test]
fn regular_expressions_choose_containers() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("root");
    for id in ["web-1", "web-2", "postgres"] {
        fs::create_dir_all(root.join(id)).unwrap();
    }
    let path = root.to_str().unwrap();
    // What cannot be understood is told for each of them.
    let output = wharf(&["--root", path, "kill", "-r", "^web-", "TERM"]);
    assert_eq!(code(&output), 1);
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("web-1") && error.contains("web-2") && !error.contains("postgres"), "{error}");
    assert!(error.contains("failed for 2 of 2 containers"), "{error}");
    assert_eq!(code(&wharf(&["--root", path, "delete", "--force", "--regex", "^web-[0-9]$"])), 0);
    assert_eq!(fs::read_dir(&root).unwrap().count(), 1);
    let output = wharf(&["--root", path, "delete", "--regex", "no-such"]);
    assert_eq!(code(&output), 0);
    assert!(String::from_utf8(output.stderr).unwrap().contains("no container matches"));
    let output = wharf(&["--root", path, "delete", "--regex", "("]);
    assert!(String::from_utf8(output.stderr).unwrap().contains("invalid regular expression"));
}

#[test]
fn spec_writes_the_file_that_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_str().unwrap();
    assert_eq!(code(&wharf(&["spec", "-b", path, "-f", "other.json"])), 0);
    assert!(dir.path().join("other.json").exists() && !dir.path().join("config.json").exists());
}

#[test]
fn completions_are_printed_for_three_shells() {
    for (shell, word) in
        [("bash", "complete -F _wharf"), ("zsh", "#compdef wharf"), ("fish", "complete -c wharf")]
    {
        let output = wharf(&["completion", shell]);
        assert_eq!(code(&output), 0);
        assert!(String::from_utf8(output.stdout).unwrap().contains(word), "{shell}");
    }
    let output = wharf(&["completion", "words", "--log-format", "j"]);
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "words\njson\n");
    let output = wharf(&["completion", "bash", "zsh"]);
    assert_eq!(code(&output), 1);
    let output = wharf(&["completion", "tcsh"]);
    assert_eq!(code(&output), 1);
    assert!(String::from_utf8(output.stderr).unwrap().contains("tcsh"));
}

/// What a shell offers for a line, by the script that the program prints for it.
#[test]
fn bash_completes_by_the_script() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("script"), wharf(&["completion", "bash"]).stdout).unwrap();
    let offered = |words: &[&str]| {
        let program = env!("CARGO_BIN_EXE_wharf");
        let output = Command::new("bash")
            .args([
                "--norc",
                "-c",
                r#". "$0"; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); compopt() { echo "compopt $*"; }
                _wharf "$1" "${COMP_WORDS[COMP_CWORD]}"; printf '%s\n' "${COMPREPLY[@]}""#,
            ])
            .arg(dir.path().join("script"))
            .arg(program)
            .args(words)
            .output()
            .unwrap();
        assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    if Command::new("bash").arg("--version").output().is_err() {
        println!("skipped: there is no bash");
        return;
    }
    assert_eq!(offered(&["st"]), "start\nstate\n");
    assert_eq!(offered(&["list", "--format", "=", "j"]), "json\n");
    assert_eq!(offered(&["run", "--bundle", ""]), "compopt -o dirnames\n\n");
    assert_eq!(offered(&["run", "--pid-file", ""]), "compopt -o default\n\n");
    assert!(offered(&["exec", "id", "ba"]).lines().any(|line| line == "bash"));
}

#[test]
fn manual_pages_are_printed_and_written() {
    let page = |arguments: &[&str]| String::from_utf8(wharf(arguments).stdout).unwrap();
    assert!(page(&["manual"]).starts_with(".TH WHARF 8"));
    assert!(page(&["manual", "kill"]).starts_with(".TH WHARF\\-KILL 8"));
    assert_eq!(code(&wharf(&["manual", "frob"])), 1);

    let dir = tempfile::tempdir().unwrap();
    let into = dir.path().join("man8");
    let output = wharf(&["manual", "--into", into.to_str().unwrap()]);
    assert_eq!((code(&output), output.stdout.len()), (0, 0));
    assert_eq!(fs::read_to_string(into.join("wharf.8")).unwrap(), page(&["manual"]));
    assert_eq!(fs::read_to_string(into.join("wharf-kill.8")).unwrap(), page(&["manual", "kill"]));
    assert_eq!(code(&wharf(&["manual", "kill", "--into", into.to_str().unwrap()])), 1);
}

/// A bundle whose configuration is that of `spec`, changed.
fn bundle(change: impl Fn(&mut serde_json::Value)) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("rootfs")).unwrap();
    assert_eq!(code(&wharf(&["spec", "-b", dir.path().to_str().unwrap()])), 0);
    let config = dir.path().join("config.json");
    let mut spec: serde_json::Value = serde_json::from_slice(&fs::read(&config).unwrap()).unwrap();
    change(&mut spec);
    fs::write(&config, spec.to_string()).unwrap();
    dir
}

/// The findings of `check` with these options, and whether it found any.
fn findings(dir: &tempfile::TempDir, options: &[&str]) -> Vec<serde_json::Value> {
    let path = dir.path().to_str().unwrap();
    let output = wharf(&[&["check", "--format", "json"], options, &[path]].concat());
    let all: Vec<serde_json::Value> = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(code(&output), i32::from(!all.is_empty()));
    assert!(output.stderr.is_empty());
    all
}

#[test]
fn check_has_every_finding_once() {
    let shape = bundle(|spec| {
        spec["process"]["cwd"] = 3.into();
        spec["hostname"] = 4.into();
        spec["process"]["capabilities"]["bounding"][0] = "CAP_NONE".into();
    });
    let pointers: Vec<_> = findings(&shape, &[]).iter().map(|one| one["pointer"].to_string()).collect();
    let wrong = ["/hostname", "/process/capabilities/bounding/0", "/process/cwd"];
    assert_eq!(pointers, wrong.map(|pointer| format!("\"{pointer}\"")), "the shape comes first");
    let odd = bundle(|spec| spec["process"]["capabilities"]["bounding"][0] = "CAP_NONE".into());
    let warnings: Vec<_> =
        findings(&odd, &[]).into_iter().filter(|one| one["severity"] == "warning").collect();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
}

#[test]
fn check_reports_a_kernel_that_is_too_old() {
    let dir = bundle(|_| ());
    let path = dir.path().to_str().unwrap();
    // It makes the kernel call itself 2.6.
    let old = ["x86_64", "--uname-2.6", env!("CARGO_BIN_EXE_wharf"), "check", path];
    let Ok(output) = Command::new("setarch").args(old).output() else {
        return println!("skipped: setarch is missing");
    };
    if cfg!(not(target_arch = "x86_64")) {
        return println!("skipped: setarch has no old kernels for this processor");
    }
    assert_eq!(code(&output), 1);
    let text = String::from_utf8(output.stdout).unwrap();
    let lines =
        text.lines().filter(|line| line.starts_with("error: wharf needs Linux 5.14 or later")).count();
    assert_eq!(lines, 1, "{text}");
}

#[test]
fn check_looks_at_the_terminal_of_a_call() {
    let dir = bundle(|_| ());
    let path = dir.path().join("socket");
    let path = path.to_str().unwrap();
    let about = |options: &[&str], word: &str| {
        findings(&dir, options).iter().any(|one| one["message"].to_string().contains(word))
    };
    assert!(!about(&[], "tty") && about(&["--detach"], "tty"));
    assert!(about(&["--console-socket", path], path));
    let _listener = std::os::unix::net::UnixListener::bind(path).unwrap();
    assert!(!about(&["--console-socket", path], path));
}

#[test]
fn an_annotation_that_asks_for_a_handler_is_found_and_refused() {
    let dir = bundle(|spec| spec["annotations"] = serde_json::json!({"run.oci.handler": "wasmtime"}));
    let path = dir.path().to_str().unwrap();
    let output = wharf(&["check", path]);
    assert_eq!(code(&output), 1);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("error: /annotations/run.oci.handler: "), "{text}");
    let root = dir.path().join("root");
    let output = wharf(&["--root", root.to_str().unwrap(), "explain", "--id", "x", path]);
    assert_eq!(code(&output), 1);
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("/annotations/run.oci.handler"), "{error}");
    assert!(!root.exists());
}
