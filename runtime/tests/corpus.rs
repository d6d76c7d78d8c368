//! Configurations that other programs wrote: they parse, check and plan; what damage makes of them never panics.

use std::cell::Cell;
use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde_json::{Value, json};
use wharf::{Bundle, ContainerId, CreateOptions, ErrorKind, Runtime, Severity};

/// How many damaged documents are tried.
const DAMAGED: u32 = 2000;

/// What a configuration of the corpus asks for and no wharf can give, as JSON pointers of the errors.
fn expected(file: &Path) -> &'static [&'static str] {
    match file.file_stem().and_then(|name| name.to_str()).unwrap_or_default() {
        "freebsd-example" => &["/hostname"],
        "zos-example" => &["/ociVersion", "/hostname"],
        "linux-netdevice" => &["/linux/netDevices"],
        _ => &[],
    }
}

/// The configurations: the good ones of the schema's test data, and whatever managers left in the other directories.
fn corpus() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../spec-tests/corpus");
    if !root.is_dir() {
        println!("skipped: {} is not there (the crate is built outside its repository)", root.display());
        return Vec::new();
    }
    let mut found = Vec::new();
    let mut open = vec![root];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(&dir).expect("a directory").flatten() {
            let path = entry.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if path.is_dir() && !path.ends_with("schema/bad") {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "json")
                && !name.ends_with(".process.json")
            {
                found.push(path);
            }
        }
    }
    found.sort();
    assert!(found.len() >= 9, "{} configurations", found.len());
    found
}

/// A document of the corpus, with what depends on the machine that wrote it made true of this one.
fn document(file: &Path) -> Value {
    let mut config: Value = serde_json::from_slice(&fs::read(file).expect("read")).expect("JSON");
    if config["root"]["path"].is_string() {
        config["root"]["path"] = "rootfs".into();
    }
    if config["ociVersion"].as_str().is_some_and(|version| version.starts_with("0.")) {
        // Written before 1.0; its content is what counts.
        config["ociVersion"] = "1.0.0".into();
    }
    config
}

/// The same without what only some kernels and machines have.
fn portable(file: &Path) -> Value {
    let mut config = document(file);
    if let Some(resources) = config.pointer_mut("/linux/resources").and_then(Value::as_object_mut) {
        resources.retain(|name, _| !["hugepageLimits", "network", "rdma"].contains(&name.as_str()));
        if let Some(io) = resources.get_mut("blockIO").and_then(Value::as_object_mut) {
            // No kernel has the scheduler any more.
            io.remove("leafWeight");
            for device in io.get_mut("weightDevice").and_then(Value::as_array_mut).into_iter().flatten() {
                device.as_object_mut().map(|device| device.remove("leafWeight"));
            }
        }
    }
    for (object, label) in
        [("/process", "apparmorProfile"), ("/process", "selinuxLabel"), ("/linux", "mountLabel")]
    {
        if let Some(object) = config.pointer_mut(object).and_then(Value::as_object_mut) {
            object.remove(label);
        }
    }
    config
}

fn bundle_dir() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a temporary directory");
    fs::create_dir(dir.path().join("rootfs")).expect("mkdir");
    dir
}

fn runtime(dir: &Path) -> Runtime {
    Runtime::builder().root(dir.join("state")).build().expect("a runtime")
}

fn is_root() -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        println!("skipped in part: a plan depends on what root may do");
    }
    root
}

/// Properties whose findings depend on what this host and the image, which is empty, have: controllers, files of the
/// machine where a document was written, hooks, namespaces, kernel parameters, the program, file systems.
fn is_of_the_host(pointer: &str) -> bool {
    let prefixes = ["/linux/resources", "/linux/netDevices/", "/linux/sysctl/", "/process/args/0"];
    let host_path = pointer.starts_with("/mounts/") && pointer.ends_with("/source")
        || pointer.starts_with("/hooks/") && pointer.ends_with("/path")
        || pointer.starts_with("/linux/namespaces/") && pointer.ends_with("/path");
    host_path || prefixes.iter().any(|prefix| pointer.starts_with(prefix))
}

