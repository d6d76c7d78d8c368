//! Images whose files are not what their names suggest.

use crate::bed::script_spec;
use crate::bundle::write_program;
use crate::observe::capability_set;
use crate::outcome::{Outcome, check, fail, same};
use crate::{Bed, Bundle, Spec, Test, test};
use rustix::fs::CWD;
use serde_json::json;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

pub(super) const TESTS: &[Test] = &[
    test("S1", "an image whose /dev is a symlink makes no nodes on the host (CVE-2026-41579)", |bed| {
        let outside = outside(bed)?;
        let spec =
            Spec::new().no_mount("/dev").no_mount("/dev/pts").no_mount("/dev/shm").no_mount("/dev/mqueue");
        let bundle = bed.bundle(&spec.args(&["/probe", "true"]))?;
        bundle.link("dev", &outside)?;
        // Refusing the image is as good as staying inside.
        bed.run_bundle(&bundle)?;
        untouched(&outside)
    }),
    test("S1", "an image whose /dev is a symlink with dots makes no nodes on the host", |bed| {
        let outside = outside(bed)?;
        let spec =
            Spec::new().no_mount("/dev").no_mount("/dev/pts").no_mount("/dev/shm").no_mount("/dev/mqueue");
        let bundle = bed.bundle(&spec.args(&["/probe", "true"]))?;
        bundle.link("dev", "../../outside")?;
        bed.run_bundle(&bundle)?;
        untouched(&outside)
    }),
    test(
        "S2",
        "an image whose /dev/console is a symlink makes no file on the host (CVE-2026-88264)",
        |bed| {
            let outside = outside(bed)?;
            let source = bed.dir().join("dev");
            fs::create_dir(&source)?;
            std::os::unix::fs::symlink(outside.join("made"), source.join("console"))?;
            let spec = Spec::new()
                .no_mount("/dev")
                .no_mount("/dev/pts")
                .no_mount("/dev/shm")
                .no_mount("/dev/mqueue");
            let spec = spec
                .mount("/dev", "bind", &source.to_string_lossy(), &["bind"])
                .set("/process/terminal", true);
            let bundle = bed.bundle(&spec.args(&["/probe", "true"]))?;
            let receiver = crate::console::Receiver::listen(bed.dir(), "console")?;
            let called = bed.create_with_console(&bundle, &receiver)?;
            if called.status.success() {
                bed.call(["start", &bundle.id])?;
            }
            untouched(&outside)
        },
    ),
    test("S3", "a fake /dev/null in the image does not unmask a path (CVE-2025-31133)", |bed| {
        let source = bed.dir().join("dev");
        fs::create_dir(&source)?;
        fs::write(source.join("null"), "fake")?;
        masked_with_dev(bed, &source)
    }),
    test("S3", "a /dev/null that is a symlink does not unmask a path (CVE-2025-31133)", |bed| {
        let source = bed.dir().join("dev");
        fs::create_dir(&source)?;
        std::os::unix::fs::symlink("/etc/target", source.join("null"))?;
        masked_with_dev(bed, &source)
    }),
    test("S4", "an image whose /proc is a symlink is refused or stays inside (CVE-2019-19921)", |bed| {
        for name in ["proc", "sys"] {
            let bundle =
                bed.bundle(&Spec::new().args(&["/probe", "try", "list", &format!("/data/{name}")]))?;
            bundle.directory(&format!("data/{name}"))?;
            bundle.link(name, format!("data/{name}"))?;
            crate::checks::finds(bed, &bundle, &["symbolic link"])?;
            let called = bed.run_bundle(&bundle)?;
            // A volume with a name that the container chose must not become the /proc that the runtime trusts.
            called.refused(&["proc", "sys", "symlink", "directory"])?;
        }
        Ok(())
    }),
    test(
        "S5",
        "a mount destination through a symlink of a volume stays in the rootfs (CVE-2021-30465)",
        |bed| {
            let outside = outside(bed)?;
            let volume = bed.dir().join("volume");
            fs::create_dir(&volume)?;
            std::os::unix::fs::symlink(&outside, volume.join("link"))?;
            let spec = Spec::new().mount("/data", "bind", &volume.to_string_lossy(), &["rbind"]).mount(
                "/data/link/deep",
                "tmpfs",
                "tmpfs",
                &[],
            );
            bed.run(&spec.args(&["/probe", "true"]))?;
            untouched(&outside)
        },
    ),
    test(
        "S5",
        "a mount destination that is swapped with a symlink meanwhile stays in the rootfs, a thousand times",
        mount_race,
    ),
    test(
        "S6",
        "a file over the program of the runtime through /proc/self/exe stays out (CVE-2019-5736)",
        own_binary,
    ),
    test("S6", "a program that is #!/proc/self/exe does not run the runtime again", |bed| {
        let bundle = bed.bundle(&Spec::new().args(&["/data/loop"]))?;
        bundle.file("data/loop", "#!/proc/self/exe\n")?;
        fs::set_permissions(bundle.rootfs.join("data/loop"), fs::Permissions::from_mode(0o755))?;
        let called = bed.run_bundle(&bundle)?;
        let text = format!("{}{}", called.stdout, called.stderr).to_lowercase();
        check(!called.status.success() || !text.contains("usage"), || {
            "the runtime ran inside the container".into()
        })
    }),
    test(
        "S7",
        "a working directory that is a symlink to a descriptor of the runtime is refused (CVE-2024-21626)",
        |bed| {
            for fd in 3..20 {
                let spec = Spec::new().set("/process/cwd", format!("/proc/self/fd/{fd}"));
                let called = bed.run(&spec.args(&["/probe", "try", "list", "..", "--", "list", "../.."]))?;
                check(!called.status.success(), || {
                    format!("/proc/self/fd/{fd} became the working directory: {}", called.stdout)
                })?;
            }
            Ok(())
        },
    ),
    test("S8", "a hugepage size or a unified key with dots is refused (GHSA-5g49-rx9x-qfc6)", |bed| {
        let limits = json!([{"pageSize": "../../../memory/x", "limit": 1}]);
        bed.refuses(
            &Spec::new().set("/linux/resources/hugepageLimits", limits),
            &["pageSize", "hugetlb", "../../../memory/x"],
        )?;
        let unified = json!({"../cgroup.procs": "1"});
        bed.refuses(&Spec::new().set("/linux/resources/unified", unified), &["unified", "../cgroup.procs"])
    }),
    test("S9", "default capabilities do not include DAC_READ_SEARCH (shocker)", |bed| {
        let dir = bed.dir().join("spec");
        fs::create_dir(&dir)?;
        bed.command(["spec"]).cwd(&dir).call()?.ok()?;
        let text = fs::read_to_string(dir.join("config.json"))?;
        check(!text.contains("DAC_READ_SEARCH") && !text.contains("SYS_ADMIN"), || {
            "spec gives dangerous capabilities".into()
        })
    }),
    test("S10", "a user that is not root gets no ambient capability unasked (CVE-2016-8867)", |bed| {
        let spec = Spec::new()
            .without("/process/capabilities/ambient")
            .set("/process/user", json!({"uid": 1000, "gid": 1000}));
        let seen = bed.report(&spec)?;
        same("effective", capability_set(&seen, "CapEff")?, 0)
    }),
    test("S11", "a read-only cgroup mount is read-only in every hierarchy (CVE-2023-25809)", |bed| {
        let spec = Spec::new().capabilities(&["CAP_DAC_OVERRIDE"]);
        let spec = spec.mount(
            "/sys/fs/cgroup",
            "cgroup",
            "cgroup",
            &["nosuid", "noexec", "nodev", "relatime", "ro"],
        );
        let answers = bed.tries(&spec, &[&["list", "/sys/fs/cgroup"]])?;
        let names: Vec<String> =
            crate::observe::strings(answers[0].worked()?).iter().map(ToString::to_string).collect();
        let paths: Vec<String> = names.iter().map(|name| format!("/sys/fs/cgroup/{name}/made")).collect();
        let script: Vec<Vec<&str>> = paths.iter().map(|path| vec!["mkdir", path.as_str()]).collect();
        let script: Vec<&[&str]> = script.iter().map(Vec::as_slice).collect();
        bed.tries(&spec, &script)?.iter().try_for_each(|answer| answer.failed(&[]))
    }),
    test("S12", "a symlink of the image at a default link of /dev stays inside", |bed| {
        let outside = outside(bed)?;
        let spec =
            Spec::new().no_mount("/dev").no_mount("/dev/pts").no_mount("/dev/shm").no_mount("/dev/mqueue");
        let bundle = bed.bundle(&spec.args(&["/probe", "true"]))?;
        for name in ["null", "ptmx", "tty", "shm"] {
            std::os::unix::fs::symlink(outside.join(name), bundle.rootfs.join("dev").join(name))?;
        }
        bed.run_bundle(&bundle)?;
        untouched(&outside)
    }),
    test("S13", "a tmpfs over /proc/self/attr is refused, or is not what the runtime writes to", |bed| {
        bed.refuses(&Spec::new().mount("/proc/self/attr", "tmpfs", "tmpfs", &[]), &["/proc"])
    }),
    test("S14", "a symlink at a masked path does not move the mask to the host", |bed| {
        let outside = outside(bed)?;
        fs::write(outside.join("file"), "text")?;
        let bundle = bed.bundle(
            &Spec::new().set("/linux/maskedPaths", json!(["/data/link"])).args(&["/probe", "true"]),
        )?;
        bundle.link("data/link", outside.join("file"))?;
        bed.run_bundle(&bundle)?;
        same("file on the host", fs::read_to_string(outside.join("file"))?, "text")?;
        fs::remove_file(outside.join("file"))?;
        untouched(&outside)
    }),
    test("S15", "tmpcopyup does not follow symlinks out of the image", |bed| {
        let outside = outside(bed)?;
        fs::write(outside.join("secret"), "host secret")?;
        let spec = Spec::new().mount("/data", "tmpfs", "tmpfs", &["tmpcopyup"]);
        let bundle = bed.bundle(&script_spec(spec, &[&["read", "/data/secret"]]))?;
        bundle.link("data", &outside)?;
        let called = bed.run_bundle(&bundle)?;
        check(!called.stdout.contains("host secret"), || "a file of the host was copied".into())
    }),
    test("S16", "a container cannot escape its device rules by a node of its own", |bed| {
        let spec = Spec::new().capabilities(&["CAP_MKNOD"]);
        let answers = bed.tries(&spec, &[&["mknod", "/tmp/kmsg", "c", "1", "11"], &["open", "/tmp/kmsg"]])?;
        answers[1].failed(&[])
    }),
    test("S63", "a link of the image in the place of a read-only path uncovers no masked one", |bed| {
        let spec = Spec::new()
            .set("/linux/maskedPaths", json!(["/data/secret"]))
            .set("/linux/readonlyPaths", json!(["/data/link"]));
        let bundle =
            bed.bundle(&script_spec(spec, &[&["read", "/../data/secret"], &["write", "/new", "text"]]))?;
        bundle.file("data/secret", "secret")?;
        bundle.link("data/link", "/")?;
        let called = bed.run_bundle(&bundle)?;
        if !called.status.success() {
            return Ok(());
        }
        let seen = crate::bed::answers(&called)?;
        check(seen[0].value != "secret", || "the masked file can be read above the root".into())?;
        check(seen[1].errno != 0, || "the root that the path leads to can be written".into())
    }),
    test(
        "S63",
        "a /proc of the image leaves neither the root nor a bind writable (CVE-2026-115521)",
        |bed| {
            let source = bed.dir().join("source");
            fs::create_dir(&source)?;
            let spec = Spec::new()
                .set("/root/readonly", true)
                .no_mount("/proc")
                .set("/linux/maskedPaths", json!([]))
                .set("/linux/readonlyPaths", json!(["/data"]))
                .mount("/mnt", "bind", &source.to_string_lossy(), &["rbind", "ro"]);
            let script: &[&[&str]] =
                &[&["write", "/new", "x"], &["write", "/mnt/new", "x"], &["write", "/data/new", "x"]];
            for target in ["/tmp", "/run", "../../../tmp"] {
                let bundle = bed.bundle(&script_spec(spec.clone(), script))?;
                for process in ["self", "thread-self", "1"] {
                    bundle.directory(&format!("proc/{process}/fd"))?;
                    for number in 0..32 {
                        bundle.link(&format!("proc/{process}/fd/{number}"), target)?;
                    }
                }
                let called = bed.run_bundle(&bundle)?;
                if called.status.success() {
                    crate::bed::answers(&called)?.iter().try_for_each(|answer| answer.failed(&[30]))?;
                }
            }
            Ok(())
        },
    ),
    test("S63", "a link of the image leads no mount into procfs, nor over the root", |bed| {
        let volume = bed.dir().join("volume");
        fs::create_dir_all(&volume)?;
        for place in ["/proc/sys", "/proc", "/"] {
            for name in ["data/link", "process"] {
                let destination = format!("/{name}");
                let spec = Spec::new().mount(&destination, "bind", &volume.to_string_lossy(), &["rbind"]);
                let bundle = bed.bundle(&spec.args(&["/probe", "true"]))?;
                bundle.link(name, place)?;
                bed.run_bundle(&bundle)?.refused(&[])?;
            }
        }
        Ok(())
    }),
];

