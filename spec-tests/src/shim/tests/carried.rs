//! What streams over the shim's own socket carry: `ttrpc+unix://SOCKET?streaming_id=ID`.

use crate::outcome::{Outcome, check, fail, same};
use crate::shim::bed::Bed;
use crate::shim::carried::{Carried, Part, addresses, needed};
use crate::shim::client::{PATIENCE, Refusal, code, granted, refused};
use crate::shim::task::{Task, process};
use crate::shim::{Pod, Test, test};
use crate::spec::Spec;
use containerd_shim_protos::api::WaitResponse;
use serde_json::json;
use std::fs;
use std::rc::Rc;
use std::time::Duration;

pub(super) const TESTS: &[Test] = &[
    test(
        "I40",
        "over the socket: stdout and stderr apart, opened before or after the process is made",
        apart,
    ),
    test("I41", "over the socket: ten mebibytes arrive whole, never more than the window", flood),
    test(
        "I42",
        "over the socket: a client that takes nothing stops the process, not the shim's memory",
        bounded,
    ),
    test("I43", "over the socket: stdin arrives whole and ends with the client's half", stdin),
    test(
        "I43",
        "over the socket: stdin that the process does not read is bounded by the window",
        stdin_bounded,
    ),
    test("I44", "over the socket: stdin goes on with the next client, CloseIO ends it", stdin_stays),
    test("I44", "over the socket: CloseIO waits for what the client still sends", close_waits),
    test("I45", "over the socket: stdin is taken after the end of the process", stdin_after),
    test("I50", "over the socket: the streams of an exec", exec),
    test("I51", "over the socket: the terminal of a task and of an exec", terminal),
    test("I53", "over the socket: the exit is reported after the last output has arrived", last_words),
    test(
        "I53",
        "over the socket: a client that takes nothing does not hold the exit back for ever",
        exit_in_time,
    ),
];

/// A shim, its container that is not created yet, and the beginning of the ids of its streams.
pub(super) fn planned<'b, 'a>(
    bed: &'b Bed<'a>,
    args: &[&str],
    stdin: bool,
    terminal: bool,
) -> Outcome<Task<'b, 'a>> {
    let spec = Spec::new().args(args).set("/process/terminal", terminal);
    let bundle = bed.bundle(&spec)?;
    let pod = bed.pod(&bundle)?;
    needed(&pod)?;
    let streams = addresses(&pod, &bundle.id, stdin, terminal);
    Ok(Task::new(bed, pod, bundle, streams))
}

pub(super) fn make(task: &mut Task<'_, '_>) -> Outcome {
    task.pid = granted("Create", task.create(None, &[]))?.pid;
    task.begin()
}

pub(super) fn open(pod: &Rc<Pod>, id: &str, name: &str) -> Outcome<Carried> {
    granted("opening a stream", Carried::open(&pod.answer.address, &format!("{id}-{name}")))
}

pub(super) fn stream(task: &Task<'_, '_>, name: &str) -> Outcome<Carried> {
    open(&task.pod, task.id(), name)
}

/// Waits, deletes and checks the status.
pub(super) fn over(task: &Task<'_, '_>, status: u32) -> Outcome {
    same("exit status", task.exit("")?, status)?;
    granted("Delete", task.delete("")).map(drop)
}

pub(super) fn text(bytes: Vec<u8>) -> String {
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Passes if the bytes are those that `pour` writes from a position on.
fn poured(bytes: &[u8], from: usize) -> Outcome {
    let wrong = bytes.iter().enumerate().find(|(i, byte)| usize::from(**byte) != (from + i) % 251);
    check(wrong.is_none(), || format!("wrong from byte {:?} on", wrong.map(|(i, _)| from + i)))
}

fn apart(bed: &Bed<'_>) -> Outcome {
    for before in [true, false] {
        let mut task = planned(bed, &["/probe", "say", "to out", "to err"], false, false)?;
        let opened = if before { Some((stream(&task, "stdout")?, stream(&task, "stderr")?)) } else { None };
        make(&mut task)?;
        let (mut out, mut err) = match opened {
            Some(both) => both,
            None => (stream(&task, "stdout")?, stream(&task, "stderr")?),
        };
        same("stdout", text(out.read_to_end()?).as_str(), "to out\n")?;
        same("stderr", text(err.read_to_end()?).as_str(), "to err\n")?;
        over(&task, 0)?;
    }
    Ok(())
}

fn flood(bed: &Bed<'_>) -> Outcome {
    let mut task = planned(bed, &["/probe", "pour", "10"], false, false)?;
    let (mut out, mut err) = (stream(&task, "stdout")?, stream(&task, "stderr")?);
    make(&mut task)?;
    let mut all = out.read(5 << 20, 50_021)?;
    all.extend(out.read(1000, 1)?);
    all.extend(out.read_to_end()?);
    same("bytes", all.len(), 10 << 20)?;
    poured(&all, 0)?;
    err.read_to_end()?;
    over(&task, 0)
}

/// How many bytes a process has written so far, once it cannot write more.
fn written(bed: &Bed<'_>, pid: u32) -> Outcome<u64> {
    let (mut last, mut same_for) = (None, 0);
    bed.until("the process to be stopped by its full stream", || {
        let io = fs::read_to_string(format!("/proc/{pid}/io"))?;
        let now: Option<u64> = io.lines().find_map(|line| line.strip_prefix("wchar: ")?.parse().ok());
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        let sleeps = stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('S'));
        same_for = if sleeps && now == last { same_for + 1 } else { 0 };
        last = now;
        Ok(now.filter(|_| same_for >= 20))
    })
}