/// Labels of a security module that this host may run without.
fn is_label(pointer: &str) -> bool {
    ["/process/apparmorProfile", "/process/selinuxLabel", "/linux/mountLabel"].contains(&pointer)
}

#[test]
fn foreign_configurations_check_and_plan() {
    let (dir, root) = (bundle_dir(), is_root());
    let (runtime, id) = (runtime(dir.path()), ContainerId::new("corpus").expect("a valid id"));
    for file in corpus() {
        let name = file.display();
        let text = document(&file).to_string();
        let refused = expected(&file);
        let bundle = match Bundle::from_bytes(text.as_bytes(), dir.path()) {
            Ok(bundle) => bundle,
            Err(error) => {
                assert!(refused.contains(&error.pointer().unwrap_or_default()), "{name}: {error}");
                continue;
            }
        };
        let findings = runtime.check(&bundle);
        let errors: Vec<_> = findings
            .iter()
            .filter(|finding| finding.severity == Severity::Error)
            .map(|finding| finding.pointer.as_str())
            .filter(|pointer| !is_of_the_host(pointer) && !is_label(pointer))
            .collect();
        assert!(errors.iter().all(|pointer| refused.contains(pointer)), "{name}: {findings:?}");
        assert_eq!(errors.is_empty(), refused.is_empty(), "{name}: {findings:?}");
        if root && refused.is_empty() {
            let plan = runtime.explain(&id, &bundle, &CreateOptions::new());
            match plan {
                Ok(plan) => assert!(plan.steps.len() > 10, "{name}: {plan}"),
                Err(error) if error.pointer().is_some_and(|at| is_of_the_host(at) || is_label(at)) => {
                    assert_eq!(error.kind(), ErrorKind::Unsupported, "{name}: {error}");
                    println!("{name}: skipped in part: {error}");
                }
                Err(error) => panic!("{name}: {error}"),
            }
        }
    }
    assert!(!runtime.root().exists(), "an explanation has no side effect");
}

#[test]
fn the_plans_are_the_reviewed_ones() {
    if !is_root() {
        return;
    }
    let (dir, files) = (bundle_dir(), corpus());
    let (runtime, id) = (runtime(dir.path()), ContainerId::new("corpus").expect("a valid id"));
    let place = dir.path().canonicalize().expect("the bundle").display().to_string();
    for name in
        ["minimal", "minimal-for-start", "spec-example", "docker-default", "podman-pod-member", "ctr-seccomp"]
    {
        let Some(file) = files.iter().find(|file| file.file_stem().is_some_and(|stem| stem == name)) else {
            assert!(files.is_empty(), "{name} is not in the corpus");
            return;
        };
        let bundle = Bundle::from_bytes(portable(file).to_string().as_bytes(), dir.path()).expect("a bundle");
        let plan = runtime.explain(&id, &bundle, &CreateOptions::new()).expect("a plan");
        // Hierarchies and capabilities are the host's.
        let steps = plan.steps.iter().filter(|step| !step.action.contains("cgroup"));
        let lines: Vec<_> = steps
            .map(|step| {
                let pointer = step.pointer.as_deref().unwrap_or("-");
                format!("{:<6}  {}  ({pointer})", step.by, step.action.replace(&place, "BUNDLE"))
            })
            .collect();
        insta::assert_snapshot!(name, lines.join("\n"));
    }
}

/// A kind of damage, with numbers that say where.
#[derive(Clone, Debug)]
enum Damage {
    Cut(usize),
    Byte(usize, u8),
    Value(usize, usize),
    Twice(usize),
}

fn damage() -> impl Strategy<Value = Damage> {
    prop_oneof![
        1 => any::<usize>().prop_map(Damage::Cut),
        2 => any::<(usize, u8)>().prop_map(|(at, byte)| Damage::Byte(at, byte)),
        5 => any::<(usize, usize)>().prop_map(|(at, kind)| Damage::Value(at, kind)),
        1 => any::<usize>().prop_map(Damage::Twice),
    ]
}

