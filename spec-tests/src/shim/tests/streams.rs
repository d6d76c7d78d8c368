//! stdin, stdout and stderr: FIFOs, terminals, files, loggers, nothing.

use crate::devices::Nodes;
use crate::outcome::{Outcome, check, same};
use crate::shim::bed::Bed;
use crate::shim::client::{granted, refused};
use crate::shim::launch::any;
use crate::shim::stdio::Streams;
use crate::shim::task::process;
use crate::shim::{Test, test};
use crate::spec::Spec;
use containerd_shim_protos::protobuf::Message;
use containerd_shim_protos::shim::oci::Options;
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::MetadataExt;

pub(super) const TESTS: &[Test] = &[
    test("I1", "FIFOs: stdout and stderr apart, both end with the process", apart),
    test("I2", "FIFOs: ten mebibytes arrive whole", flood),
    test("I3", "stdin: what a client writes arrives, CloseIO ends it", stdin),
    test("I4", "stdin: a client that leaves does not end it", stdin_stays),
    test("I5", "CloseIO before the start and twice is no error", early_close),
    test(
        "I6",
        "stdout without a reader does not kill the process, a later reader gets what follows",
        reader_leaves,
    ),
    test("I7", "no streams: /dev/null for all three", null),
    test("I8", "no stdin: it is empty", no_stdin),
    test("I9", "a terminal: one stream, echo, a controlling terminal", terminal),
    test("I10", "a terminal: ResizePty before and after the start", resize),
    test("I11", "a terminal of an exec", exec_terminal),
    test("I9 I11", "a terminal turns line feeds into line ends, of a task and of an exec", straight_lines),
    test("I12", "a terminal: a mebibyte arrives whole", terminal_flood),
    test("I13", "ResizePty without a terminal is no error", resize_nothing),
    test("I20", "an unknown scheme is refused", unknown_scheme),
    test("I21", "a FIFO that does not exist is refused", missing_fifo),
    test("I22", "io_uid and io_gid: the streams belong to them", io_owner),
    test("I23", "an unprivileged process opens its own /dev/stdout again", reopen),
    test("I23", "so does one in a user namespace, and one that was added to it", reopen_in_namespace),
    test("I28", "null streams cannot be used to change the host's null device", null_of_host),
    test("I24", "no stream of one process is open in another", no_leak),
];

fn apart(bed: &Bed<'_>) -> Outcome {
    let task = bed.started(&Spec::new().args(&["/probe", "say", "to out", "to err"]))?;
    same("exit status", task.exit("")?, 0)?;
    granted("Delete", task.delete(""))?;
    let (out, err) = task.streams.borrow_mut().to_end()?;
    same("stdout and stderr", (out.as_str(), err.as_str()), ("to out\n", "to err\n"))
}

/// The bytes that `pour` writes.
fn poured(bytes: &[u8], mib: usize) -> Outcome {
    same("bytes", bytes.len(), mib << 20)?;
    let wrong = bytes.iter().enumerate().find(|(i, byte)| usize::from(**byte) != i % 251);
    check(wrong.is_none(), || format!("wrong from byte {:?} on", wrong.map(|(i, _)| i)))
}

fn flood(bed: &Bed<'_>) -> Outcome {
    let task = bed.started(&Spec::new().args(&["/probe", "pour", "10"]))?;
    task.streams.borrow_mut().to_end()?;
    same("exit status", task.exit("")?, 0)?;
    poured(task.streams.borrow().stdout_bytes(), 10)?;
    granted("Delete", task.delete("")).map(drop)
}

fn stdin(bed: &Bed<'_>) -> Outcome {
    let task = bed.created_with(&Spec::new().args(&["/probe", "cat"]), Streams::all(bed.dir())?)?;
    task.begin()?;
    task.streams.borrow_mut().write(b"one\n")?;
    task.streams.borrow_mut().until("one")?;
    task.streams.borrow_mut().write(b"two\n")?;
    task.streams.borrow_mut().detach_stdin();
    granted("CloseIO", task.close_stdin(""))?;
    same("exit status", task.exit("")?, 0)?;
    let (out, _) = task.streams.borrow_mut().to_end()?;
    same("stdout", out.as_str(), "one\ntwo\n")?;
    granted("Delete", task.delete("")).map(drop)
}