/// A host directory that must not be touched.
pub(super) fn outside(bed: &Bed<'_>) -> Outcome<PathBuf> {
    let dir = bed.dir().join("outside");
    fs::create_dir(&dir)?;
    Ok(dir)
}

pub(super) fn untouched(dir: &Path) -> Outcome {
    let names: Vec<_> =
        fs::read_dir(dir)?.flatten().map(|e| e.file_name().to_string_lossy().into_owned()).collect();
    if names.is_empty() { Ok(()) } else { fail(format!("made on the host: {}", names.join(" "))) }
}

/// A masked file of the image must stay hidden whatever the container's /dev is.
fn masked_with_dev(bed: &Bed<'_>, dev: &Path) -> Outcome {
    let spec = Spec::new().no_mount("/dev").no_mount("/dev/pts").no_mount("/dev/shm").no_mount("/dev/mqueue");
    let spec = spec
        .mount("/dev", "bind", &dev.to_string_lossy(), &["bind"])
        .set("/linux/maskedPaths", json!(["/data/secret"]));
    let bundle = bed.bundle(&script_spec(
        spec,
        &[&["read", "/data/secret"], &["overwrite", "/data/secret", "owned"], &["read", "/data/secret"]],
    ))?;
    bundle.file("data/secret", "secret")?;
    bundle.file("etc/target", "target")?;
    let called = bed.run_bundle(&bundle)?;
    if !called.status.success() {
        return Ok(());
    }
    let answers = crate::bed::answers(&called)?;
    check(answers[1].errno != 0 || answers[2].value == "", || {
        format!("the masked path can be written: {}", answers[2].value)
    })?;
    check(answers[0].value != "fake" && answers[0].value != "target", || {
        format!("the mask shows {}", answers[0].value)
    })
}

