//! How a shim is called and what it answers: every generation of containerd, flags, sockets, the serving process.

use crate::outcome::{Outcome, check, fail, same};
use crate::runtime::brief;
use crate::shim::bed::Bed;
use crate::shim::client::{Client, PATIENCE, granted, socket_path};
use crate::shim::launch::{ERAS, Era, Form, any, read_answer, run, service};
use crate::shim::{Test, test};
use crate::spec::Spec;
use containerd_shim_protos::api::{ConnectRequest, ConnectResponse};
use containerd_shim_protos::protobuf::Message;
use containerd_shim_protos::shim::oci::Options;
use containerd_shim_protos::types::introspection::RuntimeInfo;
use rustix::process::Signal;
use std::fs;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

pub(super) const TESTS: &[Test] = &[
    test("B1", "containerd 1.6: a bare address, also in the file `address`", bare),
    test("B2", "containerd 1.7: an answer of version 2 at most, also in the file `address`", |bed| {
        era(bed, Era::V1_7)
    }),
    test("B3", "containerd 2.0 to 2.2: an answer of version 3 at most", |bed| era(bed, Era::V2_0)),
    test("B4", "containerd 2.3: an answer to BootstrapParams", |bed| era(bed, Era::V2_3)),
    test("B5", "options on stdin are not taken for BootstrapParams", options_are_no_params),
    test("B6", "BootstrapParams are read however long they are", long_params),
    test("B7", "flags in all forms of Go's flag package", flags),
    test("B8", "an unknown flag is an error, exit code 2", unknown_flag),
    test("B9", "start and delete without a namespace are errors", no_namespace),
    test("B10", "-v tells the version without a namespace", version),
    test("B11", "-info tells name, version and features without a namespace", info),
    test("B12", "the socket is private: mode 0600 in a directory of mode 0700", socket_modes),
    test("B13", "the socket is where containerd asks for it", socket_dir),
    test("B14", "a socket that a dead shim left is taken over", stale_socket),
    test("B15", "a second start for the same container gives the same shim", second_start),
    test(
        "B16",
        "the serving process is a daemon: own process group, /dev/null, no controlling terminal",
        daemon,
    ),
    test("B17", "the serving process is easier to kill than containerd and reaps orphans", oom_score),
    test("B18", "a client of another user is dropped", foreign_user),
    test("B19", "shim_cgroup: the serving process is in that cgroup", shim_cgroup),
    test("B20", "a shim_cgroup that does not exist fails the start", missing_shim_cgroup),
    test("B21", "a bundle without a readable config.json does not leave a shim behind", no_config),
    test("B22", "Shutdown without a container ends the process and removes the socket", shutdown),
    test("B23", "SIGTERM ends a shim without containers", terminated),
];

fn era(bed: &Bed<'_>, era: Era) -> Outcome {
    let bundle = bed.bundle(&Spec::new())?;
    let mut call = bed.call(&bundle);
    call.era = era;
    let pod = bed.pod_by(&call)?;
    if era == Era::V1_7 {
        let file = fs::read_to_string(bundle.dir.join("address"))?;
        same("the file `address`", file.as_str(), pod.answer.address.as_str())?;
    }
    // The version is a promise: the service with that version answers.
    let request = ConnectRequest { id: bundle.id.clone(), ..ConnectRequest::default() };
    let answer: ConnectResponse =
        granted("Connect", pod.client.call(service(pod.answer.version), "Connect", &request))?;
    check(answer.shim_pid > 0, || "Connect gave no pid".into())
}

fn bare(bed: &Bed<'_>) -> Outcome {
    let bundle = bed.bundle(&Spec::new())?;
    let mut call = bed.call(&bundle);
    call.era = Era::V1_6;
    let pod = bed.pod_by(&call)?;
    same("form of the answer", pod.answer.form, Form::Bare)?;
    let file = fs::read_to_string(bundle.dir.join("address"))?;
    same("the file `address`", file.as_str(), pod.answer.address.as_str())
}