fn stdin_stays(bed: &Bed<'_>) -> Outcome {
    let task = bed.created_with(&Spec::new().args(&["/probe", "cat"]), Streams::all(bed.dir())?)?;
    task.begin()?;
    for word in ["first\n", "second\n"] {
        let mut streams = task.streams.borrow_mut();
        streams.write(word.as_bytes())?;
        streams.until(word)?;
        streams.detach_stdin();
    }
    task.finish()
}

fn early_close(bed: &Bed<'_>) -> Outcome {
    let task = bed.created_with(&Spec::new().args(&["/probe", "cat"]), Streams::all(bed.dir())?)?;
    task.streams.borrow_mut().write(b"before\n")?;
    task.streams.borrow_mut().detach_stdin();
    granted("CloseIO", task.close_stdin(""))?;
    granted("CloseIO again", task.close_stdin(""))?;
    task.begin()?;
    same("exit status", task.exit("")?, 0)?;
    let (out, _) = task.streams.borrow_mut().to_end()?;
    same("stdout", out.as_str(), "before\n")?;
    granted("CloseIO at the end", task.close_stdin(""))?;
    granted("Delete", task.delete("")).map(drop)
}

fn reader_leaves(bed: &Bed<'_>) -> Outcome {
    let task = bed.waiting(&Spec::new())?;
    task.streams.borrow_mut().detach_output();
    granted("Kill", task.kill("", 10, false))?;
    granted("Kill", task.kill("", 12, false))?;
    // Without a reader the two lines stay in the pipe; either way the process must live.
    task.streams.borrow_mut().attach_output()?;
    granted("Kill", task.kill("", 14, false))?;
    task.streams.borrow_mut().until("signal 14")?;
    task.finish()
}

fn null(bed: &Bed<'_>) -> Outcome {
    let spec = Spec::new().args(&["/probe", "hook", "/report", "null", "no-stdin"]);
    let task = bed.created_with(&spec, Streams::none())?;
    task.begin()?;
    same("exit status", task.exit("")?, 0)?;
    let seen: Value = serde_json::from_str(&fs::read_to_string(task.bundle.rootfs.join("report"))?)?;
    for fd in ["0", "1", "2"] {
        same(&format!("fd {fd}"), &seen["fds"][fd], &json!("/dev/null"))?;
    }
    granted("Delete", task.delete("")).map(drop)
}

fn no_stdin(bed: &Bed<'_>) -> Outcome {
    let task = bed.started(&Spec::new().args(&["/probe", "cat"]))?;
    same("exit status", task.exit("")?, 0)?;
    granted("Delete", task.delete("")).map(drop)
}

fn terminal_spec(args: &[&str]) -> Spec {
    Spec::new().set("/process/terminal", true).args(args)
}

fn terminal(bed: &Bed<'_>) -> Outcome {
    let spec = terminal_spec(&["/probe", "line", "report"]);
    let task = bed.created_with(&spec, Streams::terminal(bed.dir())?)?;
    let state = granted("State", task.state(""))?;
    check(state.terminal, || "State knows of no terminal".into())?;
    task.begin()?;
    task.streams.borrow_mut().write(b"typed\n")?;
    let text = task.streams.borrow_mut().until("\"root\":")?;
    check(text.contains("typed"), || format!("no echo: {text}"))?;
    same("exit status", task.exit("")?, 0)?;
    granted("Delete", task.delete(""))?;
    let (text, _) = task.streams.borrow_mut().to_end()?;
    let start = text.find('{').unwrap_or(0);
    let seen: Value = serde_json::from_str(text[start..].trim())?;
    same("session", &seen["sid"], &seen["pid"])?;
    for fd in ["0", "1", "2"] {
        let target = seen["fds"][fd].as_str().unwrap_or_default();
        check(target.contains("pts") || target == "/dev/console", || format!("fd {fd} is {target}"))?;
    }
    Ok(())
}

fn resize(bed: &Bed<'_>) -> Outcome {
    let spec = terminal_spec(&["/probe", "line", "report"]);
    let task = bed.created_with(&spec, Streams::terminal(bed.dir())?)?;
    granted("ResizePty", task.resize("", 100, 40))?;
    task.begin()?;
    granted("ResizePty", task.resize("", 77, 33))?;
    task.streams.borrow_mut().write(b"now\n")?;
    same("exit status", task.exit("")?, 0)?;
    granted("Delete", task.delete(""))?;
    let (text, _) = task.streams.borrow_mut().to_end()?;
    check(text.contains("[33,77]"), || format!("no window of 77x33: {}", crate::runtime::brief(&text)))
}

