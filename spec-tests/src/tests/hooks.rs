//! Hooks: rows A80 to A98.

use crate::bundle::write_program;
use crate::observe::strings;
use crate::outcome::{Outcome, check, fail, same};
use crate::{Bed, Bundle, Spec, Test, test};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

const RUNTIME_SIDE: [&str; 4] = ["prestart", "createRuntime", "poststart", "poststop"];

pub(super) const TESTS: &[Test] = &[
    test("A80", "all six kinds run, in the listed order, prestart before createRuntime", order),
    test("A80", "arguments of a hook are those of the configuration", |bed| {
        let bundle = Hooks::new(bed)?.hook("createRuntime", "only", &[]).write()?;
        bed.run_bundle(&bundle)?.ok()?;
        let hook = &records(&bundle)?[0];
        let args = strings(&hook["args"]);
        check(args.starts_with(&["the-hook", "hook"]), || format!("{args:?}"))
    }),
    test("A80", "an empty list of hooks is fine", |bed| {
        let spec = Spec::new().set("/hooks", json!({"prestart": [], "poststop": []}));
        same("pid", &bed.report(&spec)?["pid"], 1)
    }),
    test("A81", "a relative path of a hook is refused", |bed| {
        bed.refuses(&hook(json!({"path": "bin/true"})), &["path", "hook"])
    }),
    test("A81", "a hook without path is refused", |bed| {
        bed.refuses(&hook(json!({"args": ["x"]})), &["path", "hook"])
    }),
    test("A82", "a timeout of 0 is refused", |bed| {
        bed.refuses(&hook(json!({"path": "/bin/true", "timeout": 0})), &["timeout"])
    }),
    test("A82", "a negative timeout is refused", |bed| {
        bed.refuses(&hook(json!({"path": "/bin/true", "timeout": -1})), &["timeout"])
    }),
    test("A82", "a hook that takes longer than its timeout is killed, and that is an error", timeout),
    test("A83 A206", "every hook gets the state as JSON on stdin", states),
    test("A84", "the status in the state of create hooks is creating", |bed| {
        status_of(bed, &["prestart", "createRuntime", "createContainer"], &["creating"])
    }),
    test("A84", "the status in the state of a startContainer hook is created", |bed| {
        status_of(bed, &["startContainer"], &["created"])
    }),
    test("A84", "the status in the state of a poststart hook is running", |bed| {
        let bundle = Hooks::new(bed)?.program(&["/probe", "wait"]).hook("poststart", "hook", &[]).write()?;
        let container = bed.create(&bundle)?;
        container.start()?;
        let state: Value = serde_json::from_str(records(&bundle)?[0]["stdin"].as_str().unwrap_or_default())?;
        same("status", &state["status"], "running")
    }),
    test("A84", "the status in the state of a poststop hook is stopped", |bed| {
        status_of(bed, &["poststop"], &["stopped"])
    }),
    test("A85", "hooks see the pid of the container as their own namespace numbers it", pids),
    test(
        "A86",
        "prestart and createRuntime run in the runtime's namespaces, when the container's exist",
        |bed| namespaces_of(bed, &["prestart", "createRuntime"], false),
    ),
    test("A87", "createContainer runs in the container's namespaces but is found in the runtime's", |bed| {
        namespaces_of(bed, &["createContainer"], true)
    }),
    test("A88", "startContainer is found and runs in the container, before the program", start_container),
    test("A89", "poststart runs after the program was executed", poststart_is_late),
    test("A89", "poststart runs before start returns", |bed| {
        let bundle = Hooks::new(bed)?
            .program(&["/probe", "wait"])
            .hook("poststart", "hook", &["sleep=300"])
            .write()?;
        let container = bed.create(&bundle)?;
        check(!log_exists(&bundle), || "poststart ran at create".into())?;
        let took = container.start()?.took;
        check(took >= Duration::from_millis(300), || format!("start returned after {took:?}"))
    }),
    test("A90", "poststop runs before delete returns", |bed| {
        let bundle =
            Hooks::new(bed)?.program(&["/probe", "true"]).hook("poststop", "hook", &["sleep=300"]).write()?;
        let container = bed.create(&bundle)?;
        container.start()?;
        container.until_status("stopped")?;
        check(!log_exists(&bundle), || "poststop ran before delete".into())?;
        let took = container.delete()?.took;
        check(took >= Duration::from_millis(300) && log_exists(&bundle), || {
            format!("delete returned after {took:?}")
        })
    }),
    test("A90", "poststop hooks and exec work when the bundle is gone", |bed| {
        let (program, log) = (bed.dir().join("the-hook"), bed.dir().join("late.log"));
        write_program(&program)?;
        let hook = json!({"path": program, "args": ["the-hook", "hook", log, "late"]});
        let container = bed.started(&Spec::new().args(&["/probe", "wait"]).hook("poststop", hook))?;
        fs::rename(&container.bundle.dir, bed.dir().join("elsewhere"))?;
        same("exec", container.exec(&["/probe", "exit", "42"])?.code(), 42)?;
        container.stop()?;
        container.delete()?;
        check(log.exists(), || "the poststop hook did not run".into())
    }),
    test("A91", "a failing prestart hook ends create, destroys the container and runs poststop", |bed| {
        create_fails(bed, "prestart")
    }),
    test(
        "A91",
        "a failing createRuntime hook ends create, destroys the container and runs poststop",
        |bed| create_fails(bed, "createRuntime"),
    ),
    test(
        "A91",
        "a failing createContainer hook ends create, destroys the container and runs poststop",
        |bed| create_fails(bed, "createContainer"),
    ),
    test("A91", "a hook that does not exist ends create", |bed| {
        bed.refuses(&hook(json!({"path": "/nonexistent/hook"})), &["/nonexistent/hook", "hook"])
    }),
    test("A91", "a hook that cannot be executed ends create", |bed| {
        let file = bed.dir().join("hook");
        fs::write(&file, "#!/nonexistent/interpreter\n")?;
        let path = file.to_string_lossy().into_owned();
        for mode in [0o644, 0o755] {
            fs::set_permissions(&file, fs::Permissions::from_mode(mode))?;
            bed.refuses(&hook(json!({"path": path})), &[&path, "hook"])?;
        }
        Ok(())
    }),
    test("A91", "after a failing hook the next ones do not run", |bed| {
        let bundle = Hooks::new(bed)?
            .hook("createRuntime", "first", &["exit=3"])
            .hook("createRuntime", "second", &[])
            .write()?;
        // Whether a hook will succeed cannot be known.
        bed.refuses_bundle_when_tried(&bundle, &["hook"])?;
        same("hooks that ran", labels(&bundle)?, ["first"])
    }),
    test("A92", "a failing startContainer hook makes start fail, and the program does not run", |bed| {
        let bundle = Hooks::new(bed)?
            .program(&["/probe", "try", "write", "/data/ran", "x"])
            .hook("startContainer", "hook", &["exit=3"])
            .hook("poststart", "poststart", &[])
            .write()?;
        let container = bed.create(&bundle)?;
        bed.call(["start", container.id()])?.refused(&["hook"])?;
        check(!bundle.rootfs.join("data/ran").exists(), || "the program ran".into())?;
        same("hooks that ran", labels(&bundle)?.first().map(String::as_str), Some("hook"))?;
        check(!labels(&bundle)?.contains(&"poststart".to_owned()), || "poststart ran".into())
    }),
    test(
        "A93",
        "a failing poststart hook makes start fail, stops and destroys the container, and runs poststop",
        |bed| {
            let bundle = Hooks::new(bed)?
                .program(&["/probe", "wait"])
                .hook("poststart", "poststart", &["exit=3"])
                .hook("poststop", "poststop", &[])
                .write()?;
            let container = bed.create(&bundle)?;
            bed.call(["start", container.id()])?.refused(&["hook"])?;
            let left = bed.leftovers(&bundle);
            check(left.is_empty(), || format!("left: {}", left.join(", ")))?;
            same("hooks that ran", labels(&bundle)?, ["poststart", "poststop"])
        },
    ),
    test("A94", "a failing poststop hook is a warning, the next ones run and delete succeeds", |bed| {
        let bundle = Hooks::new(bed)?
            .program(&["/probe", "true"])
            .hook("poststop", "first", &["exit=3"])
            .hook("poststop", "second", &[])
            .write()?;
        let container = bed.create(&bundle)?;
        container.start()?;
        container.until_status("stopped")?;
        container.delete()?;
        same("hooks that ran", labels(&bundle)?, ["first", "second"])
    }),
    test("A95", "env of a hook is its whole environment", |bed| {
        let bundle = Hooks::new(bed)?.env(Some(&["ONLY=this"])).hook("createRuntime", "hook", &[]).write()?;
        bed.run_bundle(&bundle)?.ok()?;
        same("env", strings(&records(&bundle)?[0]["env"]), ["ONLY=this"])
    }),
    test("A96", "a hook that does not read its stdin hurts nobody", |bed| {
        for _ in 0..10 {
            let mut hooks = Hooks::new(bed)?.annotation(200_000);
            for kind in RUNTIME_SIDE {
                hooks = hooks.hook(kind, kind, &["no-stdin"]);
            }
            let bundle = hooks.write()?;
            bed.run_bundle(&bundle)?.ok()?;
            same("hooks that ran", labels(&bundle)?, RUNTIME_SIDE)?;
        }
        Ok(())
    }),
    test("A97", "the error of a failing hook tells its kind, its exit code and its stderr", |bed| {
        let bundle =
            Hooks::new(bed)?.hook("createRuntime", "hook", &["exit=3", "stderr=the-reason"]).write()?;
        let called = bed.call(["create", "--bundle", &bundle.dir.to_string_lossy(), &bundle.id])?;
        called.refused(&["createRuntime"])?;
        check(called.stderr.contains("the-reason"), || {
            format!("no stderr of the hook in {}", called.stderr)
        })?;
        check(called.stderr.contains('3'), || format!("no exit code in {}", called.stderr))
    }),
    test("A98", "the working directory of runtime-side hooks is the bundle", |bed| {
        let bundle =
            Hooks::new(bed)?.hook("createRuntime", "hook", &[]).hook("poststop", "late", &[]).write()?;
        let call = bed.command(["run", "--bundle", &bundle.dir.to_string_lossy(), &bundle.id]);
        call.cwd(std::path::Path::new("/")).call()?.ok()?;
        for hook in records(&bundle)? {
            same("cwd", hook["cwd"].as_str().unwrap_or_default(), bundle.dir.to_string_lossy().as_ref())?;
        }
        Ok(())
    }),
    test("A53", "a hook has no descriptors but stdin, stdout and stderr", |bed| {
        let bundle = Hooks::new(bed)?
            .hook("createRuntime", "hook", &[])
            .hook("createContainer", "inner", &[])
            .write()?;
        bed.run_bundle(&bundle)?.ok()?;
        for hook in records(&bundle)? {
            same("open descriptors", super::process::descriptors(&hook), ["0", "1", "2"])?;
        }
        Ok(())
    }),
];