/// Values that no author of a configuration thinks of.
fn odd_values() -> Vec<Value> {
    let long = "x".repeat(5000);
    vec![
        Value::Null,
        json!(true),
        json!(-1),
        json!(0),
        json!(u64::MAX),
        json!(i64::MIN),
        json!(1e300),
        json!(""),
        json!("\0"),
        json!("/"),
        json!("../../.."),
        json!("é\u{202e}"),
        json!(long),
        json!([]),
        json!([[]]),
        json!([null]),
        json!({}),
        json!({"": ""}),
        json!(["a", "a"]),
        json!("4294967296"),
    ]
}

/// The pointers of all values of a document.
fn pointers(value: &Value, at: &str, all: &mut Vec<String>) {
    all.push(at.to_owned());
    match value {
        Value::Object(map) => map.iter().for_each(|(key, value)| {
            pointers(value, &format!("{at}/{}", key.replace('~', "~0").replace('/', "~1")), all);
        }),
        Value::Array(list) => {
            list.iter().enumerate().for_each(|(index, value)| pointers(value, &format!("{at}/{index}"), all));
        }
        _ => {}
    }
}

fn apply(config: &Value, damages: &[Damage]) -> Vec<u8> {
    let mut config = config.clone();
    for damage in damages {
        let mut all = Vec::new();
        pointers(&config, "", &mut all);
        match damage {
            Damage::Value(at, kind) => {
                let odd = odd_values();
                if let Some(value) = config.pointer_mut(&all[at % all.len()]) {
                    *value = odd[kind % odd.len()].clone();
                }
            }
            Damage::Twice(at) => {
                let lists: Vec<_> =
                    all.iter().filter(|one| config.pointer(one).is_some_and(Value::is_array)).collect();
                if let Some(pointer) = lists.get(at % lists.len().max(1))
                    && let Some(list) = config.pointer_mut(pointer).and_then(Value::as_array_mut)
                {
                    list.extend(list.clone());
                }
            }
            Damage::Cut(_) | Damage::Byte(..) => {}
        }
    }
    let mut bytes = config.to_string().into_bytes();
    for damage in damages {
        let size = bytes.len().max(1);
        match damage {
            Damage::Cut(at) => bytes.truncate(at % size),
            Damage::Byte(at, byte) => {
                if let Some(place) = bytes.get_mut(at % size) {
                    *place = *byte;
                }
            }
            Damage::Value(..) | Damage::Twice(_) => {}
        }
    }
    bytes
}

#[test]
fn damage_is_refused_or_planned_and_never_panics() {
    let documents: Vec<_> = corpus().iter().map(|file| portable(file)).collect();
    if documents.is_empty() {
        return;
    }
    let (dir, root) = (bundle_dir(), is_root());
    let (runtime, id) = (runtime(dir.path()), ContainerId::new("damaged").expect("a valid id"));
    let (refused, planned) = (Cell::new(0), Cell::new(0));
    let config = Config { cases: DAMAGED, failure_persistence: None, ..Config::default() };
    // The same documents every time.
    let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let cases = (any::<usize>(), prop::collection::vec(damage(), 1..3));
    let outcome = runner.run(&cases, |(which, damages)| {
        let bytes = apply(&documents[which % documents.len()], &damages);
        let Ok(bundle) = Bundle::from_bytes(&bytes, dir.path()) else {
            refused.set(refused.get() + 1);
            return Ok(());
        };
        let findings = runtime.check(&bundle);
        let errors = findings.iter().filter(|finding| finding.severity == Severity::Error);
        let errors =
            errors.filter(|finding| !is_of_the_host(&finding.pointer) && !is_label(&finding.pointer)).count();
        if !root {
            return Ok(());
        }
        match runtime.explain(&id, &bundle, &CreateOptions::new()) {
            Ok(_) => {
                planned.set(planned.get() + 1);
                prop_assert_eq!(errors, 0, "planned in spite of errors");
            }
            Err(_) => refused.set(refused.get() + 1),
        }
        Ok(())
    });
    outcome.expect("no panic");
    let (refused, planned) = (refused.get(), planned.get());
    println!("{DAMAGED} damaged documents: {refused} refused, {planned} planned");
    assert!(!root || (refused > DAMAGED / 10 && planned > DAMAGED / 20), "{refused} {planned}");
    assert!(!runtime.root().exists(), "an explanation has no side effect");
}
