//! Clients of streams over the shim's socket that vanish, come twice, break the rules, or are many.

use super::carried::{make, open, over, planned, stream, text};
use crate::outcome::{Outcome, check, fail, same};
use crate::shim::bed::Bed;
use crate::shim::carried::{BARE, Carried, DATA, INIT, LAST, Part, WINDOW, addresses, bytes, needed, url};
use crate::shim::client::{PATIENCE, Refusal, code, granted, refused};
use crate::shim::stdio::Streams;
use crate::shim::task::process;
use crate::shim::{Test, test};
use crate::spec::Spec;
use std::fs;
use std::time::Duration;

pub(super) const TESTS: &[Test] = &[
    test(
        "I46",
        "over the socket: a client that vanishes does not harm the process, the next gets what follows",
        vanish,
    ),
    test("I47", "over the socket: a stream without a process waits, and ends with its client", unknown),
    test("I48", "over the socket: one id has one client", twice),
    test(
        "I49",
        "over the socket: what is no message of the stream is refused, and the stream can be opened again",
        garbage,
    ),
    test("I49", "over the socket: more input than the window is refused", greedy),
    test(
        "I52",
        "over the socket: an address of something else is refused, and nothing is left",
        addresses_refused,
    ),
    test("I54", "over the socket: a connection ends after its stream, and nothing of it is left", rest),
    test("I55", "over the socket: many streams on one connection, up to a limit", many),
];

fn vanish(bed: &Bed<'_>) -> Outcome {
    let mut task = planned(bed, &["/probe", "wait"], false, false)?;
    let (mut out, err) = (stream(&task, "stdout")?, stream(&task, "stderr")?);
    make(&mut task)?;
    out.until("ready")?;
    // In the middle of a frame.
    out.raw(&[0, 0, 1, 0, 0, 0])?;
    drop((out, err));
    granted("Kill", task.kill("", 10, false))?;
    check(task.lives(), || "the process ended with its client".into())?;
    let mut out = stream(&task, "stdout")?;
    out.until("signal 10")?;
    granted("Kill", task.kill("", 12, false))?;
    out.until("signal 12")?;
    // The last words stay unread.
    drop(out);
    task.finish()
}

fn unknown(bed: &Bed<'_>) -> Outcome {
    let mut task = planned(bed, &["/probe", "say", "out", "err"], false, false)?;
    for _ in 0..2 {
        let mut out = stream(&task, "stdout")?;
        out.grant(1 << 16)?;
        same("the first part", out.next(Duration::from_millis(100)).err(), Some(Refusal::Silence))?;
        out.end()?;
        same("the part after the end", out.next(PATIENCE), Ok(Part::End))?;
    }
    // A client that only hangs up.
    drop(stream(&task, "stdout")?);
    // One that does not even say which stream it wants.
    let mut silent = Carried::begin(&task.pod.answer.address)?;
    silent.end()?;
    same("the part after the end", silent.next(PATIENCE), Ok(Part::End))?;
    let (mut out, mut err) = (stream(&task, "stdout")?, stream(&task, "stderr")?);
    make(&mut task)?;
    same("stdout", text(out.read_to_end()?).as_str(), "out\n")?;
    same("stderr", text(err.read_to_end()?).as_str(), "err\n")?;
    over(&task, 0)
}

fn twice(bed: &Bed<'_>) -> Outcome {
    let mut task = planned(bed, &["/probe", "wait"], false, false)?;
    let mut out = stream(&task, "stdout")?;
    let id = format!("{}-stdout", task.id());
    let address = task.pod.answer.address.clone();
    let address = address.as_str();
    refused("a second client", Carried::open(address, &id), &[code::ALREADY_EXISTS], &[&id])?;
    make(&mut task)?;
    out.until("ready")?;
    refused("a second client", Carried::open(address, &id), &[code::ALREADY_EXISTS], &[&id])?;
    // Nor has it two processes.
    let streams = Streams::at("", &url(&task.pod, &id), "");
    granted("Exec", task.add("e", &process(&["/probe", "true"]), &streams))?;
    refused("Start", task.start("e"), &[code::ALREADY_EXISTS], &[&id])?;
    granted("Delete", task.delete("e"))?;
    granted("Kill", task.kill("", 10, false))?;
    out.until("signal 10")?;
    drop(out);
    task.finish()
}