/// A bundle whose hooks append a record to one file, visible from both sides.
pub(crate) struct Hooks {
    bundle: Bundle,
    spec: Spec,
    env: Option<Vec<String>>,
}

impl Hooks {
    pub(crate) fn new(bed: &Bed<'_>) -> Outcome<Self> {
        let spec = Spec::new();
        let bundle = bed.bundle(&spec)?;
        write_program(&bundle.dir.join("the-hook"))?;
        let spec = Spec(bundle.spec()?);
        Ok(Self { bundle, spec: spec.args(&["/probe", "true"]), env: None })
    }

    pub(crate) fn program(mut self, args: &[&str]) -> Self {
        self.spec = self.spec.args(args);
        self
    }

    pub(crate) fn env(mut self, env: Option<&[&str]>) -> Self {
        self.env = env.map(|env| env.iter().map(ToString::to_string).collect());
        self
    }

    pub(crate) fn set(mut self, pointer: &str, value: impl Into<Value>) -> Self {
        self.spec = self.spec.set(pointer, value);
        self
    }

    /// Changes the configuration.
    pub(crate) fn change(mut self, change: impl FnOnce(Spec) -> Spec) -> Self {
        self.spec = change(self.spec);
        self
    }

    /// An annotation of this length, which makes the state longer than a pipe.
    fn annotation(mut self, length: usize) -> Self {
        self.spec = self.spec.set("/annotations", json!({"org.example.long": "x".repeat(length)}));
        self
    }

