//! What another user of the host can reach: the state of containers, the runtime's processes, its commands.

use super::watch::SECRET;
use crate::bed::{Answer, answers_of, script_args};
use crate::outcome::{Outcome, check, same};
use crate::{Bed, Container, Spec, Test, reaper, root};
use serde_json::json;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Nobody, who owns nothing.
const USER: u32 = 65_534;

pub(super) const TESTS: &[Test] = &[
    root("S38", "a user of the host reads nothing of a container's state (CVE-2024-25621)", |bed| {
        let container = secret(bed)?;
        let mut paths = vec![bed.state_dir(container.id())];
        below(&bed.state_dir(container.id()), &mut paths)?;
        let paths: Vec<String> = paths.iter().map(|path| path.to_string_lossy().into_owned()).collect();
        let script: Vec<Vec<&str>> = paths
            .iter()
            .flat_map(|path| [vec!["read", path], vec!["list", path], vec!["open-write", path]])
            .collect();
        let words: Vec<&[&str]> = script.iter().map(Vec::as_slice).collect();
        check(words.len() > 6, || "the state has no files".into())?;
        as_user(&container, &words)?.iter().try_for_each(|answer| answer.failed(&[]))
    }),
    root("S38", "nor anything of its processes, before and after the start", |bed| {
        let container = secret(bed)?;
        for started in [false, true] {
            if started {
                container.start()?;
                container.until_output("ready")?;
            }
            let pid = container.pid()?.as_raw_pid();
            let at = |name: &str| format!("/proc/{pid}/{name}");
            let (fd, cwd, top) = (at("fd"), at("cwd/."), at("root/."));
            let (environment, memory, id) = (at("environ"), at("mem"), pid.to_string());
            let script: &[&[&str]] = &[
                &["list", &fd],
                &["list", &cwd],
                &["list", &top],
                &["read", &environment],
                &["open", &memory],
                &["open-write", &memory],
                &["kill", &id, "0"],
                &["kill", &id, "9"],
            ];
            as_user(&container, script)?.iter().try_for_each(|answer| answer.failed(&[]))?;
        }
        same("status", container.status()?.as_str(), "running")
    }),
    root("S38", "no command of another user changes a container, or tells of it", |bed| {
        let container = secret(bed)?;
        container.start()?;
        container.until_output("ready")?;
        let id = container.id();
        let commands: [&[&str]; 6] = [
            &["state", id],
            &["kill", id, "KILL"],
            &["delete", "--force", id],
            &["pause", id],
            &["exec", id, "/probe", "true"],
            &["ps", id],
        ];
        let other = USER.to_string();
        let drop = ["setpriv", "--reuid", &other, "--regid", &other, "--clear-groups", "--"];
        for words in commands {
            let called = bed.command(words.iter().copied()).under(&drop).call()?;
            check(!called.stdout.contains(id), || format!("`{}` tells: {}", words[0], called.stdout))?;
            // `delete --force` of what cannot be found is no error.
            check(!called.status.success() || words[0] == "delete", || format!("`{}` worked", words[0]))?;
        }
        let listed = bed.command(["list"]).under(&drop).call()?;
        check(!listed.stdout.contains(id), || format!("list tells: {}", listed.stdout))?;
        same("status", container.status()?.as_str(), "running")
    }),
];

/// A container that waits for its start, with a secret in its environment.
fn secret<'b, 'a>(bed: &'b Bed<'a>) -> Outcome<Container<'b, 'a>> {
    let env = json!(["PATH=/", format!("SECRET={SECRET}")]);
    bed.create(&bed.bundle(&Spec::new().args(&["/probe", "wait"]).set("/process/env", env))?)
}

/// All paths below a directory.
fn below(dir: &Path, paths: &mut Vec<PathBuf>) -> Outcome {
    for entry in fs::read_dir(dir)?.flatten() {
        paths.push(entry.path());
        if entry.file_type()?.is_dir() {
            below(&entry.path(), paths)?;
        }
    }
    Ok(())
}

/// What the operations answer to another user of the host, who has the container's own probe.
fn as_user(container: &Container<'_, '_>, script: &[&[&str]]) -> Outcome<Vec<Answer>> {
    let program = container.bundle.rootfs.join("probe");
    let words = script_args(script);
    let done = reaper::output(Command::new(&program).args(&words[1..]).uid(USER).gid(USER))?;
    answers_of(&String::from_utf8_lossy(&done.stdout))
}
