//! The process object that `exec` starts: from a file or from the container's config.json, with the options applied.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use oci_spec::runtime::{
    Capabilities, Capability, LinuxCapabilities, LinuxCapabilitiesBuilder, Process, User,
};

use crate::cli::Call;
use crate::failure::Failure;
use crate::value::user::{self, UserSpec};

/// A user that was named and looked up.
pub(crate) struct Found {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) additional_gids: Vec<u32>,
}

impl From<wharf::ExecUser> for Found {
    fn from(user: wharf::ExecUser) -> Self {
        Self { uid: user.uid, gid: user.gid, additional_gids: user.additional_gids }
    }
}

/// What a process object cannot hold because it is not text: passed separately.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Raw {
    /// All arguments, if one of them is not text.
    pub(crate) args: Vec<OsString>,
    /// All variables that the options add, if one of them is not text.
    pub(crate) env: Vec<OsString>,
}

/// Reads the process object of `--process`.
pub(crate) fn read(path: &Path) -> Result<Process, Failure> {
    let failed =
        |error: &dyn std::fmt::Display| Failure::new(format!("read process {}: {error}", path.display()));
    let text = std::fs::read(path).map_err(|error| failed(&error))?;
    let (process, warnings) = wharf::document::read_process(&text)
        .map_err(|error| failed(&error.in_document(&path.to_string_lossy(), "/process")))?;
    for warning in warnings {
        log::warn!("process {}: {warning}", path.display());
    }
    Ok(process)
}

/// Applies the command and the options of `exec` to a process object; `look_up` resolves user names.
pub(crate) fn amend(
    process: &mut Process,
    call: &Call,
    look_up: impl FnOnce(&str) -> Result<Found, Failure>,
) -> Result<Raw, Failure> {
    let given = &call.options;
    let mut raw = Raw::default();
    let is_text = |words: &[&OsStr]| words.iter().all(|word| word.to_str().is_some());
    let command = &call.operands[1..];
    if !command.is_empty() {
        if given.has("process") {
            return Err(Failure::new("exec takes either --process or a command, not both"));
        }
        let words: Vec<&OsStr> = command.iter().map(OsString::as_os_str).collect();
        if !is_text(&words) {
            raw.args = command.to_vec();
        }
        process.set_args(Some(words.iter().map(|word| word.to_string_lossy().into_owned()).collect()));
    } else if !given.has("process") {
        return Err(Failure::usage(Some(call.verb), "exec needs a command or --process"));
    }
    if !given.has("process") || given.has("tty") {
        process.set_terminal(Some(given.flag("tty")));
    }
    if let Some(cwd) = given.path("cwd")? {
        process.set_cwd(cwd.to_owned());
    }
    let env = process.env().clone().unwrap_or_default();
    let added = given.all_raw("env");
    if is_text(&added) {
        process.set_env(Some(merge_env(env, &given.all("env")?)?));
    } else {
        raw.env = added.iter().map(|&variable| named(variable)).collect::<Result<_, _>>()?;
    }
    if let Some(text) = given.text("user")? {
        set_user(process.user_mut(), text, look_up)?;
    }
    let more =
        given.all("additional-gids")?.into_iter().map(user::parse_gid).collect::<Result<Vec<_>, _>>()?;
    if !more.is_empty() {
        let mut gids = process.user().additional_gids().clone().unwrap_or_default();
        gids.extend(more);
        process.user_mut().set_additional_gids(Some(gids));
    }
    let names = given.all("cap")?;
    if !names.is_empty() {
        process.set_capabilities(Some(add_capabilities(process.capabilities().as_ref(), &names)?));
    }
    if let Some(profile) = given.text("apparmor")? {
        process.set_apparmor_profile(Some(profile.to_owned()));
    }
    if let Some(label) = given.text("process-label")? {
        process.set_selinux_label(Some(label.to_owned()));
    }
    if given.has("no-new-privs") {
        process.set_no_new_privileges(Some(given.flag("no-new-privs")));
    }
    Ok(raw)
}

/// A variable that is not text, but has a name.
fn named(variable: &OsStr) -> Result<OsString, Failure> {
    if let Some(1..) = variable.as_bytes().iter().position(|byte| *byte == b'=') {
        return Ok(variable.to_owned());
    }
    let shown = variable.to_string_lossy();
    Err(Failure::new(format!("invalid environment variable {shown:?}: not NAME=VALUE")))
}

/// Adds variables; if several have one name, the last counts and stays in its place.
fn merge_env(base: Vec<String>, added: &[&str]) -> Result<Vec<String>, Failure> {
    for variable in added {
        if variable.split_once('=').is_none_or(|(name, _)| name.is_empty()) {
            return Err(Failure::new(format!("invalid environment variable {variable:?}: not NAME=VALUE")));
        }
    }
    let mut env = base;
    env.extend(added.iter().map(|&variable| variable.to_owned()));
    let mut seen = HashSet::new();
    let name = |variable: &str| variable.split('=').next().unwrap_or_default().to_owned();
    let mut last: Vec<_> = env.into_iter().rev().filter(|variable| seen.insert(name(variable))).collect();
    last.reverse();
    Ok(last)
}