    /// Adds a hook that records itself under this label.
    pub(crate) fn hook(mut self, kind: &str, label: &str, options: &[&str]) -> Self {
        let (path, log) = if kind == "startContainer" {
            ("/probe".to_owned(), "/data/hooks.log".to_owned())
        } else {
            let log = self.bundle.rootfs.join("data/hooks.log");
            (
                self.bundle.dir.join("the-hook").to_string_lossy().into_owned(),
                log.to_string_lossy().into_owned(),
            )
        };
        let mut args = vec!["the-hook", "hook", &log, label];
        args.extend_from_slice(options);
        let mut entry = json!({"path": path, "args": args});
        if let Some(env) = &self.env {
            entry["env"] = json!(env);
        }
        self.spec = self.spec.hook(kind, entry);
        self
    }

    /// Sets a member of the last hook of a kind.
    fn with(mut self, kind: &str, key: &str, value: Value) -> Self {
        if let Some(hook) =
            self.spec.0.pointer_mut(&format!("/hooks/{kind}")).and_then(|l| l.as_array_mut()?.last_mut())
        {
            hook[key] = value;
        }
        self
    }

    pub(crate) fn write(self) -> Outcome<Bundle> {
        self.bundle.write_spec(&self.spec)?;
        Ok(self.bundle)
    }
}