fn options_are_no_params(bed: &Bed<'_>) -> Outcome {
    // As bytes this is a BootstrapParams too, with the type's name as its id.
    for era in ERAS.into_iter().filter(|era| *era < Era::V2_3) {
        let bundle = bed.bundle(&Spec::new())?;
        let mut call = bed.call(&bundle);
        call.era = era;
        call.options =
            Some(any("containerd.runc.v1.Options", Options::new().write_to_bytes().unwrap_or_default()));
        let pod = bed.pod_by(&call)?;
        check(pod.answer.form != Form::Proto, || format!("{era:?} got a BootstrapResult"))?;
    }
    Ok(())
}

fn long_params(bed: &Bed<'_>) -> Outcome {
    bed.subject.needs(Era::V2_3)?;
    let bundle = bed.bundle(&Spec::new())?;
    let mut call = bed.call(&bundle);
    let options = Options { criu_work_path: format!("/{}", "x".repeat(300_000)), ..Options::new() };
    call.options = Some(any("containerd.runc.v1.Options", options.write_to_bytes().unwrap_or_default()));
    bed.pod_by(&call).map(drop)
}

/// Calls the shim with these arguments in a bundle.
fn calls(bed: &Bed<'_>, args: &[&str], dir: &Path) -> Outcome<crate::shim::launch::Ran> {
    let mut command = Command::new(&bed.subject.path);
    command.args(args).current_dir(dir).env_clear();
    command.env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    command.env("TTRPC_ADDRESS", &bed.daemon.path);
    run(command, b"", Duration::from_secs(20))
}

fn flags(bed: &Bed<'_>) -> Outcome {
    let grpc = bed.dir().join("containerd.sock").to_string_lossy().into_owned();
    for form in 0..2 {
        let bundle = bed.bundle(&Spec::new())?;
        let id = bundle.id.as_str();
        let namespace = format!("--namespace={}", bed.namespace);
        let args: &[&str] = match form {
            0 => {
                &[&namespace, "--address", &grpc, "-id", id, "-debug", "-publish-binary=containerd", "start"]
            }
            _ => &["-namespace", &bed.namespace, "--debug=true", "-address", &grpc, "--id", id, "start"],
        };
        // The daemon holds the log open; a shim may wait for that.
        let _log = fs::OpenOptions::new().read(true).write(true).open(bundle.dir.join("log"))?;
        let ran = calls(bed, args, &bundle.dir)?.ok("start")?;
        let answer = read_answer(Era::V2_0, &ran.output)?;
        let client = Client::connect(&answer.address)?;
        let request = containerd_shim_protos::api::ShutdownRequest::default();
        let asked =
            client.begin(service(answer.version), "Shutdown", request.write_to_bytes().unwrap_or_default());
        let _closed: Result<containerd_shim_protos::api::Empty, _> = asked.answer(PATIENCE);
        bed.until("the socket to go", || Ok((!socket_path(&answer.address).exists()).then_some(())))?;
    }
    Ok(())
}

fn unknown_flag(bed: &Bed<'_>) -> Outcome {
    let ran = calls(bed, &["-namespace", "x", "-no-such-flag", "start"], bed.dir())?;
    same("exit code", ran.code, 2)?;
    check(ran.text().contains("no-such-flag"), || {
        format!("it does not name the flag: {}", brief(&ran.text()))
    })
}

fn no_namespace(bed: &Bed<'_>) -> Outcome {
    let bundle = bed.bundle(&Spec::new())?;
    for action in ["start", "delete"] {
        let ran = calls(bed, &["-id", &bundle.id, action], &bundle.dir)?;
        check(ran.code != 0, || format!("{action}: exit code 0, {}", brief(&ran.text())))?;
        check(ran.text().contains("namespace"), || format!("{action}: it says {}", brief(&ran.text())))?;
    }
    no_shim_of(bed, &bundle.id)
}

fn version(bed: &Bed<'_>) -> Outcome {
    let ran = calls(bed, &["-v"], bed.dir())?.ok("-v")?;
    check(ran.text().to_lowercase().contains("version"), || format!("it says {}", brief(&ran.text())))
}

