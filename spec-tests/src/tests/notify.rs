//! `$NOTIFY_SOCKET` and `$LISTEN_FDS`: C12.

use crate::bed::{answers, script_args, script_spec};
use crate::observe::{mount_at, options};
use crate::outcome::{Outcome, check, fail, same};
use crate::runtime::{PATIENCE, readable};
use crate::{Bed, Spec, Test, test};
use rustix::net::{RecvAncillaryBuffer, RecvFlags, recvmsg};
use std::fs;
use std::io::IoSliceMut;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::time::Duration;

pub(super) const TESTS: &[Test] = &[
    test("C12", "start passes READY=1, MAINPID and BARRIER=1 on to $NOTIFY_SOCKET", |bed| {
        let manager = Manager::new(bed)?;
        let bundle = bed.bundle(&script_spec(Spec::new(), READY))?;
        let dir = bundle.dir.to_string_lossy().into_owned();
        bed.command(["create", "--bundle", &dir, &bundle.id])
            .env("NOTIFY_SOCKET", &manager.path)
            .call()?
            .ok()?;
        let pid = bed.call(["state", &bundle.id])?.ok()?.json()?["pid"].to_string();
        let start = bed.command(["start", &bundle.id]).env("NOTIFY_SOCKET", &manager.path).spawn()?;
        let heard = manager.until_barrier()?;
        start.finish(PATIENCE)?.ok()?;
        check(heard.contains(&"READY=1".to_owned()), || format!("heard {heard:?}"))?;
        check(heard.contains(&format!("MAINPID={pid}")), || format!("heard {heard:?}, the pid is {pid}"))?;
        check(!heard.iter().any(|line| line.starts_with("FDSTORE")), || format!("heard {heard:?}"))
    }),
    test("C12", "a detached run does the same", |bed| {
        let manager = Manager::new(bed)?;
        let bundle = bed.bundle(&script_spec(Spec::new(), READY))?;
        let dir = bundle.dir.to_string_lossy().into_owned();
        let call = bed.command(["run", "--detach", "--bundle", &dir, &bundle.id]);
        let run = call.env("NOTIFY_SOCKET", &manager.path).spawn()?;
        let heard = manager.until_barrier()?;
        run.finish(PATIENCE)?.ok()?;
        let pid = bed.call(["state", &bundle.id])?.ok()?.json()?["pid"].to_string();
        check(heard.contains(&"READY=1".to_owned()), || format!("heard {heard:?}"))?;
        // A program that has already ended has no pid in its state.
        let named = heard.iter().any(|line| line.starts_with("MAINPID=") && !line.ends_with("=1"));
        check(named || pid == "0", || format!("heard {heard:?}, the pid is {pid}"))
    }),
    test("C12", "a foreground run passes READY=1 on", |bed| {
        let manager = Manager::new(bed)?;
        let bundle = bed.bundle(&script_spec(Spec::new(), READY))?;
        let dir = bundle.dir.to_string_lossy().into_owned();
        let run =
            bed.command(["run", "--bundle", &dir, &bundle.id]).env("NOTIFY_SOCKET", &manager.path).spawn()?;
        manager.until("READY=1")?;
        run.finish(PATIENCE)?.ok().map(drop)
    }),
    test("C12", "start comes back when the program ends without being ready", |bed| {
        let manager = Manager::new(bed)?;
        let bundle = bed.bundle(&Spec::new().args(&["/probe", "true"]))?;
        let dir = bundle.dir.to_string_lossy().into_owned();
        bed.command(["create", "--bundle", &dir, &bundle.id])
            .env("NOTIFY_SOCKET", &manager.path)
            .call()?
            .ok()?;
        bed.command(["start", &bundle.id]).env("NOTIFY_SOCKET", &manager.path).call()?.ok().map(drop)
    }),
    test(
        "C12",
        "the container's socket is its own, in a read-only directory, and open to every user",
        |bed| {
            let manager = Manager::new(bed)?;
            let script: &[&[&str]] = &[
                &["env", "NOTIFY_SOCKET"],
                &["mounts"],
                &["unlink", "/run/notify/notify.sock"],
                &["datagram", "/run/notify/notify.sock", "READY=1"],
            ];
            let spec = script_spec(Spec::new(), script)
                .set("/process/user", serde_json::json!({"uid": 1000, "gid": 1000}));
            let bundle = bed.bundle(&spec)?;
            let call = bed.command(["run", "--bundle", &bundle.dir.to_string_lossy(), &bundle.id]);
            let seen = answers(&call.env("NOTIFY_SOCKET", &manager.path).call()?.ok()?)?;
            same("NOTIFY_SOCKET", seen[0].worked()?, "/run/notify/notify.sock")?;
            options(mount_at(seen[1].worked()?, "/run/notify")?, &["ro", "nosuid", "nodev", "noexec"], &[])?;
            seen[2].failed(&[])?;
            seen[3].worked().map(drop)
        },
    ),
    test("C12", "it works in a user namespace", |bed| {
        let manager = Manager::new(bed)?;
        // The image belongs to ids that the container does not have.
        let spec = Spec::new().user_namespace(200_000, 65536).mount("/run", "tmpfs", "tmpfs", &[]);
        let bundle = bed.bundle(&script_spec(spec, READY))?;
        let call = bed.command(["run", "--bundle", &bundle.dir.to_string_lossy(), &bundle.id]);
        let run = call.env("NOTIFY_SOCKET", &manager.path).spawn()?;
        manager.until("READY=1")?;
        run.finish(PATIENCE)?.ok().map(drop)
    }),
    test("C12", "a start that fails is told although $NOTIFY_SOCKET adds a mount", |bed| {
        let manager = Manager::new(bed)?;
        let bundle = bed.bundle(&Spec::new().args(&["/etc/script"]))?;
        bundle.file("etc/script", "#!/no/such/interpreter\n")?;
        fs::set_permissions(
            bundle.dir.join("rootfs/etc/script"),
            std::os::unix::fs::PermissionsExt::from_mode(0o755),
        )?;
        let dir = bundle.dir.to_string_lossy().into_owned();
        bed.command(["create", "--bundle", &dir, &bundle.id])
            .env("NOTIFY_SOCKET", &manager.path)
            .call()?
            .ok()?;
        let start = bed.command(["start", &bundle.id]).env("NOTIFY_SOCKET", &manager.path).call()?;
        start.refused(&["/etc/script"])
    }),
    test("C3", "a start that fails is told although descriptors are preserved", |bed| {
        let bundle = bed.bundle(&Spec::new().args(&["/etc/script"]))?;
        bundle.file("etc/script", "#!/no/such/interpreter\n")?;
        fs::set_permissions(
            bundle.dir.join("rootfs/etc/script"),
            std::os::unix::fs::PermissionsExt::from_mode(0o755),
        )?;
        let dir = bundle.dir.to_string_lossy().into_owned();
        let create = bed.command(["create", "--preserve-fds", "1", "--bundle", &dir, &bundle.id]);
        create.after("exec 3</dev/null").call()?.ok()?;
        bed.call(["start", &bundle.id])?.refused(&["/etc/script"])
    }),
    test("C12", "$LISTEN_FDS of this very process are passed on with LISTEN_PID=1", |bed| {
        let script: &[&[&str]] =
            &[&["env", "LISTEN_FDS"], &["env", "LISTEN_PID"], &["env", "LISTEN_FDNAMES"], &["fds"]];
        let bundle = bed.bundle(&script_spec(Spec::new(), script))?;
        let call = bed.command(["run", "--bundle", &bundle.dir.to_string_lossy(), &bundle.id]);
        let commands = "export LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=web; exec 3</dev/zero";
        let seen = answers(&call.after(commands).call()?.ok()?)?;
        same("LISTEN_FDS", seen[0].worked()?, "1")?;
        same("LISTEN_PID", seen[1].worked()?, "1")?;
        same("LISTEN_FDNAMES", seen[2].worked()?, "web")?;
        let target = seen[3].worked()?["3"].as_str().unwrap_or_default().to_owned();
        check(target.ends_with("/zero"), || format!("descriptor 3 is {target:?}"))
    }),
    test("C12", "$LISTEN_FDS of another process are not passed on", |bed| {
        let script: &[&[&str]] = &[&["env", "LISTEN_FDS"], &["env", "LISTEN_PID"]];
        let bundle = bed.bundle(&script_spec(Spec::new(), script))?;
        let call = bed.command(["run", "--bundle", &bundle.dir.to_string_lossy(), &bundle.id]);
        let seen = answers(&call.after("export LISTEN_PID=1 LISTEN_FDS=1; exec 3</dev/zero").call()?.ok()?)?;
        seen[0].failed(&[2])?;
        seen[1].failed(&[2])
    }),
    test("C12", "$LISTEN_FDS do not reach a process of exec", |bed| {
        let container = bed.waiting(&Spec::new())?;
        let mut words = vec!["exec", container.id()];
        words.extend(script_args(&[&["env", "LISTEN_FDS"]]));
        let call = bed.command(words);
        let seen = answers(&call.after("export LISTEN_PID=$$ LISTEN_FDS=1; exec 3</dev/zero").call()?.ok()?)?;
        seen[0].failed(&[2])
    }),
];