/// What the hooks recorded.
pub(crate) fn records(bundle: &Bundle) -> Outcome<Vec<Value>> {
    let text = fs::read_to_string(bundle.rootfs.join("data/hooks.log")).unwrap_or_default();
    let records: Vec<Value> = text.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    if records.is_empty() { fail("no hook ran") } else { Ok(records) }
}

fn log_exists(bundle: &Bundle) -> bool {
    bundle.rootfs.join("data/hooks.log").exists()
}

fn labels(bundle: &Bundle) -> Outcome<Vec<String>> {
    Ok(records(bundle)?.iter().filter_map(|record| Some(record["label"].as_str()?.to_owned())).collect())
}

fn hook(entry: Value) -> Spec {
    Spec::new().hook("createRuntime", entry)
}

fn order(bed: &Bed<'_>) -> Outcome {
    let mut hooks = Hooks::new(bed)?;
    let kinds = ["poststop", "poststart", "startContainer", "createContainer", "createRuntime", "prestart"];
    for kind in kinds {
        hooks = hooks.hook(kind, &format!("{kind} 1"), &[]).hook(kind, &format!("{kind} 2"), &[]);
    }
    let bundle = hooks.write()?;
    bed.run_bundle(&bundle)?.ok()?;
    let wanted: Vec<String> =
        kinds.iter().rev().flat_map(|kind| [format!("{kind} 1"), format!("{kind} 2")]).collect();
    same("order", labels(&bundle)?, wanted)
}

fn timeout(bed: &Bed<'_>) -> Outcome {
    let bundle = Hooks::new(bed)?
        .hook("createRuntime", "slow", &["sleep=20000"])
        .with("createRuntime", "timeout", json!(1))
        .write()?;
    let called = bed.call(["create", "--bundle", &bundle.dir.to_string_lossy(), &bundle.id])?;
    called.refused(&["hook", "timeout", "timed out"])?;
    check(called.took < Duration::from_secs(10), || format!("create took {:?}", called.took))?;
    let left = bed.leftovers(&bundle);
    check(left.is_empty(), || format!("left: {}", left.join(", ")))
}

fn states(bed: &Bed<'_>) -> Outcome {
    let mut hooks = Hooks::new(bed)?;
    hooks.spec = hooks.spec.set("/annotations", json!({"org.example.key": "value"}));
    for kind in ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"] {
        hooks = hooks.hook(kind, kind, &[]);
    }
    let bundle = hooks.write()?;
    bed.run_bundle(&bundle)?.ok()?;
    let records = records(&bundle)?;
    same("hooks", records.len(), 6)?;
    for record in records {
        let state: Value = serde_json::from_str(record["stdin"].as_str().unwrap_or_default())?;
        let place = format!("{}: {state}", record["label"]);
        check(state["id"] == bundle.id.as_str(), || format!("no id in the state of {place}"))?;
        check(state["bundle"] == bundle.dir.to_string_lossy().as_ref(), || {
            format!("no bundle in the state of {place}")
        })?;
        let version = state["ociVersion"].as_str().unwrap_or_default();
        check(version.split('.').count() >= 3, || format!("no ociVersion in the state of {place}"))?;
        check(state["annotations"]["org.example.key"] == "value", || {
            format!("no annotations in the state of {place}")
        })?;
    }
    Ok(())
}