fn info(bed: &Bed<'_>) -> Outcome {
    bed.subject.needs(Era::V2_0)?;
    let ran = calls(bed, &["-info"], bed.dir())?.ok("-info")?;
    let info = RuntimeInfo::parse_from_bytes(&ran.output)
        .or_else(|error| fail(format!("no RuntimeInfo: {error}: {}", brief(&ran.text()))))?;
    check(!info.name.is_empty(), || "no name".into())?;
    check(!info.version.version.is_empty(), || "no version".into())?;
    let features = info.features.get_or_default();
    check(features.type_url.ends_with("opencontainers/runtime-spec/1/features/Features"), || {
        format!("type of the features: {:?}", features.type_url)
    })?;
    let json: serde_json::Value = serde_json::from_slice(&features.value)?;
    check(json["ociVersionMin"].is_string(), || format!("features without ociVersionMin: {json}"))
}

fn socket_modes(bed: &Bed<'_>) -> Outcome {
    let pod = bed.pod(&bed.bundle(&Spec::new())?)?;
    let path = socket_path(&pod.answer.address);
    let socket = fs::metadata(path)?;
    check(socket.file_type().is_socket(), || "no socket".into())?;
    let (mode, dir) = (socket.permissions().mode() & 0o777, path.parent().unwrap_or(path));
    let dir_mode = fs::metadata(dir)?.permissions().mode() & 0o777;
    // A directory with 0755 and a socket with 0600 keep others out as well.
    check(mode == 0o600, || format!("the socket has mode {mode:o}"))?;
    check(dir_mode & 0o066 == 0, || format!("its directory has mode {dir_mode:o}"))?;
    check(path.as_os_str().len() < 107, || format!("its path has {} bytes", path.as_os_str().len()))
}

fn socket_dir(bed: &Bed<'_>) -> Outcome {
    bed.subject.needs(Era::V2_3)?;
    let bundle = bed.bundle(&Spec::new())?;
    let mut call = bed.call(&bundle);
    let dir = bed.dir().join("s");
    fs::create_dir(&dir)?;
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o700))?;
    call.socket_dir = Some(dir.clone());
    let pod = bed.pod_by(&call)?;
    same("directory of the socket", socket_path(&pod.answer.address).parent(), Some(dir.as_path()))
}

fn stale_socket(bed: &Bed<'_>) -> Outcome {
    let bundle = bed.bundle(&Spec::new())?;
    let first = bed.pod(&bundle)?;
    first.crash()?;
    check(socket_path(&first.answer.address).exists(), || "the socket of a killed shim went away".into())?;
    let second = bed.pod(&bundle)?;
    check(second.pid != first.pid, || "the dead shim answered".into())?;
    same("address", &second.answer.address, &first.answer.address)
}

fn second_start(bed: &Bed<'_>) -> Outcome {
    let bundle = bed.bundle(&Spec::new())?;
    let first = bed.pod(&bundle)?;
    let answer = read_answer(bed.subject.era, &bed.call(&bundle).start()?.ok("start")?.output)?;
    same("address", &answer.address, &first.answer.address)?;
    let client = Client::connect(&answer.address)?;
    let connected: ConnectResponse =
        granted("Connect", client.call(service(answer.version), "Connect", &ConnectRequest::default()))?;
    same("pid of the shim", connected.shim_pid, first.pid)
}

fn daemon(bed: &Bed<'_>) -> Outcome {
    let bundle = bed.bundle(&Spec::new())?;
    let pod = bed.pod(&bundle)?;
    for fd in 0..3 {
        let target = fs::read_link(format!("/proc/{}/fd/{fd}", pod.pid))?;
        // stderr may go to the log that containerd reads.
        let log = fd == 2 && target == bundle.dir.join("log");
        check(target == Path::new("/dev/null") || log, || format!("fd {fd} is {}", target.display()))?;
    }
    let stat = fs::read_to_string(format!("/proc/{}/stat", pod.pid))?;
    let fields: Vec<&str> = stat.rsplit_once(") ").map_or("", |(_, rest)| rest).split(' ').collect();
    let number = |at: usize| fields.get(at).and_then(|field| field.parse::<u32>().ok());
    same("process group", number(2), Some(pod.pid))?;
    same("controlling terminal", number(4), Some(0))?;
    let line = fs::read(format!("/proc/{}/cmdline", pod.pid))?;
    let line = String::from_utf8_lossy(&line).replace('\0', " ");
    for word in ["-namespace", bed.namespace.as_str(), "-id", bundle.id.as_str(), "-address"] {
        check(line.contains(word), || format!("its command line lacks {word}: {line}"))?;
    }
    Ok(())
}

