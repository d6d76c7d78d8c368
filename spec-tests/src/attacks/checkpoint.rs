//! Checkpoints from an attacker who wants more than the configuration gives.

use crate::criu::Counter;
use crate::observe::capability_set;
use crate::outcome::{Outcome, check};
use crate::{Bed, Spec, Test, root, test};
use serde_json::json;
use std::fs;
use std::os::unix::fs::symlink;
use std::time::Duration;

const SYS_ADMIN: u64 = 1 << 21;

pub(super) const TESTS: &[Test] = &[
    test("S40", "processes of a checkpoint do not bring capabilities along (CVE-2026-18107)", |bed| {
        let strong = Spec::new().capabilities(&["CAP_SYS_ADMIN", "CAP_KILL"]);
        weaker(
            bed,
            &strong,
            |spec| spec.capabilities(&["CAP_KILL"]),
            |status| {
                let bounding = capability_set(status, "CapBnd")?;
                check(bounding & SYS_ADMIN == 0, || format!("CapBnd {bounding:x}"))
            },
        )
    }),
    root("S40", "processes of a checkpoint do not bring ids along (CVE-2026-18107)", |bed| {
        weaker(
            bed,
            &Spec::new(),
            |spec| spec.set("/process/user", json!({"uid": 1000, "gid": 1000})),
            |status| {
                for ids in ["Uid", "Gid"] {
                    let held = status["status"][ids].as_str().unwrap_or_default().to_owned();
                    check(held.split_whitespace().all(|id| id == "1000"), || format!("{ids} {held}"))?;
                }
                Ok(())
            },
        )
    }),
    test("S40", "processes of a checkpoint do not go without no_new_privs", |bed| {
        let strong = Spec::new().set("/process/noNewPrivileges", false);
        weaker(
            bed,
            &strong,
            |spec| spec.set("/process/noNewPrivileges", true),
            |status| {
                let flag = &status["status"]["NoNewPrivs"];
                check(flag == "1", || format!("NoNewPrivs {flag}"))
            },
        )
    }),
    test("S40", "processes of a checkpoint do not go without the seccomp filter (CVE-2026-92574)", |bed| {
        let filter = json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"],
            "syscalls": [{"names": ["mkdirat", "mkdir"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1}]});
        weaker(
            bed,
            &Spec::new(),
            |spec| spec.set("/linux/seccomp", filter),
            |status| {
                let mode = &status["status"]["Seccomp"];
                check(mode == "2", || format!("Seccomp {mode}"))
            },
        )
    }),
    test("S40", "a checkpoint with the configured filter is restored with it", |bed| {
        let filter = json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"],
            "syscalls": [{"names": ["mkdirat", "mkdir"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1}]});
        let counter = Counter::start(bed, &Spec::new().set("/linux/seccomp", filter))?;
        counter.checkpoint(&[])?.ok()?;
        counter.restore(&[])?.ok()?;
        counter.runs()?;
        let pid = counter.container().pid()?.as_raw_pid();
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        check(status.contains("Seccomp:\t2"), || "no filter".into())
    }),
    test("S40", "a mount that was writable is not so where the configuration says ro", |bed| {
        let source = bed.dir().join("volume");
        fs::create_dir(&source)?;
        let source = source.to_string_lossy().into_owned();
        let with = |options: &[&str]| Spec::new().mount("/vol", "bind", &source, options);
        let at = with(&[]).0["mounts"].as_array().map_or(0, Vec::len) - 1;
        weaker(
            bed,
            &with(&["bind"]),
            |spec| spec.set(&format!("/mounts/{at}/options"), json!(["bind", "ro"])),
            |report| {
                let mount = crate::observe::mount_at(report, "/vol")?;
                check(crate::observe::has_flag(mount, "ro"), || format!("writable: {mount}"))
            },
        )
    }),
    test("S40", "a path that was readable is not so where the configuration masks it", |bed| {
        let strong = Spec::new().without("/linux/maskedPaths");
        weaker(
            bed,
            &strong,
            |spec| spec.set("/linux/maskedPaths", json!(["/proc/keys", "/proc/timer_list"])),
            |report| crate::observe::mount_at(report, "/proc/keys").map(drop),
        )
    }),
    test("S41", "a link in the images is not followed when criu logs (CVE-2026-53489)", |bed| {
        let mut counter = Counter::start(bed, &Spec::new())?;
        counter.checkpoint(&[])?.ok()?;
        let outside = bed.dir().join("outside");
        fs::write(&outside, "precious")?;
        symlink(&outside, counter.images.join("restore.log"))?;
        counter.work = counter.images.clone();
        counter.restore(&[])?;
        check(fs::read_to_string(&outside)? == "precious", || "the log went through the link".into())
    }),
    test("S41", "a link in the images does not bring a file of the host into memory", |bed| {
        let counter = Counter::start(bed, &Spec::new())?;
        counter.checkpoint(&[])?.ok()?;
        let pages = counter.images.join("pages-1.img");
        let moved = bed.dir().join("pages");
        fs::rename(&pages, &moved)?;
        symlink(&moved, &pages)?;
        counter.restore(&[])?.refused(&[])?;
        counter.is_gone()
    }),
    test("S41", "a pipe in the place of descriptors.json does not hang a restore", |bed| {
        let counter = Counter::start(bed, &Spec::new())?;
        counter.checkpoint(&[])?.ok()?;
        let file = counter.images.join("descriptors.json");
        fs::remove_file(&file)?;
        nix::unistd::mkfifo(&file, nix::sys::stat::Mode::S_IRWXU).map_err(std::io::Error::from)?;
        let running = counter.restore_command(&["--detach"]).spawn()?;
        running.finish(Duration::from_secs(10))?.refused(&["descriptors.json"])?;
        counter.is_gone()
    }),
    root("S41", "a device in the place of an image is opened neither by the runtime nor by criu", |bed| {
        for name in ["descriptors.json", "inventory.img", "pagemap-1.img"] {
            let counter = Counter::start(bed, &Spec::new())?;
            counter.checkpoint(&[])?.ok()?;
            let file = counter.images.join(name);
            fs::remove_file(&file)?;
            super::lookups::log_device_at(&file)?;
            let opens = super::lookups::Opens::of(&file)?;
            counter.restore(&[])?.refused(&[])?;
            opens.none(&format!("the device in the place of {name}"))?;
            counter.is_gone()?;
        }
        Ok(())
    }),
    test("S42", "a link in the image does not make criu mount something else (CVE-2026-119101)", |bed| {
        let (volume, secret) = (bed.dir().join("volume"), bed.dir().join("secret"));
        for dir in [&volume, &secret] {
            fs::create_dir(dir)?;
        }
        fs::write(secret.join("key"), "secret")?;
        // Where the first mount lands, its name in criu's syntax is that of a mount on /a with the source secret.
        let spec = Spec::new().mount("/link", "bind", &volume.to_string_lossy(), &["bind"]).args(&[
            "/probe",
            "count",
            "/data/count",
        ]);
        let target = format!("a]:{}", secret.to_string_lossy().trim_start_matches('/'));
        let counter = Counter::start_as(bed, &spec, |bundle| {
            bundle.directory(&target)?;
            symlink(&target, bundle.rootfs.join("link"))
        })?;
        // Refusing the checkpoint is as good as restoring it correctly.
        if !counter.checkpoint(&[])?.status.success() {
            return counter.runs();
        }
        if counter.restore(&[])?.status.success() {
            let pid = counter.container().pid()?.as_raw_pid();
            let table = fs::read_to_string(format!("/proc/{pid}/mountinfo"))?;
            check(!table.contains("/secret "), || "the secret is mounted in the container".into())?;
        }
        Ok(())
    }),
];