fn set_user(
    user: &mut User,
    text: &str,
    look_up: impl FnOnce(&str) -> Result<Found, Failure>,
) -> Result<(), Failure> {
    match user::parse(text)? {
        UserSpec::Numeric { uid, gid } => {
            user.set_uid(uid);
            if let Some(gid) = gid {
                user.set_gid(gid);
            }
        }
        UserSpec::Named(text) => {
            let found = look_up(&text)?;
            user.set_uid(found.uid).set_gid(found.gid).set_additional_gids(Some(found.additional_gids));
        }
    }
    // It named the previous user.
    user.set_username(None);
    Ok(())
}

/// Adds capabilities to the process' own sets and, if the container's process has any inheritable ones, to the ambient
/// set, which a user other than root keeps: as in runc. It never makes a capability inheritable, and one that is not
/// inheritable cannot become ambient, which gives a warning. So does an unknown name.
fn add_capabilities(base: Option<&LinuxCapabilities>, names: &[&str]) -> Result<LinuxCapabilities, Failure> {
    let parse = |name: &&str| {
        let known = serde_json::from_value::<Capability>((*name).into()).ok();
        if known.is_none() {
            log::warn!("unknown capability {name:?} is ignored");
        }
        known
    };
    let added: Capabilities = names.iter().filter_map(parse).collect();
    let widened = |set: Option<&Capabilities>| {
        let mut set = set.cloned().unwrap_or_default();
        set.extend(added.iter().copied());
        set
    };
    let kept = |set: Option<&Capabilities>| set.cloned().unwrap_or_default();
    LinuxCapabilitiesBuilder::default()
        .bounding(widened(base.and_then(|sets| sets.bounding().as_ref())))
        .effective(widened(base.and_then(|sets| sets.effective().as_ref())))
        .permitted(widened(base.and_then(|sets| sets.permitted().as_ref())))
        .inheritable(kept(base.and_then(|sets| sets.inheritable().as_ref())))
        .ambient(match base.and_then(|sets| sets.inheritable().as_ref()) {
            Some(_) => widened(base.and_then(|sets| sets.ambient().as_ref())),
            None => kept(base.and_then(|sets| sets.ambient().as_ref())),
        })
        .build()
        .map_err(|error| Failure::new(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Request, parse};
    use crate::verb::VERBS;

    const BASE: &str = r#"{
        "terminal": true, "cwd": "/srv", "args": ["init"], "env": ["PATH=/bin", "A=1"],
        "user": {"uid": 5, "gid": 6, "additionalGids": [7], "username": "five"},
        "noNewPrivileges": true, "apparmorProfile": "p",
        "capabilities": {"bounding": ["CAP_KILL"], "effective": ["CAP_KILL"], "inheritable": ["CAP_CHOWN"]},
        "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 9, "soft": 8}]
    }"#;

    fn amended(words: &[&str]) -> Result<Process, String> {
        let words = ["wharf", "exec"].iter().chain(words).map(OsString::from);
        let Ok(Request::Verb(_, call)) = parse(VERBS, words).request else { panic!() };
        let mut process: Process = serde_json::from_str(BASE).unwrap();
        let look_up = |text: &str| match text {
            "www:staff" => Ok(Found { uid: 33, gid: 50, additional_gids: vec![4] }),
            _ => Err(Failure::new("no such user")),
        };
        amend(&mut process, &call, look_up).map_err(|failure| failure.message().to_owned())?;
        Ok(process)
    }

    #[test]
    fn without_options_only_the_command_and_the_terminal_differ() {
        let mut expected: Process = serde_json::from_str(BASE).unwrap();
        expected.set_args(Some(vec!["ls".to_owned(), "-l".to_owned()])).set_terminal(Some(false));
        assert_eq!(amended(&["web", "ls", "-l"]).unwrap(), expected);
    }

    #[test]
    fn options_replace_or_add() {
        let process = amended(&[
            "-t",
            "--cwd",
            "/tmp",
            "-e",
            "A=2",
            "-e",
            "B=",
            "-u",
            "1000:100",
            "-g",
            "9",
            "-g",
            "10",
            "--cap",
            "CAP_NET_RAW",
            "-c",
            "sys_admin",
            "--apparmor",
            "q",
            "--process-label",
            "l",
            "--no-new-privs=false",
            "web",
            "sh",
        ])
        .unwrap();
        assert_eq!(process.terminal(), Some(true));
        assert_eq!(process.cwd(), Path::new("/tmp"));
        assert_eq!(process.env().as_ref().unwrap(), &["PATH=/bin", "A=2", "B="]);
        assert_eq!((process.user().uid(), process.user().gid()), (1000, 100));
        assert_eq!(process.user().additional_gids().as_ref().unwrap(), &[7, 9, 10]);
        assert_eq!(process.user().username(), &None);
        assert_eq!(process.apparmor_profile().as_deref(), Some("q"));
        assert_eq!(process.selinux_label().as_deref(), Some("l"));
        assert_eq!(process.no_new_privileges(), Some(false));
        assert_eq!(process.rlimits().as_ref().unwrap().len(), 1);
        let sets = process.capabilities().as_ref().unwrap();
        let added = HashSet::from([Capability::NetRaw, Capability::SysAdmin]);
        let with_kill = &added | &HashSet::from([Capability::Kill]);
        assert_eq!(sets.bounding().as_ref(), Some(&with_kill));
        assert_eq!(sets.effective().as_ref(), Some(&with_kill));
        assert_eq!(sets.permitted().as_ref(), Some(&added));
        assert_eq!(sets.inheritable().as_ref(), Some(&HashSet::from([Capability::Chown])));
        assert_eq!(sets.ambient().as_ref(), Some(&added));
    }

    #[test]
    fn a_user_alone_keeps_the_group_and_a_name_is_looked_up() {
        let process = amended(&["-u", "1000", "web", "sh"]).unwrap();
        assert_eq!((process.user().uid(), process.user().gid()), (1000, 6));
        let process = amended(&["-u", "www:staff", "-g", "8", "web", "sh"]).unwrap();
        assert_eq!((process.user().uid(), process.user().gid()), (33, 50));
        assert_eq!(process.user().additional_gids().as_ref().unwrap(), &[4, 8]);
        assert_eq!(amended(&["-u", "nobody", "web", "sh"]).unwrap_err(), "no such user");
    }

    #[test]
    fn bad_options_are_refused() {
        for words in [
            &["web"][..],
            &["-e", "A", "web", "sh"],
            &["-e", "=x", "web", "sh"],
            &["-u", "-1", "web", "sh"],
            &["-u", "4294967296", "web", "sh"],
            &["-g", "x", "web", "sh"],
            &["--process", "/f", "web", "sh"],
        ] {
            assert!(amended(words).is_err(), "{words:?}");
        }
    }

    #[test]
    fn ambient_capabilities_need_inheritable_ones_and_unknown_names_are_ignored() {
        let none: LinuxCapabilities = serde_json::from_str(r#"{"bounding": ["CAP_KILL"]}"#).unwrap();
        let sets = add_capabilities(Some(&none), &["CAP_NET_RAW", "CAP_FLY"]).unwrap();
        assert_eq!(sets.ambient().as_ref(), Some(&HashSet::new()));
        assert_eq!(sets.effective().as_ref(), Some(&HashSet::from([Capability::NetRaw])));
    }

    #[test]
    fn a_process_file_is_taken_as_it_is() {
        let process = amended(&["--process", "/f", "--detach", "web"]).unwrap();
        assert_eq!(process, serde_json::from_str(BASE).unwrap());
    }

    #[test]
    fn the_last_of_several_variables_counts() {
        let base = ["A=1", "B=1", "A=2"].map(str::to_owned).to_vec();
        assert_eq!(merge_env(base.clone(), &["B=3", "C=x=y"]).unwrap(), ["A=2", "B=3", "C=x=y"]);
        assert_eq!(merge_env(base, &[]).unwrap(), ["B=1", "A=2"]);
    }

    #[test]
    fn what_is_not_text_is_kept_beside_the_process() {
        use std::os::unix::ffi::OsStringExt as _;
        let bytes = |bytes: &[u8]| OsString::from_vec(bytes.to_vec());
        let raw = |words: &[OsString]| {
            let words = [&["wharf".into(), "exec".into()], words].concat();
            let Ok(Request::Verb(_, call)) = parse(VERBS, words).request else { panic!() };
            let mut process: Process = serde_json::from_str(BASE).unwrap();
            amend(&mut process, &call, |_| panic!())
        };
        let words =
            ["--env".into(), "A=1".into(), "--env".into(), bytes(b"B=\xff"), "web".into(), bytes(b"\xfe")];
        let kept = raw(&words).map_err(|failure| failure.message().to_owned()).unwrap();
        assert_eq!(kept, Raw { args: vec![bytes(b"\xfe")], env: vec!["A=1".into(), bytes(b"B=\xff")] });
        assert!(raw(&["--env".into(), bytes(b"=\xff"), "web".into(), "x".into()]).is_err());
        assert_eq!(raw(&["web".into(), "x".into()]).map_err(drop), Ok(Raw::default()));
    }

    #[test]
    fn a_file_that_is_not_a_process_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("process.json");
        std::fs::write(&path, "{\"cwd\": 5}").unwrap();
        assert!(read(&path).unwrap_err().message().contains("process.json"));
        std::fs::write(&path, BASE).unwrap();
        assert_eq!(read(&path).unwrap().user().uid(), 5);
    }
}
