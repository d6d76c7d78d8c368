//! Output that goes to files and to programs that log it.

use crate::outcome::{Outcome, check, same};
use crate::shim::bed::Bed;
use crate::shim::client::{granted, refused};
use crate::shim::launch::Era;
use crate::shim::stdio::Streams;
use crate::shim::task::process;
use crate::shim::{Test, test};
use crate::spec::Spec;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

pub(super) const TESTS: &[Test] = &[
    test("I14", "file://: both streams are appended to the file", file),
    test("I15", "file://: missing directories are made", file_directories),
    test("I16", "binary://: the logger gets both streams, its arguments and two variables", logger),
    test("I17", "binary://: a logger that does not exist fails the create", missing_logger),
    test("I18", "binary://: a logger that dies does not end the container", dead_logger),
    test("I19", "binary://: an exec's logger", exec_logger),
    test("I25", "binary-v2://: the logger that says it is ready is used", logger_v2),
    test(
        "I26",
        "binary://: the logger of a container whose shim was killed ends with the container",
        orphaned_logger,
    ),
];

fn file(bed: &Bed<'_>) -> Outcome {
    let path = bed.dir().join("task.log");
    fs::write(&path, "before\n")?;
    say_into(bed, &path)?;
    let text = fs::read_to_string(&path)?;
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    same("lines of the file", lines, vec!["before", "to err", "to out"])
}

fn file_directories(bed: &Bed<'_>) -> Outcome {
    let path = bed.dir().join("new/dir/task.log");
    say_into(bed, &path)?;
    same("size of the file", fs::metadata(&path)?.size(), 14)?;
    same("mode of the file", fs::metadata(&path)?.permissions().mode() & 0o777, 0o644)
}

/// Runs a container whose streams both go to this file, with a line each.
fn say_into(bed: &Bed<'_>, path: &Path) -> Outcome {
    let address = format!("file://{}", path.display());
    let streams = Streams::at("", &address, &address);
    let task = bed.created_with(&Spec::new().args(&["/probe", "say", "to out", "to err"]), streams)?;
    task.begin()?;
    same("exit status", task.exit("")?, 0)?;
    granted("Delete", task.delete("")).map(drop)
}

/// A logger that writes its input to files in `dir`; `ready` is what it does with fd 5.
fn logger_script(bed: &Bed<'_>, ready: &str) -> Outcome<(PathBuf, PathBuf)> {
    let dir = bed.dir().join("logger");
    fs::create_dir_all(&dir)?;
    let script = bed.dir().join("logger.sh");
    let text = format!(
        "#!/bin/sh\n\
         trap '' TERM\n\
         cd {}\n\
         echo \"$@\" >args\n\
         env | grep CONTAINER_ | sort >env\n\
         {ready}\n\
         cat <&3 >out &\n\
         cat <&4 >err &\n\
         exec 3<&- 4<&-\n\
         wait\n\
         echo done >ended\n",
        dir.display()
    );
    fs::write(&script, text)?;
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755))?;
    Ok((script, dir))
}

fn judge_logger(bed: &Bed<'_>, dir: &Path, id: &str) -> Outcome {
    bed.until("the logger to end", || Ok(dir.join("ended").exists().then_some(())))?;
    same("stdout", fs::read_to_string(dir.join("out"))?.as_str(), "to out\n")?;
    same("stderr", fs::read_to_string(dir.join("err"))?.as_str(), "to err\n")?;
    same("arguments", fs::read_to_string(dir.join("args"))?.trim(), "key value")?;
    let wanted = format!("CONTAINER_ID={id}\nCONTAINER_NAMESPACE={}\n", bed.namespace);
    same("environment", fs::read_to_string(dir.join("env"))?, wanted)
}

