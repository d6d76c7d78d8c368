//! The options of a create: containerd's own type, the type for any other runtime, and invalid types.

use crate::outcome::{Outcome, check, fail, same};
use crate::shim::bed::{Bed, state_dir};
use crate::shim::client::{code, granted, refused};
use crate::shim::launch::{Era, any};
use crate::shim::stdio::Streams;
use crate::shim::{Test, test};
use crate::spec::Spec;
use containerd_shim_protos::protobuf::Message;
use containerd_shim_protos::protobuf::well_known_types::any::Any;
use containerd_shim_protos::shim::oci::Options;
use serde_json::Value;
use std::fs;
use std::path::Path;

pub(super) const TESTS: &[Test] = &[
    test("O1", "runc options: the state is below `root`", root),
    test("O2", "runc options: the type's name may have a prefix", prefixed),
    test("O3", "runc options: no_new_keyring", keyring),
    test("O4", "runc options: no_pivot_root", no_pivot),
    test(
        "O5",
        "runc options: a binary_name that does not exist is refused by name, nothing is left",
        binary_name,
    ),
    test("O6", "runc options: they are kept in options.json, the binary's name in `runtime`", kept),
    test("O7", "runtime options: a TOML body", toml_body),
    test("O8", "runtime options: a TOML file", toml_file),
    test("O9", "runtime options: TOML that is none is refused", bad_toml),
    test("O10", "options of an unknown type are refused", unknown_type),
    test("O11", "options that are no message are refused", garbled),
    test("O12", "no options", none),
];

fn runc(options: &Options) -> Any {
    any("containerd.runc.v1.Options", options.write_to_bytes().unwrap_or_default())
}

/// A hand-made `runtimeoptions.v1.Options`: the type is field 1, the path 2, the body 3.
fn runtime_options(path: &str, body: &str) -> Any {
    let mut value = Vec::new();
    for (number, text) in [(1_u8, "containerd.runc.v1.Options"), (2, path), (3, body)] {
        if !text.is_empty() {
            value.extend([number << 3 | 2, u8::try_from(text.len()).expect("a short text")]);
            value.extend(text.as_bytes());
        }
    }
    any("runtimeoptions.v1.Options", value)
}

/// Creates with options; the state must be below `root`, and all of it must go.
fn lives_below(bed: &Bed<'_>, root: &Path, options: Any) -> Outcome {
    let task = bed.planned(&Spec::new().args(&["/probe", "wait"]), Streams::output(bed.dir())?)?;
    granted("Create", task.create(Some(options), &[]))?;
    let dir = state_dir(bed, root, task.id());
    check(dir.is_dir(), || format!("no state at {}", dir.display()))?;
    task.begin()?;
    task.streams.borrow_mut().until("ready")?;
    task.finish()?;
    check(!dir.exists(), || format!("{} is left", dir.display()))
}

fn root(bed: &Bed<'_>) -> Outcome {
    let root = bed.dir().join("state");
    lives_below(bed, &root, runc(&Options { root: root.to_string_lossy().into_owned(), ..Options::new() }))
}

fn prefixed(bed: &Bed<'_>) -> Outcome {
    bed.subject.needs(Era::V1_7)?;
    let root = bed.dir().join("state");
    let mut options = runc(&Options { root: root.to_string_lossy().into_owned(), ..Options::new() });
    options.type_url = "types.containerd.io/containerd.runc.v1.Options".into();
    lives_below(bed, &root, options)
}

/// The session keyring that the probe reports.
fn keyring_name(bed: &Bed<'_>, options: Options) -> Outcome<Value> {
    let task = bed.planned(&Spec::new().args(&["/probe", "report"]), Streams::output(bed.dir())?)?;
    granted("Create", task.create(Some(runc(&options)), &[]))?;
    task.begin()?;
    let (out, _) = task.streams.borrow_mut().to_end()?;
    task.exit("")?;
    granted("Delete", task.delete(""))?;
    let seen: Value = serde_json::from_str(&out)?;
    Ok(seen["keyring"].clone())
}

fn keyring(bed: &Bed<'_>) -> Outcome {
    let with = keyring_name(bed, Options::new())?;
    let without = keyring_name(bed, Options { no_new_keyring: true, ..Options::new() })?;
    let own = |seen: &Value| seen["name"].as_str().is_some_and(|name| name.starts_with("_ses.suite-"));
    check(own(&with), || format!("without the option: {with}"))?;
    check(!own(&without), || format!("with the option: {without}"))
}

