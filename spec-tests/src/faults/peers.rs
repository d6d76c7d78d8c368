//! Peers at sockets that do not serve: their queue is full, or they take what they get and never answer.

use crate::console::Receiver;
use crate::outcome::{Outcome, check};
use crate::runtime::PATIENCE;
use crate::{Spec, Test, test};
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen, socket_with,
};
use serde_json::json;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

pub(super) const TESTS: &[Test] = &[
    test("F38", "a console socket whose queue is full is an error in time, and nothing stays", |bed| {
        let full = Full::at(bed.dir(), "console")?;
        let bundle = bed.bundle(&Spec::new().set("/process/terminal", true).args(&["/probe", "true"]))?;
        let dir = bundle.dir.to_string_lossy().into_owned();
        let socket = full.path.to_string_lossy().into_owned();
        let create = bed.command(["create", "--console-socket", &socket, "--bundle", &dir, &bundle.id]);
        create.patience(PATIENCE).call()?.refused(&[])?;
        let left = bed.leftovers(&bundle);
        check(left.is_empty(), || format!("create failed and left {}", left.join(", ")))
    }),
    test("F38", "a seccomp agent whose queue is full is an error in time, and nothing stays", |bed| {
        let full = Full::at(bed.dir(), "agent")?;
        let bundle = bed.bundle(&notified(&full.path, "mkdir"))?;
        let dir = bundle.dir.to_string_lossy().into_owned();
        bed.command(["create", "--bundle", &dir, &bundle.id]).patience(PATIENCE).call()?.refused(&[])?;
        let left = bed.leftovers(&bundle);
        check(left.is_empty(), || format!("create failed and left {}", left.join(", ")))
    }),
    test("F38", "a console that is sent and never taken hangs neither create, start nor delete", |bed| {
        let silent = Receiver::listen(bed.dir(), "console")?;
        let bundle = bed.bundle(&Spec::new().set("/process/terminal", true).args(&["/probe", "wait"]))?;
        bed.create_with_console(&bundle, &silent)?.ok()?;
        let container = bed.adopt(&bundle);
        container.start()?;
        bed.call(["delete", "--force", container.id()])?.ok().map(drop)
    }),
    test(
        "F39",
        "an agent that never answers hangs no command but the one that waits for the program",
        |bed| {
            let silent = Receiver::listen(bed.dir(), "agent")?;
            let bundle = bed.bundle(&notified(&silent.path, "mkdir"))?;
            let container = bed.create(&bundle)?;
            let _listener = silent.take()?;
            container.start()?;
            container.until_output("waiting")?;
            bed.call(["state", container.id()])?.ok()?;
            bed.call(["list"])?.ok()?;
            bed.call(["delete", "--force", container.id()])?.ok().map(drop)
        },
    ),
    test("F39", "nor where the call is the one that becomes the program", |bed| {
        let silent = Receiver::listen(bed.dir(), "agent")?;
        let bundle = bed.bundle(&notified(&silent.path, "execve"))?;
        let dir = bundle.dir.to_string_lossy().into_owned();
        let created = bed.command(["create", "--bundle", &dir, &bundle.id]).patience(PATIENCE).call()?;
        if !created.status.success() {
            let left = bed.leftovers(&bundle);
            return check(left.is_empty(), || format!("create failed and left {}", left.join(", ")));
        }
        let start = bed.command(["start", &bundle.id]).spawn()?;
        let _listener = silent.take()?;
        bed.call(["state", &bundle.id])?.ok()?;
        bed.call(["delete", "--force", &bundle.id])?.ok()?;
        start.finish(PATIENCE).map(drop)
    }),
];

/// A container whose program makes a directory, and whose agent is asked about a call.
fn notified(agent: &Path, call: &str) -> Spec {
    let names = if call == "mkdir" { json!(["mkdir", "mkdirat"]) } else { json!([call]) };
    let filter = json!({"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": agent,
        "syscalls": [{"names": names, "action": "SCMP_ACT_NOTIFY"}]});
    Spec::new().set("/linux/seccomp", filter).args(&[
        "/probe",
        "say-and",
        "waiting",
        "try",
        "mkdir",
        "/tmp/made",
    ])
}

/// A socket that is listened to, with as many connections in its queue as fit.
struct Full {
    path: PathBuf,
    _held: Vec<OwnedFd>,
}

impl Full {
    fn at(dir: &Path, name: &str) -> Outcome<Self> {
        let path = dir.join(name);
        let address = SocketAddrUnix::new(&path)?;
        let stream = |flags| socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None);
        let listener = stream(SocketFlags::CLOEXEC)?;
        bind(&listener, &address)?;
        listen(&listener, 0)?;
        let mut held = vec![listener];
        loop {
            let client = stream(SocketFlags::CLOEXEC | SocketFlags::NONBLOCK)?;
            match connect(&client, &address) {
                Ok(()) => held.push(client),
                Err(rustix::io::Errno::AGAIN) => break,
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(Self { path, _held: held })
    }
}