/// A way to break the rules of a stream that carries output.
type Sin = fn(&mut Carried) -> std::io::Result<()>;

const SINS: &[(&str, i32, Sin)] = &[
    ("no message", code::INVALID_ARGUMENT, |out| out.frame(0, vec![0xff; 9])),
    ("an empty message", code::INVALID_ARGUMENT, |out| out.frame(0, Vec::new())),
    ("a message of another type", code::INVALID_ARGUMENT, |out| out.part("google.protobuf.Empty", &[])),
    ("a second id", code::INVALID_ARGUMENT, |out| out.part(INIT, &bytes(b"another"))),
    ("a cut window", code::INVALID_ARGUMENT, |out| out.part(WINDOW, &[8])),
    ("a negative window", code::INVALID_ARGUMENT, |out| out.grant(-5)),
    ("data on a stream out of the process", code::INVALID_ARGUMENT, |out| out.push(b"in")),
    ("garbage that is also the last", code::INVALID_ARGUMENT, |out| out.frame(LAST, vec![7; 30])),
    ("five mebibytes", code::RESOURCE_EXHAUSTED, |out| out.frame(0, vec![7; 5 << 20])),
];

fn garbage(bed: &Bed<'_>) -> Outcome {
    let mut task = planned(bed, &["/probe", "wait"], false, false)?;
    let address = task.pod.answer.address.clone();
    let address = address.as_str();
    for (what, first) in [
        ("an empty id", bytes(b"")),
        ("a long id", bytes(&vec![b'a'; 100_000])),
        ("an id that is no text", bytes(&[0xff; 4])),
        ("a cut id", vec![10, 200]),
    ] {
        let mut begun = Carried::begin(address)?;
        begun.part(INIT, &first)?;
        refused(what, begun.next(PATIENCE), &[code::INVALID_ARGUMENT], &[])?;
    }
    let mut begun = Carried::begin(address)?;
    begun.part(DATA, &bytes(b"data"))?;
    refused("data in place of the id", begun.next(PATIENCE), &[code::INVALID_ARGUMENT], &["StreamInit"])?;
    make(&mut task)?;
    stream(&task, "stdout")?.until("ready")?;
    for (what, code, sin) in SINS {
        let mut out = stream(&task, "stdout")?;
        sin(&mut out)?;
        refused(what, out.next(PATIENCE), &[*code], &[])?;
        // What comes afterwards means nothing.
        out.grant(1 << 16)?;
        out.frame(BARE, Vec::new())?;
        let mut next = stream(&task, "stdout")?;
        granted("Kill", task.kill("", 10, false))?;
        next.until("signal 10")?;
    }
    task.finish()
}

fn greedy(bed: &Bed<'_>) -> Outcome {
    let mut task = planned(bed, &["/probe", "cat"], true, false)?;
    let (mut early, mut out) = (stream(&task, "stdin")?, stream(&task, "stdout")?);
    early.push(b"before there is a window")?;
    refused("early data", early.next(PATIENCE), &[code::INVALID_ARGUMENT], &[])?;
    make(&mut task)?;
    let mut input = stream(&task, "stdin")?;
    let window = input.take_window(PATIENCE)?;
    input.push(&vec![b'x'; window + 1])?;
    loop {
        match input.next(PATIENCE) {
            Ok(Part::Window(_)) => {}
            other => break refused("more than the window", other, &[code::RESOURCE_EXHAUSTED], &["window"])?,
        }
    }
    let mut input = stream(&task, "stdin")?;
    input.write(b"fine\n")?;
    out.until("fine")?;
    let mut reader = stream(&task, "stdin2")?;
    reader.end()?;
    drop((input, out));
    task.finish()
}