/// What a service in the container sends, including words that must not reach the manager.
const READY: &[&[&str]] = &[
    &["datagram", "/run/notify/notify.sock", "STATUS=starting"],
    &["datagram", "/run/notify/notify.sock", "READY=1\\nFDSTORE=1"],
];

/// Stands in for the service manager.
struct Manager {
    socket: UnixDatagram,
    path: PathBuf,
}

impl Manager {
    fn new(bed: &Bed<'_>) -> Outcome<Self> {
        let path = bed.dir().join("manager.sock");
        Ok(Self { socket: UnixDatagram::bind(&path)?, path })
    }

    /// The lines until one of them is there.
    fn until(&self, line: &str) -> Outcome<Vec<String>> {
        let mut heard: Vec<String> = Vec::new();
        while !heard.iter().any(|heard| heard == line) {
            if !readable(&self.socket, Duration::from_secs(20))? {
                return fail(format!("waited in vain for {line}; heard {heard:?}"));
            }
            let mut text = [0; 4096];
            let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
            // The descriptors are closed with the buffer, which answers the barrier.
            let mut rights = RecvAncillaryBuffer::new(&mut space);
            let got =
                recvmsg(&self.socket, &mut [IoSliceMut::new(&mut text)], &mut rights, RecvFlags::empty())?;
            heard.extend(String::from_utf8_lossy(&text[..got.bytes]).lines().map(str::to_owned));
        }
        Ok(heard)
    }

    fn until_barrier(&self) -> Outcome<Vec<String>> {
        self.until("BARRIER=1")
    }
}