/// Mounts per container of the race, and how many must have been tried in total.
const RACING: usize = 100;
const TRIES: usize = 1000;

/// Every mount of every container is one attempt: its destination leads through a directory that another process keeps
/// swapping with a symbolic link to the host.
fn mount_race(bed: &Bed<'_>) -> Outcome {
    let outside = outside(bed)?;
    let volume = bed.dir().join("volume");
    fs::create_dir_all(volume.join("a"))?;
    std::os::unix::fs::symlink(&outside, volume.join("b"))?;
    let stop = AtomicBool::new(false);
    let mut spec =
        Spec::new().mount("/data", "bind", &volume.to_string_lossy(), &["rbind"]).args(&["/probe", "true"]);
    for number in 0..RACING {
        spec = spec.mount(&format!("/data/a/made{number}"), "tmpfs", "tmpfs", &["size=4k"]);
    }
    let bundle = bed.bundle(&spec)?;
    let (tries, swaps) = std::thread::scope(|scope| {
        let swapper = scope.spawn(|| {
            let (a, b) = (volume.join("a"), volume.join("b"));
            let mut swaps = 0_usize;
            while !stop.load(Ordering::Relaxed) {
                let flags = rustix::fs::RenameFlags::EXCHANGE;
                swaps += usize::from(rustix::fs::renameat_with(CWD, &a, CWD, &b, flags).is_ok());
            }
            swaps
        });
        let tries = race(bed, &bundle, &outside);
        stop.store(true, Ordering::Relaxed);
        (tries, swapper.join().unwrap_or(0))
    });
    let tries = tries?;
    check(swaps > tries, || format!("the directory was exchanged {swaps} times only"))
}

