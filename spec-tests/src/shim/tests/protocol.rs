//! The socket itself: wrong names, wrong bytes, too many, too much.

use crate::outcome::{Outcome, check, fail, same};
use crate::shim::bed::Bed;
use crate::shim::client::{Client, PATIENCE, Pending, Refusal, code, granted, refused};
use crate::shim::launch::{Era, service};
use crate::shim::task::Task;
use crate::shim::wire::Frame;
use crate::shim::{Pod, Test, test};
use crate::spec::Spec;
use containerd_shim_protos::api::{ConnectRequest, ConnectResponse, Empty, WaitRequest, WaitResponse};
use containerd_shim_protos::protobuf::Message;
use containerd_shim_protos::ttrpc::proto::{KeyValue, Request};
use std::fs;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::time::Duration;

pub(super) const TESTS: &[Test] = &[
    test("W1", "an unknown service is Unimplemented", unknown_service),
    test("W2", "an unknown method is Unimplemented", unknown_method),
    test("W3", "both names of the task service are served", both_names),
    test("W4", "a request that is no message is refused, the connection goes on", bad_payload),
    test("W5", "a frame that is no request does not end the shim", bad_frame),
    test("W6", "a frame beyond the limit does not end the shim", oversized),
    test("W7", "half a frame and a hang-up do not end the shim", half_frame),
    test("W8", "metadata and a deadline in a request are accepted", metadata),
    test("W9", "connections that come and go leave nothing open", connections),
    test("W10", "a client that never reads its answers does not hold up others", deaf_client),
    test("W11", "a hundred requests at once are all answered", pipelined),
    test("W12", "waits without end are refused at some number, and hold up no other call", waits),
    test("W12", "waits end with their connection", waits_of_the_dead),
];

fn ping(pod: &Pod) -> Outcome {
    granted("Connect afterwards", pod.ask::<_, ConnectResponse>("Connect", &ConnectRequest::default()))
        .map(drop)
}

fn unknown_service(bed: &Bed<'_>) -> Outcome {
    let pod = bed.pod(&bed.bundle(&Spec::new())?)?;
    for name in ["containerd.task.v9.Task", "containerd.runtime.sandbox.v1.Sandbox", ""] {
        let answer: Result<Empty, _> = pod.client.call(name, "Connect", &ConnectRequest::default());
        refused(&format!("a call of service {name:?}"), answer, &[code::UNIMPLEMENTED], &[])?;
    }
    ping(&pod)
}

fn unknown_method(bed: &Bed<'_>) -> Outcome {
    let pod = bed.pod(&bed.bundle(&Spec::new())?)?;
    for name in ["Dance", "connect", ""] {
        let answer: Result<Empty, _> = pod.ask(name, &ConnectRequest::default());
        refused(&format!("a call of method {name:?}"), answer, &[code::UNIMPLEMENTED], &[])?;
    }
    ping(&pod)
}

fn both_names(bed: &Bed<'_>) -> Outcome {
    bed.subject.needs(Era::V2_3)?;
    let pod = bed.pod(&bed.bundle(&Spec::new())?)?;
    for version in [2, 3] {
        let answer: ConnectResponse = granted(
            service(version),
            pod.client.call(service(version), "Connect", &ConnectRequest::default()),
        )?;
        same("pid of the shim", answer.shim_pid, pod.pid)?;
    }
    Ok(())
}

fn bad_payload(bed: &Bed<'_>) -> Outcome {
    let pod = bed.pod(&bed.bundle(&Spec::new())?)?;
    let answer =
        pod.client.begin(service(pod.answer.version), "State", vec![0xff; 9]).answer::<Empty>(PATIENCE);
    refused("State of nonsense", answer, &[], &[])?;
    ping(&pod)
}