/// Restores a checkpoint of `strong` with a stricter configuration: the runtime may refuse it, or restrict it.
fn weaker(
    bed: &Bed<'_>,
    strong: &Spec,
    restrict: impl FnOnce(Spec) -> Spec,
    restricted: impl FnOnce(&serde_json::Value) -> Outcome,
) -> Outcome {
    let counter = Counter::start(bed, strong)?;
    counter.checkpoint(&[])?.ok()?;
    let loose = Spec(counter.bundle.spec()?);
    counter.bundle.write_spec(&restrict(loose.clone()))?;
    let called = counter.restore(&[])?;
    if !called.status.success() {
        counter.is_gone()?;
        // Otherwise it was refused for another reason.
        counter.bundle.write_spec(&loose)?;
        counter.restore(&[])?.ok()?;
        return counter.runs();
    }
    let pid = counter.container().pid()?.as_raw_pid();
    restricted(&report_of(pid)?)
}

/// What the kernel says about a process, in the form of the probe's report.
fn report_of(pid: i32) -> Outcome<serde_json::Value> {
    let status: serde_json::Map<String, serde_json::Value> =
        fs::read_to_string(format!("/proc/{pid}/status"))?
            .lines()
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_owned(), value.trim().into()))
            .collect();
    let mounts: Vec<serde_json::Value> = fs::read_to_string(format!("/proc/{pid}/mountinfo"))?
        .lines()
        .map(|line| {
            let fields: Vec<&str> = line.split(' ').collect();
            json!({"destination": fields[4], "options": fields[5].split(',').collect::<Vec<_>>()})
        })
        .collect();
    Ok(json!({"status": status, "mounts": mounts}))
}
