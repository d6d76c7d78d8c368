//! Foreign documents, damaged documents, and the time that checking takes.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{all, full};
use crate::check::{check, document, list, scan, schema};
use crate::finding::{self, Finding};

#[test]
fn the_test_data_of_the_schema() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../spec-tests/corpus/schema");
    if !corpus.is_dir() {
        println!("skipped: {} is not there (the crate is built outside its repository)", corpus.display());
        return;
    }
    let mut count = 0;
    for (folder, good) in [("good", true), ("bad", false)] {
        for entry in fs::read_dir(corpus.join(folder)).unwrap() {
            let path = entry.unwrap().path();
            let (spec, mut findings) = document::read_config(&fs::read(&path).unwrap());
            findings.extend(spec.iter().flat_map(check));
            let name = path.file_stem().unwrap().to_str().unwrap();
            // Valid, but not for this runtime, or not yet.
            let refused: &[&str] = match name {
                "freebsd-example" => &["/hostname"],
                "zos-example" => &["/ociVersion", "/hostname"],
                // Written before 1.0; its content is what counts, see below.
                "spec-example" => &["/ociVersion"],
                // It shows the shape, and leaves out the namespace that it needs.
                "linux-netdevice" if good => &["/linux/netDevices"],
                _ => &[],
            };
            let errors: Vec<_> = findings.iter().filter(|finding| finding.is_error()).collect();
            if good {
                let pointers: Vec<_> = errors.iter().map(|finding| finding.pointer.as_str()).collect();
                assert_eq!(pointers, refused, "{name}: {findings:?}");
            } else {
                // Errors inside another platform's section are not looked for.
                assert!(!errors.is_empty() || name.starts_with("freebsd"), "{name}");
            }
            count += 1;
        }
    }
    assert!(count >= 14, "{count} files");

    let example = fs::read_to_string(corpus.join("good/spec-example.json")).unwrap();
    let example = example.replace("0.5.0-dev", "1.0.0");
    let found: Vec<_> =
        all(&serde_json::from_str(&example).unwrap()).iter().map(ToString::to_string).collect();
    assert_eq!(found, ["note: /linux/resources/oomScoreAdj: not a property of the runtime spec; ignored"]);
}

#[test]
fn a_large_configuration_costs_little() {
    let mut config = full();
    // The usual path: the Rust types accept the document as it is.
    config["process"]["scheduler"]["flags"] = json!([]);
    config["process"]["execCPUAffinity"]["final"] = json!("0");
    let syscalls: Vec<_> = (0..350).map(|number| format!("system_call_{number}")).collect();
    config["linux"]["seccomp"]["syscalls"][0]["names"] = json!(syscalls);
    let text = config.to_string();
    let mut best = [Duration::MAX; 3];
    for _ in 0..50 {
        let begin = Instant::now();
        assert!(scan::scan(&text, &schema::CONFIG).findings.is_empty());
        let scanned = Instant::now();
        let spec = document::read_config(text.as_bytes()).0.unwrap();
        let read = Instant::now();
        assert_eq!(check(&spec), []);
        let checked = Instant::now();
        for (best, time) in best.iter_mut().zip([scanned - begin, read - scanned, checked - read]) {
            *best = time.min(*best);
        }
    }
    println!("{} bytes: scan {:?}, scan and parse {:?}, check {:?}", text.len(), best[0], best[1], best[2]);
    // Ten times the target, for a busy machine; without optimization there is no target.
    if !cfg!(debug_assertions) {
        assert!(best[1] + best[2] < Duration::from_millis(3), "{best:?}");
    }
}

/// Any JSON value, with words and numbers that the tables know.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,8}".prop_map(Value::from),
        prop::sample::select(vec![
            "",
            "/",
            "..",
            "a\0b",
            "bind",
            "c",
            "pid",
            "0-3",
            "SCHED_FIFO",
            "1.0.0",
            "2MB",
            ","
        ])
        .prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::hash_map("[a-zA-Z]{0,6}", inner, 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

/// Pointers of all values in a document.
fn pointers(value: &Value, at: &str, found: &mut Vec<String>) {
    found.push(at.to_owned());
    match value {
        Value::Object(members) => {
            members
                .iter()
                .for_each(|(name, value)| pointers(value, &format!("{at}/{}", finding::escape(name)), found));
        }
        Value::Array(elements) => {
            elements
                .iter()
                .enumerate()
                .for_each(|(index, value)| pointers(value, &format!("{at}/{index}"), found));
        }
        _ => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    /// No mutation panics, and a document without a value always has an error that says why.
    #[test]
    fn mutations_end_in_findings(changes in prop::collection::vec((any::<prop::sample::Index>(), any_json()), 1..4)) {
        let mut config = full();
        for (index, value) in changes {
            let mut all = Vec::new();
            pointers(&config, "", &mut all);
            *config.pointer_mut(&all[index.index(all.len())]).unwrap() = value;
        }
        let bytes = config.to_string();
        let (spec, findings) = document::read_config(bytes.as_bytes());
        prop_assert_eq!(spec.is_none(), findings.iter().any(Finding::is_error), "{:?} {}", findings, bytes);
        if let Some(spec) = spec {
            check(&spec);
            let (again, _) = document::read_config(&document::write_config(&spec).unwrap());
            prop_assert_eq!(again, Some(spec));
        }
    }

    /// No damage to the bytes panics.
    #[test]
    fn damaged_bytes_end_in_findings(cut in any::<prop::sample::Index>(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut bytes = full().to_string().into_bytes();
        *at.get_mut(&mut bytes) = byte;
        for bytes in [&bytes[..], &bytes[..cut.index(bytes.len())]] {
            let (spec, findings) = document::read_config(bytes);
            prop_assert_eq!(spec.is_none(), findings.iter().any(Finding::is_error));
            prop_assert!(spec.is_none_or(|spec| check(&spec).len() < 10_000));
        }
    }

    /// Strange options, keys and lists do not panic either.
    #[test]
    fn strings_never_panic(text in "[a-z=,\"\\\\./0-9-]{0,24}") {
        let parsed = crate::linux::mount::options::parse(std::slice::from_ref(&text));
        prop_assert!(parsed.is_ok() || parsed.is_err_and(|(index, _)| index == 0));
        prop_assert!(list::parse(&text).is_ok_and(|list| list.len() <= text.len()) || !text.is_empty());
        if let Some(path) = crate::linux::sysctl::path(&text) {
            prop_assert!(!path.starts_with('/') && !path.split('/').any(|name| name == ".." || name.is_empty()));
        }
    }
}