fn no_pivot(bed: &Bed<'_>) -> Outcome {
    let task =
        bed.planned(&Spec::new().args(&["/probe", "try", "list", "/"]), Streams::output(bed.dir())?)?;
    granted("Create", task.create(Some(runc(&Options { no_pivot_root: true, ..Options::new() })), &[]))?;
    task.begin()?;
    let (out, _) = task.streams.borrow_mut().to_end()?;
    same("exit status", task.exit("")?, 0)?;
    check(out.contains("\"probe\"") && !out.contains("\"home\""), || format!("its root is {out}"))?;
    granted("Delete", task.delete("")).map(drop)
}

fn binary_name(bed: &Bed<'_>) -> Outcome {
    let task = bed.planned(&Spec::new(), Streams::output(bed.dir())?)?;
    let options = runc(&Options { binary_name: "no-such-runtime".into(), ..Options::new() });
    refused("Create", task.create(Some(options), &[]), &[], &["no-such-runtime"])?;
    refused("State", task.state(""), &[code::NOT_FOUND], &[])?;
    bed.until_gone(&task.bundle)
}

fn kept(bed: &Bed<'_>) -> Outcome {
    let root = bed.dir().join("state").to_string_lossy().into_owned();
    let task = bed.planned(&Spec::new(), Streams::output(bed.dir())?)?;
    let options = Options { root: root.clone(), no_new_keyring: true, ..Options::new() };
    granted("Create", task.create(Some(runc(&options)), &[]))?;
    let seen: Value = serde_json::from_slice(&fs::read(task.bundle.dir.join("options.json"))?)?;
    same("root", seen["root"].as_str(), Some(root.as_str()))?;
    same("no_new_keyring", seen["no_new_keyring"].as_bool(), Some(true))?;
    let runtime = fs::read_to_string(task.bundle.dir.join("runtime"))?;
    same("runtime", runtime.as_str(), "")?;
    granted("Delete", task.delete("")).map(drop)
}

fn toml_body(bed: &Bed<'_>) -> Outcome {
    bed.subject.needs(Era::V1_7)?;
    let root = bed.dir().join("state");
    lives_below(
        bed,
        &root,
        runtime_options("", &format!("Root = \"{}\"\nNoNewKeyring = true\n", root.display())),
    )
}

fn toml_file(bed: &Bed<'_>) -> Outcome {
    bed.subject.needs(Era::V1_7)?;
    let (root, file) = (bed.dir().join("state"), bed.dir().join("options.toml"));
    fs::write(&file, format!("Root = \"{}\"\n", root.display()))?;
    // The path takes precedence.
    lives_below(bed, &root, runtime_options(&file.to_string_lossy(), "Root = \"/nowhere\"\n"))
}

fn bad_toml(bed: &Bed<'_>) -> Outcome {
    bed.subject.needs(Era::V1_7)?;
    for body in ["Root = [", "Root = 7\n"] {
        let task = bed.planned(&Spec::new(), Streams::output(bed.dir())?)?;
        refused(
            &format!("Create with {body:?}"),
            task.create(Some(runtime_options("", body)), &[]),
            &[],
            &[],
        )?;
        bed.until_gone(&task.bundle)?;
    }
    Ok(())
}

fn unknown_type(bed: &Bed<'_>) -> Outcome {
    let task = bed.planned(&Spec::new(), Streams::output(bed.dir())?)?;
    let answer = task.create(Some(any("example.v1.Options", vec![8, 1])), &[]);
    if answer.is_ok() {
        granted("Delete", task.delete(""))?;
        return fail("the options were ignored");
    }
    // containerd's own shim has no code for this.
    refused(
        "Create",
        answer,
        &[code::INVALID_ARGUMENT, code::UNKNOWN, code::NOT_FOUND],
        &["example.v1.Options"],
    )?;
    bed.until_gone(&task.bundle)
}

fn garbled(bed: &Bed<'_>) -> Outcome {
    let task = bed.planned(&Spec::new(), Streams::output(bed.dir())?)?;
    refused("Create", task.create(Some(any("containerd.runc.v1.Options", vec![0xff, 0xff])), &[]), &[], &[])?;
    bed.until_gone(&task.bundle)
}

fn none(bed: &Bed<'_>) -> Outcome {
    let task = bed.planned(&Spec::new().args(&["/probe", "wait"]), Streams::output(bed.dir())?)?;
    granted("Create", task.create(None, &[]))?;
    let dir = state_dir(bed, Path::new(crate::shim::bed::STATE_ROOT), task.id());
    check(dir.is_dir(), || format!("no state at {}", dir.display()))?;
    granted("Delete", task.delete("")).map(drop)
}