fn bad_frame(bed: &Bed<'_>) -> Outcome {
    let pod = bed.pod(&bed.bundle(&Spec::new())?)?;
    let frames = [
        Frame::request(1, vec![0xff; 20]),
        Frame { stream: 1, kind: 2, flags: 0, body: vec![1, 2, 3] },
        Frame { stream: 1, kind: 99, flags: 0xff, body: vec![] },
        Frame::request(2, vec![]),
        Frame::request(0, vec![]),
    ];
    for frame in frames {
        let client = Client::connect(&pod.answer.address)?;
        client.raw(&frame.encode())?;
        // Whatever it does with this connection, the next one works.
        let _answer: Result<Empty, Refusal> =
            client.begin(service(2), "Connect", Vec::new()).answer(Duration::from_millis(300));
        ping(&pod)?;
    }
    Ok(())
}

fn oversized(bed: &Bed<'_>) -> Outcome {
    let pod = bed.pod(&bed.bundle(&Spec::new())?)?;
    let mut stream = UnixStream::connect(crate::shim::client::socket_path(&pod.answer.address))?;
    let mut frame = Frame::request(1, vec![0; 5 << 20]).encode();
    // A shim may hang up before it has read all that.
    let _refused = stream.write_all(&frame);
    drop(stream);
    ping(&pod)?;
    frame.truncate(10);
    frame[..4].copy_from_slice(&u32::MAX.to_be_bytes());
    let mut stream = UnixStream::connect(crate::shim::client::socket_path(&pod.answer.address))?;
    stream.write_all(&frame)?;
    ping(&pod)?;
    let rss = fs::read_to_string(format!("/proc/{}/status", pod.pid))?;
    let kib = rss
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:")?.trim().split(' ').next()?.parse::<u64>().ok());
    check(kib.is_some_and(|kib| kib < 64 << 10), || format!("it holds {kib:?} KiB now"))
}

fn half_frame(bed: &Bed<'_>) -> Outcome {
    let pod = bed.pod(&bed.bundle(&Spec::new())?)?;
    let whole = Frame::request(1, vec![0; 100]).encode();
    for length in [1, 9, 10, 50] {
        let mut stream = UnixStream::connect(crate::shim::client::socket_path(&pod.answer.address))?;
        stream.write_all(&whole[..length])?;
        drop(stream);
        ping(&pod)?;
    }
    Ok(())
}

fn metadata(bed: &Bed<'_>) -> Outcome {
    let pod = bed.pod(&bed.bundle(&Spec::new())?)?;
    let pair = KeyValue {
        key: "containerd-namespace-ttrpc".into(),
        value: bed.namespace.clone(),
        ..KeyValue::default()
    };
    let request = Request {
        service: service(pod.answer.version).into(),
        method: "Connect".into(),
        payload: ConnectRequest::default().write_to_bytes().unwrap_or_default(),
        timeout_nano: 10_000_000_000,
        metadata: vec![pair],
        ..Request::default()
    };
    let answer: ConnectResponse = granted("Connect", pod.client.begin_request(&request).answer(PATIENCE))?;
    same("pid of the shim", answer.shim_pid, pod.pid)
}

fn open_files(pid: u32) -> Outcome<usize> {
    Ok(fs::read_dir(format!("/proc/{pid}/fd"))?.count())
}

fn connections(bed: &Bed<'_>) -> Outcome {
    let pod = bed.pod(&bed.bundle(&Spec::new())?)?;
    let before = open_files(pod.pid)?;
    for _ in 0..100 {
        let client = Client::connect(&pod.answer.address)?;
        let _pid: ConnectResponse = granted(
            "Connect",
            client.call(service(pod.answer.version), "Connect", &ConnectRequest::default()),
        )?;
    }
    bed.until("the connections to be closed", || Ok((open_files(pod.pid)? <= before + 1).then_some(())))
}