fn addresses_refused(bed: &Bed<'_>) -> Outcome {
    let mut task = planned(bed, &["/probe", "true"], false, false)?;
    let own = task.pod.answer.address.clone();
    for (address, word) in [
        ("ttrpc+unix:///run/another?streaming_id=a".to_owned(), "/run/another"),
        (format!("ttrpc+{own}"), "streaming_id"),
        (format!("ttrpc+{own}?streaming_id="), "streaming_id"),
        (format!("ttrpc+{own}?stream_id=a"), "streaming_id"),
        (format!("ttrpc+{own}?streaming_id={}", "a".repeat(5000)), "id"),
        (format!("grpc+{own}?streaming_id=a"), "STDIO scheme"),
        ("ttrpc+vsock://3:1?streaming_id=a".to_owned(), "STDIO scheme"),
    ] {
        for streams in [Streams::at("", &address, ""), Streams::at(&address, "", "")] {
            *task.streams.borrow_mut() = streams;
            let answer = task.create(None, &[]);
            refused(&format!("Create with {address}"), answer, &[code::INVALID_ARGUMENT], &[word])?;
            bed.until_gone(&task.bundle)?;
        }
    }
    // Together with a FIFO or a file, which no client does.
    for (out, err) in
        [(url(&task.pod, "a"), "/dev/null".to_owned()), ("/dev/null".to_owned(), url(&task.pod, "a"))]
    {
        *task.streams.borrow_mut() = Streams::at("", &out, &err);
        refused("Create with both kinds", task.create(None, &[]), &[code::INVALID_ARGUMENT], &[])?;
    }
    *task.streams.borrow_mut() = addresses(&task.pod, "a", false, false);
    make(&mut task)?;
    over(&task, 0)
}

fn rest(bed: &Bed<'_>) -> Outcome {
    let task = bed.waiting(&Spec::new())?;
    needed(&task.pod)?;
    let descriptors =
        || -> Outcome<usize> { Ok(fs::read_dir(format!("/proc/{}/fd", task.pod.pid))?.count()) };
    let mut idle = Carried::begin(&task.pod.answer.address)?;
    idle.end()?;
    same("the part after the end", idle.next(PATIENCE), Ok(Part::End))?;
    idle.hung_up()?;
    let before = descriptors()?;
    let mut clients = Vec::new();
    for round in 0..20 {
        let id = format!("e{round}");
        let (mut out, mut err) = (open(&task.pod, &id, "stdout")?, open(&task.pod, &id, "stderr")?);
        task.exec_with(&id, &process(&["/probe", "say", "a", "b"]), addresses(&task.pod, &id, false, false))?;
        out.read_to_end()?;
        err.read_to_end()?;
        task.exit(&id)?;
        granted("Delete", task.delete(&id))?;
        // containerd before 2.3 keeps the connection.
        clients.extend([out, err]);
    }
    for client in &mut clients {
        client.hung_up()?;
    }
    bed.until("descriptors to be as before", || Ok((descriptors()? <= before).then_some(())))?;
    // One that is open stays.
    let mut waiting = open(&task.pod, "later", "stdout")?;
    same("a part", waiting.next(Duration::from_secs(2)).err(), Some(Refusal::Silence))?;
    task.finish()
}

fn many(bed: &Bed<'_>) -> Outcome {
    let mut task = planned(bed, &["/probe", "say", "to out", "to err"], false, false)?;
    let mut out = stream(&task, "stdout")?;
    let mut err = granted("a second stream", out.open_beside(3, &format!("{}-stderr", task.id())))?;
    make(&mut task)?;
    // Both ends are the same connection: one after the other.
    same("stdout", text(out.read(7, 7)?).as_str(), "to out\n")?;
    same("stderr", text(err.read(7, 7)?).as_str(), "to err\n")?;
    drop((out, err));
    over(&task, 0)?;
    let first = open(&task.pod, "many", "0")?;
    let mut opened = 0;
    let refusal = loop {
        match first.open_beside(3 + 2 * opened, &format!("many-{opened}x")) {
            Ok(_) if opened < 1000 => opened += 1,
            Ok(_) => return fail("a thousand streams on one connection"),
            Err(refusal) => break refusal,
        }
    };
    refused::<()>("one more", Err(refusal), &[code::RESOURCE_EXHAUSTED], &["streams"])?;
    refused(
        "a number again",
        first.open_beside(3, "x"),
        &[code::RESOURCE_EXHAUSTED, code::INVALID_ARGUMENT],
        &[],
    )
}