fn oom_score(bed: &Bed<'_>) -> Outcome {
    let pod = bed.pod(&bed.bundle(&Spec::new())?)?;
    let score = |pid: &str| -> Outcome<i32> {
        let text = fs::read_to_string(format!("/proc/{pid}/oom_score_adj"))?;
        text.trim().parse().or_else(|_| fail(format!("oom_score_adj {text}")))
    };
    same("oom_score_adj", score(&pod.pid.to_string())?, (score("self")? + 1).min(1000))?;
    // A process that a container leaves behind in a shared pid namespace is reparented to the shim and reaped.
    let task = bed.started(&super::lifecycle::host_pids().args(&["/probe", "leave"]))?;
    same("exit status", task.exit("")?, 0)?;
    granted("Delete", task.delete("")).map(drop)
}

fn foreign_user(bed: &Bed<'_>) -> Outcome {
    let pod = bed.pod(&bed.bundle(&Spec::new())?)?;
    let path = socket_path(&pod.answer.address).to_owned();
    // Opens the path, so that only the shim's own check is left.
    let dir = path.parent().unwrap_or(&path).to_owned();
    let (dir_mode, mode) = (fs::metadata(&dir)?.permissions(), fs::metadata(&path)?.permissions());
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o755))?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666))?;
    // Credentials are those of the connecting thread.
    let connected = std::thread::scope(|scope| {
        let connecting = scope.spawn(|| {
            let (uid, gid) = (rustix::process::Uid::from_raw(1000), rustix::process::Gid::from_raw(1000));
            rustix::thread::set_thread_res_gid(gid, gid, gid)?;
            rustix::thread::set_thread_res_uid(uid, uid, uid)?;
            UnixStream::connect(&path)
        });
        connecting.join()
    });
    fs::set_permissions(&path, mode)?;
    fs::set_permissions(&dir, dir_mode)?;
    let Ok(connected) = connected else { return fail("the connecting thread panicked") };
    let client = Client::over(connected?)?;
    let answer: Result<ConnectResponse, _> =
        client.call(service(pod.answer.version), "Connect", &ConnectRequest::default());
    check(answer.is_err(), || "user 1000 got an answer".into())?;
    granted(
        "Connect of root afterwards",
        pod.ask::<_, ConnectResponse>("Connect", &ConnectRequest::default()),
    )
    .map(drop)
}

/// A cgroup with this name in every hierarchy that processes matter for, and its path.
fn make_cgroup(bed: &Bed<'_>, name: &str) -> Outcome<(String, Vec<std::path::PathBuf>)> {
    let path = format!("{}/{name}", crate::cgroup::parent());
    let mut made = Vec::new();
    for hierarchy in &bed.host.hierarchies {
        let dir = hierarchy.join(path.trim_start_matches('/'));
        fs::create_dir_all(&dir)?;
        for file in ["cpuset.cpus", "cpuset.mems"] {
            let above = dir.parent().unwrap_or(&dir);
            for (at, from) in [(above, above.parent().unwrap_or(above)), (dir.as_path(), above)] {
                if at.join(file).exists() && fs::read_to_string(at.join(file))?.trim().is_empty() {
                    fs::write(at.join(file), fs::read_to_string(from.join(file))?)?;
                }
            }
        }
        made.push(dir);
    }
    Ok((path, made))
}

fn shim_cgroup(bed: &Bed<'_>) -> Outcome {
    let bundle = bed.bundle(&Spec::new())?;
    let (path, made) = make_cgroup(bed, &format!("shim-{}", bundle.id))?;
    let mut call = bed.call(&bundle);
    let options = Options { shim_cgroup: path.clone(), ..Options::new() };
    call.options = Some(any("containerd.runc.v1.Options", options.write_to_bytes().unwrap_or_default()));
    let answer = shim_cgroup_of(bed, &call, &path);
    for dir in &made {
        bed.until("the shim's cgroup to be empty", || Ok(fs::remove_dir(dir).is_ok().then_some(())))?;
    }
    answer
}