fn deaf_client(bed: &Bed<'_>) -> Outcome {
    let pod = bed.pod(&bed.bundle(&Spec::new())?)?;
    let stream = UnixStream::connect(crate::shim::client::socket_path(&pod.answer.address))?;
    stream.set_write_timeout(Some(Duration::from_millis(300)))?;
    let request = Request {
        service: service(pod.answer.version).into(),
        method: "Connect".into(),
        payload: ConnectRequest::default().write_to_bytes().unwrap_or_default(),
        ..Request::default()
    };
    let body = request.write_to_bytes().unwrap_or_default();
    // Until the shim stops reading, or ten thousand answers wait.
    for number in 0..10_000_u32 {
        if (&stream).write_all(&Frame::request(2 * number + 1, body.clone()).encode()).is_err() {
            break;
        }
    }
    ping(&pod)
}

fn pipelined(bed: &Bed<'_>) -> Outcome {
    let pod = bed.pod(&bed.bundle(&Spec::new())?)?;
    let request = ConnectRequest::default().write_to_bytes().unwrap_or_default();
    let pending: Vec<_> =
        (0..100).map(|_| pod.client.begin(service(pod.answer.version), "Connect", request.clone())).collect();
    for call in pending {
        let answer: ConnectResponse = granted("Connect", call.answer(PATIENCE))?;
        same("pid of the shim", answer.shim_pid, pod.pid)?;
    }
    Ok(())
}

/// Resident memory of a process in KiB.
fn resident(pid: u32) -> Outcome<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line =
        status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().split(' ').next()?.parse().ok());
    line.map_or_else(|| fail("no VmRSS"), Ok)
}

fn many_waits(client: &Client, task: &Task<'_, '_>, count: usize) -> Vec<Pending> {
    let request = WaitRequest { id: task.id().into(), ..WaitRequest::default() };
    let bytes = request.write_to_bytes().unwrap_or_default();
    let name = service(task.pod.answer.version);
    (0..count).map(|_| client.begin(name, "Wait", bytes.clone())).collect()
}

fn waits(bed: &Bed<'_>) -> Outcome {
    let task = bed.waiting(&Spec::new())?;
    let client = Client::connect(&task.pod.answer.address)?;
    // Few enough refusals for a socket: the client reads none before all calls are sent.
    let pending = many_waits(&client, &task, 2_200);
    ping(&task.pod)?;
    // Answered after everything sent before it.
    let _pid: ConnectResponse = granted(
        "Connect on the same connection",
        client.call(service(task.pod.answer.version), "Connect", &ConnectRequest::default()),
    )?;
    let kib = resident(task.pod.pid)?;
    check(kib < 40 << 10, || format!("the shim holds {kib} KiB"))?;
    granted("Kill", task.kill("", 9, false))?;
    let (mut answered, mut exhausted) = (0, 0);
    for wait in pending {
        match wait.answer::<WaitResponse>(PATIENCE) {
            Ok(answer) => {
                same("exit status", answer.exit_status, 137)?;
                answered += 1;
            }
            Err(refusal) if refusal.code() == Some(code::RESOURCE_EXHAUSTED) => exhausted += 1,
            Err(other) => return fail(format!("Wait: {other}")),
        }
    }
    check(answered >= 1000 && exhausted > 0, || format!("{answered} answered, {exhausted} refused"))?;
    granted("Delete", task.delete("")).map(drop)
}

fn waits_of_the_dead(bed: &Bed<'_>) -> Outcome {
    let task = bed.waiting(&Spec::new())?;
    for _ in 0..5 {
        let client = Client::connect(&task.pod.answer.address)?;
        let _pending = many_waits(&client, &task, 1500);
        let _pid: ConnectResponse = granted(
            "Connect",
            client.call(service(task.pod.answer.version), "Connect", &ConnectRequest::default()),
        )?;
    }
    let waiting = task.waits("");
    granted("Kill", task.kill("", 9, false))?;
    let answer: WaitResponse = granted("Wait", waiting.answer(PATIENCE))?;
    same("exit status", answer.exit_status, 137)?;
    granted("Delete", task.delete("")).map(drop)
}
