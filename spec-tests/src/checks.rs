//! The `check` command, for runtimes that have it: what `create` refuses, it must find, for anybody and without a trace.

use crate::bed::Bed;
use crate::bundle::Bundle;
use crate::outcome::{Outcome, check};
use crate::runtime::Invocation;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{LazyLock, Mutex, PoisonError};

/// Which runtimes have the command, and can be executed by a user without privileges.
static KNOWN: LazyLock<Mutex<HashMap<PathBuf, bool>>> = LazyLock::new(Mutex::default);

/// Passes when `check`, called by a user without privileges, exits with an error, names one of the words and leaves
/// nothing; and when the runtime has no such command.
pub(crate) fn finds(bed: &Bed<'_>, bundle: &Bundle, words: &[&str]) -> Outcome {
    if !has_command(bed)? {
        return Ok(());
    }
    let root = bed.root();
    let before = root.exists();
    let called = nobody(bed, &["check", &bundle.dir.to_string_lossy()]).call()?;
    called.refused(words)?;
    let left = bed.leftovers(bundle);
    check(left.is_empty() && root.exists() == before, || format!("check left {}", left.join(", ")))
}

fn has_command(bed: &Bed<'_>) -> Outcome<bool> {
    let path = &bed.runtime.path;
    let known = || KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = known().get(path) {
        return Ok(*known);
    }
    let help = nobody(bed, &["--help"]).call()?;
    let has = help.stdout.lines().any(|line| line.split_whitespace().next() == Some("check"));
    known().insert(path.clone(), has);
    Ok(has)
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