/// Runs containers until there have been enough attempts, or too many have failed; returns the number of attempts.
fn race(bed: &Bed<'_>, bundle: &Bundle, outside: &Path) -> Outcome<usize> {
    let (mut tries, mut failures) = (0, 0);
    let full = bed.rounds(TRIES);
    while tries < full && failures < TRIES / RACING * 4 {
        // It may refuse a destination, which ends that container; it must not reach the host.
        let called = bed.run_bundle(bundle)?;
        if called.status.success() {
            tries += RACING;
        } else {
            tries += 1;
            failures += 1;
        }
        untouched(outside)?;
    }
    Ok(tries)
}

/// The runtime is copied first, so that a runtime with the flaw only loses its copy.
fn own_binary(bed: &Bed<'_>) -> Outcome {
    let copy = bed.dir().join("runtime-copy");
    fs::copy(&bed.runtime.path, &copy)?;
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o755))?;
    let before = fs::read(&copy)?;
    let bundle: Bundle = bed.bundle(&Spec::new().args(&["/proc/self/exe", "--version"]))?;
    write_program(&bundle.rootfs.join("victim"))?;
    let call = |words: &[&str]| {
        let root = bed.root();
        crate::runtime::Invocation::new(&copy, bed.dir())
            .args(["--root".as_ref(), root.as_os_str()])
            .args(&bed.runtime.globals)
            .args(words)
            .call()
    };
    // As the program of create: its first process waits with the runtime's own image, reachable through /proc.
    let wait = bed.bundle(
        &Spec::new()
            .no_namespace("pid")
            .no_mount("/proc")
            .mount("/proc", "bind", "/proc", &["rbind"])
            .args(&["/probe", "wait"]),
    )?;
    call(&["create", "--bundle", &wait.dir.to_string_lossy(), &wait.id])?.ok()?;
    let state = call(&["state", &wait.id])?.ok()?.json()?;
    let exe = format!("/proc/{}/exe", state["pid"]);
    let same_file = fs::metadata(&exe)
        .and_then(|a| fs::metadata(&copy).map(|b| (a.dev(), a.ino()) == (b.dev(), b.ino())))
        .unwrap_or(false);
    if same_file {
        // The host's inode is visible; then at least no process inside may be able to write to it once it no longer
        // runs.
        let held = fs::File::open(&exe)?;
        call(&["delete", "--force", &wait.id])?.ok()?;
        let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&held));
        let mode = rustix::fs::fstatvfs(&held)?.f_flag;
        let read_only = mode.contains(rustix::fs::StatVfsMountFlags::RDONLY);
        check(read_only, || {
            format!("{path}: a waiting container shows the runtime's own inode on a writable mount")
        })?;
    } else {
        call(&["delete", "--force", &wait.id])?.ok()?;
    }
    let _refused = call(&["run", "--bundle", &bundle.dir.to_string_lossy(), &bundle.id])?;
    check(fs::read(&copy)? == before, || "the runtime's program was changed".into())
}