fn resident(pid: u32) -> Outcome<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let rss =
        status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().split(' ').next()?.parse().ok());
    rss.map_or_else(|| fail("no VmRSS"), Ok)
}

/// How much the test of bounds reads before it stops.
const FIRST: usize = 100_000;

fn bounded(bed: &Bed<'_>) -> Outcome {
    let mut task = planned(bed, &["/probe", "pour", "64"], false, false)?;
    let (mut out, mut err) = (stream(&task, "stdout")?, stream(&task, "stderr")?);
    let before = resident(task.pod.pid)?;
    make(&mut task)?;
    let first = out.read(FIRST, FIRST)?;
    let count = written(bed, task.pid)?;
    // Besides what came: a pipe, and a window of containerd's size at most in the shim.
    check(count <= (FIRST + (1 << 18)) as u64, || format!("{count} bytes were written, {FIRST} taken"))?;
    let after = resident(task.pod.pid)?;
    check(after < before + (8 << 10), || format!("the shim grew from {before} to {after} KiB"))?;
    same("parts that were not asked for", out.next(Duration::ZERO).err(), Some(Refusal::Silence))?;
    poured(&first, 0)?;
    let rest = out.read_to_end()?;
    same("bytes", first.len() + rest.len(), 64 << 20)?;
    poured(&rest, FIRST)?;
    err.read_to_end()?;
    over(&task, 0)
}

fn stdin(bed: &Bed<'_>) -> Outcome {
    let mut task = planned(bed, &["/probe", "cat"], true, false)?;
    let (mut input, mut out) = (stream(&task, "stdin")?, stream(&task, "stdout")?);
    make(&mut task)?;
    let data: Vec<u8> = (0..3 << 20_usize).map(|i: usize| (i % 251) as u8).collect();
    let sent = data.clone();
    let writer =
        std::thread::spawn(move || input.write(&sent).and_then(|()| Ok(input.end()?)).map(|()| input));
    let all = out.read_to_end()?;
    let mut input = writer.join().unwrap_or_else(|_| fail("the writer panicked"))?;
    check(all == data, || format!("{} bytes came back, or others", all.len()))?;
    until_end(&mut input)?;
    over(&task, 0)
}

/// Reads the shim's half of an input to its end.
fn until_end(input: &mut Carried) -> Outcome {
    loop {
        match input.next(PATIENCE) {
            Ok(Part::Window(_)) => {}
            Ok(Part::End) => return Ok(()),
            other => return fail(format!("{other:?} in place of the end of an input")),
        }
    }
}

fn stdin_bounded(bed: &Bed<'_>) -> Outcome {
    let mut task = planned(bed, &["/probe", "wait"], true, false)?;
    let (mut input, mut out) = (stream(&task, "stdin")?, stream(&task, "stdout")?);
    make(&mut task)?;
    out.until("ready")?;
    let before = resident(task.pod.pid)?;
    let mut sent = 0;
    loop {
        match input.next(Duration::from_secs(1)) {
            Ok(Part::Window(update)) => {
                let count = usize::try_from(update).unwrap_or(0);
                // In small parts, which must not take more room than large ones.
                for part in vec![b'x'; count].chunks(7) {
                    input.push(part)?;
                }
                sent += count;
            }
            Err(Refusal::Silence) => break,
            other => return fail(format!("{other:?} in place of a window")),
        }
        check(sent <= 1 << 20, || format!("{sent} bytes were taken for a process that does not read"))?;
    }
    check(sent > 0, || "there is no window".into())?;
    let after = resident(task.pod.pid)?;
    check(after < before + (4 << 10), || format!("the shim grew from {before} to {after} KiB"))?;
    task.finish()
}

fn stdin_stays(bed: &Bed<'_>) -> Outcome {
    let mut task = planned(bed, &["/probe", "cat"], true, false)?;
    let (mut input, mut out) = (stream(&task, "stdin")?, stream(&task, "stdout")?);
    make(&mut task)?;
    input.write(b"one\n")?;
    out.until("one\n")?;
    drop(input);
    let mut input = stream(&task, "stdin")?;
    input.write(b"two\n")?;
    out.until("two\n")?;
    drop(input);
    granted("CloseIO", task.close_stdin(""))?;
    out.read_to_end()?;
    over(&task, 0)
}