fn exec_terminal(bed: &Bed<'_>) -> Outcome {
    let task = bed.waiting(&Spec::new())?;
    let mut spec = process(&["/probe", "line", "report"]);
    spec["terminal"] = json!(true);
    let mut streams = task.exec_with("e", &spec, Streams::terminal(bed.dir())?)?;
    granted("ResizePty", task.resize("e", 66, 22))?;
    streams.write(b"now\n")?;
    same("exit status", task.exit("e")?, 0)?;
    granted("Delete", task.delete("e"))?;
    let (text, _) = streams.to_end()?;
    check(text.contains("[22,66]"), || format!("no window of 66x22: {}", crate::runtime::brief(&text)))?;
    refused("ResizePty after the end", task.resize("e", 80, 25), &[], &[])?;
    task.finish()
}

fn straight_lines(bed: &Bed<'_>) -> Outcome {
    let words = ["/probe", "line", "say", "one", "two"];
    let straight = |streams: &mut Streams| {
        streams.write(b"\n")?;
        let text = streams.until("two")?;
        check(text.contains("one\r\ntwo"), || format!("the lines are a staircase: {text:?}"))
    };
    let task = bed.created_with(&terminal_spec(&words), Streams::terminal(bed.dir())?)?;
    task.begin()?;
    straight(&mut task.streams.borrow_mut())?;
    same("exit status", task.exit("")?, 0)?;
    granted("Delete", task.delete(""))?;
    let task = bed.waiting(&Spec::new())?;
    let mut spec = process(&words);
    spec["terminal"] = json!(true);
    let mut streams = task.exec_with("e", &spec, Streams::terminal(bed.dir())?)?;
    straight(&mut streams)?;
    same("exit status", task.exit("e")?, 0)?;
    granted("Delete", task.delete("e"))?;
    task.finish()
}

fn terminal_flood(bed: &Bed<'_>) -> Outcome {
    let spec = terminal_spec(&["/probe", "pour", "1"]);
    let task = bed.created_with(&spec, Streams::terminal(bed.dir())?)?;
    task.begin()?;
    // Read along, as a terminal holds little.
    let read = task.streams.borrow_mut().to_end();
    same("exit status", task.exit("")?, 0)?;
    granted("Delete", task.delete(""))?;
    read?;
    // The line discipline may write \r before each \n.
    let plain: Vec<u8> = (0..1 << 20).map(|i| u8::try_from(i % 251).unwrap_or(0)).collect();
    let cooked: Vec<u8> =
        plain.iter().flat_map(|byte| if *byte == b'\n' { vec![b'\r', b'\n'] } else { vec![*byte] }).collect();
    let streams = task.streams.borrow();
    let seen = streams.stdout_bytes();
    check(seen == plain || seen == cooked, || {
        let same = seen.iter().zip(&cooked).take_while(|(one, two)| one == two).count();
        format!(
            "{} bytes came, {} or {} were written; {same} of them are right",
            seen.len(),
            plain.len(),
            cooked.len()
        )
    })
}

fn resize_nothing(bed: &Bed<'_>) -> Outcome {
    let task = bed.waiting(&Spec::new())?;
    granted("ResizePty", task.resize("", 80, 25))?;
    task.finish()
}

fn unknown_scheme(bed: &Bed<'_>) -> Outcome {
    for address in ["gopher://logs/x", "grpc+unix:///run/s?streaming_id=x"] {
        let task = bed.planned(&Spec::new(), Streams::at("", address, address))?;
        refused(&format!("Create with {address}"), task.create(None, &[]), &[], &["STDIO scheme"])?;
        bed.until_gone(&task.bundle)?;
    }
    Ok(())
}

fn missing_fifo(bed: &Bed<'_>) -> Outcome {
    let path = bed.dir().join("no-fifo");
    let task = bed.planned(&Spec::new(), Streams::at("", &path.to_string_lossy(), ""))?;
    refused("Create", task.create(None, &[]), &[], &["no-fifo", "no such file"])?;
    check(!path.exists(), || "a file was made there".into())?;
    bed.until_gone(&task.bundle)
}