/// Output goes to a logger of this kind, which reports with a line of shell that it is ready.
fn through_logger(bed: &Bed<'_>, kind: &str, ready: &str) -> Outcome {
    let (script, dir) = logger_script(bed, ready)?;
    let address = format!("{kind}://{}?key=value", script.display());
    let streams = Streams::at("", &address, &address);
    let task = bed.created_with(&Spec::new().args(&["/probe", "say", "to out", "to err"]), streams)?;
    task.begin()?;
    same("exit status", task.exit("")?, 0)?;
    granted("Delete", task.delete(""))?;
    judge_logger(bed, &dir, task.id())
}

fn logger(bed: &Bed<'_>) -> Outcome {
    through_logger(bed, "binary", "exec 5>&-")
}

fn logger_v2(bed: &Bed<'_>) -> Outcome {
    bed.subject.needs(Era::V2_3)?;
    through_logger(bed, "binary-v2", "echo >&5; exec 5>&-")?;
    // A logger that ends without reporting was not ready.
    let (script, _) = logger_script(bed, "exit 1")?;
    let address = format!("binary-v2://{}", script.display());
    let task = bed.planned(&Spec::new(), Streams::at("", &address, &address))?;
    refused("Create with a logger that is not ready", task.create(None, &[]), &[], &[])
}

fn missing_logger(bed: &Bed<'_>) -> Outcome {
    let address = format!("binary://{}", bed.dir().join("no-logger").display());
    let task = bed.planned(&Spec::new(), Streams::at("", &address, &address))?;
    refused("Create", task.create(None, &[]), &[], &["no-logger", "no such file"])?;
    bed.until_gone(&task.bundle)
}

fn dead_logger(bed: &Bed<'_>) -> Outcome {
    let (script, dir) = logger_script(bed, "exec 5>&-; echo $$ >pid; exec sleep 1000")?;
    let address = format!("binary://{}", script.display());
    let task =
        bed.created_with(&Spec::new().args(&["/probe", "wait"]), Streams::at("", &address, &address))?;
    task.begin()?;
    let pid = bed.until("the logger's pid", || {
        let text = fs::read_to_string(dir.join("pid")).unwrap_or_default();
        Ok(text.trim().parse().ok().and_then(rustix::process::Pid::from_raw))
    })?;
    rustix::process::kill_process(pid, rustix::process::Signal::KILL)?;
    bed.until("the logger to go", || Ok(rustix::process::test_kill_process(pid).is_err().then_some(())))?;
    check(task.lives(), || "the container ended with it".into())?;
    task.finish()
}

fn exec_logger(bed: &Bed<'_>) -> Outcome {
    let task = bed.waiting(&Spec::new())?;
    let (script, dir) = logger_script(bed, "exec 5>&-")?;
    let address = format!("binary://{}?key=value", script.display());
    let streams = Streams::at("", &address, &address);
    task.exec_with("e", &process(&["/probe", "say", "to out", "to err"]), streams)?;
    same("exit status", task.exit("e")?, 0)?;
    granted("Delete", task.delete("e"))?;
    bed.until("the logger to end", || Ok(dir.join("ended").exists().then_some(())))?;
    same("stdout", fs::read_to_string(dir.join("out"))?.as_str(), "to out\n")?;
    task.finish()
}

fn orphaned_logger(bed: &Bed<'_>) -> Outcome {
    let (script, dir) = logger_script(bed, "exec 5>&-")?;
    let address = format!("binary://{}", script.display());
    let streams = Streams::at("", &address, &address);
    let task = bed.created_with(&Spec::new().args(&["/probe", "wait"]), streams)?;
    task.begin()?;
    let said = || fs::read_to_string(dir.join("out")).unwrap_or_default();
    bed.until("output", || Ok(said().contains("ready").then_some(())))?;
    task.pod.crash()?;
    check(!dir.join("ended").exists(), || "it ended before the container".into())?;
    bed.call(&task.bundle).delete()?.ok("delete")?;
    bed.until("the logger to end", || Ok(dir.join("ended").exists().then_some(())))
}