fn close_waits(bed: &Bed<'_>) -> Outcome {
    let mut task = planned(bed, &["/probe", "cat"], true, false)?;
    let (mut input, mut out) = (stream(&task, "stdin")?, stream(&task, "stdout")?);
    make(&mut task)?;
    granted("CloseIO", task.close_stdin(""))?;
    input.write(b"late words\n")?;
    input.end()?;
    same("stdout", text(out.read_to_end()?).as_str(), "late words\n")?;
    until_end(&mut input)?;
    over(&task, 0)
}

fn stdin_after(bed: &Bed<'_>) -> Outcome {
    let mut task = planned(bed, &["/probe", "true"], true, false)?;
    let mut input = stream(&task, "stdin")?;
    make(&mut task)?;
    same("exit status", task.exit("")?, 0)?;
    // containerd's client would wait for ever if it had to wait for a window.
    input.write(&vec![0; 1 << 20])?;
    input.end()?;
    until_end(&mut input)?;
    granted("Delete", task.delete("")).map(drop)
}

fn exec(bed: &Bed<'_>) -> Outcome {
    let task = bed.waiting(&Spec::new())?;
    needed(&task.pod)?;
    for round in 0..5 {
        let id = format!("exec{round}");
        let streams = addresses(&task.pod, &id, true, false);
        // As containerd does it: streams, Exec, Start.
        let (mut input, mut out) = (open(&task.pod, &id, "stdin")?, open(&task.pod, &id, "stdout")?);
        let mut err = open(&task.pod, &id, "stderr")?;
        task.exec_with(&id, &process(&["/probe", "cat"]), streams)?;
        input.write(b"through an exec\n")?;
        input.end()?;
        granted("CloseIO", task.close_stdin(&id))?;
        same("stdout", text(out.read_to_end()?).as_str(), "through an exec\n")?;
        same("stderr", text(err.read_to_end()?).as_str(), "")?;
        same("exit status", task.exit(&id)?, 0)?;
        granted("Delete", task.delete(&id))?;
        until_end(&mut input)?;
    }
    // It never begins, and its clients hear of the end.
    let mut out = open(&task.pod, "missing", "stdout")?;
    let streams = addresses(&task.pod, "missing", false, false);
    granted("Exec", task.add("missing", &process(&["nope"]), &streams))?;
    refused("Start", task.start("missing"), &[], &["not found"])?;
    same("the part after the failure", out.next(PATIENCE), Ok(Part::End))?;
    granted("Delete", task.delete("missing"))?;
    task.finish()
}

fn terminal(bed: &Bed<'_>) -> Outcome {
    let mut task = planned(bed, &["/probe", "line", "say", "one", "two"], true, true)?;
    let (mut input, mut out) = (stream(&task, "stdin")?, stream(&task, "stdout")?);
    make(&mut task)?;
    input.write(b"typed\n")?;
    let seen = text(out.read_to_end()?);
    check(seen.contains("typed\r\n") && seen.contains("one\r\ntwo"), || format!("{seen:?}"))?;
    over(&task, 0)?;
    input.end()?;
    until_end(&mut input)?;
    let task = bed.waiting(&Spec::new())?;
    let (mut input, mut out) = (open(&task.pod, "t", "stdin")?, open(&task.pod, "t", "stdout")?);
    let mut spec = process(&["/probe", "line", "report"]);
    spec["terminal"] = json!(true);
    task.exec_with("t", &spec, addresses(&task.pod, "t", true, true))?;
    granted("ResizePty", task.resize("t", 66, 22))?;
    input.write(b"now\n")?;
    let seen = text(out.read_to_end()?);
    check(seen.contains("[22,66]"), || format!("no window of 66x22: {}", crate::runtime::brief(&seen)))?;
    same("exit status", task.exit("t")?, 0)?;
    granted("Delete", task.delete("t"))?;
    task.finish()
}

fn last_words(bed: &Bed<'_>) -> Outcome {
    for is_terminal in [false, true] {
        let mut task = planned(bed, &["/probe", "say", "last", "words"], false, is_terminal)?;
        let mut out = stream(&task, "stdout")?;
        make(&mut task)?;
        let waiting = task.waits("");
        check(task.until_dead()? || !task.lives(), || "the process does not end".into())?;
        let early =
            waiting.answer::<WaitResponse>(Duration::from_millis(300)).map(|answer| answer.exit_status);
        same("Wait before the output was read", early, Err(Refusal::Silence))?;
        refused("Kill", task.kill("", 9, false), &[code::NOT_FOUND], &["finished"])?;
        let seen = text(out.read_to_end()?);
        check(seen.contains("last"), || format!("{seen:?}"))?;
        over(&task, 0)?;
    }
    Ok(())
}

fn exit_in_time(bed: &Bed<'_>) -> Outcome {
    let mut task = planned(bed, &["/probe", "say", "last", "words"], false, false)?;
    let mut out = stream(&task, "stdout")?;
    make(&mut task)?;
    same("exit status", task.exit("")?, 0)?;
    granted("Delete", task.delete(""))?;
    same("the part after Delete", out.next(PATIENCE), Ok(Part::End))
}