fn io_owner(bed: &Bed<'_>) -> Outcome {
    // Also with the process' own ids: runtimes finally give the streams to its user, and leave the group alone.
    let spec = Spec::new().set("/process/user", json!({"uid": 1234, "gid": 99})).args(&["/probe", "wait"]);
    let task = bed.planned(&spec, Streams::all(bed.dir())?)?;
    let options = Options { io_uid: 1234, io_gid: 2345, ..Options::new() };
    let options = any("containerd.runc.v1.Options", options.write_to_bytes().unwrap_or_default());
    let pid = granted("Create", task.create(Some(options), &[]))?.pid;
    task.begin()?;
    task.streams.borrow_mut().until("ready")?;
    for fd in 0..3 {
        let meta = fs::metadata(format!("/proc/{pid}/fd/{fd}"))?;
        same(&format!("owner of fd {fd}"), (meta.uid(), meta.gid()), (1234, 2345))?;
    }
    task.finish()
}

fn reopen(bed: &Bed<'_>) -> Outcome {
    let spec = Spec::new().set("/process/user", json!({"uid": 1000, "gid": 1000}));
    let task = bed.started(&spec.args(&["/probe", "try", "overwrite", "/proc/self/fd/1", "by name\n"]))?;
    same("exit status", task.exit("")?, 0)?;
    granted("Delete", task.delete(""))?;
    let (out, _) = task.streams.borrow_mut().to_end()?;
    check(out.lines().any(|line| line == "by name"), || format!("it could not: {out}"))
}

fn reopen_in_namespace(bed: &Bed<'_>) -> Outcome {
    let words = ["/probe", "try", "overwrite", "/proc/self/fd/1", "by name\n"];
    let spec = Spec::new().user_namespace(100_000, 65_536);
    let task =
        bed.started(&spec.clone().set("/process/user", json!({"uid": 101, "gid": 101})).args(&words))?;
    same("exit status", task.exit("")?, 0)?;
    granted("Delete", task.delete(""))?;
    let (out, _) = task.streams.borrow_mut().to_end()?;
    check(out.lines().any(|line| line == "by name"), || format!("it could not: {out}"))?;

    let task = bed.waiting(&spec)?;
    let mut process = process(&words);
    process["user"] = json!({"uid": 101, "gid": 101});
    let mut streams = task.exec_with("e", &process, Streams::all(bed.dir())?)?;
    same("exit status of the exec", task.exit("e")?, 0)?;
    let (out, _) = streams.to_end()?;
    check(out.lines().any(|line| line == "by name"), || format!("the exec could not: {out}"))?;
    granted("Delete", task.delete("e"))?;
    task.finish()
}

/// Root in the container, and in an added process, tries it on its standard input.
fn null_of_host(bed: &Bed<'_>) -> Outcome {
    bed.host.needs_own_devices()?;
    let words = ["/probe", "try", "touch", "/proc/self/fd/0", "--", "chmod", "/proc/self/fd/0", "600"];
    let nodes = Nodes::look()?;
    let spec = Spec::new().capabilities(&["CAP_FOWNER", "CAP_DAC_OVERRIDE", "CAP_KILL"]);
    let task = bed.created_with(&spec.clone().args(&words), Streams::none())?;
    task.begin()?;
    same("exit status", task.exit("")?, 0)?;
    granted("Delete", task.delete(""))?;
    nodes.unchanged("a container")?;

    let task = bed.waiting(&spec)?;
    let mut process = process(&words);
    process["capabilities"] = spec.0["process"]["capabilities"].clone();
    task.exec_with("e", &process, Streams::none())?;
    same("exit status of the exec", task.exit("e")?, 0)?;
    nodes.unchanged("an exec")?;
    granted("Delete", task.delete("e"))?;
    task.finish()
}

fn no_leak(bed: &Bed<'_>) -> Outcome {
    let task = bed.waiting(&Spec::new())?;
    let mut first = task.exec_with("one", &process(&["/probe", "wait"]), Streams::all(bed.dir())?)?;
    first.until("ready")?;
    let mut streams = task.exec("two", &["/probe", "hook", "/report", "x", "no-stdin"])?;
    same("exit status", task.exit("two")?, 0)?;
    streams.to_end()?;
    let seen: Value = serde_json::from_str(&fs::read_to_string(task.bundle.rootfs.join("report"))?)?;
    let names: Vec<&String> = seen["fds"].as_object().map(|fds| fds.keys().collect()).unwrap_or_default();
    // 3 is the probe's own directory of /proc/self/fd, if it shows.
    check(names.len() <= 4, || format!("open in the second: {}", seen["fds"]))?;
    granted("Kill", task.kill("one", 9, false))?;
    task.exit("one")?;
    for id in ["one", "two"] {
        granted("Delete", task.delete(id))?;
    }
    first.to_end()?;
    task.finish()
}
