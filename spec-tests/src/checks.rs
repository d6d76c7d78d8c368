//! The `check` command, for runtimes that have it: it must find whatever `create` refuses, for any user and without a
//! trace.

use crate::bed::Bed;
use crate::bundle::Bundle;
use crate::outcome::{Outcome, check};
use crate::runtime::{Called, Invocation};
use crate::spec::Spec;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

/// The command's output for a good configuration and a user without privileges, if the runtime has the command and such
/// a user can execute it.
type Usual = Option<Arc<[String]>>;

static KNOWN: LazyLock<Mutex<HashMap<PathBuf, Usual>>> = LazyLock::new(Mutex::default);

/// Passes if `check`, called by a user without privileges, exits with an error, names one of the words and leaves
/// nothing behind; and if the runtime has no such command.
pub(crate) fn finds(bed: &Bed<'_>, bundle: &Bundle, words: &[&str]) -> Outcome {
    find(bed, bundle, &[], words, None)
}

/// The same in another network namespace.
pub(crate) fn finds_in(bed: &Bed<'_>, bundle: &Bundle, words: &[&str], network: &str) -> Outcome {
    find(bed, bundle, &[], words, Some(network))
}

/// The same for a call of `create` with these options.
pub(crate) fn finds_call(bed: &Bed<'_>, bundle: &Bundle, options: &[&str], words: &[&str]) -> Outcome {
    find(bed, bundle, &[&["--detach"], options].concat(), words, None)
}

fn find(bed: &Bed<'_>, bundle: &Bundle, options: &[&str], words: &[&str], network: Option<&str>) -> Outcome {
    let Some(usual) = usual(bed)? else { return Ok(()) };
    let root = bed.root();
    let before = (root.exists(), bed.leftovers(bundle));
    let call = nobody(bed, &[&["check"], options, &[&*bundle.dir.to_string_lossy()]].concat());
    let mut called = network.into_iter().fold(call, Invocation::in_network).call()?;
    // What such a user cannot do at all does not count as a mistake in this configuration.
    let ours = called.stdout.lines().filter(|line| !usual.iter().any(|one| one == line));
    called.stdout = ours.collect::<Vec<_>>().join("\n");
    called.refused(words)?;
    let left = bed.leftovers(bundle);
    check(left == before.1 && root.exists() == before.0, || format!("check left {}", left.join(", ")))
}

fn usual(bed: &Bed<'_>) -> Outcome<Usual> {
    let path = &bed.runtime.path;
    let known = || KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = known().get(path) {
        return Ok(known.clone());
    }
    let help = nobody(bed, &["--help"]).call()?;
    let has = help.stdout.lines().any(|line| line.split_whitespace().next() == Some("check"));
    let says = |called: Called| called.stdout.lines().map(str::to_owned).collect();
    let usual = if has {
        let bundle = bed.bundle(&Spec::new())?;
        Some(says(nobody(bed, &["check", &bundle.dir.to_string_lossy()]).call()?))
    } else {
        None
    };
    known().insert(path.clone(), usual.clone());
    Ok(usual)
}

/// A call by a user without privileges.
fn nobody(bed: &Bed<'_>, args: &[&str]) -> Invocation {
    let root = bed.root();
    let runtime = bed.runtime;
    let mut words = Vec::new();
    if bed.host.root {
        words.extend(["--reuid=65534", "--regid=65534", "--clear-groups"].map(std::ffi::OsString::from));
        words.push(runtime.path.clone().into());
    }
    words.extend(runtime.globals.iter().map(Into::into));
    words.extend(["--root".into(), root.into_os_string()]);
    words.extend(args.iter().map(Into::into));
    let program = if bed.host.root { "setpriv".as_ref() } else { runtime.path.as_path() };
    Invocation::new(program, bed.dir()).args(words)
}
