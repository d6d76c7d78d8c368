//! What the runtime itself looks up in an image: a pipe must not stop it, a device must not be opened with the rights of
//! the host, a link must not lead it out, and a name without a value must not be filled in from its environment.

use super::image::{outside, untouched};
use super::watch::SECRET;
use crate::outcome::{Outcome, check, skip};
use crate::{Bundle, Spec, Test, root, test};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};
use serde_json::json;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

/// How long a call may take that meets a pipe.
const PATIENCE: Duration = Duration::from_secs(15);

pub(super) const TESTS: &[Test] = &[
    root("S27", "a device in the place of /etc/passwd or /etc/group is not opened, whoever looks", |bed| {
        for name in ["etc/passwd", "etc/group"] {
            let bundle = bed.bundle(&Spec::new().args(&["/probe", "wait"]))?;
            bundle.file("etc/passwd", "someone:x:1000:1000::/:/probe\n")?;
            bundle.file("etc/group", "some:x:1000:\n")?;
            let node = bundle.rootfs.join(name);
            fs::remove_file(&node)?;
            log_device_at(&node)?;
            let opens = Opens::of(&node)?;
            let container = bed.create(&bundle)?;
            container.start()?;
            for user in ["someone", "someone:some", "1000:some"] {
                let _refused = container.exec_with(&["--user", user], &["/probe", "true"])?;
            }
            opens.none(&format!("the device in the place of /{name}"))?;
            container.stop()?;
        }
        Ok(())
    }),
    test("S27", "a pipe in the place of /etc/passwd or /etc/group hangs nothing", |bed| {
        for name in ["etc/passwd", "etc/group"] {
            let bundle = bed.bundle(&Spec::new().args(&["/probe", "wait"]))?;
            bundle.file("etc/passwd", "someone:x:1000:1000::/:/probe\n")?;
            pipe_at(&bundle, name)?;
            let dir = bundle.dir.to_string_lossy().into_owned();
            let create = bed.command(["create", "--bundle", &dir, &bundle.id]);
            create.patience(PATIENCE).call()?.ok()?;
            let container = bed.adopt(&bundle);
            container.start()?;
            for user in ["someone", "0:some"] {
                let exec = bed.command(["exec", "--user", user, container.id(), "/probe", "true"]);
                let _refused = exec.patience(PATIENCE).call()?;
            }
            container.stop()?;
        }
        Ok(())
    }),
    test("S19", "a pipe of the image hangs nothing, wherever the configuration leads to it", |bed| {
        let source = bed.dir().join("source");
        fs::write(&source, "text")?;
        let source = source.to_string_lossy();
        let cases: [(&str, Spec); 9] = [
            ("the program", Spec::new().args(&["/data/pipe"])),
            ("the interpreter", Spec::new().args(&["/data/script"])),
            ("the working directory", Spec::new().set("/process/cwd", "/data/pipe")),
            ("a masked path", Spec::new().set("/linux/maskedPaths/-", "/data/pipe")),
            ("a read-only path", Spec::new().set("/linux/readonlyPaths/-", "/data/pipe")),
            ("a mount's target", Spec::new().mount("/data/pipe", "bind", &source, &["bind"])),
            ("above a mount's target", Spec::new().mount("/data/pipe/in", "bind", &source, &["bind"])),
            ("a copied directory", Spec::new().mount("/data", "tmpfs", "tmpfs", &["tmpcopyup"])),
            ("a bound source", Spec::new().mount("/mnt/pipe", "bind", "rootfs/data/pipe", &["bind"])),
        ];
        for (place, spec) in cases {
            let spec = if spec.0["process"]["args"] == json!(["/probe", "report"]) {
                spec.args(&["/probe", "true"])
            } else {
                spec
            };
            let bundle = bed.bundle(&spec)?;
            pipe_at(&bundle, "data/pipe")?;
            bundle.file("data/script", "#!/data/pipe\n")?;
            fs::set_permissions(bundle.rootfs.join("data/script"), fs::Permissions::from_mode(0o755))?;
            let dir = bundle.dir.to_string_lossy().into_owned();
            println!("  a pipe is {place}");
            let _refused = bed.command(["run", "--bundle", &dir, &bundle.id]).patience(PATIENCE).call()?;
        }
        Ok(())
    }),
    test(
        "S7",
        "a working directory behind a link is made in the image or not at all (CVE-2026-55686)",
        |bed| {
            let outside = outside(bed)?;
            let up = "../".repeat(30);
            let plain = outside.to_string_lossy().trim_start_matches('/').to_owned();
            for target in [outside.to_string_lossy().into_owned(), format!("{up}{plain}")] {
                for cwd in ["/data/link/made", "/data/link/made/../deep", "/data/link"] {
                    let spec = Spec::new().set("/process/cwd", cwd).args(&["/probe", "true"]);
                    let bundle = bed.bundle(&spec)?;
                    bundle.link("data/link", &target)?;
                    bed.run_bundle(&bundle)?;
                    untouched(&outside)?;
                }
            }
            Ok(())
        },
    ),
    test(
        "S18",
        "a variable without a value, or with a star, takes none of the caller's (CVE-2026-57231)",
        |bed| {
            let entries = ["SECRET_OF_THE_CALLER", "SECRET*", "*", "SECRET_OF_THE_CALLER*", "PATH=/"];
            for number in 0..entries.len() - 1 {
                let env = [entries[number], entries[entries.len() - 1]];
                let bundle = bed.bundle(&Spec::new().set("/process/env", json!(env)))?;
                let dir = bundle.dir.to_string_lossy().into_owned();
                let run =
                    bed.command(["run", "--bundle", &dir, &bundle.id]).env("SECRET_OF_THE_CALLER", SECRET);
                let called = run.call()?;
                check(!called.stdout.contains(SECRET), || {
                    format!("{:?} brought the caller's value", env[0])
                })?;
            }
            Ok(())
        },
    ),
];

fn pipe_at(bundle: &Bundle, name: &str) -> Outcome {
    let path = bundle.rootfs.join(name);
    if path.exists() {
        fs::remove_file(&path)?;
    }
    // Executable, so that no look at the permissions ends the matter.
    mknodat(CWD, &path, FileType::Fifo, Mode::from_bits_retain(0o755), 0)?;
    Ok(())
}

/// A node of the kernel's log: no rule of a container allows it, but who is not bound by them can open it.
pub(super) fn log_device_at(path: &Path) -> Outcome {
    mknodat(CWD, path, FileType::CharacterDevice, Mode::from_bits_retain(0o666), makedev(1, 11))?;
    match fs::File::open(path) {
        Ok(_) => Ok(()),
        Err(error) => skip(format!("the node of a device cannot be opened here: {error}")),
    }
}

/// Counts who opens a file from now on; a descriptor that only refers to it does not count.
pub(super) struct Opens(Inotify);

impl Opens {
    pub(super) fn of(path: &Path) -> Outcome<Self> {
        let watch =
            Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC).map_err(std::io::Error::from)?;
        watch.add_watch(path, AddWatchFlags::IN_OPEN).map_err(std::io::Error::from)?;
        Ok(Self(watch))
    }

    pub(super) fn none(&self, what: &str) -> Outcome {
        let opened = self.0.read_events().is_ok_and(|events| !events.is_empty());
        check(!opened, || format!("the runtime has opened {what}"))
    }
}
