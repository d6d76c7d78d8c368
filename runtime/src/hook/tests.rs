use oci_spec::runtime::HookBuilder;

use super::*;

fn shell(script: &str) -> Hook {
    HookBuilder::default()
        .path("/bin/sh")
        .args(["hook-name", "-c", script].map(String::from))
        .build()
        .unwrap()
}

fn with_timeout(script: &str, seconds: i64) -> Hook {
    let mut hook = shell(script);
    hook.set_timeout(Some(seconds));
    hook
}

fn all(hooks: &[Hook], dir: &Path) -> Result<()> {
    run_hooks(HookKind::CreateRuntime, hooks, b"{\"id\":\"x\"}", dir, HookPolicy::StopAtFirst)
}

#[test]
fn a_hook_gets_exactly_what_is_promised() {
    let dir = tempfile::tempdir().unwrap();
    let mut hook = shell(
        "exec >out; cat; echo; echo $0; pwd -P; env; cut -d' ' -f5 /proc/self/stat; echo $$; ls /proc/self/fd | wc -l",
    );
    hook.set_env(Some(vec!["A=1=2".into(), "PATH=/usr/bin:/bin".into()]));
    all(&[hook], dir.path()).unwrap();
    let out = std::fs::read_to_string(dir.path().join("out")).unwrap();
    let mut lines = out.lines();
    assert_eq!(lines.next(), Some("{\"id\":\"x\"}"));
    assert_eq!(lines.next(), Some("hook-name"));
    assert_eq!(lines.next(), dir.path().canonicalize().unwrap().to_str());
    let rest: Vec<_> = lines.collect();
    assert!(rest.contains(&"A=1=2") && !out.contains("CARGO"), "{out}");
    let [.., group, pid, _] = rest.as_slice() else { panic!("{out}") };
    assert_eq!(group, pid, "its own process group");
}

#[test]
fn an_empty_environment_is_empty_and_an_absent_one_is_the_runtimes() {
    let mut hook =
        shell("test \"$(/usr/bin/env | /bin/grep -v ^PWD= | /bin/grep -v ^_= | /bin/grep -v ^SHLVL=)\" = ''");
    hook.set_env(Some(Vec::new()));
    all(&[hook], Path::new("/")).unwrap();
    let path = std::env::var("PATH").unwrap();
    all(&[shell(&format!("test \"$PATH\" = '{path}'"))], Path::new("/")).unwrap();
}

#[test]
fn a_failure_reads_as_runcs_does_and_stops_the_rest() {
    let dir = tempfile::tempdir().unwrap();
    let hooks = [shell("true"), shell("echo o; echo e >&2; exit 2"), shell("touch ran")];
    let error = all(&hooks, dir.path()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "error running createRuntime hook #1: exit status 2, stdout: o, stderr: e (config.json /hooks/createRuntime/1)"
    );
    assert_eq!(error.kind(), ErrorKind::Hook);
    assert!(!dir.path().join("ran").exists());

    run_hooks(HookKind::Poststop, &hooks, b"", dir.path(), HookPolicy::WarnAndGoOn).unwrap();
    assert!(dir.path().join("ran").exists());

    let error = all(&[shell("kill -9 $$")], dir.path()).unwrap_err();
    assert!(error.to_string().contains("hook #0: signal: killed, stdout: , stderr: "), "{error}");
}

#[test]
fn what_cannot_be_executed_is_named() {
    let mut hook = Hook::default();
    hook.set_path("/no/such/hook".into());
    let error = all(&[hook.clone()], Path::new("/")).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("error running createRuntime hook #0: fork/exec /no/such/hook: no such file"),
        "{error}"
    );
    hook.set_path("sh".into());
    assert!(all(&[hook], Path::new("/")).unwrap_err().to_string().contains("not absolute"));
}

#[test]
fn the_time_limit_ends_the_whole_group() {
    let dir = tempfile::tempdir().unwrap();
    let begin = Instant::now();
    let hook = with_timeout("echo start; (sleep 60; touch survived) & echo $! >child; wait", 1);
    let error = all(&[hook], dir.path()).unwrap_err();
    assert!(error.to_string().contains("hook ran past specified timeout of 1.0s, stdout: start"), "{error}");
    let took = begin.elapsed();
    assert!(took >= Duration::from_secs(1) && took < Duration::from_secs(20), "{took:?}");
    let child = std::fs::read_to_string(dir.path().join("child")).unwrap();
    // The signal was sent; it takes effect a moment later.
    if let Ok(orphan) = pidfd::open(child.trim().parse().unwrap()) {
        let mut fds = [PollFd::new(orphan.as_fd(), PollFlags::POLLIN)];
        assert_eq!(poll(&mut fds, 20_000_u16), Ok(1), "the hook's child lives on");
    }
}

#[test]
fn bad_timeouts_are_refused_and_good_ones_do_not_hurt() {
    for seconds in [0, -1] {
        assert!(all(&[with_timeout("true", seconds)], Path::new("/")).is_err());
    }
    all(&[with_timeout("true", 30), with_timeout("true", i64::MAX)], Path::new("/")).unwrap();
}

#[test]
fn output_is_bounded_and_does_not_block() {
    let error = all(&[shell("head -c 3000000 /dev/zero | tr '\\0' x; echo end; exit 1")], Path::new("/"))
        .unwrap_err();
    let text = error.to_string();
    assert!(text.len() < 5000 && text.contains("xend, stderr: "), "{}", text.len());
    // Never stops writing: the clock still counts.
    let error = all(&[with_timeout("while :; do echo yes; done", 1)], Path::new("/")).unwrap_err();
    assert!(error.to_string().contains("timeout of 1.0s"), "{error}");
}

#[test]
fn a_hook_that_ignores_its_input_does_not_hurt() {
    let state = vec![b' '; 1 << 20];
    for _ in 0..20 {
        run_hooks(
            HookKind::Poststart,
            &[shell("exec <&-; exit 0")],
            &state,
            Path::new("/"),
            HookPolicy::StopAtFirst,
        )
        .unwrap();
    }
}

#[test]
fn a_daemon_left_behind_is_not_waited_for() {
    let begin = Instant::now();
    all(&[shell("sleep 5 & exit 0")], Path::new("/")).unwrap();
    assert!(begin.elapsed() < Duration::from_secs(4));
}