fn shim_cgroup_of(bed: &Bed<'_>, call: &crate::shim::launch::Call, path: &str) -> Outcome {
    let pod = bed.pod_by(call)?;
    let groups = fs::read_to_string(format!("/proc/{}/cgroup", pod.pid))?;
    let _closed = pod.shutdown();
    check(pod.ends(PATIENCE)?, || "Shutdown did not end it".into())?;
    let inside = groups.lines().filter(|line| line.ends_with(path)).count();
    check(inside > 0, || format!("the shim is not in {path}: {groups}"))?;
    for line in groups.lines().filter(|line| !line.ends_with(path)) {
        // Hierarchies without a controller have no limits; the v2 one beside v1 may be left alone.
        let names = line.split(':').nth(1).unwrap_or("");
        check(names.is_empty() || names.starts_with("name="), || {
            format!("the shim is not in {path}: {line}")
        })?;
    }
    Ok(())
}

fn missing_shim_cgroup(bed: &Bed<'_>) -> Outcome {
    let bundle = bed.bundle(&Spec::new())?;
    let mut call = bed.call(&bundle);
    let options = Options { shim_cgroup: "/no-such-cgroup-here".into(), ..Options::new() };
    call.options = Some(any("containerd.runc.v1.Options", options.write_to_bytes().unwrap_or_default()));
    let ran = call.start()?;
    check(ran.code != 0, || "the start succeeded".into())?;
    check(ran.text().contains("no-such-cgroup-here"), || {
        format!("it does not name it: {}", brief(&ran.text()))
    })?;
    no_shim_of(bed, &bundle.id)
}

/// No process has this id in its arguments; a killed one may take a moment to go.
fn no_shim_of(bed: &Bed<'_>, id: &str) -> Outcome {
    bed.until("the shim's process to go", || {
        let own = fs::read_dir("/proc")?.flatten().find(|entry| {
            let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            line.split(|byte| *byte == 0).any(|word| word == id.as_bytes())
        });
        Ok(own.is_none().then_some(()))
    })
}

fn no_config(bed: &Bed<'_>) -> Outcome {
    let bundle = bed.bundle(&Spec::new())?;
    fs::write(bundle.dir.join("config.json"), "{")?;
    let _log = fs::OpenOptions::new().read(true).write(true).open(bundle.dir.join("log"))?;
    let ran = bed.call(&bundle).start()?;
    if ran.code == 0 {
        // The shim that starts has to serve.
        let answer = read_answer(bed.subject.era, &ran.output)?;
        let client = Client::connect(&answer.address)?;
        let request = containerd_shim_protos::api::ShutdownRequest::default();
        let asked =
            client.begin(service(answer.version), "Shutdown", request.write_to_bytes().unwrap_or_default());
        let _closed: Result<containerd_shim_protos::api::Empty, _> = asked.answer(PATIENCE);
        return bed.until("the socket to go", || Ok((!socket_path(&answer.address).exists()).then_some(())));
    }
    no_shim_of(bed, &bundle.id)
}

fn shutdown(bed: &Bed<'_>) -> Outcome {
    let pod = bed.pod(&bed.bundle(&Spec::new())?)?;
    let _closed = pod.shutdown();
    check(pod.ends(PATIENCE)?, || "it runs on".into())?;
    check(!socket_path(&pod.answer.address).exists(), || "the socket is left".into())
}

fn terminated(bed: &Bed<'_>) -> Outcome {
    let pod = bed.pod(&bed.bundle(&Spec::new())?)?;
    pod.kill(Signal::TERM);
    check(pod.ends(PATIENCE)?, || "it runs on".into())?;
    // Some remove the socket only on Shutdown; the next start takes over what is left.
    let _left = fs::remove_file(socket_path(&pod.answer.address));
    Ok(())
}