fn status_of(bed: &Bed<'_>, kinds: &[&str], allowed: &[&str]) -> Outcome {
    let mut hooks = Hooks::new(bed)?;
    for kind in kinds {
        hooks = hooks.hook(kind, kind, &[]);
    }
    let bundle = hooks.write()?;
    bed.run_bundle(&bundle)?.ok()?;
    for record in records(&bundle)? {
        let state: Value = serde_json::from_str(record["stdin"].as_str().unwrap_or_default())?;
        let status = state["status"].as_str().unwrap_or_default();
        check(allowed.contains(&status), || format!("{}: status {status:?}", record["label"]))?;
    }
    Ok(())
}

fn pids(bed: &Bed<'_>) -> Outcome {
    let mut hooks = Hooks::new(bed)?.program(&["/probe", "wait"]);
    for kind in ["prestart", "createRuntime", "createContainer", "startContainer", "poststart"] {
        hooks = hooks.hook(kind, kind, &[]);
    }
    let bundle = hooks.write()?;
    let container = bed.create(&bundle)?;
    let host_pid = i64::from(container.pid()?.as_raw_pid());
    container.start()?;
    for record in records(&bundle)? {
        let state: Value = serde_json::from_str(record["stdin"].as_str().unwrap_or_default())?;
        let label = record["label"].as_str().unwrap_or_default();
        let inside = ["createContainer", "startContainer"].contains(&label);
        same(label, state["pid"].as_i64(), Some(if inside { 1 } else { host_pid }))?;
    }
    Ok(())
}

fn namespaces_of(bed: &Bed<'_>, kinds: &[&str], inside: bool) -> Outcome {
    let mut hooks = Hooks::new(bed)?.program(&["/probe", "wait"]);
    for kind in kinds {
        hooks = hooks.hook(kind, kind, &[]);
    }
    let bundle = hooks.write()?;
    let container = bed.create(&bundle)?;
    let pid = container.pid()?.as_raw_pid();
    for record in records(&bundle)? {
        for (file, name) in [("uts", "uts"), ("net", "net"), ("ipc", "ipc"), ("mnt", "mnt")] {
            let theirs = fs::read_link(format!("/proc/{pid}/ns/{file}"))?.to_string_lossy().into_owned();
            let ours = fs::read_link(format!("/proc/self/ns/{file}"))?.to_string_lossy().into_owned();
            check(theirs != ours, || format!("the container has no {name} namespace"))?;
            let wanted = if inside { theirs } else { ours };
            same(&format!("{name} of {}", record["label"]), &record["namespaces"][file], &json!(wanted))?;
        }
    }
    Ok(())
}

fn start_container(bed: &Bed<'_>) -> Outcome {
    let bundle = Hooks::new(bed)?
        .program(&["/probe", "try", "read", "/data/hooks.log"])
        .hook("startContainer", "hook", &["root"])
        .write()?;
    let container = bed.create(&bundle)?;
    check(!log_exists(&bundle), || "startContainer ran at create".into())?;
    container.start()?;
    container.until_output("hook")?;
    check(!records(&bundle)?[0]["root"]["probe"].is_null(), || {
        "the hook does not see the container's root".into()
    })
}

fn poststart_is_late(bed: &Bed<'_>) -> Outcome {
    // Before the exec the first process still has the runtime's own command line. A race takes several attempts.
    for _ in 0..20 {
        let bundle =
            Hooks::new(bed)?.program(&["/probe", "wait"]).hook("poststart", "hook", &["init"]).write()?;
        let container = bed.create(&bundle)?;
        container.start()?;
        let seen = records(&bundle)?[0]["init"].as_str().unwrap_or_default().replace('\0', " ");
        same("command line of the first process", seen.trim(), "/probe wait")?;
        container.stop()?;
    }
    Ok(())
}

fn create_fails(bed: &Bed<'_>, kind: &str) -> Outcome {
    let bundle =
        Hooks::new(bed)?.hook(kind, "failing", &["exit=3"]).hook("poststop", "poststop", &[]).write()?;
    // Whether a hook will succeed cannot be known.
    bed.refuses_bundle_when_tried(&bundle, &["hook"])?;
    same("hooks that ran", labels(&bundle)?, ["failing", "poststop"])
}
